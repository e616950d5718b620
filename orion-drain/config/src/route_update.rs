//! Route configurations that come by themselves (RDS), each on its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    ConfigError, RejectedResource, RouteConfiguration, discovery,
    foreign::{self, Root},
    known_clusters,
    path::FieldPath,
    read::Unknown,
    repair, unsupported, validate,
};

const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

/// The route configurations of a discovery response. One that is wrong is refused, and the routes
/// that its name had go on; the others are taken. One that is absent is not gone, as in
/// [Envoy](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/rds).
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteUpdate {
    /// The label of this set; may be empty.
    pub version_info: String,
    /// Those that can be read and keep the rules, in the order of the response.
    pub routes: Vec<RouteConfiguration>,
    /// Those that are refused.
    pub rejected: Vec<RejectedResource>,
    /// The paths of all fields that are not known here, refused route configurations left out.
    pub unknown_fields: Vec<String>,
    /// The paths of those among them that Envoy 1.40 has not got either: mistakes, most likely.
    pub foreign_fields: Vec<String>,
    /// Where in the response each of `routes` stands.
    places: Vec<usize>,
}

impl RouteUpdate {
    /// Reads and checks them one by one; those that are not even JSON any more come as errors.
    pub(super) fn of(
        version_info: String,
        resources: impl Iterator<Item = Result<Value, ConfigError>>,
        wanted: impl Fn(&str) -> bool,
    ) -> Self {
        let mut update = Self {
            version_info,
            ..Self::default()
        };
        let mut first_places = BTreeMap::new();
        for (index, resource) in resources.enumerate() {
            let at = FieldPath::root().key("resources").index(index);
            let name = resource.as_ref().ok().and_then(name_of);
            if name.as_ref().is_some_and(|name| !wanted(name)) {
                continue;
            }
            let read = resource.and_then(|resource| table(resource, &at));
            let first = name.as_ref().and_then(|name| first_places.get(name));
            let read = match first {
                Some(first) => Err(ConfigError::invalid(
                    &at.key("name"),
                    format!("duplicate, resources[{first}] has it already"),
                )),
                None => read,
            };
            if let Some(name) = &name {
                first_places.entry(name.clone()).or_insert(index);
            }
            match read {
                Ok((table, unknown)) => {
                    update.routes.push(table);
                    update.places.push(index);
                    let paths = unknown.iter().map(|field| field.path.to_string());
                    update.unknown_fields.extend(paths);
                    let mut foreign = foreign::find(&unknown, Root::RouteConfiguration);
                    update.foreign_fields.append(&mut foreign);
                }
                Err(error) => update
                    .rejected
                    .push(RejectedResource { name, index, error }),
            }
        }
        update
    }

    /// Refuses the tables that say `validate_clusters: true` and have a route to a cluster that is
    /// not among `known`. A table that does not say so is taken, as in Envoy, and requests to such
    /// a cluster are answered with 503.
    pub fn reject_unknown_clusters(&mut self, known: &BTreeSet<String>) {
        let resources = FieldPath::root().key("resources");
        let (routes, places) = (
            std::mem::take(&mut self.routes),
            std::mem::take(&mut self.places),
        );
        for (table, index) in routes.into_iter().zip(places) {
            let mut missing = Vec::new();
            if table.validate_clusters == Some(true) {
                known_clusters::in_table(&table, &resources.index(index), known, &mut missing);
            }
            match ConfigError::unless_empty(missing) {
                Ok(()) => {
                    self.routes.push(table);
                    self.places.push(index);
                }
                Err(error) => self.rejected.push(RejectedResource {
                    name: Some(table.name),
                    index,
                    error,
                }),
            }
        }
    }

    /// The same update, if Envoy has all of its fields; as Envoy asks if
    /// `--reject-unknown-dynamic-fields` is given.
    ///
    /// # Errors
    ///
    /// Every field that Envoy has not got, in any of its tables.
    pub fn refuse_foreign_fields(self) -> Result<Self, ConfigError> {
        ConfigError::no_such(&self.foreign_fields)?;
        Ok(self)
    }

    /// The same update, if every field that Envoy has is carried out.
    ///
    /// # Errors
    ///
    /// Every field that Envoy has and that is left out here, in any of its tables.
    pub fn refuse_unsupported_fields(self) -> Result<Self, ConfigError> {
        let left_out = self.unknown_fields.iter();
        let left_out = left_out.filter(|path| !self.foreign_fields.contains(path));
        ConfigError::left_out(left_out)?;
        Ok(self)
    }
}

/// Reads and checks the table that stands at `at`.
fn table(
    resource: Value,
    at: &FieldPath,
) -> Result<(RouteConfiguration, Vec<Unknown>), ConfigError> {
    let (table, at) = discovery::message(resource, at, ROUTES)?;
    repair::read::<RouteConfiguration>(&table, &at, |table, unknown, _| {
        let mut wrong = validate::routes(table, &at);
        wrong.extend(unsupported::find(unknown, Root::RouteConfiguration));
        wrong
    })
}

/// The name of a table, wrong as it may be otherwise.
fn name_of(resource: &Value) -> Option<String> {
    let table = resource.get("resource").unwrap_or(resource);
    let name = table.get("name").map_or(Some(""), Value::as_str)?;
    (!name.is_empty()).then(|| name.to_owned())
}
