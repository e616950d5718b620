//! The client, word by word, against a control plane in the same process.

use std::collections::BTreeSet;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::google::protobuf::{Any, Duration as Seconds};
use orion_drain_config::{Bootstrap, ListenerUpdate, Refused};
use orion_drain_stats::Stats;
use orion_drain_xds::{XdsClient, XdsUpdate};
use prost::Message as _;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::messages;
use crate::plane::Plane;

/// A client under test: it refuses listeners that are called `bad`.
struct Client {
    updates: mpsc::UnboundedReceiver<ListenerUpdate>,
    ended: mpsc::UnboundedReceiver<String>,
    stats: Stats,
}

/// A bootstrap with its listeners at these addresses: `ads`, or a source of their own.
fn bootstrap(ads: bool, api_type: &str, addresses: &[String]) -> Bootstrap {
    let endpoints = addresses.iter().map(|at| {
        let address = match at.rsplit_once(':') {
            Some((ip, port)) => {
                json!({ "socket_address": { "address": ip, "port_value": port } })
            }
            None => json!({ "pipe": { "path": at } }),
        };
        json!({ "endpoint": { "address": address } })
    });
    let source = json!({
        "api_type": api_type, "transport_api_version": "V3",
        "grpc_services": [{
            "envoy_grpc": { "cluster_name": "plane" },
            "initial_metadata": [{ "key": "authorization", "value": "Bearer t" }],
        }],
    });
    let dynamic = match ads {
        true => {
            json!({ "ads_config": source, "lds_config": { "ads": {}, "resource_api_version": "V3" } })
        }
        false => json!({ "lds_config": { "api_config_source": source } }),
    };
    let bootstrap = json!({
        "node": {
            "id": "me", "cluster": "here", "metadata": { "ROLE": "edge" },
            "locality": { "region": "r", "zone": "z", "sub_zone": "s" },
            "client_features": ["envoy.lb.does_not_support_overprovisioning"],
        },
        "dynamic_resources": dynamic,
        "static_resources": { "clusters": [{
            "name": "plane", "http2_protocol_options": {},
            "load_assignment": { "cluster_name": "plane", "endpoints": [{
                "lb_endpoints": endpoints.collect::<Vec<_>>()
            }] },
        }] },
    });
    Bootstrap::from_json(&bootstrap.to_string())
        .expect("a good bootstrap")
        .value
}

fn json_of(bootstrap: &Bootstrap) -> serde_json::Value {
    serde_json::to_value(bootstrap).expect("a bootstrap is JSON")
}

impl Client {
    fn start(ads: bool, api_type: &str, plane: &Plane) -> Self {
        let bootstrap = bootstrap(ads, api_type, &[plane.address.to_string()]);
        Self::with(|stats| XdsClient::of(&bootstrap, stats).expect("a control plane"))
    }

    fn with(make: impl FnOnce(Stats) -> XdsClient) -> Self {
        let stats = Stats::new();
        let (to_updates, updates) = mpsc::unbounded_channel();
        let (to_ended, ended) = mpsc::unbounded_channel();
        let client = make(stats.clone()).with_observer(move |stream| {
            to_ended.send(stream.reason.clone()).ok();
        });
        tokio::spawn(client.run(move |update| {
            let XdsUpdate::Listeners(update) = update else {
                panic!("{update:?}")
            };
            let refused = update
                .listeners
                .iter()
                .filter(|listener| listener.name == "bad");
            let refused =
                refused.map(|listener| Refused::new(Some(listener.name.clone()), "is bad"));
            let mut refused: Vec<_> = refused.collect();
            let rejected = update.rejected.iter();
            refused
                .extend(rejected.map(|one| Refused::new(one.name.clone(), one.error.to_string())));
            to_updates.send(update).ok();
            async move { refused }
        }));
        Self {
            updates,
            ended,
            stats,
        }
    }

