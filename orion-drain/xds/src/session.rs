//! The rules of the protocol: what each response means, and what is answered. No socket, no clock.
//!
//! - The first request of a stream has no nonce, and says what is there already: the version that
//!   was last taken (state of the world), or the version of each listener (delta).
//! - Every response is answered with its own nonce: with its version if it was taken whole (ACK),
//!   otherwise with the version that was taken before and with what is wrong (NACK).
//! - A response of another type was not asked for, and is not answered.
//!
//! Source: [the xDS protocol](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol).

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::{Locality, Node, node::UserAgentVersionType};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::protobuf::{self, ListValue, Struct, value::Kind};
use envoy_types::pb::google::rpc::Status;
use serde_json::{Map, Value};

use orion_drain_config::{self as config, ListenerUpdate, Refused};

/// What is asked for.
const TYPE_URL: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// What a NACK says, as Envoy's: `INTERNAL`.
const CODE: i32 = 13;
/// The longest text of a NACK, in bytes. It is for people, and a request must stay small.
const LONGEST: usize = 16 * 1024;

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    node: Node,
    /// Whether only the first request of a stream says so.
    first_only: bool,
    /// The listeners that are wanted; none: all.
    names: Vec<String>,
}

impl Asker {
    pub(super) fn new(node: Option<&config::Node>, first_only: bool) -> Self {
        Self {
            node: whole_node(node.unwrap_or(&config::Node::default())),
            first_only,
            names: Vec::new(),
        }
    }

    pub(super) fn want(&mut self, names: Vec<String>) {
        self.names = names;
    }

    fn node(&self, nonce: &str) -> Option<Node> {
        Some(self.node.clone()).filter(|_| !self.first_only || nonce.is_empty())
    }
}

/// What the bootstrap says of its node, all of it, and what this client is.
fn whole_node(node: &config::Node) -> Node {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let metadata = &node.metadata;
    Node {
        id: node.id.clone(),
        cluster: node.cluster.clone(),
        metadata: (!metadata.is_empty()).then(|| structure(metadata)),
        locality: node.locality.as_ref().map(|place| Locality {
            region: place.region.clone(),
            zone: place.zone.clone(),
            sub_zone: place.sub_zone.clone(),
        }),
        client_features: node.client_features.clone(),
        user_agent_name: "orion-drain".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(version)),
        ..Node::default()
    }
}

fn structure(fields: &Map<String, Value>) -> Struct {
    Struct {
        fields: fields
            .iter()
            .map(|(key, value)| (key.clone(), protobuf(value)))
            .collect(),
    }
}

/// A value of JSON as protobuf has it.
fn protobuf(value: &Value) -> protobuf::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        // Every number is a double there.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(ListValue {
            values: list.iter().map(protobuf).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(structure(fields)),
    };
    protobuf::Value { kind: Some(kind) }
}

/// One of the two ways to be told: what it remembers from stream to stream.
pub(super) trait Session {
    type Request;
    type Response;

    /// The first request of a stream.
    fn open(&self) -> Self::Request;

    /// What a response says; `None` if it was not asked for.
    fn read(&self, response: &Self::Response) -> Option<ListenerUpdate>;

    /// The answer to a response, once it is known what is refused of it.
    fn answer(&mut self, response: &Self::Response, refused: &[Refused]) -> Self::Request;
}

/// Every response has all listeners.
#[derive(Debug)]
pub(super) struct StateOfTheWorld {
    asker: Asker,
    /// The version that was last taken whole.
    version: String,
}

impl StateOfTheWorld {
    pub(super) const fn new(asker: Asker) -> Self {
        let version = String::new();
        Self { asker, version }
    }

    fn request(&self, nonce: &str, refused: &[Refused]) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.version.clone(),
            node: self.asker.node(nonce),
            resource_names: self.asker.names.clone(),
            type_url: TYPE_URL.to_owned(),
            response_nonce: nonce.to_owned(),
            error_detail: detail(refused),
            ..DiscoveryRequest::default()
        }
    }
}

impl Session for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn open(&self) -> DiscoveryRequest {
        self.request("", &[])
    }

    fn read(&self, response: &DiscoveryResponse) -> Option<ListenerUpdate> {
        if response.type_url != TYPE_URL {
            return None;
        }
        Some(ListenerUpdate::from_resources(
            &response.version_info,
            &response.resources,
        ))
    }

    fn answer(&mut self, response: &DiscoveryResponse, refused: &[Refused]) -> DiscoveryRequest {
        if refused.is_empty() {
            self.version.clone_from(&response.version_info);
        }
        self.request(&response.nonce, refused)
    }
}

/// A response has what changed.
#[derive(Debug)]
pub(super) struct Delta {
    asker: Asker,
    /// The version of each listener that is there.
    versions: BTreeMap<String, String>,
}

impl Delta {
    pub(super) const fn new(asker: Asker) -> Self {
        let versions = BTreeMap::new();
        Self { asker, versions }
    }

    fn request(&self, nonce: &str, refused: &[Refused]) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: self.asker.node(nonce),
            type_url: TYPE_URL.to_owned(),
            response_nonce: nonce.to_owned(),
            error_detail: detail(refused),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

impl Session for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn open(&self) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            resource_names_subscribe: self.asker.names.clone(),
            initial_resource_versions: self.versions.clone().into_iter().collect(),
            ..self.request("", &[])
        }
    }

    fn read(&self, response: &DeltaDiscoveryResponse) -> Option<ListenerUpdate> {
        if response.type_url != TYPE_URL {
            return None;
        }
        let empty = Any::default();
        let resources = response.resources.iter();
        let resources = resources.map(|named| named.resource.as_ref().unwrap_or(&empty));
        let mut update = ListenerUpdate::from_resources(&response.system_version_info, resources);
        // What cannot be read has a name all the same.
        for rejected in &mut update.rejected {
            let named = response.resources.get(rejected.index);
            rejected.name = rejected.name.take().or_else(|| Some(named?.name.clone()));
        }
        update.removed = Some(response.removed_resources.clone());
        Some(update)
    }

    /// A listener that is refused keeps the version that it had: Envoy keeps the versions of the
    /// whole response, so that after another stream the control plane may think that it has what it
    /// has not.
    fn answer(
        &mut self,
        response: &DeltaDiscoveryResponse,
        refused: &[Refused],
    ) -> DeltaDiscoveryRequest {
        let names: Option<BTreeSet<&str>> = refused.iter().map(|one| one.name.as_deref()).collect();
        let is_refused = |name: &str| names.as_ref().is_none_or(|names| names.contains(name));
        for name in &response.removed_resources {
            if !is_refused(name) {
                self.versions.remove(name);
            }
        }
        for named in &response.resources {
            if !is_refused(&named.name) {
                self.versions
                    .insert(named.name.clone(), named.version.clone());
            }
        }
        self.request(&response.nonce, refused)
    }
}

/// What is wrong, in Envoy's words; `None` if nothing is.
fn detail(refused: &[Refused]) -> Option<Status> {
    if refused.is_empty() {
        return None;
    }
    let mut message = "Error adding/updating listener(s) ".to_owned();
    for one in refused {
        if let Some(name) = &one.name {
            message.push_str(name);
            message.push_str(": ");
        }
        message.push_str(&one.message);
        message.push('\n');
    }
    let end = (0..=LONGEST.min(message.len()))
        .rev()
        .find(|&at| message.is_char_boundary(at));
    message.truncate(end.unwrap_or_default());
    Some(Status {
        code: CODE,
        message,
        details: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
