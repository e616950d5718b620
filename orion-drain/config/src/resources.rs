//! The resources of a discovery response, read one by one: each is taken or refused by itself, and
//! of each that is refused everything that is wrong is said.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    ConfigError, FieldError, RejectedResource, RuntimeValues,
    any::message_name,
    foreign::{self, Root},
    path::FieldPath,
    read::Unknown,
    runtime,
};

const WRAPPER: &str = "envoy.service.discovery.v3.Resource";

/// What a discovery response can have.
pub(super) trait Resource: Sized {
    /// The full name of its message.
    const KIND: &'static str;
    /// Where the names of its fields are.
    const ROOT: Root;

    /// The name of a message, wrong as it may be otherwise.
    fn name_in(message: &Value) -> Option<String>;

    fn name(&self) -> &str;

    /// Reads and checks the message that stands at `at`.
    fn read(message: &Value, at: &FieldPath) -> Result<(Self, Vec<Unknown>), ConfigError>;
}

/// A resource in JSON, with its `@type`.
pub(super) struct Raw {
    pub(super) json: Value,
    /// What is not in the JSON, since its bytes are no message of their type.
    pub(super) unreadable: Vec<FieldError>,
}

impl From<Value> for Raw {
    fn from(json: Value) -> Self {
        Self {
            json,
            unreadable: Vec::new(),
        }
    }
}

/// The resources of a response that were read.
pub(super) struct Resources<T> {
    /// Those that can be read and keep the rules.
    pub(super) taken: Vec<T>,
    /// Where in the response each of `taken` stands.
    pub(super) places: Vec<usize>,
    pub(super) rejected: Vec<RejectedResource>,
    /// The paths of the fields of `taken` that are not known here.
    pub(super) unknown_fields: Vec<String>,
    /// The paths of those among them that Envoy has not got either.
    pub(super) foreign_fields: Vec<String>,
    /// Those that name a value of the runtime.
    pub(super) runtime_keys: Vec<Unknown>,
}

impl<T: Resource> Resources<T> {
    /// Reads and checks those whose name is `wanted`, and those that have none. `None` has a place
    /// in the response, and nothing to read.
    pub(super) fn read(
        resources: impl IntoIterator<Item = impl Into<Option<Raw>>>,
        wanted: impl Fn(&str) -> bool,
    ) -> Self {
        let mut all = Self {
            taken: Vec::new(),
            places: Vec::new(),
            rejected: Vec::new(),
            unknown_fields: Vec::new(),
            foreign_fields: Vec::new(),
            runtime_keys: Vec::new(),
        };
        let mut first_places = BTreeMap::new();
        for (index, raw) in resources.into_iter().enumerate() {
            let Some(raw) = raw.into() else { continue };
            let at = place(index);
            let ends = ends_by_itself(&raw.json);
            let name = T::name_in(raw.json.get("resource").unwrap_or(&raw.json));
            if name.as_ref().is_some_and(|name| !wanted(name)) {
                continue;
            }
            let read = message(raw.json, &at, T::KIND).and_then(|(json, at)| T::read(&json, &at));
            let read = ConfigError::beside(raw.unreadable, read);
            let first =
                (name.as_ref()).map(|name| *first_places.entry(name.clone()).or_insert(index));
            let read = match first.filter(|first| *first != index) {
                None => read,
                Some(first) => {
                    let message = format!("duplicate, resources[{first}] has it already");
                    let duplicate = ConfigError::invalid(&at.key("name"), message);
                    Err(match read {
                        Ok(_) => duplicate,
                        Err(error) => error.and(duplicate),
                    })
                }
            };
            match read {
                Ok((resource, unknown)) => {
                    all.taken.push(resource);
                    all.places.push(index);
                    let paths = unknown.iter().map(|field| field.path.to_string());
                    all.unknown_fields.extend(paths);
                    let ttl = ends.then(|| at.key("ttl").to_string());
                    all.unknown_fields.extend(ttl);
                    all.foreign_fields
                        .append(&mut foreign::find(&unknown, T::ROOT));
                    let keys = unknown.into_iter().filter(runtime::is_named_by);
                    all.runtime_keys.extend(keys);
                }
                Err(error) => all.rejected.push(RejectedResource { name, index, error }),
            }
        }
        all
    }
}

/// Refuses those in which `find` finds something.
pub(super) fn reject<T: Resource>(
    taken: &mut Vec<T>,
    places: &mut Vec<usize>,
    rejected: &mut Vec<RejectedResource>,
    find: impl Fn(&T, &FieldPath, &mut Vec<FieldError>),
) {
    let all = std::mem::take(taken)
        .into_iter()
        .zip(std::mem::take(places));
    for (resource, index) in all {
        let mut wrong = Vec::new();
        find(&resource, &place(index), &mut wrong);
        match ConfigError::unless_empty(wrong) {
            Ok(()) => {
                taken.push(resource);
                places.push(index);
            }
            Err(error) => rejected.push(RejectedResource {
                name: Some(resource.name().to_owned()),
                index,
                error,
            }),
        }
    }
}

/// Refuses those of which a field names a value that `runtime` has.
pub(super) fn reject_runtime_values<T: Resource>(
    taken: &mut Vec<T>,
    places: &mut Vec<usize>,
    rejected: &mut Vec<RejectedResource>,
    keys: &[Unknown],
    runtime: &RuntimeValues,
) {
    reject(taken, places, rejected, |_, at, wrong| {
        let of_this = keys.iter().filter(|key| key.path.below(at).is_some());
        runtime.replaced(&of_this.cloned().collect::<Vec<_>>(), wrong);
    });
}

/// Where the resource of this index stands.
pub(super) fn place(index: usize) -> FieldPath {
    FieldPath::root().key("resources").index(index)
}

/// Whether its wrapper says that it goes unless it is renewed, which is not carried out here.
fn ends_by_itself(resource: &Value) -> bool {
    let found = resource.get("@type").and_then(Value::as_str);
    found.map(message_name) == Some(WRAPPER) && resource.get("ttl").is_some()
}

/// The message of this type that stands at `at`, out of its wrappers; and where it stands then.
fn message(resource: Value, at: &FieldPath, kind: &str) -> Result<(Value, FieldPath), ConfigError> {
    let Value::Object(mut fields) = resource else {
        return Err(ConfigError::shape(
            at,
            format!("expected a message of type `{kind}`"),
        ));
    };
    let found = fields.remove("@type");
    match found.as_ref().and_then(Value::as_str).map(message_name) {
        Some(name) if name == kind => Ok((Value::Object(fields), at.clone())),
        Some(WRAPPER) => match fields.remove("resource") {
            Some(resource) => message(resource, &at.key("resource"), kind),
            None => Err(ConfigError::shape(at, "missing field `resource`")),
        },
        Some(other) => Err(ConfigError::shape(
            &at.key("@type"),
            format!("unknown resource type `{other}`, expected one of `{kind}`"),
        )),
        None => Err(ConfigError::shape(at, "missing field `@type`")),
    }
}