    /// The names of the next update, and the names that it removes.
    async fn update(&mut self) -> (Vec<String>, Option<Vec<String>>) {
        let update = tokio::time::timeout(Duration::from_secs(20), self.updates.recv()).await;
        let update = update.expect("in time").expect("the client runs");
        let names = update.listeners.into_iter().map(|listener| listener.name);
        (names.collect(), update.removed)
    }

    async fn reason(&mut self) -> String {
        let reason = tokio::time::timeout(Duration::from_secs(20), self.ended.recv()).await;
        reason.expect("in time").expect("the client runs")
    }

    fn stat(&self, name: &str) -> u64 {
        let found = self.stats.snapshot().get(name);
        found.unwrap_or_else(|| panic!("no statistic {name:?}"))
    }
}

fn listener(name: &str) -> Any {
    messages::resource(json!({
        "name": name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{}],
    }))
}

fn ack(version: &str, nonce: &str) -> (String, String, Option<String>) {
    (version.to_owned(), nonce.to_owned(), None)
}

#[tokio::test]
async fn two_responses_in_flight_are_answered_in_order_each_with_its_own_nonce() {
    let mut plane = Plane::start().await;
    let mut client = Client::start(true, "GRPC", &plane);
    let mut stream = plane.whole().await;
    assert_eq!(stream.method, "StreamAggregatedResources");
    assert_eq!(
        stream.metadata.get("authorization").expect("a token"),
        "Bearer t"
    );
    let first = stream.request().await;
    let node = first.node.expect("a node");
    assert_eq!((&*node.id, &*node.cluster), ("me", "here"));
    assert_eq!((&*first.version_info, &*first.response_nonce), ("", ""));
    assert_eq!(first.resource_names, [""; 0]);

    stream.send("1", "a", vec![listener("x")]).await;
    stream.send("2", "b", vec![listener("y")]).await;
    assert_eq!(stream.answer().await, ack("1", "a"));
    assert_eq!(stream.answer().await, ack("2", "b"));
    assert_eq!(client.update().await, (vec!["x".to_owned()], None));
    assert_eq!(client.update().await, (vec!["y".to_owned()], None));
    assert_eq!(client.stat("control_plane.connected_state"), 1);
    assert_eq!(client.stat("listener_manager.lds.update_success"), 2);
    assert_eq!(client.stat("listener_manager.lds.update_attempt"), 3);
    let text = client.stats.snapshot();
    assert_eq!(text.text("listener_manager.lds.version_text"), Some("2"));
    let prometheus = text.to_prometheus();
    assert!(prometheus.contains("# TYPE envoy_control_plane_connected_state gauge\n"));
    // A text is no number.
    assert!(!prometheus.contains("version_text"));
}

#[tokio::test]
async fn the_whole_node_is_in_each_request_or_in_the_first_alone() {
    for first_only in [false, true] {
        let mut plane = Plane::start().await;
        let mut json = json_of(&bootstrap(true, "GRPC", &[plane.address.to_string()]));
        json["dynamic_resources"]["ads_config"]["set_node_on_first_message_only"] =
            json!(first_only);
        let bootstrap = Bootstrap::from_json(&json.to_string()).expect("a good bootstrap");
        let bootstrap = bootstrap.value;
        let _client =
            Client::with(|stats| XdsClient::of(&bootstrap, stats).expect("a control plane"));
        let mut stream = plane.whole().await;
        let node = stream.request().await.node.expect("a node");
        let place = node.locality.expect("a locality");
        assert_eq!(
            (&*place.region, &*place.zone, &*place.sub_zone),
            ("r", "z", "s")
        );
        assert!(node.metadata.expect("metadata").fields.contains_key("ROLE"));
        let features = ["envoy.lb.does_not_support_overprovisioning"];
        assert_eq!(node.client_features, features);
        stream.send("1", "a", vec![listener("x")]).await;
        let again = stream.request().await.node;
        assert_eq!(again.is_none(), first_only);
        assert!(again.is_none_or(|node| node.id == "me"));
    }
}

