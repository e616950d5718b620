//! What a subscriber hears of a drain with traffic: the events and spans of
//! `docs/observability.md`, by name and field.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conn_tracker::{ConnTracker, Peer};
use drain_tree::{DrainManager, DrainSettings, DrainStrategy};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use listener_versions::{
    AcceptPolicy, Accepted, ListenerConfig, Listeners, ListenersOptions, Update,
};
use orion_drain::StatsObserver;
use orion_drain::config::ListenerUpdate;
use orion_drain::listener::{Entered, ServedListener};
use orion_drain::serve::{
    CodecType, Connection, Handler, HttpServer, HttpTimeouts, ListenOn, ReceivedBody, Tcp, serve,
    serve_http,
};
use orion_drain::stats::Stats;
use orion_drain::telemetry::lds_update;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

type Fields = BTreeMap<String, String>;

#[derive(Debug, Clone, Default)]
struct Span {
    name: &'static str,
    parent: Option<&'static str>,
    fields: Fields,
    closed: bool,
}

#[derive(Debug, Default)]
struct Heard {
    events: Vec<(&'static str, Fields)>,
    spans: BTreeMap<u64, Span>,
}

/// Writes everything down.
#[derive(Clone, Default)]
struct Listening(Arc<Mutex<Heard>>);

struct Into<'f>(&'f mut Fields);

impl Visit for Into<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Listening {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("orion_drain") {
            let mut fields = Fields::new();
            event.record(&mut Into(&mut fields));
            self.0
                .lock()
                .expect("heard")
                .events
                .push((event.metadata().target(), fields));
        }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("it was opened");
        let mut heard = Span {
            name: span.name(),
            parent: span.parent().map(|parent| parent.name()),
            ..Span::default()
        };
        attributes.record(&mut Into(&mut heard.fields));
        self.0
            .lock()
            .expect("heard")
            .spans
            .insert(id.into_u64(), heard);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(span) = self.0.lock().expect("heard").spans.get_mut(&id.into_u64()) {
            values.record(&mut Into(&mut span.fields));
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(span) = self.0.lock().expect("heard").spans.get_mut(&id.into_u64()) {
            span.closed = true;
        }
    }
}

impl Listening {
    /// The events of this target and message.
    fn events(&self, target: &str, message: &str) -> Vec<Fields> {
        let heard = self.0.lock().expect("heard");
        let found = heard
            .events
            .iter()
            .filter(|(of, fields)| *of == target && fields["message"] == message);
        found.map(|(_, fields)| fields.clone()).collect()
    }

    fn spans(&self, name: &str) -> Vec<Span> {
        let heard = self.0.lock().expect("heard");
        heard
            .spans
            .values()
            .filter(|span| span.name == name)
            .cloned()
            .collect()
    }
}

fn update(content: u32) -> Update<ServedListener<HttpServer>> {
    let update = ListenerUpdate::from_json(&format!(
        r#"{{ "resources": [{{
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "in",
            "address": {{ "socket_address": {{ "address": "127.0.0.1", "port_value": 0 }} }},
            "per_connection_buffer_limit_bytes": {content},
            "filter_chains": [{{ "filters": [{{ "name": "hcm", "typed_config": {{
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "in", "route_config": {{ "virtual_hosts": [] }}
            }} }}] }}]
        }}] }}"#
    ));
    let update = update.expect("an update");
    assert!(update.rejected.is_empty(), "{:?}", update.rejected);
    let stats = Stats::new();
    let made = update.listeners.into_iter().map(|listener| {
        ServedListener::new(listener, &stats, |_, _| {
            HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), stats.http("in"))
        })
    });
    Update::lds(&content.to_string(), made.collect::<Vec<_>>())
}

/// `/hang` is never answered.
async fn answer(request: Request<ReceivedBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/hang" {
        std::future::pending::<()>().await;
    }
    Ok(Response::new(Full::new(Bytes::from("hello"))))
}

async fn ask(client: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    client
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
}

