//! Route configurations that come by themselves (RDS), each on its own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    ConfigError, RejectedResource, RouteConfiguration, RuntimeValues,
    foreign::Root,
    known_clusters,
    path::FieldPath,
    read::Unknown,
    repair,
    resources::{self, Raw, Resource, Resources},
    unsupported, validate,
};

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
    /// The fields that name a value of the runtime.
    runtime_keys: Vec<Unknown>,
}

impl RouteUpdate {
    /// Reads and checks one by one those whose name is `wanted`.
    pub(super) fn of(
        version_info: String,
        routes: impl Iterator<Item = impl Into<Option<Raw>>>,
        wanted: impl Fn(&str) -> bool,
    ) -> Self {
        let read = Resources::read(routes, wanted);
        Self {
            version_info,
            routes: read.taken,
            rejected: read.rejected,
            unknown_fields: read.unknown_fields,
            foreign_fields: read.foreign_fields,
            places: read.places,
            runtime_keys: read.runtime_keys,
        }
    }

    /// Refuses the tables that say `validate_clusters: true` and have a route to a cluster that is
    /// not among `known`. A table that does not say so is taken, as in Envoy, and requests to such
    /// a cluster are answered with 503.
    pub fn reject_unknown_clusters(&mut self, known: &BTreeSet<String>) {
        resources::reject(
            &mut self.routes,
            &mut self.places,
            &mut self.rejected,
            |table: &RouteConfiguration, at, missing| {
                if table.validate_clusters == Some(true) {
                    known_clusters::in_table(table, at, known, missing);
                }
            },
        );
    }

    /// Refuses the tables of which a field names a value that the bootstrap's runtime has: it would
    /// stand in the field's place.
    pub fn reject_runtime_values(&mut self, runtime: &RuntimeValues) {
        resources::reject_runtime_values(
            &mut self.routes,
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
    /// Every field that Envoy has not got, in any of its tables; and what is wrong with those that
    /// are refused.
    pub fn refuse_foreign_fields(self) -> Result<Self, ConfigError> {
        ConfigError::no_such(&self.foreign_fields).map_err(|error| error.with(&self.rejected))?;
        Ok(self)
    }

    /// The same update, if every field that Envoy has is carried out.
    ///
    /// # Errors
    ///
    /// Every field that Envoy has and that is left out here, in any of its tables; and what is
    /// wrong with those that are refused.
    pub fn refuse_unsupported_fields(self) -> Result<Self, ConfigError> {
        ConfigError::left_out(&self.unknown_fields, &self.foreign_fields)
            .map_err(|error| error.with(&self.rejected))?;
        Ok(self)
    }
}

impl Resource for RouteConfiguration {
    const KIND: &'static str = "envoy.config.route.v3.RouteConfiguration";
    const ROOT: Root = Root::RouteConfiguration;

    fn name_in(message: &Value) -> Option<String> {
        let name = message.get("name").map_or(Some(""), Value::as_str)?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read(message: &Value, at: &FieldPath) -> Result<(Self, Vec<Unknown>), ConfigError> {
        repair::read::<Self>(message, at, |table, unknown, _| {
            let mut wrong = validate::routes(table, at);
            wrong.extend(unsupported::find(unknown, Root::RouteConfiguration));
            wrong
        })
    }
}
