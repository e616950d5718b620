//! edge as a service of systemd, whose part is played here: its sockets, what it is told, and what
//! it keeps.

mod hot_restart;

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::support::program::program;
use crate::support::yaml::bootstrap;
use crate::support::{Edge, End, H1, Http, discovery, is_refused, until_refused, within};

/// The service manager.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

/// What it was told, and what came with it.
struct Told {
    text: String,
    sockets: Vec<OwnedFd>,
}

impl Manager {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { socket, folder }
    }

    /// Starts edge as systemd does: with at most two sockets, under these names.
    async fn edge(&self, flags: &str, first: &str, sockets: Vec<OwnedFd>, names: &str) -> Edge {
        Edge::start_by(self.command(sockets, names), flags, first, "", "").await
    }

    /// The program with what systemd gives it.
    fn command(&self, sockets: Vec<OwnedFd>, names: &str) -> Command {
        let count = sockets.len();
        let mut sockets = sockets.into_iter();
        // A child gets its sockets as standard streams; a shell puts them where systemd does.
        let mut command = Command::new("sh");
        let moved = match count {
            0 => "",
            1 => "exec 3<&0 0</dev/null",
            _ => "exec 3<&0 4<&1 0</dev/null 1>/dev/null",
        };
        let script = format!("{moved}\nLISTEN_PID=$$ exec \"$@\"");
        command.args(["-c", &script, "sh"]).arg(program());
        command.stdin(sockets.next().map_or_else(Stdio::null, Stdio::from));
        command.stdout(sockets.next().map_or_else(Stdio::null, Stdio::from));
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        if count > 0 {
            command.env("LISTEN_FDS", count.to_string());
            command.env("LISTEN_FDNAMES", names);
        }
        command
    }

    /// The next message.
    async fn told(&self) -> Told {
        let receive = || {
            let mut text = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let parts = &mut [IoSliceMut::new(&mut text)];
            let received = recvmsg(&self.socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            let sockets = ancillary.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(sockets) => sockets.collect(),
                _ => vec![],
            });
            let sockets = sockets.collect();
            let text = String::from_utf8_lossy(&text[..received.bytes]);
            let text = text.trim_end().to_owned();
            Ok(Told { text, sockets })
        };
        let received = self.socket.async_io(Interest::READABLE, receive);
        within("a message", received).await.expect("a message")
    }

    async fn hears(&self, text: &str) -> Vec<OwnedFd> {
        let told = self.told().await;
        assert_eq!(told.text, text);
        told.sockets
    }
}

/// A socket that listens, and where.
fn socket() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener.into(), address)
}

/// Ends edge, which may have much to wait for.
async fn end(mut edge: Edge) {
    edge.post("/quitquitquit").await;
    edge.exit().await;
}

fn http(version: u32, port: u16) -> String {
    discovery(
        &version.to_string(),
        &[Http::new("http", version).at("127.0.0.1", port).yaml()],
    )
}

