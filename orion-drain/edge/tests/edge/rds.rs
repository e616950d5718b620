//! Routes from a control plane, with traffic on them: a listener waits for its routes while the
//! version before it serves, and newer routes drain nothing.

use std::net::{SocketAddr, TcpListener};

use envoy_types::pb::google::protobuf::Any;
use serde_json::{Value, json};

use crate::ads::{begin, start, version_at};
use crate::support::plane::{Plane, Whole};
use crate::support::yaml::bootstrap;
use crate::support::{Edge, End, H1, Http, cluster, discovery, messages, within};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

/// A listener whose routes come by this name, in JSON.
fn json_of(listener: Http, table: &str, timeout: &str) -> Value {
    let mut json: Value = yaml_serde::from_str(&listener.yaml()).expect("YAML");
    let mut listener = json[0].take();
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let fields = manager.as_object_mut().expect("a connection manager");
    fields.remove("route_config");
    let source =
        json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": timeout });
    manager["rds"] = json!({ "config_source": source, "route_config_name": table });
    listener
}

fn by_rds(name: &'static str, version: u32, table: &str, timeout: &str) -> Any {
    messages::resource(json_of(Http::new(name, version), table, timeout))
}

/// Routes that answer `/version` with this, and send all else to the upstream.
fn routes(name: &str, text: &str) -> Any {
    to(name, text, "http", json!({}))
}

fn to(name: &str, text: &str, cluster: &str, more: Value) -> Any {
    let mut table = json!({
        "name": name,
        "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
            { "match": { "path": "/version" },
              "direct_response": { "status": 200, "body": { "inline_string": text } } },
            { "match": { "prefix": "/" }, "route": { "cluster": cluster, "timeout": "0s" } },
        ] }],
    });
    let Value::Object(more) = more else {
        panic!("{more}")
    };
    table.as_object_mut().expect("fields").extend(more);
    messages::routes(table)
}

/// Sends routes, and waits for the ACK.
async fn send_routes(stream: &mut Whole, version: &str, resources: Vec<Any>) {
    let names = stream.last_names().to_vec();
    stream.send_routes(version, version, resources).await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ack = stream.routes_request().await;
    assert_eq!(ack, (version, version, &names[..], "").into());
}

/// Takes requests for routes until they are for these names.
async fn until_names(stream: &mut Whole, names: &[&str]) {
    while stream.routes_request().await.names != names {}
}

/// Sends listeners that are taken whole.
async fn send(stream: &mut Whole, version: &str, listeners: Vec<Any>) {
    stream.send(version, version, listeners).await;
    let ack = (version.to_owned(), version.to_owned(), None);
    assert_eq!(stream.answer().await, ack);
}

/// Edge with a listener `http` whose routes are there, and say `one`.
async fn with_routes(plane: &mut Plane) -> (Edge, Whole, SocketAddr) {
    let mut edge = start("GRPC", plane.address).await;
    let mut stream = plane.whole().await;
    stream.answer().await;
    send(&mut stream, "1", vec![by_rds("http", 1, "shop", "0s")]).await;
    until_names(&mut stream, &["shop"]).await;
    send_routes(&mut stream, "r1", vec![routes("shop", "one")]).await;
    edge.until("lds: http serves version \"1\"").await;
    let address = edge.address("http").await;
    assert_eq!(version_at(address).await, "one");
    (edge, stream, address)
}