const DRAIN_TIME: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_drain_is_told_from_the_update_to_the_last_connection() {
    let listening = Listening::default();
    let _subscribed =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(listening.clone()));
    let settings = DrainSettings::default()
        .with_drain_time(DRAIN_TIME)
        .with_strategy(DrainStrategy::Immediate);
    let tracker = ConnTracker::new();
    let (listeners, driver) = Listeners::new(
        DrainManager::root(settings),
        tracker.clone(),
        ListenersOptions::default(),
        StatsObserver::new(Stats::new()),
    );
    tokio::spawn(driver);
    let handler = |accepted: Accepted<ServedListener<HttpServer>>| async {
        let entered = Entered::new(accepted).expect("a chain takes it");
        let _ = serve_http(
            entered.stream,
            service_fn(answer),
            entered.connection,
            &entered.service,
        )
        .await;
    };
    tokio::spawn(serve(&listeners, handler));
    assert!(
        listeners
            .apply(update(1_000_001))
            .instrument(lds_update("1"))
            .await
            .is_success()
    );
    let local = listeners
        .local_address("in")
        .and_then(|local| local.as_socket());
    let local = local.expect("it listens");

    // One that can leave when it is told, one whose request is never answered.
    let mut leaves = TcpStream::connect(local).await.expect("a connection");
    let mut stays = TcpStream::connect(local).await.expect("a connection");
    let ports =
        [&leaves, &stays].map(|one| one.local_addr().expect("an address").port().to_string());
    let mut read = [0; 256];
    ask(&mut leaves, "/").await;
    assert!(leaves.read(&mut read).await.expect("an answer") > 0);
    ask(&mut stays, "/hang").await;
    while tracker
        .snapshot()
        .iter()
        .all(|one| one.kind.as_str() != "in_request")
    {
        tokio::task::yield_now().await;
    }

    assert!(
        listeners
            .apply(update(1_000_002))
            .instrument(lds_update("2"))
            .await
            .is_success()
    );
    ask(&mut leaves, "/").await;
    let mut answer = String::new();
    leaves
        .read_to_string(&mut answer)
        .await
        .expect("an answer, then the end");
    assert!(answer.contains("connection: close"), "{answer}");
    drop(leaves);
    tokio::time::pause();
    tokio::time::sleep(DRAIN_TIME + Duration::from_secs(2)).await;
    while listeners.snapshot().len() > 1 || !tracker.is_empty() {
        tokio::task::yield_now().await;
    }

    // 1. versions and drains begin.
    let created = listening.events("orion_drain::listener", "listener version created");
    assert_eq!(created.len(), 2);
    assert_eq!(
        (
            created[1]["listener"].as_str(),
            created[1]["version"].as_str()
        ),
        ("in", "2")
    );
    let started = listening
        .events("orion_drain::listener", "drain started")
        .pop()
        .expect("a drain");
    let id = started["drain_id"].clone();
    for (field, value) in [
        ("listener", "in"),
        ("version", "1"),
        ("reason", "listener_modify"),
        ("strategy", "immediate"),
        ("drain_time_ms", "40000"),
        ("connections", "2"),
    ] {
        assert_eq!(started[field], value, "{started:?}");
    }
    // 2. states of connections.
    let states = listening.events("orion_drain::connection", "connection state");
    let to = |state: &str| states.iter().filter(|fields| fields["to"] == state).count();
    assert_eq!(
        (to("active"), to("draining"), to("closing"), to("closed")),
        (2, 2, 1, 2),
        "{states:?}"
    );
    // 3. the steps of goodbyes, and timeouts.
    let steps = listening.events("orion_drain::progress", "drain step");
    assert!(
        steps
            .iter()
            .all(|step| step["drain_id"] == id && step["protocol"] == "http1"),
        "{steps:?}"
    );
    let of = |step: &str| steps.iter().filter(|fields| fields["step"] == step).count();
    assert_eq!((of("start"), of("finish")), (2, 1));
    let timeouts = listening.events("orion_drain::progress", "drain timeout");
    assert_eq!(timeouts.len(), 1);
    assert_eq!(
        (timeouts[0]["kind"].as_str(), &timeouts[0]["drain_id"]),
        ("in_request", &id)
    );
    // 5. every close has a reason and the drain's id.
    let closed = listening.events("orion_drain::close", "connection closed");
    assert_eq!(closed.len(), 1);
    assert_eq!(
        (closed[0]["close_reason"].as_str(), &closed[0]["drain_id"]),
        ("drained", &id)
    );
    let forced = listening.events("orion_drain::close", "connection closed by force");
    assert_eq!(forced.len(), 1);
    assert_eq!(
        (forced[0]["close_reason"].as_str(), &forced[0]["drain_id"]),
        ("deadline", &id)
    );
    let drained = listening
        .events("orion_drain::close", "drained")
        .pop()
        .expect("the end");
    assert_eq!(
        (drained["drain_id"].as_str(), drained["left"].as_str()),
        (id.as_str(), "1"),
        "one connection is cut"
    );

    // Spans: each below the one that led to it, all over but that of nothing.
    let drain = listening.spans("drain").pop().expect("a drain");
    assert_eq!(
        (drain.parent, drain.fields["drain_id"].as_str()),
        (Some("lds_update"), id.as_str())
    );
    assert_eq!(drain.fields["left"], "1");
    let connections = listening.spans("connection");
    assert_eq!(connections.len(), 2);
    for connection in &connections {
        assert_eq!(
            (connection.parent, connection.fields["listener"].as_str()),
            (None, "in")
        );
        assert_eq!(
            (
                connection.fields["version"].as_str(),
                &connection.fields["drain_id"]
            ),
            ("1", &id)
        );
        assert_eq!(connection.fields["protocol"], "http1");
    }
    let mut reasons: Vec<_> = connections
        .iter()
        .map(|one| one.fields["close_reason"].as_str())
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["deadline", "drained"]);
    let handlers = listening.spans("drain_handler");
    assert_eq!(handlers.len(), 2);
    assert!(
        handlers.iter().all(|one| one.parent == Some("connection")),
        "{handlers:?}"
    );
    let deadline = listening.spans("drain_deadline");
    assert_eq!(deadline.len(), 1);
    assert_eq!(deadline[0].parent, Some("drain_handler"));
    for name in [
        "lds_update",
        "drain",
        "connection",
        "drain_handler",
        "drain_deadline",
    ] {
        assert!(
            listening.spans(name).iter().all(|span| span.closed),
            "{name}"
        );
    }

    // Nobody's address is told.
    let heard = listening.0.lock().expect("heard");
    let events = heard.events.iter().map(|(_, fields)| fields);
    for fields in events.chain(heard.spans.values().map(|span| &span.fields)) {
        for port in &ports {
            assert!(
                fields
                    .values()
                    .all(|value| !value.contains(&format!(":{port}"))),
                "{fields:?}"
            );
        }
    }
}

