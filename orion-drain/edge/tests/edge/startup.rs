//! A process that cannot start says why, and does not go on half-started.

use std::net::TcpListener;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::support::edge::{run, run_with};
use crate::support::program::{Program, program};
use crate::support::within;

#[tokio::test]
async fn a_bootstrap_that_cannot_be_used_ends_the_process_and_names_the_field() {
    let listener = "static_resources: { listeners: [{ name: a, address: { socket_address: { address: 127.0.0.1, port_value: 0 } }";
    for (bootstrap, says) in [
        ("admin: [".to_owned(), "not YAML"),
        (
            "admin: { address: { socket_address: { address: here, port_value: 0 } } }".to_owned(),
            "admin.address.socket_address.address: ",
        ),
        (
            "admin: { address: { pipe: { path: /run/admin } } }".to_owned(),
            "admin.address.pipe: not supported",
        ),
        (
            "static_resources: { clusters: [{ name: a, type: EDS }] }".to_owned(),
            "static_resources.clusters[0].type: ",
        ),
        (
            format!("{listener}, drain_type: SOMETIMES }}] }}"),
            "static_resources.listeners[0].drain_type: ",
        ),
        (
            format!("{listener} }}] }}"),
            "static_resources.listeners[0].filter_chains: ",
        ),
    ] {
        let (success, said) = run(&bootstrap).await;
        assert!(!success && said.contains(says), "{bootstrap}: {said}");
    }
}

#[tokio::test]
async fn an_admin_address_of_another_process_ends_the_process() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let address = format!("{{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}");
    let (success, said) = run(&format!("admin: {{ address: {address} }}")).await;
    let says = format!("admin.address: cannot listen on 127.0.0.1:{port}");
    assert!(!success && said.contains(&says), "{said}");
}

/// A bootstrap with a listener at `address` that sends everything to the cluster `there`.
fn routed(address: &str) -> String {
    let types = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3";
    format!(
        "static_resources:\n  clusters: [{{ name: there, type: STATIC }}]\n  listeners:\n  - name: in\n    \
         address: {{ socket_address: {{ address: 127.0.0.1, port_value: {address} }} }}\n    \
         filter_chains: [{{ filters: [{{ name: http, typed_config: {{ '@type': {types}.HttpConnectionManager, \
         stat_prefix: in, route_config: {{ virtual_hosts: [{{ name: all, domains: ['*'], routes: [{{ \
         match: {{ prefix: / }}, route: {{ cluster: there }} }}] }}] }} }} }}] }}]\n"
    )
}