#[tokio::test]
async fn the_old_version_serves_until_the_routes_of_the_new_one_come() {
    let mut plane = Plane::start().await;
    let mut edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let address = edge.address("http").await;
    let mut idle = H1::connect(address).await;
    assert_eq!(idle.get("/version").await.ok(), "v1");

    send(&mut stream, "2", vec![by_rds("http", 2, "shop", "0s")]).await;
    let asked = stream.routes_request().await;
    assert_eq!(asked, ("", "", &["shop"][..], "").into());
    for _ in 0..3 {
        assert_eq!(version_at(address).await, "v1");
    }
    assert_eq!(edge.stat("total_listeners_warming").await, 1);
    assert_eq!(edge.stat("total_listeners_draining").await, 0);
    let dump = edge.get("/config_dump?resource=dynamic_listeners").await;
    let dump: Value = serde_json::from_str(&dump.ok()).expect("JSON");
    assert_eq!(dump["configs"][0]["warming_state"]["version_info"], "2");
    assert_eq!(dump["configs"][0]["active_state"]["version_info"], "1");
    // The listener is there, and so the process is ready.
    assert_eq!(edge.get("/ready").await.status, 200);

    send_routes(&mut stream, "r1", vec![routes("shop", "one")]).await;
    edge.until("lds: http serves version \"2\"").await;
    assert_eq!(version_at(address).await, "one");
    let after = idle.get("/version").await;
    assert_eq!((after.ok().as_str(), after.says_close()), ("v1", true));
    assert_eq!(idle.end().await, End::Fin);
    assert_eq!(edge.stat("total_listeners_warming").await, 0);
}

#[tokio::test]
async fn while_the_first_routes_of_the_new_version_are_refused_the_old_one_serves() {
    let mut plane = Plane::start().await;
    let mut edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let address = edge.address("http").await;
    send(&mut stream, "2", vec![by_rds("http", 2, "shop", "0s")]).await;
    until_names(&mut stream, &["shop"]).await;

    let twice = json!({ "virtual_hosts": [{ "name": "all", "domains": ["*", "*"] }] });
    let bad = to("shop", "bad", "http", twice);
    stream.send_routes("r1", "r1", vec![bad]).await;
    let nack = stream.routes_request().await;
    let wrong = "shop: resources[0].virtual_hosts[0].domains[1]: duplicate domain `*`\n";
    assert_eq!(nack, ("", "r1", &["shop"][..], wrong).into());
    for _ in 0..3 {
        assert_eq!(version_at(address).await, "v1");
    }
    assert_eq!(edge.stat("total_listeners_warming").await, 1);

    send_routes(&mut stream, "r2", vec![routes("shop", "one")]).await;
    edge.until("lds: http serves version \"2\"").await;
    assert_eq!(version_at(address).await, "one");
}

#[tokio::test]
async fn a_filter_chain_waits_for_its_routes_too_when_the_listener_goes_on() {
    let mut plane = Plane::start().await;
    let mut edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let address = edge.address("http").await;
    // Only the filter chain differs.
    send(&mut stream, "2", vec![by_rds("http", 1, "shop", "0s")]).await;
    stream.routes_request().await;
    assert_eq!(version_at(address).await, "v1");
    send_routes(&mut stream, "r1", vec![routes("shop", "one")]).await;
    edge.until("lds: http serves version \"2\"").await;
    assert_eq!(version_at(address).await, "one");
    assert_eq!(edge.stat("listener_in_place_updated").await, 1);
}

#[tokio::test]
async fn a_new_listener_serves_nothing_and_the_process_is_not_ready_until_its_routes_come() {
    let mut plane = Plane::start().await;
    let mut edge = start("DELTA_GRPC", plane.address).await;
    let mut stream = plane.delta().await;
    stream.answer().await;
    let listener = by_rds("http", 1, "shop", "0s");
    stream.send("a", vec![("http", "1", listener)], &[]).await;
    assert_eq!(stream.answer().await.2, None);
    let asked = stream.request().await;
    assert_eq!(
        (&*asked.type_url, &asked.resource_names_subscribe[..]),
        (messages::ROUTES, &["shop".to_owned()][..])
    );
    let listeners = edge.get("/listeners").await.text();
    assert!(!listeners.contains("http::"), "{listeners}");
    assert_eq!(edge.stat("total_listeners_warming").await, 1);
    let ready = edge.get("/ready").await;
    assert_eq!((ready.status, ready.text().trim()), (503, "INITIALIZING"));
    // Static listeners serve meanwhile.
    assert_eq!(version_at(edge.address("fixed").await).await, "v7");

    let table = routes("shop", "one");
    stream
        .send_routes("b", vec![("shop", "1", table)], &[])
        .await;
    assert_eq!(stream.request().await.response_nonce, "b");
    edge.until("lds: http serves version ").await;
    assert_eq!(version_at(edge.address("http").await).await, "one");
    until_ready(&edge).await;
}

