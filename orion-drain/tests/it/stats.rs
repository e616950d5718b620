//! Orion's metrics and the refusals of listeners, over real connections; and the exposition, read
//! by parsers that are not ours.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use conn_tracker::{CloseReason, ConnState, ConnTracker};
use drain_tree::{DrainManager, DrainSettings, DrainStrategy};
use listener_versions::{
    AcceptPolicy, Accepted, ListenAddress, ListenerConfig, Listeners, ListenersOptions, Update,
};
use orion_drain::StatsObserver;
use orion_drain::config::ListenerUpdate;
use orion_drain::listener::{Entered, ServedListener};
use orion_drain::serve::serve;
use orion_drain::stats::{Stats, StatsSnapshot};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

#[derive(PartialEq)]
struct Config(&'static str, ListenAddress, u32);

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        self.0
    }

    fn address(&self) -> &ListenAddress {
        &self.1
    }

    fn same_content(&self, other: &Self) -> bool {
        self == other
    }
}

struct Bench {
    stats: Stats,
    tracker: ConnTracker,
    listeners: Listeners<Config>,
    accepted: mpsc::UnboundedReceiver<Accepted<Config>>,
}

const DRAIN_TIME: Duration = Duration::from_secs(40);

impl Bench {
    fn new(options: ListenersOptions) -> Self {
        let (stats, tracker) = (Stats::new(), ConnTracker::new());
        let settings = DrainSettings::default()
            .with_drain_time(DRAIN_TIME)
            .with_strategy(DrainStrategy::Immediate);
        let observer = StatsObserver::new(stats.clone());
        let (listeners, driver) = Listeners::new(
            DrainManager::root(settings),
            tracker.clone(),
            options,
            observer,
        );
        tokio::spawn(driver);
        let (to_test, accepted) = mpsc::unbounded_channel();
        let worker = listeners.worker();
        tokio::spawn(worker.run(move |connection| to_test.send(connection).unwrap_or(())));
        Self {
            stats,
            tracker,
            listeners,
            accepted,
        }
    }