#[tokio::test]
async fn systemd_hears_that_it_is_ready_that_it_stops_and_how_long_that_may_take() {
    let manager = Manager::start();
    let flags = "--drain-time-s 300 --drain-strategy immediate --shutdown-lead-time-s 1";
    let mut edge = manager.edge(flags, &http(1, 0), vec![], "").await;
    manager.hears("READY=1\nSTATUS=serving").await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/held").await;
    let held = edge.upstream.held().await;
    edge.signal("TERM").await;
    manager.hears("STOPPING=1").await;
    for state in ["lead time", "draining"] {
        let told = manager.told().await.text;
        let (status, extend) = told.split_once('\n').expect("two lines");
        assert!(
            status.starts_with(&format!("STATUS={state}, 1 connections, ")),
            "{told}"
        );
        let extend = extend.strip_prefix("EXTEND_TIMEOUT_USEC=").expect("a time");
        let extend: u64 = extend.parse().expect("a number");
        // To the deadline, and 5 s more; from when it was told.
        assert!((300_000_000..=306_000_000).contains(&extend), "{told}");
    }
    held.answer("done");
    assert!(client.response().await.says_close());
    assert_eq!(client.end().await, End::Fin);
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn sighup_reads_the_file_again_between_reloading_and_ready() {
    let manager = Manager::start();
    let edge = manager.edge("", &http(1, 0), vec![], "").await;
    manager.hears("READY=1\nSTATUS=serving").await;
    edge.signal("HUP").await;
    let told = manager.told().await.text;
    let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(
        time.is_some_and(|time| time.parse::<u64>().is_ok()),
        "{told}"
    );
    manager.hears("READY=1\nSTATUS=serving").await;
    assert_eq!(edge.stat("lds.update_attempt").await, 2);
}

#[tokio::test]
async fn ready_follows_reloading_also_if_the_folder_is_not_there_or_the_file_cannot_be_read() {
    let manager = Manager::start();
    let watched = manager.folder.path().join("watched");
    let starting = Edge::start_as(manager.command(vec![], ""), "", |folder, upstream| {
        let lds = folder.join("lds.yaml");
        std::fs::write(&lds, http(1, 0)).expect("the LDS file");
        let text = bootstrap(&lds, upstream, "");
        let file = format!("path: {lds:?}");
        text.replace(
            &file,
            &format!("{file}, watched_directory: {{ path: {watched:?} }}"),
        )
    });
    let edge = starting.await;
    manager.hears("READY=1\nSTATUS=serving").await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    let reload = async |edge: &Edge| {
        edge.signal("HUP").await;
        let told = manager.told().await.text;
        assert!(told.starts_with("RELOADING=1"), "{told}");
        manager.hears("READY=1\nSTATUS=serving").await;
    };
    // What was there goes on.
    edge.replace("resources: [");
    reload(&edge).await;
    let response = client.get("/version").await;
    assert_eq!(
        (response.says_close(), response.ok().as_str()),
        (false, "v1")
    );
    edge.replace(&http(2, 0));
    reload(&edge).await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v2");
    // The folder comes, which counts as a move into it, and is watched from now on.
    std::fs::create_dir(&watched).expect("a folder");
    manager.hears("READY=1\nSTATUS=serving").await;
    edge.replace(&http(3, 0));
    let other = manager.folder.path().join("other");
    std::fs::write(&other, "").expect("a file");
    std::fs::rename(&other, watched.join("other")).expect("it is moved");
    manager.hears("READY=1\nSTATUS=serving").await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v3");
    end(edge).await;
}

#[tokio::test]
async fn who_waited_before_the_process_began_is_served() {
    let manager = Manager::start();
    let (socket, address) = socket();
    let mut client = H1::connect(address).await;
    client.ask("/version").await;
    let mut edge = manager
        .edge("", &http(1, address.port()), vec![socket], "edge.socket")
        .await;
    assert_eq!(client.response().await.ok(), "v1");
    // The unit listens on: what comes while nobody serves waits.
    edge.signal("TERM").await;
    edge.until("draining").await;
    edge.signal("TERM").await;
    edge.exit().await;
}

#[tokio::test]
async fn the_socket_of_a_unit_listens_on_when_the_process_stops() {
    let manager = Manager::start();
    let (socket, address) = socket();
    let unit = socket.try_clone().expect("a descriptor");
    let first = http(1, address.port());
    let flags = "--drain-time-s 5 --shutdown-minimum-s 0";
    let mut edge = manager
        .edge(flags, &first, vec![socket], "edge.socket")
        .await;
    assert_eq!(H1::connect(address).await.get("/version").await.ok(), "v1");
    edge.signal("TERM").await;
    edge.exit().await;
    let mut client = H1::connect(address).await;
    client.ask("/version").await;
    let next = http(2, address.port());
    let _edge = manager.edge(flags, &next, vec![unit], "edge.socket").await;
    assert_eq!(client.response().await.ok(), "v2");
}

#[tokio::test]
async fn what_is_stored_outlives_a_restart_and_a_crash_and_nobody_is_refused() {
    let manager = Manager::start();
    let port = {
        let (_socket, address) = socket();
        address.port()
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let flags = "--systemd-fd-store --drain-time-s 5 --shutdown-minimum-s 0";
    let name = format!("listen-127.0.0.1={port}");
    let mut edge = manager.edge(flags, &http(1, port), vec![], "").await;
    let mut stored = manager.hears(&format!("FDSTORE=1\nFDNAME={name}")).await;
    manager.hears("READY=1\nSTATUS=serving").await;
    for (version, signal) in [(2, "TERM"), (3, "KILL")] {
        let mut served = H1::connect(address).await;
        assert_eq!(
            served.get("/version").await.ok(),
            format!("v{}", version - 1)
        );
        edge.signal(signal).await;
        edge.exit().await;
        // Nobody serves now; whoever comes waits.
        let mut client = H1::connect(address).await;
        client.ask("/version").await;
        let kept = stored.pop().expect("a socket");
        stored.push(kept.try_clone().expect("a descriptor"));
        edge = manager
            .edge(flags, &http(version, port), vec![kept], &name)
            .await;
        assert_eq!(client.response().await.ok(), format!("v{version}"));
    }
}

#[tokio::test]
async fn a_crowd_loses_nothing_over_restarts_with_the_store() {
    let manager = Manager::start();
    let port = {
        let (_socket, address) = socket();
        address.port()
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let flags = "--systemd-fd-store --drain-time-s 10 --shutdown-minimum-s 0";
    let name = format!("listen-127.0.0.1={port}");
    let mut edge = manager.edge(flags, &http(1, port), vec![], "").await;
    let mut stored = manager.hears(&format!("FDSTORE=1\nFDNAME={name}")).await;
    let crowd: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut served = 0_u32;
                let mut last = String::new();
                while last != "v4" {
                    let mut client = H1::connect(address).await;
                    // Kept, until it is told.
                    loop {
                        let response = client.get("/version").await;
                        let says_close = response.says_close();
                        last = response.ok();
                        served += 1;
                        if says_close || last == "v4" {
                            break;
                        }
                    }
                }
                served
            })
        })
        .collect();
    for version in 2..=4 {
        edge.signal("TERM").await;
        edge.exit().await;
        let kept = stored.pop().expect("a socket");
        stored.push(kept.try_clone().expect("a descriptor"));
        edge = manager
            .edge(flags, &http(version, port), vec![kept], &name)
            .await;
    }
    for client in crowd {
        // Whoever is refused, reset or not answered panics.
        assert!(within("v4", client).await.expect("nothing is lost") > 0);
    }
}