async fn until_ready(edge: &Edge) {
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    within("/ready says 200", async {
        while edge.get("/ready").await.status != 200 {
            pace.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_listener_waits_no_longer_than_the_initial_fetch_timeout_and_answers_404_until_routes_come()
 {
    let mut plane = Plane::start().await;
    let mut edge = start("GRPC", plane.address).await;
    let mut stream = begin(&mut plane).await;
    let address = edge.address("http").await;
    send(&mut stream, "2", vec![by_rds("http", 2, "shop", "0.2s")]).await;
    stream.routes_request().await;
    edge.until("warning: listener \"http\": route configuration \"shop\" has not come within")
        .await;
    let mut client = H1::connect(address).await;
    assert_eq!(client.get("/version").await.status, 404);
    assert_eq!(edge.stat("http.http.rds.shop.init_fetch_timeout").await, 1);
    send_routes(&mut stream, "r1", vec![routes("shop", "late")]).await;
    let response = client.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("late", false)
    );
}

#[tokio::test]
async fn newer_routes_count_from_the_next_request_on_and_nothing_drains() {
    let mut plane = Plane::start().await;
    let (mut edge, mut stream, address) = with_routes(&mut plane).await;
    let (mut client, mut busy) = (H1::connect(address).await, H1::connect(address).await);
    assert_eq!(client.get("/version").await.ok(), "one");
    busy.ask("/held").await;
    let held = edge.upstream.held().await;
    send_routes(
        &mut stream,
        "r2",
        vec![to("shop", "two", "nowhere", json!({}))],
    )
    .await;
    let response = client.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("two", false)
    );
    // A cluster that is not known, as in Envoy.
    assert_eq!(client.get("/other").await.status, 503);
    // A request goes on by the routes that it found.
    held.answer("done");
    let response = busy.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("done", false)
    );
    assert_eq!(busy.get("/version").await.ok(), "two");
    // The same again changes nothing.
    send_routes(
        &mut stream,
        "r3",
        vec![to("shop", "two", "nowhere", json!({}))],
    )
    .await;

    let stats = edge.stats().await;
    let of = |name: &str| stats[&format!("http.http.{name}")];
    assert_eq!(of("rds.shop.update_success"), 3);
    assert_eq!(of("rds.shop.config_reload"), 2);
    assert_eq!(of("downstream_cx_drain_close"), 0);
    assert_eq!(stats["listener_manager.listener_modified"], 0);
    assert_eq!(stats["listener_manager.total_listeners_draining"], 0);
    let dump = edge
        .get("/config_dump?resource=dynamic_route_configs")
        .await;
    let dump: Value = serde_json::from_str(&dump.ok()).expect("JSON");
    let [table] = &dump["configs"].as_array().expect("tables")[..] else {
        panic!("{dump}")
    };
    assert_eq!(
        (&table["version_info"], &table["route_config"]["name"]),
        (&json!("r2"), &json!("shop"))
    );
}

#[tokio::test]
async fn routes_that_are_refused_are_named_with_their_field_and_the_old_ones_go_on() {
    let mut plane = Plane::start().await;
    let (edge, mut stream, address) = with_routes(&mut plane).await;
    let twice = json!({ "virtual_hosts": [{ "name": "all", "domains": ["*", "*"] }] });
    let vhds = json!({ "vhds": { "config_source": { "ads": {} } } });
    let missing = "/no/such/file";
    let file = json!({ "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
        { "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "filename": missing } } },
    ] }] });
    let checks = json!({ "validate_clusters": true });
    let by_key = json!({ "default_value": { "numerator": 100 }, "runtime_key": "canary" });
    let canary = json!({ "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
        { "match": { "prefix": "/", "runtime_fraction": by_key }, "direct_response": { "status": 200 } },
    ] }] });
    for (number, (table, wrong)) in [
        (to("shop", "bad", "http", twice), "resources[0].virtual_hosts[0].domains[1]: duplicate domain `*`"),
        (to("shop", "bad", "http", vhds), "resources[0].vhds: not supported, and ignoring it would change what is served"),
        (
            to("shop", "bad", "http", file),
            "virtual_hosts[0].routes[0].direct_response.body.filename: cannot read /no/such/file: No such file or directory (os error 2)",
        ),
        (
            to("shop", "bad", "nowhere", checks),
            "resources[0].virtual_hosts[0].routes[1].route.cluster: unknown cluster `nowhere`",
        ),
        (
            to("shop", "bad", "http", canary),
            "resources[0].virtual_hosts[0].routes[0].match.runtime_fraction.runtime_key: not supported: `canary` \
             is set in `layered_runtime`, and would change what is served",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let version = format!("bad{number}");
        stream.send_routes(&version, &version, vec![table]).await;
        let wrong = format!("shop: {wrong}\n");
        let nack = stream.routes_request().await;
        assert_eq!(nack, ("r1", &*version, &["shop"][..], &*wrong).into());
        assert_eq!(version_at(address).await, "one");
    }
    assert_eq!(edge.stat("http.http.rds.shop.update_rejected").await, 5);
    send_routes(&mut stream, "r2", vec![routes("shop", "two")]).await;
    assert_eq!(version_at(address).await, "two");
}

