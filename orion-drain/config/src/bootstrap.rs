//! The file a proxy starts with: `config.bootstrap.v3.Bootstrap`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Address, AggregatedConfigSource, ApiConfigSource, ApiVersion, BootstrapRules, Cluster,
    ConfigError, FieldError, Listener, ListenerManagerConfig, Loaded, OverloadManager,
    RuntimeValues, Secret, StringMatcher, duration, error,
    foreign::{self, Root},
    known_clusters, left_out,
    locate::is_within,
    manager, names,
    path::FieldPath,
    read::{self, Unknown},
    repair, runtime, validate,
};

/// What a proxy starts with, as in
/// [`config.bootstrap.v3.Bootstrap`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto),
/// and Orion's `listener_manager` block. Everything is optional.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// The identity of this proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// The admin interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// The sources of listeners that change while the process runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_resources: Option<DynamicResources>,
    /// Listeners, clusters and secrets that do not change while the process runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_resources: Option<StaticResources>,
    /// How many connections may be open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overload_manager: Option<OverloadManager>,
    /// Envoy's `config.bootstrap.v3.LayeredRuntime`. Of the values in a `static_layer`, limits of
    /// connections take effect: `envoy.resource_limits.listener.NAME.connection_limit` for each
    /// version of a listener, and `overload.global_downstream_max_connections` unless
    /// `overload_manager` says so. Beside any other the field is reported with those that have no
    /// effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layered_runtime: Option<Map<String, Value>>,
    /// Limits of listener versions, and how they drain.
    #[serde(
        default,
        deserialize_with = "manager::deserialize_block",
        skip_serializing_if = "Option::is_none"
    )]
    pub listener_manager: Option<ListenerManagerConfig>,
}

/// The identity of a proxy: `config.core.v3.Node`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The name of the cluster it runs in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Anything that the control plane is to know, passed on unchanged: many choose listeners by
    /// it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// Features of the proxy, beside those that it always announces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_features: Vec<String>,
}

/// A place: `config.core.v3.Locality`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locality {
    /// The region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The zone in it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// The part of the zone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub_zone: String,
}

/// The admin interface: `config.bootstrap.v3.Admin`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// Where it listens; absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The paths, with their query, that are answered; all others are refused with 403. None: all
    /// are answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_paths: Vec<StringMatcher>,
}

/// Where configuration comes from that changes.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicResources {
    /// The control plane behind `ads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ads_config: Option<ApiConfigSource>,
    /// Where listeners come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lds_config: Option<ConfigSource>,
}

/// A source of configuration, a file or a control plane: `config.core.v3.ConfigSource`. At most one
/// of them.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSource {
    /// A file that is replaced by renaming another over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_config_source: Option<PathConfigSource>,
    /// The older form of `path_config_source.path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// A control plane for listeners alone; not for routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_config_source: Option<ApiConfigSource>,
    /// The control plane of `dynamic_resources.ads_config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ads: Option<AggregatedConfigSource>,
    /// The version of the resources. Only `V3`, the default here, is read.
    #[serde(default, with = "version", skip_serializing_if = "Option::is_none")]
    pub resource_api_version: Option<ApiVersion>,
    /// How long the process waits for the first answer before it says that it is ready without one,
    /// or a listener for its routes before it serves without them; 0: for ever. Default 15 s.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub initial_fetch_timeout: Option<Duration>,
}

/// A file as a source: `config.core.v3.PathConfigSource`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathConfigSource {
    /// The file, a discovery response.
    pub path: PathBuf,
    /// The folder that is watched for renames, if it is not the file's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_directory: Option<WatchedDirectory>,
}

/// A folder that is watched: `config.core.v3.WatchedDirectory`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedDirectory {
    /// The folder.
    pub path: PathBuf,
}

/// Configuration that stays.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticResources {
    /// Listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
    /// Clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Cluster>,
    /// Secrets that TLS contexts refer to by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
}

impl ConfigSource {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.path_config_source {
            Some(file) => Some(&file.path),
            None => self.path.as_deref(),
        }
    }
}

