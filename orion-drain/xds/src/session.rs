//! The rules of the protocol: what each response means, and what is answered. No socket, no clock.
//!
//! - Listeners are asked for before routes, and routes only by name: of the names that listeners
//!   refer to, no more and no less. Each type has its versions and nonces by itself.
//! - The first request for a type on a stream has no nonce, and says what is there already: the
//!   version that was last taken (state of the world), or the version of each resource (delta).
//! - Every response is answered with its own nonce: with its version if it was taken whole (ACK),
//!   otherwise with the version that was taken before and with what is wrong (NACK).
//! - A response of a type that was not asked for is not answered.
//!
//! Source: [the xDS protocol](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol).

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::{Locality, Node, node::UserAgentVersionType};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::protobuf::{self, ListValue, Struct, value::Kind as JsonKind};
use envoy_types::pb::google::rpc::Status;
use prost::Message as _;
use serde_json::{Map, Value};

use super::update::XdsUpdate;
use orion_drain_config::{self as config, ListenerUpdate, Refused, RejectedResource, RouteUpdate};

/// What a NACK says, as Envoy's: `INTERNAL`.
const CODE: i32 = 13;
/// The longest text of a NACK, in bytes. It is for people, and a request must stay small.
const LONGEST: usize = 16 * 1024;

/// What can be asked for, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Listeners,
    Routes,
}

impl Kind {
    /// How many there are.
    pub(super) const COUNT: usize = 2;

    const fn type_url(self) -> &'static str {
        match self {
            Self::Listeners => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// How Envoy begins what it says of a refusal.
    const fn refusal(self) -> &'static str {
        match self {
            Self::Listeners => "Error adding/updating listener(s) ",
            Self::Routes => "",
        }
    }
}

/// Who asks, and whether for listeners.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    node: Node,
    /// Whether only the first request of a stream says so.
    first_only: bool,
    /// Whether this stream has had a request.
    introduced: bool,
    /// The listeners that are wanted; an empty list: all. `None`: they come from elsewhere.
    listeners: Option<BTreeSet<String>>,
}

impl Asker {
    pub(super) fn new(node: Option<&config::Node>, first_only: bool) -> Self {
        Self {
            node: whole_node(node.unwrap_or(&config::Node::default())),
            first_only,
            introduced: false,
            listeners: Some(BTreeSet::new()),
        }
    }

    /// The listeners that are wanted; `None`: they come from elsewhere.
    pub(super) fn want(&mut self, listeners: Option<BTreeSet<String>>) {
        self.listeners = listeners;
    }

    /// Whether listeners are asked for.
    pub(super) const fn wants_listeners(&self) -> bool {
        self.listeners.is_some()
    }

    fn node(&mut self) -> Option<Node> {
        let introduced = std::mem::replace(&mut self.introduced, true);
        (!self.first_only || !introduced).then(|| self.node.clone())
    }

    /// What is asked for at first, nothing of it being there: no routes.
    fn subscriptions<V: Default>(&self) -> [Subscription<V>; Kind::COUNT] {
        let names = self.listeners.clone();
        let mut listeners = Subscription::new(Kind::Listeners, names.unwrap_or_default());
        listeners.wanted = self.listeners.is_some();
        [listeners, Subscription::new(Kind::Routes, BTreeSet::new())]
    }
}

/// What is asked for of one type, and what of it is there. `V` is a version, or one for each name.
#[derive(Debug)]
struct Subscription<V> {
    kind: Kind,
    names: BTreeSet<String>,
    /// Whether any is wanted: without a name, all listeners, and no routes.
    wanted: bool,
    /// Whether this stream has had a request for it.
    asked: bool,
    /// That of the last response on this stream; empty: none yet.
    nonce: String,
    /// What was last taken.
    version: V,
}

impl<V: Default> Subscription<V> {
    fn new(kind: Kind, names: BTreeSet<String>) -> Self {
        Self {
            kind,
            names,
            wanted: false,
            asked: false,
            nonce: String::new(),
            version: V::default(),
        }
    }

    /// Another stream begins; whether it has to be asked for.
    fn begin(&mut self) -> bool {
        self.nonce.clear();
        self.asked = self.wanted;
        self.wanted
    }
}

/// The subscription that a response belongs to; `None` if it was not asked for.
fn asked<'s, V>(
    subscriptions: &'s mut [Subscription<V>; Kind::COUNT],
    type_url: &str,
) -> Option<&'s mut Subscription<V>> {
    let mut all = subscriptions.iter_mut();
    all.find(|one| one.asked && one.kind.type_url() == type_url)
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
        Value::Null => JsonKind::NullValue(0),
        Value::Bool(value) => JsonKind::BoolValue(*value),
        // Every number is a double there.
        Value::Number(number) => JsonKind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => JsonKind::StringValue(text.clone()),
        Value::Array(list) => JsonKind::ListValue(ListValue {
            values: list.iter().map(protobuf).collect(),
        }),
        Value::Object(fields) => JsonKind::StructValue(structure(fields)),
    };
    protobuf::Value { kind: Some(kind) }
}