#[tokio::test]
async fn another_stream_asks_for_the_same_routes_which_go_on_meanwhile() {
    let mut plane = Plane::start().await;
    let (mut edge, stream, address) = with_routes(&mut plane).await;
    let mut client = H1::connect(address).await;
    assert_eq!(client.get("/version").await.ok(), "one");
    let at = plane.address;
    drop(stream);
    drop(plane);
    edge.until("lds: control plane: ").await;
    assert_eq!(version_at(address).await, "one");
    let mut plane = Plane::start_at(at).await;
    let mut stream = plane.whole().await;
    assert_eq!(stream.answer().await, ("1".to_owned(), String::new(), None));
    assert_eq!(
        stream.routes_request().await,
        ("r1", "", &["shop"][..], "").into()
    );
    send_routes(&mut stream, "r2", vec![routes("shop", "two")]).await;
    let response = client.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("two", false)
    );
}

#[tokio::test]
async fn routes_are_asked_for_as_long_as_a_listener_refers_to_them() {
    let mut plane = Plane::start().await;
    let (edge, mut stream, _) = with_routes(&mut plane).await;
    let both = vec![
        by_rds("http", 1, "shop", "0s"),
        by_rds("other", 1, "market", "0s"),
    ];
    send(&mut stream, "2", both).await;
    until_names(&mut stream, &["market", "shop"]).await;
    send_routes(
        &mut stream,
        "r2",
        vec![routes("market", "fish"), routes("shop", "one")],
    )
    .await;
    send(&mut stream, "3", vec![by_rds("other", 1, "market", "0s")]).await;
    until_names(&mut stream, &["market"]).await;
    // Listeners that refer to it again wait for new routes: those that were there may be old.
    send(
        &mut stream,
        "4",
        vec![
            by_rds("http", 1, "shop", "0s"),
            by_rds("other", 1, "market", "0s"),
        ],
    )
    .await;
    until_names(&mut stream, &["market", "shop"]).await;
    assert_eq!(edge.stat("total_listeners_warming").await, 1);
    assert_eq!(version_at(edge.address("other").await).await, "fish");
    send(&mut stream, "5", vec![]).await;
    until_names(&mut stream, &[]).await;
}