/// A set of listeners that tells `listening`, and its only listener's address.
async fn listen<C: ListenerConfig>(
    config: C,
    options: ListenersOptions,
    handler: impl Handler<C>,
) -> (Listeners<C>, SocketAddr) {
    let name = config.name().to_owned();
    let root = DrainManager::root(DrainSettings::default());
    let observer = StatsObserver::new(Stats::new());
    let (listeners, driver) = Listeners::new(root, ConnTracker::new(), options, observer);
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, handler));
    assert!(
        listeners
            .apply(Update::lds("1", [config]))
            .await
            .is_success()
    );
    let local = listeners
        .local_address(&name)
        .and_then(|local| local.as_socket());
    (listeners, local.expect("it listens"))
}

/// Connects, and waits for the other side to close.
async fn is_closed(address: SocketAddr) {
    let mut client = TcpStream::connect(address).await.expect("a connection");
    // By FIN or by RST.
    drop(client.read_u8().await);
}

async fn told(listening: &Listening, target: &str, message: &str) -> Fields {
    loop {
        if let Some(event) = listening.events(target, message).pop() {
            return event;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_that_no_chain_takes_is_told_with_that_reason() {
    let listening = Listening::default();
    let _subscribed =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(listening.clone()));
    let update = ListenerUpdate::from_json(
        r#"{ "resources": [{
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "in",
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            "filter_chains": [{
                "filter_chain_match": { "source_prefix_ranges": [{ "address_prefix": "10.0.0.0", "prefix_len": 8 }] },
                "filters": []
            }]
        }] }"#,
    );
    let listener = update
        .expect("an update")
        .listeners
        .pop()
        .expect("a listener");
    let served = ServedListener::new(listener, &Stats::new(), |_, _| ());
    let handler = |accepted| async { assert!(Entered::new(accepted).is_none()) };
    let (_listeners, address) = listen(served, ListenersOptions::default(), handler).await;
    is_closed(address).await;
    let closed = told(&listening, "orion_drain::close", "connection closed").await;
    assert_eq!(closed["close_reason"], "no_filter_chain");
    let span = listening.spans("connection").pop().expect("a span");
    assert_eq!(
        (
            span.fields["listener"].as_str(),
            span.fields["version"].as_str()
        ),
        ("in", "1")
    );
}

#[tokio::test]
async fn a_refusal_during_a_drain_is_told_with_the_drains_id() {
    let listening = Listening::default();
    let _subscribed =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(listening.clone()));
    let mut options = ListenersOptions::default();
    options.max_connections_while_draining = Some(0);
    let config = ListenOn::new("in", "127.0.0.1:0".parse().expect("an address"));
    let (listeners, address) = listen(config, options, Tcp::new(|_, _| async {})).await;
    listeners.drain(drain_tree::DrainDirection::All, AcceptPolicy::Keep);
    let started = told(&listening, "orion_drain::listener", "drain started").await;
    assert_eq!(started["reason"], "admin");
    is_closed(address).await;
    let refused = told(&listening, "orion_drain::close", "connection refused").await;
    assert_eq!(
        (refused["close_reason"].as_str(), &refused["drain_id"]),
        ("refused", &started["drain_id"])
    );
}