#[tokio::test]
async fn a_refused_update_keeps_the_version_and_a_good_one_after_it_is_taken() {
    let mut plane = Plane::start().await;
    let client = Client::start(false, "GRPC", &plane);
    let mut stream = plane.whole().await;
    assert_eq!(stream.method, "StreamListeners");
    stream.answer().await;
    stream.send("1", "a", vec![listener("x")]).await;
    assert_eq!(stream.answer().await, ack("1", "a"));
    stream
        .send("2", "b", vec![listener("x"), listener("bad")])
        .await;
    let wrong = "Error adding/updating listener(s) bad: is bad\n".to_owned();
    assert_eq!(
        stream.answer().await,
        ("1".to_owned(), "b".to_owned(), Some(wrong))
    );
    let text = client.stats.snapshot();
    assert_eq!(text.text("listener_manager.lds.version_text"), Some("1"));
    stream.send("3", "c", vec![listener("x")]).await;
    assert_eq!(stream.answer().await, ack("3", "c"));
    assert_eq!(client.stat("listener_manager.lds.update_rejected"), 1);
    assert_eq!(client.stat("listener_manager.lds.update_success"), 2);
    assert_eq!(
        client.stat("listener_manager.lds.control_plane.connected_state"),
        1
    );
}

#[tokio::test]
async fn another_stream_says_which_version_is_there() {
    let mut plane = Plane::start().await;
    let mut client = Client::start(true, "GRPC", &plane);
    let mut stream = plane.whole().await;
    stream.answer().await;
    stream.send("1", "a", vec![listener("x")]).await;
    stream.answer().await;
    stream.respond(Err(Status::unavailable("restarting"))).await;
    assert_eq!(client.reason().await, "restarting");
    let mut stream = plane.whole().await;
    assert_eq!(stream.answer().await, ack("1", ""));
    assert_eq!(client.stat("listener_manager.lds.update_failure"), 1);
    // Ended in good order it is opened again as well.
    drop(stream);
    assert_eq!(client.reason().await, "closed by the control plane");
    assert_eq!(plane.whole().await.answer().await, ack("1", ""));
}

#[tokio::test]
async fn a_delta_stream_adds_and_removes_and_another_one_says_what_is_there() {
    let mut plane = Plane::start().await;
    let mut client = Client::start(true, "DELTA_GRPC", &plane);
    let mut stream = plane.delta().await;
    assert_eq!(stream.method, "DeltaAggregatedResources");
    assert_eq!(stream.answer().await, (String::new(), vec![], None));
    let (x, y, bad) = (listener("x"), listener("y"), listener("bad"));
    stream
        .send("a", vec![("x", "1", x.clone()), ("y", "1", y)], &[])
        .await;
    assert_eq!(stream.answer().await, ("a".to_owned(), vec![], None));
    stream
        .send("b", vec![("x", "2", x), ("bad", "1", bad)], &["y"])
        .await;
    let (nonce, _, wrong) = stream.answer().await;
    assert_eq!((&*nonce, wrong.is_some()), ("b", true));
    client.update().await;
    let removed = Some(vec!["y".to_owned()]);
    assert_eq!(
        client.update().await,
        (vec!["x".to_owned(), "bad".to_owned()], removed)
    );
    drop(stream);
    let there = vec![("x".to_owned(), "2".to_owned())];
    assert_eq!(
        plane.delta().await.answer().await,
        (String::new(), there, None)
    );
}