#[tokio::test]
async fn a_listener_that_is_removed_leaves_the_store_and_refuses_everybody() {
    let manager = Manager::start();
    let port = {
        let (_socket, address) = socket();
        address.port()
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let name = format!("listen-127.0.0.1={port}");
    let first = http(1, port);
    let mut edge = manager.edge("--systemd-fd-store", &first, vec![], "").await;
    let stored = manager.hears(&format!("FDSTORE=1\nFDNAME={name}")).await;
    manager.hears("READY=1\nSTATUS=serving").await;
    edge.update("2", &[]).await;
    // Although a descriptor of it is still here.
    until_refused(address).await;
    assert!(is_refused(address).await && stored.len() == 1);
    manager
        .hears(&format!("FDSTOREREMOVE=1\nFDNAME={name}"))
        .await;
}

#[tokio::test]
async fn a_unix_socket_of_a_unit_is_served_and_its_path_stays() {
    let manager = Manager::start();
    let path = manager.folder.path().join("socket");
    let unit = std::os::unix::net::UnixListener::bind(&path).expect("a path");
    let listener = Http::new("http", 1).yaml();
    let pipe = format!("pipe: {{ path: {path:?} }}");
    let listener = listener.replace(
        "socket_address: { address: 127.0.0.1, port_value: 0 }",
        &pipe,
    );
    let first = discovery("1", &[listener]);
    let edge = manager
        .edge("", &first, vec![unit.into()], "edge.socket")
        .await;
    let stream = tokio::net::UnixStream::connect(&path)
        .await
        .expect("it listens");
    assert_eq!(H1::over(stream).get("/version").await.ok(), "v1");
    end(edge).await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_socket_that_no_listener_wants_is_told_and_one_that_cannot_listen_refused() {
    let manager = Manager::start();
    let (socket, address) = socket();
    let mut edge = manager
        .edge("", &http(1, 0), vec![socket], "other.socket")
        .await;
    edge.until(&format!("systemd: no listener wants {address}"))
        .await;
    end(edge).await;
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 3<&0 0</dev/null\nexec \"$@\"", "sh"])
        .arg(program());
    command
        .args(["-c", "bootstrap.yaml"])
        .env("LISTEN_FDS", "1");
    command.env("LISTEN_FDNAMES", "dns.socket");
    let ended = command.stdin(OwnedFd::from(datagrams)).output();
    let ended = within("the end of edge", ended).await.expect("edge starts");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success() && said.contains("LISTEN_FDS: \"dns.socket\": "),
        "{said}"
    );
}

#[tokio::test]
async fn a_manager_that_never_reads_holds_up_nothing() {
    let manager = Manager::start();
    let mut edge = manager
        .edge("--drain-time-s 600", &http(1, 0), vec![], "")
        .await;
    let mut client = H1::connect(edge.address("http").await).await;
    // Two messages each; a queue takes ten or so.
    for version in 2..40 {
        edge.signal("HUP").await;
        edge.until("lds: version \"1\": nothing changed").await;
        assert_eq!(client.get("/version").await.ok(), "v1", "{version}");
    }
    edge.signal("TERM").await;
    edge.until("draining 1 connections").await;
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}
