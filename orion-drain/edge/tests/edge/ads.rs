//! Listeners from a control plane, with traffic on them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::config::listener::v3::Listener as ListenerMessage;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;
use tokio::io::{AsyncReadExt, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::support::plane::{Plane, Whole};
use crate::support::yaml::bootstrap;
use crate::support::{Edge, End, H1, Http, cluster, messages, within};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

/// A listener as the tests of files write it, as a message.
pub(crate) fn message(listener: Http) -> Any {
    let json: serde_json::Value = yaml_serde::from_str(&listener.yaml()).expect("YAML");
    messages::resource(json[0].clone())
}

pub(crate) fn http(version: u32) -> Any {
    message(Http::new("http", version))
}

/// Edge with this control plane, and a static listener.
pub(crate) async fn start(api_type: &str, plane: SocketAddr) -> Edge {
    start_with(api_type, plane, "").await
}

/// The same with this `initial_fetch_timeout`.
pub(crate) async fn start_waiting(plane: SocketAddr, timeout: &str) -> Edge {
    start_with(
        "GRPC",
        plane,
        &format!("initial_fetch_timeout: {timeout}\n    "),
    )
    .await
}

async fn start_with(api_type: &str, plane: SocketAddr, more: &str) -> Edge {
    start_by(api_type, plane, more, "http2_protocol_options: {}").await
}

/// The same with these fields of the control plane's cluster.
pub(crate) async fn start_by(api_type: &str, plane: SocketAddr, more: &str, options: &str) -> Edge {
    let edge = Edge::start_of(FLAGS, |_, upstream| {
        let clusters = cluster("plane", &[plane], options);
        let file = "path_config_source: { path: \"/\" }";
        let ads = format!(
            "{more}ads: {{}}\n  ads_config: {{ api_type: {api_type}, transport_api_version: V3, grpc_services: \
             [{{ envoy_grpc: {{ cluster_name: plane }} }}] }}"
        );
        let text = bootstrap(Path::new("/"), upstream, &clusters);
        assert!(text.contains(file));
        let fixed = Http::new("fixed", 7).yaml();
        // It begins with its type, which a static listener does not say.
        let fixed = fixed.split_once('\n').expect("lines").1.trim_start();
        let fixed = format!("- {}", fixed.replace('\n', "\n  "));
        let runtime =
            "layered_runtime: { layers: [ { name: static, static_layer: { canary: 0 } } ] }";
        text.replace(file, &ads) + "  listeners:\n  " + &fixed + "\n" + runtime + "\n"
    });
    edge.await
}

pub(crate) async fn version_at(address: SocketAddr) -> String {
    H1::connect(address).await.get("/version").await.ok()
}

/// Takes the first request, and sends the first listener.
pub(crate) async fn begin(plane: &mut Plane) -> Whole {
    let mut stream = plane.whole().await;
    stream.answer().await;
    stream.send("1", "a", vec![http(1)]).await;
    assert_eq!(
        stream.answer().await,
        ("1".to_owned(), "a".to_owned(), None)
    );
    stream
}

#[tokio::test]
async fn a_refused_listener_is_told_by_name_and_field_and_the_others_change() {
    let mut plane = Plane::start().await;
    let edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let address = edge.address("http").await;
    assert_eq!(version_at(address).await, "v1");
    assert_eq!(edge.stat("control_plane.connected_state").await, 1);

    let bad = message(Http::new("bad", 1).with_http("drain_timeout_jitter: { value: 101 }"));
    stream.send("2", "b", vec![bad.clone(), http(2)]).await;
    let (version, nonce, wrong) = stream.answer().await;
    assert_eq!((&*version, &*nonce), ("1", "b"));
    assert_eq!(
        wrong.expect("what is wrong"),
        "Error adding/updating listener(s) bad: resources[0].filter_chains[0].filters[0].typed_config.\
         drain_timeout_jitter.value: 101 is not one of 0 to 100\n"
    );
    assert_eq!(version_at(address).await, "v2");
    assert_eq!(edge.stat("lds.update_rejected").await, 1);
    let stats = edge.get("/stats").await.text();
    assert!(
        stats.contains("listener_manager.lds.version_text: \"1\"\n"),
        "{stats}"
    );

    stream
        .send("3", "c", vec![message(Http::new("bad", 1)), http(3)])
        .await;
    assert_eq!(
        stream.answer().await,
        ("3".to_owned(), "c".to_owned(), None)
    );
    assert_eq!(version_at(address).await, "v3");
    assert_eq!(version_at(edge.address("bad").await).await, "v1");
    let dump: serde_json::Value = serde_json::from_str(
        &edge
            .get("/config_dump?resource=dynamic_listeners")
            .await
            .text(),
    )
    .expect("JSON");
    let versions = dump["configs"].as_array().expect("listeners").iter();
    let versions: Vec<_> = versions
        .map(|one| &one["active_state"]["version_info"])
        .collect();
    assert_eq!(versions, ["3", "3"]);
}

#[tokio::test]
async fn what_is_refused_again_and_again_is_answered_each_time_and_soon_not_said_any_more() {
    let mut plane = Plane::start().await;
    let mut edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let bad = message(Http::new("bad", 1).with_http("drain_timeout_jitter: { value: 101 }"));
    for nonce in 0..90 {
        let again = vec![bad.clone(), http(1)];
        stream.send("2", &nonce.to_string(), again).await;
        assert!(stream.answer().await.2.is_some());
    }
    // What changes something is said.
    stream.send("3", "good", vec![http(3)]).await;
    assert_eq!(stream.answer().await.2, None);
    let said = edge.until("lds: version \"3\": http modified").await;
    let refusals = said.iter().filter(|line| line.ends_with("bad refused"));
    let refusals = refusals.count();
    assert!((1..50).contains(&refusals), "{refusals}: {said:#?}");
    assert!(edge.stat("edge.withheld_log_lines").await > 40);
}

#[tokio::test]
async fn one_answer_says_all_that_is_wrong_with_all_listeners() {
    let mut plane = Plane::start().await;
    let edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let bad = |name, options| {
        let listener = Http::new(name, 1).with("use_original_dst: true");
        message(listener.with_http(options))
    };
    let first = bad("first", "drain_timeout_jitter: { value: 101 }");
    let second = bad("second", "original_ip_detection_extensions: [{ name: x }]");
    stream.send("2", "b", vec![first, second, http(2)]).await;
    let wrong = stream.answer().await.2.expect("what is wrong");
    for part in [
        "first: ",
        "resources[0].use_original_dst: ",
        "resources[0].filter_chains[0].filters[0].typed_config.drain_timeout_jitter.value: ",
        "second: ",
        "resources[1].use_original_dst: ",
        "resources[1].filter_chains[0].filters[0].typed_config.original_ip_detection_extensions: ",
    ] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    assert_eq!(version_at(edge.address("http").await).await, "v2");
}

#[tokio::test]
async fn one_answer_says_all_that_is_wrong_although_bytes_of_some_are_no_protobuf() {
    let mut plane = Plane::start().await;
    let edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let odd = |name| Http::new(name, 1).with("use_original_dst: true");
    let (mut garbage, mut nested) = (http(2), message(odd("nested")));
    garbage.value = vec![0xff];
    // The type of its filter, and then what is no message of it.
    let mut listener = ListenerMessage::decode(&*nested.value).expect("a listener");
    let filter = &mut listener.filter_chains[0].filters[0].config_type;
    let Some(ConfigType::TypedConfig(config)) = filter else {
        panic!("{filter:?}")
    };
    config.value = vec![0xff];
    nested.value = listener.encode_to_vec();
    let resources = vec![garbage, nested, message(odd("last")), http(2)];
    stream.send("2", "b", resources).await;
    let wrong = stream.answer().await.2.expect("what is wrong");
    for part in [
        "resources[0]: not a `envoy.config.listener.v3.Listener`: ",
        "nested: resources[1].filter_chains[0].filters[0].typed_config: not a `envoy.extensions.filters.",
        "; resources[1].use_original_dst: ",
        "last: resources[2].use_original_dst: ",
    ] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    assert_eq!(wrong.lines().count(), 3, "{wrong}");
    // Of one not even the name is known, so nothing is taken.
    assert_eq!(version_at(edge.address("http").await).await, "v1");
    stream.send("3", "c", vec![http(3)]).await;
    assert_eq!(stream.answer().await.2, None);
    assert_eq!(version_at(edge.address("http").await).await, "v3");
}

#[tokio::test]
async fn a_listener_without_a_name_is_told_and_the_last_listeners_serve_on() {
    let mut plane = Plane::start().await;
    let mut edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let address = edge.address("http").await;
    let mut client = H1::connect(address).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    edge.until("lds: version \"1\": ").await;

    let mut nameless = message(Http::new("bad", 1));
    nameless.value = vec![0xff];
    stream.send("2", "b", vec![http(2), nameless]).await;
    let (version, nonce, wrong) = stream.answer().await;
    assert_eq!((&*version, &*nonce), ("1", "b"));
    let wrong = wrong.expect("what is wrong");
    let wrong = wrong
        .strip_prefix("Error adding/updating listener(s) ")
        .expect("Envoy's words");
    let said = edge.until("lds: version \"2\": nothing changed").await;
    assert_eq!(said[0], format!("lds: control plane: {}", wrong.trim_end()));
    assert_eq!(edge.stat("lds.update_rejected").await, 1);
    let response = client.get("/version").await;
    assert_eq!(
        (response.says_close(), response.ok().as_str()),
        (false, "v1")
    );
    assert_eq!(version_at(address).await, "v1");

    stream.send("3", "c", vec![http(3)]).await;
    assert_eq!(
        stream.answer().await,
        ("3".to_owned(), "c".to_owned(), None)
    );
    assert_eq!(version_at(address).await, "v3");
}

#[tokio::test]
async fn updates_while_a_drain_runs_drain_what_they_replace() {
    let mut plane = Plane::start().await;
    let mut edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let address = edge.address("http").await;
    let (mut idle, mut busy) = (H1::connect(address).await, H1::connect(address).await);
    assert_eq!(idle.get("/version").await.ok(), "v1");
    busy.ask("/held").await;
    let held = edge.upstream.held().await;
    // The second update comes before the answer to the first, while the first version drains.
    stream.send("2", "b", vec![http(2)]).await;
    stream.send("3", "c", vec![http(3)]).await;
    assert_eq!(
        stream.answer().await,
        ("2".to_owned(), "b".to_owned(), None)
    );
    assert_eq!(
        stream.answer().await,
        ("3".to_owned(), "c".to_owned(), None)
    );
    assert_eq!(version_at(address).await, "v3");
    // That of the second one is over as soon as it is seen to have no connection.
    edge.until_list("/drain", |drains| drains.len() == 1).await;

    held.answer("done");
    let response = busy.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("done", true)
    );
    assert_eq!(busy.end().await, End::Fin);
    let after = idle.get("/version").await;
    assert_eq!((after.ok().as_str(), after.says_close()), ("v1", true));
    assert_eq!(idle.end().await, End::Fin);
}

