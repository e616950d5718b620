//! `/config_dump`: every version's configuration as it was read, in Envoy's shape, and as it works.

mod fixed;
mod mask;
mod redact;
#[cfg(test)]
mod tests;
mod views;

use std::collections::BTreeMap;

use http::StatusCode;
use listener_versions::VersionState;
use regex_lite::Regex;
use serde_json::{Map, Value, json};

pub use self::views::{
    EffectiveListener, ListenerConfigView, RefusedListenerView, RouteConfigView,
};

use self::fixed::{NEVER, name_of, routes_of, static_of};
use self::mask::masked;
use self::redact::redact;

use super::query::Query;
use super::router::regex;
use super::translate::state_name;

/// What `/config_dump` shows:
/// [`admin.v3.ConfigDump`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump.proto),
/// and one more entry with what is effective.
#[non_exhaustive]
#[derive(Debug, Clone, Default)]
pub struct ConfigDump {
    /// The bootstrap as it was read.
    pub bootstrap: Option<Value>,
    /// Every version of every listener, oldest first.
    pub listeners: Vec<ListenerConfigView>,
    /// The listeners that the last update asked for, and that were refused.
    pub refused: Vec<RefusedListenerView>,
    /// The tables that came over RDS, by name.
    pub routes: Vec<RouteConfigView>,
    /// What the process drains by, whatever the configuration said: an object of the host's choice.
    pub effective: Option<Value>,
}

impl ConfigDump {
    /// What a query asks for: `?resource=FIELD`, `?mask=PATHS`, `?name_regex=REGEX`.
    pub(super) fn chosen(self, query: &Query) -> Result<Value, (StatusCode, String)> {
        let names = regex(query, "name_regex").map_err(|wrong| (StatusCode::BAD_REQUEST, wrong))?;
        let resource = query.get("resource");
        if let Some("bootstrap") = resource {
            let message =
                "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field";
            return Err((StatusCode::BAD_REQUEST, message.to_owned()));
        }
        let mut dump = self.to_json(resource, names.as_ref()).ok_or_else(|| {
            let resource = resource.unwrap_or_default();
            (
                StatusCode::NOT_FOUND,
                format!("{resource} not found in config dump"),
            )
        })?;
        let configs = dump["configs"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        let configs = match query.get("mask") {
            Some(mask) => masked(configs, mask),
            None => configs,
        };
        // An empty list is not written, as everywhere in JSON of protobuf.
        Ok(match configs.is_empty() {
            true => json!({}),
            false => json!({ "configs": configs }),
        })
    }

    /// The JSON of the whole dump, or of one of its repeated fields
    /// (`?resource=dynamic_listeners`), with the entries of these names; `None` if there is no such
    /// field.
    pub(super) fn to_json(&self, resource: Option<&str>, names: Option<&Regex>) -> Option<Value> {
        let is_named = |name: &str| names.is_none_or(|names| names.is_match(name));
        let mut bootstrap = self.bootstrap.clone();
        bootstrap.iter_mut().for_each(redact);
        let lists = self.lists(bootstrap.as_ref(), &is_named);
        let configs = match resource {
            Some(field) => lists.one(field)?,
            None => {
                let bootstrap = bootstrap.map(|bootstrap| {
                    json!({ "@type": kind("BootstrapConfigDump"), "bootstrap": bootstrap })
                });
                let mut configs = Vec::from_iter(bootstrap);
                configs.append(&mut lists.all());
                configs.push(self.effective_json(is_named));
                configs
            }
        };
        Some(json!({ "configs": configs }))
    }

    /// The repeated fields, each with the entries of these names.
    fn lists(&self, bootstrap: Option<&Value>, is_named: &dyn Fn(&str) -> bool) -> Lists {
        let named = |mut entries: Vec<Value>| {
            entries.retain(|entry| name_of(entry).is_none_or(is_named));
            entries
        };
        let listeners = self.listeners.iter().filter(|one| is_named(&one.name));
        let (fixed, dynamic): (Vec<_>, Vec<_>) = listeners.partition(|one| one.is_static);
        let newest = dynamic
            .iter()
            .rfind(|one| one.state == VersionState::Active);
        let refused = self.refused.iter().filter(|one| is_named(&one.name));
        let routes = self.routes.iter().filter(|one| is_named(&one.name));
        let fixed_of = |field: &str| named(static_of(bootstrap, field));
        Lists {
            version_info: newest.map_or_else(String::new, |one| one.version_info.clone()),
            static_listeners: fixed.iter().map(|one| one.state_json()).collect(),
            dynamic_listeners: dynamic_listeners(&dynamic, refused),
            static_clusters: fixed_of("clusters"),
            // Tables have names of their own, whatever their listener's is.
            static_route_configs: named(routes_of(&self.listeners)),
            dynamic_route_configs: routes.map(RouteConfigView::json).collect(),
            static_secrets: fixed_of("secrets"),
        }
    }

    /// Not Envoy's: what is in force, with every default filled in.
    fn effective_json(&self, is_named: impl Fn(&str) -> bool) -> Value {
        let listeners: Vec<_> = self
            .listeners
            .iter()
            .filter(|one| is_named(&one.name))
            .map(|one| {
                let state = state_name(one.state);
                json!({ "name": one.name, "version": one.version, "version_info": one.version_info,
                        "state": state, "effective": one.effective })
            })
            .collect();
        json!({ "@type": "type.googleapis.com/orion.drain.v1.EffectiveConfigDump",
                "process": self.effective, "listeners": listeners })
    }
}

/// The repeated fields of the dump, under Envoy's names.
struct Lists {
    /// Of the newest active listener that came by itself.
    version_info: String,
    static_listeners: Vec<Value>,
    dynamic_listeners: Vec<Value>,
    static_clusters: Vec<Value>,
    static_route_configs: Vec<Value>,
    dynamic_route_configs: Vec<Value>,
    static_secrets: Vec<Value>,
}

impl Lists {
    /// The entries of one list, each with its type; `None` if Envoy has no such list.
    fn one(self, field: &str) -> Option<Vec<Value>> {
        let (of, entries) = match field {
            "static_listeners" => ("ListenersConfigDump.StaticListener", self.static_listeners),
            "dynamic_listeners" => (
                "ListenersConfigDump.DynamicListener",
                self.dynamic_listeners,
            ),
            "static_clusters" => ("ClustersConfigDump.StaticCluster", self.static_clusters),
            "static_route_configs" => (
                "RoutesConfigDump.StaticRouteConfig",
                self.static_route_configs,
            ),
            "dynamic_route_configs" => (
                "RoutesConfigDump.DynamicRouteConfig",
                self.dynamic_route_configs,
            ),
            "static_secrets" => ("SecretsConfigDump.StaticSecret", self.static_secrets),
            never if NEVER.contains(&never) => return Some(Vec::new()),
            _ => return None,
        };
        let typed = entries.into_iter().map(|mut entry| {
            if let Value::Object(fields) = &mut entry {
                fields.insert("@type".to_owned(), kind(of).into());
            }
            entry
        });
        Some(typed.collect())
    }