#[tokio::test]
async fn a_connection_whose_task_panics_is_told_as_such_with_its_listener() {
    let listening = Listening::default();
    let _subscribed =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(listening.clone()));
    let config = ListenOn::new("in", "127.0.0.1:0".parse().expect("an address"));
    let panics = Tcp::new(|_stream, _connection| async {
        tokio::task::yield_now().await;
        std::panic::resume_unwind(Box::new(())); // a panic without a message on stderr
    });
    let (_listeners, address) = listen(config, ListenersOptions::default(), panics).await;
    is_closed(address).await;
    let closed = told(&listening, "orion_drain::close", "connection closed").await;
    assert_eq!(closed["close_reason"], "panicked");
    let span = listening.spans("connection").pop().expect("a span");
    assert_eq!(span.fields["listener"], "in");
}

#[tokio::test]
async fn a_refused_listener_is_told_with_its_field() {
    let listening = Listening::default();
    let _subscribed =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(listening.clone()));
    let root = DrainManager::root(DrainSettings::default());
    let observer = StatsObserver::new(Stats::new());
    let (listeners, _driver) = Listeners::new(
        root,
        ConnTracker::new(),
        ListenersOptions::default(),
        observer,
    );
    let refused = listener_versions::FieldError::new("filter_chains[0]", "is wrong");
    let none = Vec::<ServedListener<HttpServer>>::new();
    let update = Update::lds("1", none).with_refused("in", refused);
    assert!(!listeners.apply(update).await.is_success());
    let told = listening.events("orion_drain::config", "listener refused");
    assert_eq!(told.len(), 1);
    assert!(told[0]["field"].contains("filter_chains[0]"), "{told:?}");
    assert!(told[0]["error"].contains("is wrong"), "{told:?}");
}

/// A host with listeners of its own names what it serves.
#[tokio::test]
async fn a_connection_has_the_names_that_its_host_gives() {
    let listening = Listening::default();
    let _subscribed =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(listening.clone()));
    let node = DrainManager::root(DrainSettings::default());
    let guard = ConnTracker::new().group("x", 9).open(Peer::Unknown);
    let watch = node.watch().expect("nothing drains");
    let connection = Connection::new(&node, watch, guard).with_names("own", 7);
    let (mut client, accepted) = tokio::io::duplex(1024);
    let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()));
    let client = async move {
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.expect("it is open");
        client
            .read_to_end(&mut Vec::new())
            .await
            .expect("an answer");
    };
    let served = serve_http(accepted, service_fn(answer), connection, &server);
    let (_, closed) = tokio::join!(client, served);
    assert!(matches!(closed.output, Some(Ok(()))));
    let span = listening.spans("connection").pop().expect("a span");
    assert_eq!(
        (
            span.fields["listener"].as_str(),
            span.fields["version"].as_str()
        ),
        ("own", "7")
    );
}

/// Notes the span that it is dropped in.
struct DroppedIn(Arc<Mutex<Vec<Option<&'static str>>>>);

impl Drop for DroppedIn {
    fn drop(&mut self) {
        let span = tracing::Span::current().metadata().map(|span| span.name());
        self.0.lock().expect("spans").push(span);
    }
}

#[tokio::test]
async fn a_request_goes_in_the_span_of_its_connection_however_that_ends() {
    let _heard = tracing::subscriber::set_default(tracing_subscriber::registry());
    for is_cut in [true, false] {
        let root = DrainManager::root(DrainSettings::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, (accepted, _)) =
            (client.expect("it listens"), accepted.expect("a client"));
        let guard = ConnTracker::new().group("in", 1).open(Peer::Unknown);
        let connection = Connection::new(&root, root.watch().expect("nothing drains"), guard);
        let spans = Arc::default();
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let guard = Arc::clone(&spans);
        let service = service_fn(move |_: Request<ReceivedBody>| {
            let guard = DroppedIn(Arc::clone(&guard));
            began.send(()).expect("the test waits");
            // A response without an end.
            let frames = futures_util::stream::unfold(guard, async |guard| {
                tokio::task::yield_now().await;
                let frame = hyper::body::Frame::data(Bytes::from_static(b"more"));
                Some((Ok::<_, Infallible>(frame), guard))
            });
            let response = Response::new(http_body_util::StreamBody::new(frames));
            async { Ok::<_, Infallible>(response) }
        });
        let server = HttpServer::default();
        let task = tokio::spawn(async move {
            drop(serve_http(accepted, service, connection, &server).await);
        });
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .expect("it is open");
        begun.recv().await.expect("a request");
        if is_cut {
            drop(client);
        } else {
            task.abort();
        }
        drop(task.await);
        assert_eq!(
            *spans.lock().expect("spans"),
            [Some("connection")],
            "{is_cut}"
        );
    }
}