#[tokio::test]
async fn a_delta_removes_a_listener_whose_requests_are_answered() {
    let mut plane = Plane::start().await;
    let mut edge = start("DELTA_GRPC", plane.address).await;
    let mut stream = plane.delta().await;
    stream.answer().await;
    let other = message(Http::new("other", 5));
    stream
        .send(
            "a",
            vec![("http", "1", http(1)), ("other", "1", other)],
            &[],
        )
        .await;
    assert_eq!(stream.answer().await.2, None);
    let address = edge.address("http").await;
    let mut busy = H1::connect(address).await;
    busy.ask("/held").await;
    let held = edge.upstream.held().await;
    stream.send("b", vec![], &["http"]).await;
    assert_eq!(stream.answer().await, ("b".to_owned(), vec![], None));
    assert!(crate::support::is_refused(address).await);
    held.answer("done");
    assert_eq!(busy.response().await.ok(), "done");
    assert_eq!(version_at(edge.address("other").await).await, "v5");
}

#[tokio::test]
async fn without_its_control_plane_the_last_listeners_serve_and_the_next_one_is_told_of_them() {
    let mut plane = Plane::start().await;
    let (at, mut edge) = (plane.address, start("GRPC", plane.address).await);
    drop(begin(&mut plane).await);
    drop(plane);
    edge.until("lds: control plane: ").await;
    assert_eq!(version_at(edge.address("http").await).await, "v1");
    assert_eq!(version_at(edge.address("fixed").await).await, "v7");
    let mut plane = Plane::start_at(at).await;
    let mut stream = plane.whole().await;
    assert_eq!(stream.answer().await, ("1".to_owned(), String::new(), None));
    stream.send("2", "a", vec![http(2)]).await;
    stream.answer().await;
    assert_eq!(version_at(edge.address("http").await).await, "v2");
    assert!(edge.stat("lds.update_failure").await >= 1);
}

