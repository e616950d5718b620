//! A new set of listeners: `service.discovery.v3.DiscoveryResponse`, each listener on its own.

use std::collections::BTreeSet;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    Address, ConfigError, ConfigErrorKind, FieldError, Listener, Loaded, RuntimeValues,
    foreign::{self, Root},
    known_clusters, left_out,
    path::FieldPath,
    rds,
    read::{self, Unknown},
    repair,
    resources::{self, Raw, Resource, Resources},
    unsupported, validate,
};

/// Of so many listeners that are refused the lines are looked for.
const LOCATED: usize = 20;

/// The listeners of a discovery response. A listener that is wrong is refused; the others are
/// taken, as in [Envoy](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/lds).
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerUpdate {
    /// The label of this set; may be empty.
    pub version_info: String,
    /// The listeners that can be read and keep the rules, in the order of the response.
    pub listeners: Vec<Listener>,
    /// Those that are refused. A listener that is named here is not absent: its present version
    /// goes on.
    pub rejected: Vec<RejectedResource>,
    /// The names of listeners that are gone, in a response that has only what changed. `None`: the
    /// response has all listeners, and one that is not in it is gone.
    pub removed: Option<Vec<String>>,
    /// The paths of all fields that are not known here, refused listeners left out.
    pub unknown_fields: Vec<String>,
    /// The paths of those among them that Envoy 1.40 has not got either: mistakes, most likely.
    pub foreign_fields: Vec<String>,
    /// Where in the response each of `listeners` stands.
    places: Vec<usize>,
    /// The fields that name a value of the runtime.
    runtime_keys: Vec<Unknown>,
}

/// A resource that is refused: a listener, or a route configuration.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedResource {
    /// Its name, if that can be read.
    pub name: Option<String>,
    /// Its place in `resources`.
    pub index: usize,
    /// What is wrong with it.
    pub error: ConfigError,
}

/// Which of Envoy's counters an update belongs to.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpdateOutcome {
    /// `update_success`
    Success,
    /// `update_rejected`: a listener breaks a rule.
    Rejected,
    /// `update_failure`: a listener cannot be read.
    Failure,
}

/// The fields that are known; those with an underscore are of no use in a file.
#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    version_info: String,
    #[serde(default, rename = "@type")]
    _type: IgnoredAny,
    #[serde(default, rename = "type_url")]
    _type_url: IgnoredAny,
    #[serde(default, rename = "nonce")]
    _nonce: IgnoredAny,
    #[serde(default)]
    resources: Vec<Value>,
}

impl ListenerUpdate {
    /// Reads a discovery response in JSON.
    ///
    /// # Errors
    ///
    /// Text that is no discovery response: everything that is wrong with it and its listeners. Of a
    /// response that can be read, what is wrong with a single listener is in
    /// [`rejected`](Self::rejected).
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        Self::from_prepared(read::json(text)?, text)
    }

    /// Reads a discovery response in YAML.
    ///
    /// # Errors
    ///
    /// Text that is no discovery response: everything that is wrong with it and its listeners. Of a
    /// response that can be read, what is wrong with a single listener is in
    /// [`rejected`](Self::rejected).
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        Self::from_prepared(read::yaml(text)?, text)
    }

    fn from_prepared(json: Value, text: &str) -> Result<Self, ConfigError> {
        let root = FieldPath::root();
        let read = repair::read::<Response>(&json, &root, |_, _, _| Vec::new());
        let (response, unknown) = read.map_err(|error| {
            // What is wrong with its listeners is found all the same.
            let listeners = json.get("resources").and_then(Value::as_array);
            let listeners = listeners.into_iter().flatten().cloned().map(Raw::from);
            let update = Self::of(String::new(), listeners);
            error.with(&update.rejected).in_text(text, &json)
        })?;
        let mut update = Self::of(
            response.version_info,
            response.resources.into_iter().map(Raw::from),
        );
        let paths = unknown.iter().map(|field| field.path.to_string());
        update.unknown_fields.extend(paths);
        let mut foreign = foreign::find(&unknown, Root::DiscoveryResponse);
        update.foreign_fields.append(&mut foreign);
        // Each line is looked for from the beginning of the text on.
        for rejected in update.rejected.iter_mut().take(LOCATED) {
            rejected.error = rejected.error.clone().in_text(text, &json);
        }
        Ok(update)
    }

    /// Reads and checks the listeners one by one.
    pub(super) fn of(
        version_info: String,
        listeners: impl Iterator<Item = impl Into<Option<Raw>>>,
    ) -> Self {
        let read = Resources::read(listeners, |_| true);
        Self {
            version_info,
            listeners: read.taken,
            rejected: read.rejected,
            removed: None,
            unknown_fields: read.unknown_fields,
            foreign_fields: read.foreign_fields,
            places: read.places,
            runtime_keys: read.runtime_keys,
        }
    }

    /// Which of Envoy's counters this update belongs to, as far as its content goes. Applying it
    /// may still be refused.
    pub fn outcome(&self) -> UpdateOutcome {
        if self.rejected.is_empty() {
            UpdateOutcome::Success
        } else if self
            .rejected
            .iter()
            .all(|rejected| rejected.error.kind() == ConfigErrorKind::Invalid)
        {
            UpdateOutcome::Rejected
        } else {
            UpdateOutcome::Failure
        }
    }

    /// Refuses the listeners with a route to a cluster that is not among `known`; see
    /// [`Listener::check_clusters`].
    pub fn reject_unknown_clusters(&mut self, known: &BTreeSet<String>) {
        self.reject(|listener, at, missing| {
            known_clusters::unknown(listener, at, known, missing);
        });
    }

    /// Refuses the listeners whose routes come over ADS; for a process whose bootstrap has no
    /// [`ads_control_plane`](crate::Bootstrap::ads_control_plane).
    pub fn reject_routes_over_ads(&mut self) {
        self.reject(rds::without_ads);
    }

    /// Refuses the listeners in which `find` finds something.
    fn reject(&mut self, find: impl Fn(&Listener, &FieldPath, &mut Vec<FieldError>)) {
        resources::reject(
            &mut self.listeners,
            &mut self.places,
            &mut self.rejected,
            find,
        );
    }

    /// Refuses the listeners of which a field names a value that the bootstrap's runtime has: it would
    /// stand in the field's place.
    pub fn reject_runtime_values(&mut self, runtime: &RuntimeValues) {
        resources::reject_runtime_values(
            &mut self.listeners,
            &mut self.places,
            &mut self.rejected,
            &self.runtime_keys,
            runtime,
        );
    }

    /// The same update, if Envoy has all of its fields; as Envoy asks if
    /// `--reject-unknown-dynamic-fields` is given.
    ///
    /// # Errors
    ///
    /// Every field that Envoy has not got, in any of its listeners; and what is wrong with those
    /// that are refused.
    pub fn refuse_foreign_fields(self) -> Result<Self, ConfigError> {
        ConfigError::no_such(&self.foreign_fields).map_err(|error| error.with(&self.rejected))?;
        Ok(self)
    }

    /// The same update, if every field that Envoy has is carried out.
    ///
    /// # Errors
    ///
    /// Every field that Envoy has and that is left out here, in any of its listeners; and what is
    /// wrong with those that are refused.
    pub fn refuse_unsupported_fields(self) -> Result<Self, ConfigError> {
        ConfigError::left_out(&self.unknown_fields, &self.foreign_fields)
            .map_err(|error| error.with(&self.rejected))?;
        Ok(self)
    }

    /// Whether the response has all listeners, and of one that is refused not even the name is
    /// known: then no rule says which listener must not be taken for absent.
    pub fn hides_a_listener(&self) -> bool {
        self.removed.is_none() && self.rejected.iter().any(|rejected| rejected.name.is_none())
    }

    /// What is rejected, and nothing that can be taken.
    #[must_use]
    pub fn without_listeners(self) -> Self {
        Self {
            version_info: self.version_info,
            rejected: self.rejected,
            removed: Some(Vec::new()),
            ..Self::default()
        }
    }
}