/// Resources without a body: name, version, and whether they end by themselves.
fn bodiless(kind: &str, nonce: &str, resources: &[(&str, &str, bool)]) -> DeltaDiscoveryResponse {
    let resource = |&(name, version, ends): &(&str, &str, bool)| Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        ttl: ends.then(|| Seconds {
            seconds: 60,
            ..Seconds::default()
        }),
        ..Resource::default()
    };
    DeltaDiscoveryResponse {
        nonce: nonce.to_owned(),
        type_url: kind.to_owned(),
        resources: resources.iter().map(resource).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

#[tokio::test]
async fn a_heartbeat_of_a_delta_changes_nothing_and_one_of_another_version_is_refused_by_name() {
    let mut plane = Plane::start().await;
    let mut client = Client::start(true, "DELTA_GRPC", &plane);
    let mut stream = plane.delta().await;
    stream.answer().await;
    let (x, y) = (("x", "1", listener("x")), ("y", "1", listener("y")));
    stream.send("a", vec![x, y], &[]).await;
    assert_eq!(stream.answer().await, ("a".to_owned(), vec![], None));
    client.update().await;

    let heartbeat = bodiless(messages::LISTENER, "b", &[("x", "1", true)]);
    stream.respond(Ok(heartbeat)).await;
    assert_eq!(stream.answer().await, ("b".to_owned(), vec![], None));
    assert_eq!(client.update().await, (vec![], Some(vec![])));
    // What is behind a heartbeat has its own place.
    let mut mixed = bodiless(
        messages::LISTENER,
        "c",
        &[("x", "1", false), ("y", "2", false), ("z", "1", false)],
    );
    mixed.resources[2].resource = Some(listener("z"));
    stream.respond(Ok(mixed)).await;
    let (nonce, _, wrong) = stream.answer().await;
    let wrong = wrong.expect("`y` has another version");
    let expected = "y: resources[1].@type: unknown resource type ``";
    assert!(nonce == "c" && wrong.contains(expected), "{wrong}");
    assert_eq!(client.update().await, (vec!["z".to_owned()], Some(vec![])));

    drop(stream);
    let there = ["x", "y", "z"].map(|name| (name.to_owned(), "1".to_owned()));
    let (_, told, _) = plane.delta().await.answer().await;
    assert_eq!(told, there);
}

#[tokio::test]
async fn a_heartbeat_of_routes_changes_nothing_and_one_of_another_version_is_refused() {
    let mut plane = Plane::start().await;
    for api_type in ["GRPC", "DELTA_GRPC"] {
        let bootstrap = bootstrap(true, api_type, &[plane.address.to_string()]);
        let (wanted, mut updates) = routes_client(&bootstrap);
        wanted.send_replace(names(&["a"]));
        if api_type == "DELTA_GRPC" {
            let mut stream = plane.delta().await;
            stream.answer().await;
            stream.request().await;
            stream
                .send_routes("r", vec![("a", "1", routes("a"))], &[])
                .await;
            assert_eq!(updates.recv().await.expect("an update"), ["a"]);
            stream.request().await;
            for (version, is_refused) in [("1", false), ("2", true)] {
                let heartbeat = bodiless(messages::ROUTES, version, &[("a", version, true)]);
                stream.respond(Ok(heartbeat)).await;
                assert_eq!(updates.recv().await.expect("an update"), [""; 0]);
                let answer = stream.request().await;
                let is_nack = answer.error_detail.is_some();
                assert_eq!((&*answer.response_nonce, is_nack), (version, is_refused));
            }
            continue;
        }
        let mut stream = plane.whole().await;
        stream.answer().await;
        stream.routes_request().await;
        stream.send_routes("1", "r", vec![routes("a")]).await;
        assert_eq!(updates.recv().await.expect("an update"), ["a"]);
        stream.routes_request().await;
        let heartbeat = Any {
            type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned(),
            value: bodiless("", "", &[("a", "", true)]).resources[0].encode_to_vec(),
        };
        let wrong = "a: resources[0]: missing field `resource`\n";
        for (version, wrong) in [("1", ""), ("2", wrong)] {
            let resources = vec![heartbeat.clone()];
            stream.send_routes(version, version, resources).await;
            assert_eq!(updates.recv().await.expect("an update"), [""; 0]);
            let answer = stream.routes_request().await;
            assert_eq!(answer, ("1", version, &["a"][..], wrong).into());
        }
    }
}

#[tokio::test]
async fn a_listener_that_would_end_by_itself_is_taken_and_counted() {
    let mut plane = Plane::start().await;
    let body = Some(listener("x"));
    let mut ending = bodiless(messages::LISTENER, "a", &[("x", "1", true)]);
    ending.resources[0].resource = body;
    let wrapped = Any {
        type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned(),
        value: ending.resources[0].encode_to_vec(),
    };
    let mut delta = Client::start(true, "DELTA_GRPC", &plane);
    let mut stream = plane.delta().await;
    stream.answer().await;
    stream.respond(Ok(ending)).await;
    assert_eq!(stream.answer().await, ("a".to_owned(), vec![], None));
    let mut whole = Client::start(true, "GRPC", &plane);
    let mut stream = plane.whole().await;
    stream.answer().await;
    stream.send("1", "a", vec![wrapped]).await;
    assert_eq!(stream.answer().await, ack("1", "a"));
    for client in [&mut delta, &mut whole] {
        let update = client.updates.recv().await.expect("an update");
        assert_eq!(update.unknown_fields, ["resources[0].ttl"]);
        assert_eq!(client.stat("server.dynamic_unknown_fields"), 1);
    }
}

#[tokio::test]
async fn a_listener_service_is_asked_for_changes_too() {
    let mut plane = Plane::start().await;
    let _client = Client::start(false, "DELTA_GRPC", &plane);
    assert_eq!(plane.delta().await.method, "DeltaListeners");
}

#[tokio::test]
async fn a_state_of_the_world_with_a_nameless_listener_is_refused_whole() {
    let mut plane = Plane::start().await;
    let mut client = Client::start(true, "GRPC", &plane);
    let mut stream = plane.whole().await;
    stream.answer().await;
    let mut garbage = listener("y");
    garbage.value = vec![0xff];
    stream.send("1", "a", vec![listener("x"), garbage]).await;
    let (version, nonce, wrong) = stream.answer().await;
    assert_eq!((&*version, &*nonce), ("", "a"));
    assert!(wrong.is_some_and(|wrong| wrong.contains("resources[1]: not a ")));
    // What is wrong is told, and there is nothing to take.
    let told = tokio::time::timeout(Duration::from_secs(20), client.updates.recv()).await;
    let told = told.expect("in time").expect("the client runs");
    assert_eq!((told.listeners, told.removed), (vec![], Some(vec![])));
    let [rejected] = &told.rejected[..] else {
        panic!("{:?}", told.rejected)
    };
    assert!(
        rejected.name.is_none() && rejected.index == 1,
        "{rejected:?}"
    );
    assert_eq!(client.stat("listener_manager.lds.update_rejected"), 1);
    // The next one is applied.
    stream.send("2", "b", vec![listener("z")]).await;
    assert_eq!(client.update().await.0, ["z"]);
}

#[tokio::test]
async fn a_response_of_another_type_is_not_answered() {
    let mut plane = Plane::start().await;
    let _client = Client::start(true, "GRPC", &plane);
    let mut stream = plane.whole().await;
    stream.answer().await;
    let mut other = envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse::default();
    (other.nonce, other.type_url) = (
        "a".to_owned(),
        "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
    );
    stream.respond(Ok(other)).await;
    stream.send("1", "b", vec![]).await;
    assert_eq!(stream.answer().await, ack("1", "b"));
}

#[tokio::test]
async fn a_response_that_is_too_large_ends_the_stream_and_nothing_else() {
    let mut plane = Plane::start().await;
    let bootstrap = bootstrap(true, "GRPC", &[plane.address.to_string()]);
    let mut client = Client::with(|stats| {
        let client = XdsClient::of(&bootstrap, stats).expect("a control plane");
        client.with_largest_response(1000)
    });
    let mut stream = plane.whole().await;
    stream.answer().await;
    stream.send("1", "a", vec![listener("x"); 100]).await;
    let reason = client.reason().await;
    assert!(reason.contains("too large"), "{reason}");
    stream.ended().await;
    let mut stream = plane.whole().await;
    assert_eq!(stream.answer().await, ack("", ""));
    stream.send("2", "b", vec![listener("x")]).await;
    assert_eq!(stream.answer().await, ack("2", "b"));
    assert_eq!(client.update().await.0, ["x"]);
}

#[tokio::test]
async fn endpoints_take_turns_and_what_is_wrong_with_one_is_told() {
    let mut plane = Plane::start().await;
    let gone = Plane::start().await.address.to_string();
    let bootstrap = bootstrap(true, "GRPC", &[gone, plane.address.to_string()]);
    let mut client =
        Client::with(|stats| XdsClient::of(&bootstrap, stats).expect("a control plane"));
    let reason = client.reason().await;
    assert!(reason.contains("refused"), "{reason}");
    plane.whole().await;
}

#[tokio::test]
async fn a_control_plane_may_be_at_a_unix_socket() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("xds");
    let mut plane = Plane::start_unix(&path);
    let bootstrap = bootstrap(true, "GRPC", &[path.display().to_string()]);
    let _client = Client::with(|stats| XdsClient::of(&bootstrap, stats).expect("a control plane"));
    assert_eq!(plane.whole().await.answer().await, ack("", ""));
}