#[tokio::test]
async fn an_update_that_breaks_off_in_the_middle_changes_nothing_and_comes_again_whole() {
    let mut plane = Plane::start().await;
    let limit = Arc::new(AtomicU64::new(u64::MAX));
    let relay = relay(plane.address, Arc::clone(&limit)).await;
    // The first connection may pass the first listener and a half of the second response.
    limit.store(100_000, Ordering::Relaxed);
    let mut edge = start("GRPC", relay).await;
    let stream = begin(&mut plane).await;
    limit.store(u64::MAX, Ordering::Relaxed);
    let large = "x".repeat(200_000);
    let mut many = vec![http(2)];
    let mut padding = http(2);
    padding.type_url = format!("type.googleapis.com/{large}");
    many.push(padding);
    stream.send("2", "b", many).await;
    edge.until("lds: control plane: ").await;
    assert_eq!(version_at(edge.address("http").await).await, "v1");
    assert_eq!(edge.stat("lds.update_rejected").await, 0);
    let mut stream = plane.whole().await;
    assert_eq!(stream.answer().await, ("1".to_owned(), String::new(), None));
    stream.send("2", "c", vec![http(2)]).await;
    assert_eq!(
        stream.answer().await,
        ("2".to_owned(), "c".to_owned(), None)
    );
    assert_eq!(version_at(edge.address("http").await).await, "v2");
}

/// Passes bytes to a control plane, and back until a connection has had so many.
async fn relay(plane: SocketAddr, limit: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let limit = limit.load(Ordering::Relaxed);
            tokio::spawn(async move {
                let server = within("the control plane", TcpStream::connect(plane)).await;
                let mut server = server.expect("the control plane listens");
                let ((mut from_client, mut to_client), (from_server, mut to_server)) =
                    (client.split(), server.split());
                let mut limited = from_server.take(limit);
                tokio::select! {
                    _ = copy(&mut from_client, &mut to_server) => {}
                    _ = copy(&mut limited, &mut to_client) => {}
                }
            });
        }
    });
    address
}