impl Bootstrap {
    /// Reads and checks a bootstrap in JSON.
    ///
    /// # Errors
    ///
    /// Text that is no JSON, or everything that is wrong with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::path::Path;
    /// use orion_drain_config::Bootstrap;
    ///
    /// let loaded = Bootstrap::from_json(r#"{
    ///     "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 9901 } } },
    ///     "dynamic_resources": { "lds_config": { "path_config_source": { "path": "/etc/edge/lds.json" } } }
    /// }"#)?;
    /// assert_eq!(loaded.value.lds_path(), Some(Path::new("/etc/edge/lds.json")));
    /// assert!(loaded.unknown_fields.is_empty());
    /// # Ok::<(), orion_drain_config::ConfigError>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Loaded<Self>, ConfigError> {
        Self::from_json_by(text, BootstrapRules::default())
    }

    /// [`from_json`](Self::from_json) with more rules.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_json_by(text: &str, rules: BootstrapRules) -> Result<Loaded<Self>, ConfigError> {
        Self::from_prepared(read::json(text)?, text, rules)
    }

    /// Reads and checks a bootstrap in YAML.
    ///
    /// # Errors
    ///
    /// Text that is no YAML, or everything that is wrong with it.
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Loaded<Self>, ConfigError> {
        Self::from_yaml_by(text, BootstrapRules::default())
    }

    /// [`from_yaml`](Self::from_yaml) with more rules.
    ///
    /// # Errors
    ///
    /// As there.
    #[cfg(feature = "yaml")]
    pub fn from_yaml_by(text: &str, rules: BootstrapRules) -> Result<Loaded<Self>, ConfigError> {
        Self::from_prepared(read::yaml(text)?, text, rules)
    }

    fn from_prepared(
        json: Value,
        text: &str,
        rules: BootstrapRules,
    ) -> Result<Loaded<Self>, ConfigError> {
        let json = unwrapped(json);
        let checked = repair::read(&json, &FieldPath::root(), |bootstrap, unknown, replaced| {
            Self::check(bootstrap, unknown, replaced, rules)
        });
        match checked {
            Ok((bootstrap, unknown)) => Ok(Loaded::new(bootstrap, &unknown, Root::Bootstrap)),
            Err(error) => Err(error.in_text(text, &json)),
        }
    }

    /// Completes what was read, adds to `unknown` what is left out, and finds what breaks a rule.
    fn check(
        &mut self,
        unknown: &mut Vec<Unknown>,
        replaced: &[String],
        rules: BootstrapRules,
    ) -> Vec<FieldError> {
        let root = FieldPath::root();
        let listeners = root.key("static_resources").key("listeners");
        let clusters = root.key("static_resources").key("clusters");
        if let Some(resources) = &mut self.static_resources {
            for (at, listener) in resources.listeners.iter_mut().enumerate() {
                listener.keep_unknown(&listeners.index(at), unknown);
                listener.make_up_name();
            }
        }
        let mut wrong = validate::bootstrap(self, unknown);
        for (at, listener) in self.listeners().iter().enumerate() {
            unknown.extend(left_out::find(listener, &listeners.index(at)));
        }
        if let Some(overload) = &self.overload_manager {
            unknown.extend(overload.left_out(&root.key("overload_manager")));
        }
        unknown.extend(left_out::find_in_clusters(self.clusters(), &clusters));
        if let Some(runtime) = &self.layered_runtime {
            let at = root.key("layered_runtime");
            runtime::rules(runtime, &at, unknown, &mut wrong);
            if runtime::values(Some(runtime)).have_more {
                unknown.push(Unknown {
                    path: at,
                    value: Value::Object(runtime.clone()),
                });
            }
        }
        let foreign = foreign::find(unknown, Root::Bootstrap);
        if rules.no_foreign_fields {
            wrong.extend(foreign.iter().map(|path| error::no_such(path)));
        }
        if rules.no_unsupported_fields {
            let paths = unknown.iter().map(|field| field.path.to_string());
            let left_out = paths.filter(|path| {
                !foreign.contains(path) && !wrong.iter().any(|field| field.path == *path)
            });
            let left_out: Vec<_> = left_out.map(|path| error::left_out(&path)).collect();
            wrong.extend(left_out);
        }
        // A cluster that could not be read has no name here.
        let clusters = clusters.to_string();
        let are_clusters_known = || {
            !replaced
                .iter()
                .any(|path| is_within(path, &clusters) || is_within(&clusters, path))
        };
        if rules.known_clusters && are_clusters_known() {
            wrong.extend(self.check_clusters());
        }
        wrong
    }

    /// The address of the admin interface.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref()?.address.as_ref()
    }

    /// How many connections may be open over all listeners; `None`: no limit.
    pub fn connection_limit(&self) -> Option<usize> {
        let manager = self.overload_manager.as_ref();
        let limit = manager.and_then(OverloadManager::connection_limit);
        limit.or_else(|| runtime::values(self.layered_runtime.as_ref()).connection_limit())
    }

    /// The values of its runtime, which may stand in the place of what fields of listeners and
    /// routes say.
    pub fn runtime_values(&self) -> RuntimeValues {
        runtime::values(self.layered_runtime.as_ref())
    }

    /// How many connections each version of a listener may have, by the listener's name; the others
    /// have no limit.
    pub fn listener_connection_limits(&self) -> BTreeMap<String, usize> {
        runtime::values(self.layered_runtime.as_ref()).listener_limits()
    }

    /// The paths that the admin interface answers; none: all.
    pub fn admin_allow_paths(&self) -> &[StringMatcher] {
        self.admin.as_ref().map_or(&[], |admin| &admin.allow_paths)
    }

    /// The file that listeners are read from.
    pub fn lds_path(&self) -> Option<&Path> {
        let source = self.dynamic_resources.as_ref()?.lds_config.as_ref()?;
        source.file()
    }

    /// The folder in which any move means a new [`lds_path`](Self::lds_path); without one, a move
    /// to that path does.
    pub fn lds_watched_directory(&self) -> Option<&Path> {
        let source = self.dynamic_resources.as_ref()?.lds_config.as_ref()?;
        let file = source.path_config_source.as_ref()?;
        Some(&file.watched_directory.as_ref()?.path)
    }

    /// How long the process waits for its first listeners from
    /// [elsewhere](DynamicResources::lds_config) before it says that it is ready without them;
    /// `None`: for ever.
    pub fn lds_initial_fetch_limit(&self) -> Option<Duration> {
        let source = self.dynamic_resources.as_ref();
        let source = source.and_then(|dynamic| dynamic.lds_config.as_ref());
        let limit = source.and_then(|source| source.initial_fetch_timeout);
        Some(limit.unwrap_or(Duration::from_secs(15))).filter(|limit| !limit.is_zero())
    }

    /// The listeners that stay.
    pub fn listeners(&self) -> &[Listener] {
        self.static_resources
            .as_ref()
            .map_or(&[], |resources| &resources.listeners)
    }

    /// The clusters.
    pub fn clusters(&self) -> &[Cluster] {
        self.static_resources
            .as_ref()
            .map_or(&[], |resources| &resources.clusters)
    }

    /// The secrets.
    pub fn secrets(&self) -> &[Secret] {
        self.static_resources
            .as_ref()
            .map_or(&[], |resources| &resources.secrets)
    }

    /// The same with another name of this proxy, or of the cluster that it runs in: Envoy's
    /// `--service-node` and `--service-cluster`.
    #[must_use]
    pub fn with_node(mut self, id: Option<&str>, cluster: Option<&str>) -> Self {
        if id.is_some() || cluster.is_some() {
            let node = self.node.get_or_insert_default();
            if let Some(id) = id {
                id.clone_into(&mut node.id);
            }
            if let Some(cluster) = cluster {
                cluster.clone_into(&mut node.cluster);
            }
        }
        self
    }

    /// The names of the clusters.
    pub fn cluster_names(&self) -> BTreeSet<String> {
        self.clusters()
            .iter()
            .map(|cluster| cluster.name.clone())
            .collect()
    }

    /// Routes of static listeners to clusters that do not exist, unless their table says
    /// `validate_clusters: false`. Envoy refuses to start with such a route; here it is asked for,
    /// since clusters may come from elsewhere (and Orion's own example has none).
    pub fn check_clusters(&self) -> Vec<FieldError> {
        let listeners = FieldPath::root().key("static_resources").key("listeners");
        let known = self.cluster_names();
        let mut missing = Vec::new();
        for (at, listener) in self.listeners().iter().enumerate() {
            known_clusters::unknown(listener, &listeners.index(at), &known, &mut missing);
        }
        missing
    }
}