/// One of the two ways to be told: what it remembers from stream to stream.
pub(super) trait Session {
    type Request;
    type Response;

    /// Another stream: its first requests, in their order.
    fn open(&mut self) -> Vec<Self::Request>;

    /// From now on the routes of these names are wanted: what is said of it on the stream, if
    /// anything is to be.
    fn want_routes(&mut self, names: &BTreeSet<String>) -> Option<Self::Request>;

    /// What a response says; `None` if it was not asked for.
    fn read(&self, response: &Self::Response) -> Option<XdsUpdate>;

    /// The answer to a response that was asked for, once it is known what is refused of it.
    fn answer(&mut self, response: &Self::Response, refused: &[Refused]) -> Option<Self::Request>;
}

/// Every response has all listeners, or all routes that are wanted.
#[derive(Debug)]
pub(super) struct StateOfTheWorld {
    asker: Asker,
    /// Each with the version that was last taken whole.
    subscriptions: [Subscription<String>; Kind::COUNT],
}

impl StateOfTheWorld {
    pub(super) fn new(asker: Asker) -> Self {
        let subscriptions = asker.subscriptions();
        Self {
            asker,
            subscriptions,
        }
    }
}

impl Subscription<String> {
    fn request(&self, node: Option<Node>, refused: &[Refused]) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.version.clone(),
            node,
            resource_names: self.names.iter().cloned().collect(),
            type_url: self.kind.type_url().to_owned(),
            response_nonce: self.nonce.clone(),
            error_detail: detail(self.kind, refused),
            ..DiscoveryRequest::default()
        }
    }
}

impl Session for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn open(&mut self) -> Vec<DiscoveryRequest> {
        self.asker.introduced = false;
        let (asker, all) = (&mut self.asker, self.subscriptions.iter_mut());
        let wanted = all.filter_map(|one| one.begin().then_some(&*one));
        wanted.map(|one| one.request(asker.node(), &[])).collect()
    }

    fn want_routes(&mut self, names: &BTreeSet<String>) -> Option<DiscoveryRequest> {
        let [_, routes] = &mut self.subscriptions;
        if routes.names == *names {
            return None;
        }
        routes.names.clone_from(names);
        routes.wanted = !names.is_empty();
        // Without a name before, nothing has to be taken back.
        routes.asked |= routes.wanted;
        let request = routes.asked.then(|| self.asker.node());
        request.map(|node| routes.request(node, &[]))
    }

    fn read(&self, response: &DiscoveryResponse) -> Option<XdsUpdate> {
        let mut asked = self.subscriptions.iter().filter(|one| one.asked);
        let asked = asked.find(|one| one.kind.type_url() == response.type_url)?;
        let (version, resources) = (&response.version_info, &response.resources);
        Some(match asked.kind {
            Kind::Listeners => ListenerUpdate::from_resources(version, resources).into(),
            Kind::Routes => {
                let wanted = |name: &str| asked.names.contains(name);
                let is_known = *version == asked.version;
                let news = resources.iter();
                let news = news.map(|one| (!is_known || !is_heartbeat(one)).then_some(one));
                RouteUpdate::from_resources(version, news, wanted).into()
            }
        })
    }

    fn answer(
        &mut self,
        response: &DiscoveryResponse,
        refused: &[Refused],
    ) -> Option<DiscoveryRequest> {
        let asked = asked(&mut self.subscriptions, &response.type_url)?;
        if refused.is_empty() {
            asked.version.clone_from(&response.version_info);
        }
        asked.nonce.clone_from(&response.nonce);
        Some(asked.request(self.asker.node(), refused))
    }
}

/// A response has what changed.
#[derive(Debug)]
pub(super) struct Delta {
    asker: Asker,
    /// Each with the version of each resource that is there.
    subscriptions: [Subscription<BTreeMap<String, String>>; Kind::COUNT],
}

impl Delta {
    pub(super) fn new(asker: Asker) -> Self {
        let subscriptions = asker.subscriptions();
        Self {
            asker,
            subscriptions,
        }
    }
}

impl Subscription<BTreeMap<String, String>> {
    /// Whether a resource only says that the one which is there is still meant: a heartbeat.
    fn is_renewed_by(&self, named: &Resource) -> bool {
        named.resource.is_none() && self.version.get(&named.name) == Some(&named.version)
    }

    fn request(&self, node: Option<Node>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node,
            type_url: self.kind.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// The first one of a stream.
    fn first(&self, node: Option<Node>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            resource_names_subscribe: self.names.iter().cloned().collect(),
            initial_resource_versions: self.version.clone().into_iter().collect(),
            ..self.request(node)
        }
    }
}