    async fn update(&self, listeners: &[(&'static str, u32)]) {
        let address: ListenAddress = "127.0.0.1:0".parse().expect("an address");
        let configs = listeners
            .iter()
            .map(|(name, content)| Config(name, address.clone(), *content));
        let report = self.listeners.apply(Update::lds("v", configs)).await;
        assert!(report.is_success(), "{report:?}");
    }

    async fn connect(&self) -> TcpStream {
        let local = self.listeners.local_address("in").expect("it listens");
        let local = local.as_socket().expect("a port");
        TcpStream::connect(local).await.expect("a connection")
    }

    async fn accept(&mut self) -> (TcpStream, Accepted<Config>) {
        let client = self.connect().await;
        (client, self.accepted.recv().await.expect("it is accepted"))
    }

    fn snapshot(&self) -> StatsSnapshot {
        let (versions, chains) = (self.listeners.snapshot(), self.listeners.draining_chains());
        self.stats
            .snapshot()
            .with_connections(&self.tracker, &versions, &chains)
    }

    fn value(&self, name: &str) -> Option<u64> {
        self.snapshot().get(name)
    }

    async fn until_reaped(&self, alive: usize) {
        while self.listeners.snapshot().len() > alive {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn the_six_metrics_of_a_drain_that_empties_and_of_one_that_times_out() {
    let mut bench = Bench::new(ListenersOptions::default());
    bench.update(&[("in", 1)]).await;
    assert_eq!(
        bench.value("orion_listener_versions_active{listener=\"in\"}"),
        Some(1)
    );
    let (_client, first) = bench.accept().await;
    bench.update(&[("in", 2)]).await;
    let (_client, second) = bench.accept().await;
    let at_once = || bench.value("orion_drain_strategy_usage_total{strategy=\"immediate\"}");
    assert_eq!(at_once(), Some(1));
    for (name, value) in [
        ("orion_listener_versions_active{listener=\"in\"}", 2),
        (
            "orion_listener_drain_connections_active{listener=\"in\"}",
            1,
        ),
        ("orion_listener_drain_timeouts_total{listener=\"in\"}", 0),
        (
            "orion_listener_drain_duration_seconds_count{listener=\"in\"}",
            0,
        ),
        (
            "orion_connection_state_transitions_total{state=\"active\"}",
            2,
        ),
        ("orion_drain_strategy_usage_total{strategy=\"gradual\"}", 0),
    ] {
        assert_eq!(bench.value(name), Some(value), "{name}");
    }
    first
        .conn
        .set_state(ConnState::Draining)
        .expect("a step forward");
    drop(first);
    bench.until_reaped(1).await;
    for (name, value) in [
        ("orion_listener_versions_active{listener=\"in\"}", 1),
        (
            "orion_listener_drain_duration_seconds_count{listener=\"in\"}",
            1,
        ),
        (
            "orion_connection_state_transitions_total{state=\"draining\"}",
            1,
        ),
        (
            "orion_connection_state_transitions_total{state=\"closed\"}",
            1,
        ),
        ("orion_connections_closed_total{reason=\"drained\"}", 1),
    ] {
        assert_eq!(bench.value(name), Some(value), "{name}");
    }
    assert_eq!(
        bench.value("orion_listener_drain_connections_active{listener=\"in\"}"),
        Some(0)
    );

    tokio::time::pause();
    bench.update(&[]).await;
    tokio::time::sleep(DRAIN_TIME + Duration::from_secs(1)).await;
    bench.until_reaped(0).await;
    let snapshot = bench.snapshot();
    let get = |name: &str| snapshot.get(name);
    assert_eq!(
        get("orion_listener_drain_timeouts_total{listener=\"in\"}"),
        Some(1)
    );
    assert_eq!(
        get("orion_listener_drain_duration_seconds_count{listener=\"in\"}"),
        Some(2)
    );
    assert_eq!(
        get("orion_listener_versions_active{listener=\"in\"}"),
        None,
        "gone with it"
    );
    let text = snapshot.to_prometheus();
    for line in [
        "# TYPE orion_listener_drain_duration_seconds histogram",
        "orion_listener_drain_duration_seconds_bucket{listener=\"in\",le=\"30\"} 1",
        "orion_listener_drain_duration_seconds_bucket{listener=\"in\",le=\"60\"} 2",
        "orion_listener_drain_duration_seconds_bucket{listener=\"in\",le=\"+Inf\"} 2",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    drop(second);
}

#[tokio::test]
async fn an_operators_drain_counts_once_for_each_version_whatever_follows() {
    let mut bench = Bench::new(ListenersOptions::default());
    bench.update(&[("in", 1), ("other", 1)]).await;
    let (_client, _open) = bench.accept().await;
    let immediate =
        |bench: &Bench| bench.value("orion_drain_strategy_usage_total{strategy=\"immediate\"}");
    assert_eq!(immediate(&bench), Some(0));
    for _ in 0..2 {
        let draining = bench
            .listeners
            .drain(drain_tree::DrainDirection::All, AcceptPolicy::Keep);
        assert_eq!(draining.len(), 2);
        assert_eq!(immediate(&bench), Some(2));
    }
    // Its own drain joins the operator's.
    bench.update(&[("in", 2), ("other", 1)]).await;
    assert_eq!(
        bench.value("listener_manager.total_listeners_draining"),
        Some(1)
    );
    assert_eq!(immediate(&bench), Some(2));
}

#[tokio::test]
async fn refusals_are_counted_under_envoys_names() {
    let options = ListenersOptions::default()
        .with_max_connections(3)
        .with_max_connections_per_listener(2)
        .with_max_connections_while_draining(1);
    let mut bench = Bench::new(options);
    bench.update(&[("in", 1)]).await;
    let _first = bench.accept().await;
    let _second = bench.accept().await;
    let refused = async |bench: &Bench| {
        let mut byte = [0];
        // Closed without a word; how depends on the system.
        let read = bench.connect().await.read(&mut byte).await;
        assert!(read.map_or(true, |read| read == 0));
    };
    let value = |bench: &Bench, name: &str| bench.value(&format!("listener.127.0.0.1_0.{name}"));
    refused(&bench).await;
    assert_eq!(value(&bench, "downstream_cx_overflow"), Some(1));
    // Another listener's connection takes the last place of all.
    let _other = bench
        .tracker
        .group("other", 9)
        .open(conn_tracker::Peer::Unknown);
    refused(&bench).await;
    assert_eq!(value(&bench, "downstream_global_cx_overflow"), Some(1));
    drop((_other, _second));
    bench
        .listeners
        .drain(drain_tree::DrainDirection::All, AcceptPolicy::Keep);
    refused(&bench).await;
    assert_eq!(value(&bench, "downstream_cx_drain_overflow"), Some(1));
    assert_eq!(value(&bench, "downstream_cx_overflow"), Some(1));
    assert_eq!(
        bench.value("orion_connections_closed_total{reason=\"refused\"}"),
        Some(3)
    );
    drop(_first);
    bench.update(&[]).await;
    bench.until_reaped(0).await;
    assert_eq!(
        value(&bench, "downstream_cx_overflow"),
        None,
        "gone with the version"
    );
}

#[tokio::test]
async fn a_connection_that_no_filter_chain_takes_is_counted_and_closed() {
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
    let update = update.expect("an update");
    assert!(update.rejected.is_empty(), "{:?}", update.rejected);
    let stats = Stats::new();
    let served = update
        .listeners
        .into_iter()
        .map(|one| ServedListener::new(one, &stats, |_, _| ()));
    let served: Vec<_> = served.collect();
    let root = DrainManager::root(DrainSettings::default());
    let observer = StatsObserver::new(stats.clone());
    let tracker = ConnTracker::new();
    let (listeners, driver) =
        Listeners::new(root, tracker.clone(), ListenersOptions::default(), observer);
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, |accepted| async {
        assert!(Entered::new(accepted).is_none())
    }));
    assert!(listeners.apply(Update::lds("1", served)).await.is_success());
    let local = listeners
        .local_address("in")
        .and_then(|local| local.as_socket());
    let mut client = TcpStream::connect(local.expect("it listens"))
        .await
        .expect("a connection");
    assert_eq!(client.read(&mut [0]).await.expect("the end"), 0);
    let count = stats
        .snapshot()
        .get("listener.127.0.0.1_0.no_filter_chain_match");
    assert_eq!(count, Some(1));
    assert_eq!(tracker.closed(CloseReason::NoFilterChain), 1);
}

#[tokio::test]
async fn no_metric_says_who_a_client_is() {
    let mut bench = Bench::new(ListenersOptions::default());
    bench.update(&[("in", 1)]).await;
    let (client, _accepted) = bench.accept().await;
    bench.update(&[("in", 2)]).await;
    let peer = client.local_addr().expect("an address").port().to_string();
    let snapshot = bench.snapshot();
    for text in [snapshot.to_string(), snapshot.to_prometheus()] {
        assert!(!text.contains(&peer), "{text}");
    }
}

#[tokio::test]
async fn one_filter_picks_the_same_metrics_for_text_and_prometheus() {
    let bench = Bench::new(ListenersOptions::default());
    bench.update(&[("in", 1)]).await;
    let mut snapshot = bench.snapshot();
    snapshot.retain(|name| name.contains("versions_active"));
    assert_eq!(
        snapshot.to_string(),
        "orion_listener_versions_active{listener=\"in\"}: 1\n"
    );
    let text = snapshot.to_prometheus();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.ends_with("\norion_listener_versions_active{listener=\"in\"} 1\n"),
        "{text}"
    );
}

/// Statistics in which every type, and every letter that needs care in a label, occurs.
async fn full() -> (Bench, String) {
    let bench = Bench::new(ListenersOptions::default());
    bench
        .update(&[("in \"quoted\\\" {a=\"b\"}\nline", 1)])
        .await;
    bench
        .update(&[("in \"quoted\\\" {a=\"b\"}\nline", 2)])
        .await;
    bench.until_reaped(1).await;
    let _http = bench.stats.http("in.gress\"\\");
    let _tcp = bench.stats.tcp("tcp");
    let text = bench.snapshot().to_prometheus();
    (bench, text)
}

/// The grammar of
/// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details>, without
/// timestamps.
fn strictly(text: &str) -> Vec<String> {
    assert!(text.ends_with('\n'));
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let (mut types, mut series): (HashMap<&str, &str>, HashSet<String>) = Default::default();
    let mut current = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(is_name(help.split(' ').next().expect("a name")), "{line}");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(
                is_name(name) && ["counter", "gauge", "histogram"].contains(&kind),
                "{line}"
            );
            assert!(types.insert(name, kind).is_none(), "{name} has two types");
            current = name;
            continue;
        }
        let open = line.find('{').expect("labels");
        let name = &line[..open];
        let base = match types[current] {
            "histogram" => name
                .trim_end_matches("_bucket")
                .trim_end_matches("_sum")
                .trim_end_matches("_count"),
            _ => name,
        };
        assert_eq!(base, current, "a sample stands under its type");
        // Labels: name="value", in which quotes, backslashes and line feeds are escaped.
        let mut rest = &line[open + 1..];
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label), "{line}");
            let mut letters = value.char_indices();
            let end = loop {
                match letters.next().expect("the end of a value") {
                    (_, '\\') => {
                        let escaped = letters.next().expect("an escape").1;
                        assert!(matches!(escaped, '\\' | '"' | 'n'), "{line}");
                    }
                    (at, '"') => break at,
                    _ => {}
                }
            };
            rest = &value[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        let value = rest.strip_prefix("} ").expect("a value");
        assert!(
            value.parse::<f64>().is_ok_and(|value| value >= 0.0),
            "{line}"
        );
        let key = line[..line.len() - value.len()].to_owned();
        assert!(series.insert(key), "{line} is there twice");
    }
    for name in types.keys().filter(|name| name.starts_with("orion_")) {
        // What promtool's lint asks of names.
        let counts = types[name] == "counter";
        assert_eq!(name.ends_with("_total"), counts, "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
    types.into_keys().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_exposition_keeps_to_the_grammar_of_prometheus() {
    let (_bench, text) = full().await;
    let names = strictly(&text);
    for name in [
        "orion_listener_versions_active",
        "orion_listener_drain_duration_seconds",
        "orion_listener_drain_timeouts_total",
        "orion_connection_state_transitions_total",
        "orion_drain_strategy_usage_total",
        "envoy_http_downstream_cx_drain_close",
    ] {
        assert!(names.iter().any(|have| have == name), "{name}\n{text}");
    }
}

/// `pip install prometheus_client`; `PYTHON` names another interpreter than `python3`.
#[tokio::test]
async fn the_exposition_is_read_by_the_python_client_of_prometheus() {
    let (_bench, text) = full().await;
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python)
        .args(["-c", "import prometheus_client"])
        .output();
    if !has.is_ok_and(|has| has.status.success()) {
        eprintln!("skipped: {python} has no prometheus_client");
        return;
    }
    let script = "import sys\n\
        from prometheus_client.parser import text_string_to_metric_families as parse\n\
        for family in parse(sys.stdin.read()):\n\
        \x20   for sample in family.samples:\n\
        \x20       print(family.type, sample.name, sorted(sample.labels.items()), sample.value)\n";
    let mut child = Command::new(&python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let read = child.wait_with_output().expect("it ends");
    assert!(read.status.success(), "{text}");
    let read = String::from_utf8(read.stdout).expect("text");
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(read.lines().count(), samples, "{read}");
    let line =
        r#"gauge orion_listener_versions_active [('listener', 'in "quoted\\" {a="b"}\nline')] 1"#;
    assert!(read.lines().any(|have| have == line), "{line}\n{read}");
    assert!(
        read.contains("histogram orion_listener_drain_duration_seconds_bucket"),
        "{read}"
    );
}

/// `apt-get install prometheus`; `PROMTOOL` names another program than `promtool`.
#[tokio::test]
async fn the_exposition_is_parsed_by_promtool_and_our_names_pass_its_lint() {
    let (_bench, text) = full().await;
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    if Command::new(&promtool).arg("--version").output().is_err() {
        eprintln!("skipped: there is no {promtool}");
        return;
    }
    let check = |text: &str| {
        let mut child = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(text.as_bytes()).expect("it reads");
        drop(stdin);
        let checked = child.wait_with_output().expect("it ends");
        (
            checked.status.code(),
            String::from_utf8_lossy(&checked.stderr).into_owned(),
        )
    };
    // 1: it cannot be parsed; 3: it can, and there is something to say about names, which are
    // Envoy's.
    let (code, said) = check(&text);
    assert_eq!(code, Some(3), "{said}\n{text}");
    assert!(
        said.lines().all(|line| line.starts_with("envoy_")),
        "{said}"
    );
    let ours: String = text
        .lines()
        .filter(|line| {
            line.trim_start_matches("# HELP ")
                .trim_start_matches("# TYPE ")
                .starts_with("orion_")
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(ours.lines().count() > 20, "{text}");
    assert_eq!(check(&ours), (Some(0), String::new()));
    // The judge judges.
    assert_eq!(check("orion_wrong{ 1\n").0, Some(1));
    assert_eq!(
        check("# TYPE orion_wrong counter\norion_wrong 1\n").0,
        Some(3)
    );
}