/// A bootstrap with `ads_config`, and this beside it and as static listeners.
fn with_ads(text: &str, plane: SocketAddr, lds: &str, statics: &[Value]) -> String {
    let (before, rest) = text
        .split_once("  lds_config:\n")
        .expect("a source of listeners");
    let (_, after) = rest.split_once('\n').expect("lines");
    let ads = "  ads_config: { api_type: GRPC, transport_api_version: V3, grpc_services: [{ envoy_grpc: { \
               cluster_name: plane } }] }\n";
    let clusters = cluster("plane", &[plane], "http2_protocol_options: {}");
    let listeners = serde_json::to_string(statics).expect("JSON");
    format!("{before}{ads}{lds}{after}{clusters}  listeners: {listeners}\n")
}

#[tokio::test]
async fn a_static_listener_and_one_from_a_file_have_routes_over_a_stream_of_their_own() {
    let mut plane = Plane::start().await;
    let mut fixed = json_of(Http::new("fixed", 1), "shop", "0s");
    fixed.as_object_mut().expect("fields").remove("@type");
    let file = format!("- {}\n", json_of(Http::new("http", 1), "market", "0s"));
    let address = plane.address;
    let mut edge = Edge::start_of(FLAGS, |folder, upstream| {
        let lds = folder.join("lds.yaml");
        std::fs::write(&lds, discovery("1", &[file])).expect("the LDS file");
        let source = format!("  lds_config: {{ path_config_source: {{ path: {lds:?} }} }}\n");
        with_ads(&bootstrap(&lds, upstream, ""), address, &source, &[fixed])
    })
    .await;
    let mut stream = plane.whole().await;
    until_names(&mut stream, &["market", "shop"]).await;
    assert_eq!(edge.get("/ready").await.status, 503);
    send_routes(
        &mut stream,
        "r1",
        vec![routes("shop", "one"), routes("market", "fish")],
    )
    .await;
    edge.until_all(&["lds: fixed serves", "lds: http serves"])
        .await;
    assert_eq!(version_at(edge.address("fixed").await).await, "one");
    assert_eq!(version_at(edge.address("http").await).await, "fish");
    until_ready(&edge).await;
    assert_eq!(edge.stat("control_plane.connected_state").await, 1);
    drop(stream);
    edge.until("rds: control plane: ").await;
}

#[tokio::test]
async fn without_listeners_from_elsewhere_the_process_is_ready_when_its_static_ones_have_routes() {
    let mut plane = Plane::start().await;
    let mut fixed = json_of(Http::new("fixed", 1), "shop", "0s");
    fixed.as_object_mut().expect("fields").remove("@type");
    let address = plane.address;
    let edge = Edge::start_of(FLAGS, |folder, upstream| {
        with_ads(&bootstrap(folder, upstream, ""), address, "", &[fixed])
    })
    .await;
    let mut stream = plane.whole().await;
    until_names(&mut stream, &["shop"]).await;
    assert_eq!(edge.get("/ready").await.status, 503);
    send_routes(&mut stream, "r1", vec![routes("shop", "one")]).await;
    until_ready(&edge).await;
    assert_eq!(version_at(edge.address("fixed").await).await, "one");
}

#[tokio::test]
async fn routes_over_ads_are_refused_where_there_is_no_such_stream() {
    let item = format!("- {}\n", json_of(Http::new("http", 1), "shop", "0s"));
    let mut edge = Edge::start_of(FLAGS, |folder, upstream| {
        let lds = folder.join("lds.yaml");
        let good = Http::new("good", 1).yaml();
        std::fs::write(&lds, discovery("1", &[item, good])).expect("the LDS file");
        bootstrap(&lds, upstream, "")
    })
    .await;
    edge.until(
        "listener \"http\": resources[0].filter_chains[0].filters[0].typed_config.rds.config_source.ads: there is \
         no aggregated stream: the bootstrap has no `dynamic_resources.ads_config`",
    )
    .await;
    edge.until("lds: version \"1\": good added").await;
    assert_eq!(version_at(edge.address("good").await).await, "v1");
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").port()
}