impl Session for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn open(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.asker.introduced = false;
        let (asker, all) = (&mut self.asker, self.subscriptions.iter_mut());
        let wanted = all.filter_map(|one| one.begin().then_some(&*one));
        wanted.map(|one| one.first(asker.node())).collect()
    }

    /// Routes that are not wanted any more are not there any more.
    fn want_routes(&mut self, names: &BTreeSet<String>) -> Option<DeltaDiscoveryRequest> {
        let [_, routes] = &mut self.subscriptions;
        if routes.names == *names {
            return None;
        }
        let before = std::mem::replace(&mut routes.names, names.clone());
        routes.wanted = !names.is_empty();
        routes.version.retain(|name, _| names.contains(name));
        if !routes.asked {
            routes.asked = routes.wanted;
            let first = routes.wanted.then(|| self.asker.node());
            return first.map(|node| routes.first(node));
        }
        Some(DeltaDiscoveryRequest {
            resource_names_subscribe: names.difference(&before).cloned().collect(),
            resource_names_unsubscribe: before.difference(names).cloned().collect(),
            ..routes.request(self.asker.node())
        })
    }

    fn read(&self, response: &DeltaDiscoveryResponse) -> Option<XdsUpdate> {
        let mut asked = self.subscriptions.iter().filter(|one| one.asked);
        let asked = asked.find(|one| one.kind.type_url() == response.type_url)?;
        let (version, empty) = (&response.system_version_info, Any::default());
        let all = response.resources.iter();
        let news = all.map(|named| (!asked.is_renewed_by(named)).then_some(named));
        let bodies = news
            .clone()
            .map(|named| Some(named?.resource.as_ref().unwrap_or(&empty)));
        // What is not carried out is said.
        let ttls = news.enumerate().filter_map(|(index, named)| {
            named?.ttl.as_ref()?;
            Some(format!("resources[{index}].ttl"))
        });
        // What cannot be read has a name all the same, whatever stands inside it.
        let name = |rejected: &mut RejectedResource| {
            let named = response.resources.get(rejected.index);
            let named = named
                .map(|named| &named.name)
                .filter(|name| !name.is_empty());
            rejected.name = named.cloned().or_else(|| rejected.name.take());
        };
        Some(match asked.kind {
            Kind::Listeners => {
                let mut update = ListenerUpdate::from_resources(version, bodies);
                update.rejected.iter_mut().for_each(name);
                update.unknown_fields.extend(ttls);
                update.removed = Some(response.removed_resources.clone());
                update.into()
            }
            // Routes that are removed go on, as in Envoy: a listener refers to them.
            Kind::Routes => {
                let wanted = |name: &str| asked.names.contains(name);
                let mut update = RouteUpdate::from_resources(version, bodies, wanted);
                update.rejected.iter_mut().for_each(name);
                update.unknown_fields.extend(ttls);
                update.into()
            }
        })
    }

    /// A resource that is refused keeps the version that it had: Envoy keeps the versions of the
    /// whole response, so that after another stream the control plane may think that it has what it
    /// has not.
    fn answer(
        &mut self,
        response: &DeltaDiscoveryResponse,
        refused: &[Refused],
    ) -> Option<DeltaDiscoveryRequest> {
        let asked = asked(&mut self.subscriptions, &response.type_url)?;
        let names: Option<BTreeSet<&str>> = refused.iter().map(|one| one.name.as_deref()).collect();
        let is_refused = |name: &str| names.as_ref().is_none_or(|names| names.contains(name));
        let of_others = |name: &str| asked.kind == Kind::Routes && !asked.names.contains(name);
        for name in &response.removed_resources {
            if !is_refused(name) {
                asked.version.remove(name);
            }
        }
        for named in &response.resources {
            if !is_refused(&named.name) && !of_others(&named.name) {
                let (name, version) = (named.name.clone(), named.version.clone());
                asked.version.insert(name, version);
            }
        }
        Some(DeltaDiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: detail(asked.kind, refused),
            ..asked.request(self.asker.node())
        })
    }
}

/// Whether a resource is a wrapper around nothing, as a state of the world has a heartbeat.
fn is_heartbeat(resource: &Any) -> bool {
    let wrapper = resource
        .type_url
        .ends_with("/envoy.service.discovery.v3.Resource");
    let read = wrapper.then(|| Resource::decode(&*resource.value));
    read.is_some_and(|read| read.is_ok_and(|read| read.resource.is_none()))
}

/// What is wrong, in Envoy's words; `None` if nothing is.
fn detail(kind: Kind, refused: &[Refused]) -> Option<Status> {
    if refused.is_empty() {
        return None;
    }
    let mut message = kind.refusal().to_owned();
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