    /// A message for each kind of resource; without those of which there is nothing.
    fn all(self) -> Vec<Value> {
        let mut configs = vec![json!({
            "@type": kind("ListenersConfigDump"), "version_info": self.version_info,
            "static_listeners": self.static_listeners, "dynamic_listeners": self.dynamic_listeners,
        })];
        let clusters = [("static_clusters", self.static_clusters)];
        let routes = [
            ("static_route_configs", self.static_route_configs),
            ("dynamic_route_configs", self.dynamic_route_configs),
        ];
        let secrets = [("static_secrets", self.static_secrets)];
        configs.extend(message("ClustersConfigDump", clusters));
        configs.extend(message("RoutesConfigDump", routes));
        configs.extend(message("SecretsConfigDump", secrets));
        configs
    }
}

/// A message of these lists; none if all are empty, as in JSON of protobuf an empty list is not
/// written.
fn message<const N: usize>(name: &str, lists: [(&str, Vec<Value>); N]) -> Option<Value> {
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let lists = lists.map(|(field, list)| (field.to_owned(), Value::from(list)));
    let mut fields: Map<String, Value> = lists.collect();
    if fields.is_empty() {
        return None;
    }
    fields.insert("@type".to_owned(), kind(name).into());
    Some(Value::Object(fields))
}

fn kind(name: &str) -> String {
    format!("type.googleapis.com/envoy.admin.v3.{name}")
}

/// By name; the newest draining version of a name stands beside the active one, as in Envoy, and
/// older ones by themselves. What was refused of a name stands there too, whether or not it has a
/// version.
fn dynamic_listeners<'a>(
    versions: &[&'a ListenerConfigView],
    refused: impl Iterator<Item = &'a RefusedListenerView>,
) -> Vec<Value> {
    type OfName<'a> = (Option<&'a RefusedListenerView>, Vec<&'a ListenerConfigView>);
    let mut names = BTreeMap::<&str, OfName<'_>>::new();
    for version in versions.iter().rev() {
        names.entry(&version.name).or_default().1.push(version);
    }
    for refused in refused {
        names.entry(&refused.name).or_default().0 = Some(refused);
    }
    let mut listeners = Vec::new();
    for (name, (refused, versions)) in names {
        let mut first = Map::from_iter([("name".to_owned(), Value::from(name))]);
        let mut older = Vec::new();
        if let Some(refused) = refused {
            first.insert("error_state".to_owned(), refused.json());
        }
        for version in versions {
            let field = match version.state {
                VersionState::Active => "active_state",
                VersionState::Warming => "warming_state",
                VersionState::Draining | VersionState::Drained => "draining_state",
            };
            if first.contains_key(field) {
                older.push(json!({ "name": name, field: version.state_json() }));
            } else {
                first.insert(field.to_owned(), version.state_json());
            }
        }
        listeners.push(Value::Object(first));
        listeners.append(&mut older);
    }
    listeners
}