impl Resource for Listener {
    const KIND: &'static str = "envoy.config.listener.v3.Listener";
    const ROOT: Root = Root::Listener;

    fn name_in(message: &Value) -> Option<String> {
        match message.get("name").map_or(Some(""), Value::as_str)? {
            "" => Some(
                Address::deserialize(message.get("address")?)
                    .ok()?
                    .to_string(),
            ),
            name => Some(name.to_owned()),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read(message: &Value, at: &FieldPath) -> Result<(Self, Vec<Unknown>), ConfigError> {
        repair::read::<Self>(message, at, |listener, unknown, _| {
            listener.keep_unknown(at, unknown);
            listener.make_up_name();
            let mut wrong = validate::listener(listener, at);
            wrong.extend(unsupported::find(unknown, Root::Listener));
            unknown.extend(left_out::find(listener, at));
            wrong
        })
    }
}

impl Listener {
    /// A listener without a name is called by its address, which stays as it is over updates.
    pub(super) fn make_up_name(&mut self) {
        if self.name.is_empty() {
            self.name = self.address.to_string();
        }
    }

    /// Reads and checks a single listener in JSON.
    ///
    /// # Errors
    ///
    /// Text that is no JSON, or everything that is wrong with it.
    pub fn from_json(text: &str) -> Result<Loaded<Self>, ConfigError> {
        let json = read::json(text)?;
        Self::from_prepared(json.clone()).map_err(|error| error.in_text(text, &json))
    }

    /// Reads and checks a single listener in YAML.
    ///
    /// # Errors
    ///
    /// Text that is no YAML, or everything that is wrong with it.
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Loaded<Self>, ConfigError> {
        let json = read::yaml(text)?;
        Self::from_prepared(json.clone()).map_err(|error| error.in_text(text, &json))
    }

    pub(super) fn from_prepared(mut json: Value) -> Result<Loaded<Self>, ConfigError> {
        if let Value::Object(fields) = &mut json {
            fields.remove("@type");
        }
        let (value, unknown) = Self::read(&json, &FieldPath::root())?;
        Ok(Loaded::new(value, &unknown, Root::Listener))
    }

    /// Whether every HTTP route leads to one of the `known` clusters, as Envoy asks for routes that
    /// stand in a listener, unless they say `validate_clusters: false`. TCP proxies are not
    /// checked, there as here.
    ///
    /// # Errors
    ///
    /// Each route to a cluster that is not known.
    pub fn check_clusters(&self, known: &BTreeSet<String>) -> Result<(), ConfigError> {
        let mut missing = Vec::new();
        known_clusters::unknown(self, &FieldPath::root(), known, &mut missing);
        ConfigError::unless_empty(missing)
    }
}