/// The bootstrap in Orion's own file, which has it under `envoy_bootstrap`. What stands beside it
/// is Orion's alone; paths in errors begin below it.
fn unwrapped(mut json: Value) -> Value {
    let Some(bootstrap) = json
        .get_mut("envoy_bootstrap")
        .filter(|inner| inner.is_object())
    else {
        return json;
    };
    let mut bootstrap = bootstrap.take();
    // Orion does not ask for a cluster's name twice.
    let clusters = bootstrap.pointer_mut("/static_resources/clusters");
    for cluster in clusters.and_then(Value::as_array_mut).into_iter().flatten() {
        let name = cluster.get("name").cloned().unwrap_or_default();
        let assignment = cluster.get_mut("load_assignment");
        if let Some(assignment) = assignment.and_then(Value::as_object_mut) {
            assignment.entry("cluster_name").or_insert(name);
        }
    }
    if let (Some(manager), Some(fields)) =
        (json.get_mut("listener_manager"), bootstrap.as_object_mut())
    {
        fields
            .entry("listener_manager")
            .or_insert_with(|| manager.take());
    }
    bootstrap
}

/// A version that may be absent.
mod version {
    use serde::{Deserializer, Serializer};

    use super::{ApiVersion, names};

    pub(super) fn serialize<S: Serializer>(
        version: &Option<ApiVersion>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match version {
            Some(version) => names::serialize(version, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<ApiVersion>, D::Error> {
        names::deserialize(from).map(Some)
    }
}