#[tokio::test]
async fn dropping_the_client_ends_the_stream() {
    let mut plane = Plane::start().await;
    let bootstrap = bootstrap(true, "GRPC", &[plane.address.to_string()]);
    let client = XdsClient::of(&bootstrap, Stats::new()).expect("a control plane");
    let client = tokio::spawn(client.run(|_| async { Vec::new() }));
    let mut stream = plane.whole().await;
    stream.answer().await;
    client.abort();
    stream.ended().await;
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn routes(name: &str) -> Any {
    messages::routes(
        json!({ "name": name, "virtual_hosts": [{ "name": "all", "domains": ["*"] }] }),
    )
}

/// A client for routes; it refuses those that are called `bad`. What it gets of each update: the
/// names.
fn routes_client(
    bootstrap: &Bootstrap,
) -> (
    watch::Sender<BTreeSet<String>>,
    mpsc::UnboundedReceiver<Vec<String>>,
) {
    let (wanted, is_wanted) = watch::channel(BTreeSet::new());
    let (to_updates, updates) = mpsc::unbounded_channel();
    let clients = XdsClient::all(bootstrap, &Stats::new(), &is_wanted);
    for client in clients {
        let to_updates = to_updates.clone();
        tokio::spawn(client.run(move |update| {
            let (routes, rejected) = match update {
                XdsUpdate::Routes(update) => (update.routes, update.rejected),
                _ => (Vec::new(), Vec::new()),
            };
            let names: Vec<_> = routes.into_iter().map(|table| table.name).collect();
            let bad = names.iter().filter(|name| *name == "bad");
            let refused = bad.map(|name| Refused::new(Some(name.clone()), "is bad"));
            let rejected = rejected.into_iter();
            let rejected = rejected.map(|one| Refused::new(one.name, one.error.to_string()));
            let refused = refused.chain(rejected).collect();
            to_updates.send(names).ok();
            async move { refused }
        }));
    }
    (wanted, updates)
}

#[tokio::test]
async fn routes_are_asked_for_by_name_on_the_stream_of_the_listeners() {
    let mut plane = Plane::start().await;
    let bootstrap = bootstrap(true, "GRPC", &[plane.address.to_string()]);
    let (wanted, mut updates) = routes_client(&bootstrap);
    let mut stream = plane.whole().await;
    stream.answer().await;
    stream.send("7", "l", vec![]).await;
    assert_eq!(stream.answer().await, ack("7", "l"));
    updates.recv().await;

    wanted.send_replace(names(&["a", "bad"]));
    let asked = stream.routes_request().await;
    assert_eq!(asked, ("", "", &["a", "bad"][..], "").into());
    // `other` was not asked for.
    stream
        .send_routes("1", "r1", vec![routes("other"), routes("a")])
        .await;
    assert_eq!(updates.recv().await.expect("an update"), ["a"]);
    let asked = stream.routes_request().await;
    assert_eq!(asked, ("1", "r1", &["a", "bad"][..], "").into());
    stream.send_routes("2", "r2", vec![routes("bad")]).await;
    let asked = stream.routes_request().await;
    assert_eq!(
        asked,
        ("1", "r2", &["a", "bad"][..], "bad: is bad\n").into()
    );
    wanted.send_replace(names(&["a"]));
    assert_eq!(
        stream.routes_request().await,
        ("1", "r2", &["a"][..], "").into()
    );

    // Another stream asks for the listeners, then for the routes, with what is there.
    stream.respond(Err(Status::unavailable("restarting"))).await;
    let mut stream = plane.whole().await;
    assert_eq!(stream.answer().await, ack("7", ""));
    assert_eq!(
        stream.routes_request().await,
        ("1", "", &["a"][..], "").into()
    );
    wanted.send_replace(names(&[]));
    assert_eq!(stream.routes_request().await, ("1", "", &[][..], "").into());
}

#[tokio::test]
async fn routes_that_cannot_be_read_are_refused_with_their_path() {
    let mut plane = Plane::start().await;
    let bootstrap = bootstrap(true, "GRPC", &[plane.address.to_string()]);
    let (wanted, is_wanted) = watch::channel(names(&["a"]));
    let client = XdsClient::all(&bootstrap, &Stats::new(), &is_wanted).remove(0);
    tokio::spawn(client.run(|update| {
        let XdsUpdate::Routes(update) = update else {
            panic!("{update:?}")
        };
        let rejected = update.rejected.into_iter();
        let refused = rejected.map(|one| Refused::new(one.name, one.error.to_string()));
        let refused = refused.collect();
        async move { refused }
    }));
    let mut stream = plane.whole().await;
    stream.answer().await;
    stream.routes_request().await;
    let table = json!({ "name": "a", "vhds": {}, "virtual_hosts": [{ "name": "all", "domains": ["*", "*"] }] });
    // The bytes of the first one are no message; the second one is read all the same.
    let table = messages::routes(table);
    let mut garbage = table.clone();
    garbage.value = vec![0xff];
    stream.send_routes("1", "r", vec![garbage, table]).await;
    let answer = stream.routes_request().await;
    let wrong = answer.wrong.expect("what is wrong");
    let (first, second) = wrong.split_once('\n').expect("two lines");
    assert!(
        first.starts_with("resources[0]: not a `envoy.config.route.v3.RouteConfiguration`: "),
        "{wrong}"
    );
    let expected = "a: resources[1].virtual_hosts[0].domains[1]: duplicate domain `*`; resources[1].vhds: not \
                    supported, and ignoring it would change what is served\n";
    assert_eq!(
        (&*answer.version, &*answer.nonce, second),
        ("", "r", expected)
    );
    drop(wanted);
}

#[tokio::test]
async fn a_stream_for_routes_alone_is_opened_when_one_is_wanted() {
    let mut plane = Plane::start().await;
    let bootstrap = bootstrap(true, "DELTA_GRPC", &[plane.address.to_string()]);
    let mut value = serde_json::to_value(&bootstrap).expect("JSON");
    value["dynamic_resources"]["lds_config"].take();
    let bootstrap = Bootstrap::from_json(&value.to_string())
        .expect("a good bootstrap")
        .value;
    let (wanted, mut updates) = routes_client(&bootstrap);
    wanted.send_replace(names(&["a", "b"]));
    let mut stream = plane.delta().await;
    assert_eq!(stream.method, "DeltaAggregatedResources");
    let first = stream.request().await;
    assert_eq!(
        (&*first.type_url, &first.resource_names_subscribe[..]),
        (messages::ROUTES, &["a".to_owned(), "b".to_owned()][..])
    );
    stream
        .send_routes("n", vec![("a", "1", routes("a"))], &["b"])
        .await;
    assert_eq!(updates.recv().await.expect("an update"), ["a"]);
    assert_eq!(stream.request().await.response_nonce, "n");
    wanted.send_replace(names(&["a"]));
    assert_eq!(stream.request().await.resource_names_unsubscribe, ["b"]);
    drop(stream);
    let first = plane.delta().await.request().await;
    assert_eq!(
        first.initial_resource_versions,
        [("a".to_owned(), "1".to_owned())].into()
    );
}
