//! The rules of the protocol: what each response means, and what is answered. No socket, no clock.
//!
//! - The first request of a stream has no nonce, and says what is there already: the version that was last taken (state of the world),
//!   or the version of each listener (delta).
//! - Every response is answered with its own nonce: with its version if it was taken whole (ACK), otherwise with the version that was
//!   taken before and with what is wrong (NACK).
//! - A response of another type was not asked for, and is not answered.
//!
//! Source: [the xDS protocol](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol).

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::{Node, node::UserAgentVersionType};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;

use crate::config::{self, ListenerUpdate};
use crate::listener::Refused;

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
        let (id, cluster) =
            node.map_or_else(Default::default, |node| (node.id.clone(), node.cluster.clone()));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let node = Node {
            id,
            cluster,
            user_agent_name: env!("CARGO_PKG_NAME").to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(version)),
            ..Node::default()
        };
        Self {
            node,
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

    /// A listener that is refused keeps the version that it had: Envoy keeps the versions of the whole response, so that after
    /// another stream the control plane may think that it has what it has not.
    fn answer(&mut self, response: &DeltaDiscoveryResponse, refused: &[Refused]) -> DeltaDiscoveryRequest {
        let is_refused = |name: &str| {
            refused
                .iter()
                .any(|one| one.name.as_deref().is_none_or(|other| other == name))
        };
        for name in &response.removed_resources {
            if !is_refused(name) {
                self.versions.remove(name);
            }
        }
        for named in &response.resources {
            if !is_refused(&named.name) {
                self.versions.insert(named.name.clone(), named.version.clone());
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
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::Resource;

    use super::*;

    fn asker() -> Asker {
        let node = config::Node {
            id: "me".to_owned(),
            ..config::Node::default()
        };
        Asker::new(Some(&node), false)
    }

    fn whole(version: &str, nonce: &str) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: version.to_owned(),
            nonce: nonce.to_owned(),
            type_url: TYPE_URL.to_owned(),
            ..DiscoveryResponse::default()
        }
    }

    fn delta(nonce: &str, changed: &[(&str, &str)], removed: &[&str]) -> DeltaDiscoveryResponse {
        let resource = |&(name, version): &(&str, &str)| Resource {
            name: name.to_owned(),
            version: version.to_owned(),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            nonce: nonce.to_owned(),
            type_url: TYPE_URL.to_owned(),
            resources: changed.iter().map(resource).collect(),
            removed_resources: removed.iter().map(|&name| name.to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    fn refused(name: &str) -> [Refused; 1] {
        [Refused::new(Some(name.to_owned()), "address: is taken")]
    }

    fn there(session: &Delta) -> Vec<(String, String)> {
        let mut there: Vec<_> = session.open().initial_resource_versions.into_iter().collect();
        there.sort();
        there
    }

    #[test]
    fn an_ack_has_the_version_of_its_response_and_a_nack_the_one_before() {
        let mut session = StateOfTheWorld::new(asker());
        let first = session.open();
        assert_eq!((&*first.version_info, &*first.response_nonce), ("", ""));
        assert_eq!(first.node.expect("a node").id, "me");

        let ack = session.answer(&whole("1", "a"), &[]);
        assert_eq!((&*ack.version_info, &*ack.response_nonce), ("1", "a"));
        assert_eq!(ack.error_detail, None);

        let nack = session.answer(&whole("2", "b"), &refused("in"));
        assert_eq!((&*nack.version_info, &*nack.response_nonce), ("1", "b"));
        let detail = nack.error_detail.expect("what is wrong");
        assert_eq!(detail.code, 13);
        assert_eq!(
            detail.message,
            "Error adding/updating listener(s) in: address: is taken\n"
        );

        let ack = session.answer(&whole("3", "c"), &[]);
        assert_eq!((&*ack.version_info, &*ack.response_nonce), ("3", "c"));
        // Another stream begins without a nonce, with what is there.
        let first = session.open();
        assert_eq!((&*first.version_info, &*first.response_nonce), ("3", ""));
    }

    #[test]
    fn another_stream_of_a_delta_begins_with_the_versions_of_what_is_there() {
        let mut session = Delta::new(asker());
        assert_eq!(there(&session), []);
        let ack = session.answer(&delta("a", &[("x", "1"), ("y", "1"), ("z", "1")], &[]), &[]);
        assert_eq!(ack.response_nonce, "a");
        // Only the first request of a stream says so.
        assert!(ack.initial_resource_versions.is_empty());

        // `x` is refused and stays as it was, `y` is taken, `z` is gone, `new` never came.
        let response = delta("b", &[("x", "2"), ("y", "2")], &["z"]);
        let nack = session.answer(&response, &refused("x"));
        assert_eq!(nack.response_nonce, "b");
        assert!(nack.error_detail.is_some());
        session.answer(&delta("c", &[("new", "1")], &[]), &refused("new"));
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(there(&session), [pair("x", "1"), pair("y", "2")]);
    }

    #[test]
    fn what_cannot_be_read_in_a_delta_is_refused_by_its_name() {
        let session = Delta::new(asker());
        let update = session
            .read(&delta("a", &[("x", "1")], &["y"]))
            .expect("listeners");
        assert_eq!(update.rejected[0].name.as_deref(), Some("x"));
        assert_eq!(update.removed, Some(vec!["y".to_owned()]));
    }

    #[test]
    fn a_response_of_another_type_was_not_asked_for() {
        let mut other = whole("1", "a");
        other.type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
        assert_eq!(StateOfTheWorld::new(asker()).read(&other), None);
        let mut other = delta("a", &[], &[]);
        other.type_url.clear();
        assert_eq!(Delta::new(asker()).read(&other), None);
    }

    #[test]
    fn wanted_names_are_in_every_request_of_a_state_of_the_world_and_in_the_first_of_a_delta() {
        let mut asker = asker();
        assert!(
            StateOfTheWorld::new(asker.clone())
                .open()
                .resource_names
                .is_empty()
        );
        asker.want(vec!["x".to_owned()]);
        let mut whole_session = StateOfTheWorld::new(asker.clone());
        assert_eq!(whole_session.open().resource_names, ["x"]);
        assert_eq!(whole_session.answer(&whole("1", "a"), &[]).resource_names, ["x"]);
        let mut delta_session = Delta::new(asker);
        assert_eq!(delta_session.open().resource_names_subscribe, ["x"]);
        let ack = delta_session.answer(&delta("a", &[], &[]), &[]);
        assert!(ack.resource_names_subscribe.is_empty());
    }

    #[test]
    fn the_node_may_come_with_the_first_request_only() {
        let mut session = StateOfTheWorld::new(Asker::new(None, true));
        assert!(session.open().node.is_some());
        assert!(session.answer(&whole("1", "a"), &[]).node.is_none());
    }

    #[test]
    fn the_text_of_a_nack_is_bounded() {
        let long = Refused::new(None, "ä".repeat(LONGEST));
        let message = detail(&[long]).expect("what is wrong").message;
        assert!(message.len() <= LONGEST && message.len() > LONGEST - 4);
    }
}