#[tokio::test]
async fn a_process_that_takes_over_does_so_when_the_routes_of_its_listeners_are_there() {
    for is_static in [false, true] {
        take_over(is_static).await;
    }
}

async fn take_over(is_static: bool) {
    let mut plane = Plane::start().await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let meeting = folder.path().join("meeting");
    let flags = format!("{FLAGS} --hot-restart-path {}", meeting.display());
    let (address, port) = (plane.address, free_port());
    let listener = || json_of(Http::new("http", 1).at("127.0.0.1", port), "shop", "0s");
    let start = || {
        Edge::start_of(&flags, |folder, upstream| {
            let mut fixed = listener();
            fixed.as_object_mut().expect("fields").remove("@type");
            let text = bootstrap(folder, upstream, "");
            match is_static {
                true => with_ads(&text, address, "", &[fixed]),
                false => {
                    let source = "  lds_config: { ads: {}, resource_api_version: V3 }\n";
                    with_ads(&text, address, source, &[])
                }
            }
        })
    };
    let mut old = start().await;
    let mut of_old = until_asked(&mut plane, is_static, listener()).await;
    send_routes(&mut of_old, "r1", vec![routes("shop", "old")]).await;
    old.until("lds: http serves").await;
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(version_at(at).await, "old");

    let mut new = start().await;
    let mut of_new = until_asked(&mut plane, is_static, listener()).await;
    for _ in 0..3 {
        assert_eq!(version_at(at).await, "old");
    }
    assert_eq!(old.get("/ready").await.status, 200);
    send_routes(&mut of_new, "r1", vec![routes("shop", "new")]).await;
    new.until(&format!("hot restart: process {} drains", old.pid()))
        .await;
    assert_eq!(version_at(at).await, "new");
}

/// The next stream, on which this listener is sent if it is not static, and its routes are asked
/// for.
async fn until_asked(plane: &mut Plane, is_static: bool, listener: Value) -> Whole {
    let mut stream = plane.whole().await;
    if !is_static {
        stream.answer().await;
        send(&mut stream, "1", vec![messages::resource(listener)]).await;
    }
    until_names(&mut stream, &["shop"]).await;
    stream
}

#[cfg(feature = "systemd")]
#[tokio::test]
async fn systemd_hears_that_it_is_ready_when_static_listeners_have_their_routes() {
    let mut plane = Plane::start().await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("notify");
    let notified = tokio::net::UnixDatagram::bind(&path).expect("a socket");
    let mut command = tokio::process::Command::new(crate::support::program::program());
    command.env("NOTIFY_SOCKET", &path);
    let mut fixed = json_of(Http::new("fixed", 1), "shop", "0s");
    fixed.as_object_mut().expect("fields").remove("@type");
    let address = plane.address;
    let edge = Edge::start_as(command, FLAGS, |folder, upstream| {
        with_ads(&bootstrap(folder, upstream, ""), address, "", &[fixed])
    })
    .await;
    let mut stream = plane.whole().await;
    until_names(&mut stream, &["shop"]).await;
    assert_eq!(edge.get("/ready").await.status, 503);
    let mut text = [0; 4096];
    while let Ok(length) = notified.try_recv(&mut text) {
        let text = String::from_utf8_lossy(&text[..length]);
        assert!(!text.contains("READY=1"), "{text}");
    }
    send_routes(&mut stream, "r1", vec![routes("shop", "one")]).await;
    within("READY=1", async {
        loop {
            let length = notified.recv(&mut text).await.expect("a message");
            if String::from_utf8_lossy(&text[..length]).contains("READY=1") {
                return;
            }
        }
    })
    .await;
    assert_eq!(version_at(edge.address("fixed").await).await, "one");
}