/// The listener is there before the process has started: whoever sends the signal waits for no more
/// than its socket.
#[tokio::test]
async fn sigterm_drains_as_soon_as_there_is_a_listener() {
    for _ in 0..4 {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, socket] = ["bootstrap.yaml", "in"].map(|name| folder.path().join(name));
        let any = "socket_address: { address: 127.0.0.1, port_value: 0 }";
        let path = format!("pipe: {{ path: {} }}", socket.display());
        std::fs::write(&file, routed("0").replace(any, &path)).expect("the bootstrap");
        let flags = "--drain-time-s 4 --shutdown-minimum-s 1 --concurrency 64 --runtime-per-worker";
        let mut command = Command::new(program());
        command.arg("-c").arg(&file).args(flags.split(' '));
        let mut edge = Program::start(&mut command);
        let (at, pid) = (socket.display(), edge.pid());
        let script = format!("until [ -S {at} ]; do :; done; kill -TERM {pid}");
        let mut sender = Command::new("sh");
        let mut sender = sender.args(["-c", &script]).kill_on_drop(true).spawn();
        let sender = sender.as_mut().expect("a shell");
        let sent = within("the signal", sender.wait()).await;
        assert!(sent.expect("it ends").success());
        // The path is there a moment before its socket listens.
        let listens = async {
            loop {
                match UnixStream::connect(&socket).await {
                    Ok(client) => break client,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let mut client = within("a listener", listens).await;
        let asked = client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        asked.await.expect("it is read");
        rig::h1::head(&mut client).await.expect("an answer");
        drop(client);
        assert_eq!(edge.exit().await.code(), Some(0));
    }
}

const VALIDATE: &[&str] = &["--mode", "validate"];

#[tokio::test]
async fn validating_says_what_is_wrong_and_opens_nothing() {
    // Whoever opened it would fail.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let good = routed(&port.to_string());
    let (success, said) = run_with(VALIDATE, &good).await;
    assert!(success && said.ends_with("bootstrap.yaml' OK\n"), "{said}");
    let (success, said) = run_with(
        VALIDATE,
        &good.replace("stat_prefix: in", "stat_prefix: ''"),
    )
    .await;
    assert!(
        !success && said.contains(".typed_config.stat_prefix: "),
        "{said}"
    );
}

#[tokio::test]
async fn a_static_route_to_a_cluster_that_does_not_exist_is_refused() {
    let nowhere = routed("0").replace("cluster: there", "cluster: nowhere");
    let (success, said) = run_with(VALIDATE, &nowhere).await;
    assert!(
        !success && said.contains(".route.cluster: unknown cluster `nowhere`"),
        "{said}"
    );
    let unchecked = nowhere.replace(
        "{ virtual_hosts",
        "{ validate_clusters: false, virtual_hosts",
    );
    assert_ne!(unchecked, nowhere);
    let (success, said) = run_with(VALIDATE, &unchecked).await;
    assert!(success, "{said}");
}

#[tokio::test]
async fn a_misspelt_field_of_the_bootstrap_is_refused_and_a_flag_allows_it() {
    let misspelt = routed("0").replace("stat_prefix: in,", "stat_prefix: in, drain_timeut: 5s,");
    let (success, said) = run_with(VALIDATE, &misspelt).await;
    assert!(
        !success && said.contains(".typed_config.drain_timeut: no such field"),
        "{said}"
    );
    let flags = [VALIDATE, &["--allow-unknown-static-fields"]].concat();
    let (success, said) = run_with(&flags, &misspelt).await;
    assert!(success, "{said}");
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_file_is_said_at_once_with_lines() {
    let good = routed("0");
    let wrong = good
        .replace(
            "stat_prefix: in,",
            "stat_prefix: in, codec_type: HTTP9, drain_timeut: 5s,",
        )
        .replace("port_value: 0", "port_value: 70000")
        + "node: { id: [a] }\n";
    let lines = |part: &str| {
        let at = wrong.lines().position(|line| line.contains(part));
        at.expect(part) + 1
    };
    for flags in [VALIDATE, &[]] {
        let (success, said) = run_with(flags, &wrong).await;
        assert!(!success, "{said}");
        for (part, says) in [
            (
                "HTTP9",
                "unknown value `HTTP9`, expected one of `AUTO`, `HTTP1`, `HTTP2`",
            ),
            (
                "drain_timeut",
                "drain_timeut: no such field (written: \"5s\")",
            ),
            (
                "70000",
                "port_value: invalid value: integer `70000`, expected a number from 0 to 65535",
            ),
            (
                "node: ",
                "node.id: invalid type: sequence, expected a string",
            ),
        ] {
            let line = format!("  line {}: ", lines(part));
            let found = said
                .lines()
                .any(|it| it.starts_with(&line) && it.contains(says));
            assert!(found, "{line}{says}\n{said}");
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_bootstrap_that_is_no_regular_file_is_refused_and_so_is_what_it_names() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo is there").success());
    let shown = fifo.display().to_string();
    for path in [shown.as_str(), "/dev/zero", "/"] {
        let mut command = Command::new(program());
        command
            .args(["--mode", "validate", "-c", path])
            .kill_on_drop(true);
        let ended = within("the end of edge", command.output()).await;
        let ended = ended.expect("edge starts");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success(), "{path}: {said}");
        let expected = format!("cannot use {path}: not a regular file");
        assert!(said.contains(&expected), "{said}");
    }
    let upstream = crate::support::upstream::Upstream::start().await;
    let listener = crate::support::Http::new("http", 1).yaml().replace(
        "body: { inline_string: 'v1' }",
        &format!("body: {{ filename: {shown:?} }}"),
    );
    let listener = listener
        .split_once('\n')
        .expect("lines")
        .1
        .trim_start()
        .to_owned();
    let listener = format!("  listeners:\n  - {}\n", listener.replace('\n', "\n  "));
    let text = crate::support::yaml::bootstrap("/nowhere".as_ref(), &upstream, "") + &listener;
    let (success, said) = run(&text).await;
    assert!(!success, "{said}");
    let expected =
        format!("direct_response.body.filename: cannot read {shown}: not a regular file");
    assert!(said.contains(&expected), "{said}");
}
