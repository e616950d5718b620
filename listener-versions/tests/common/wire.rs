//! Real sockets on loopback: listeners that say which version took a connection, and clients that
//! ask.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use listener_versions::{
    Accepted, ListenAddress, ListenerObserver, Listeners, ListenersOptions, Update,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Config;

/// A hang fails the test; nothing is measured by it.
pub(crate) const HANG: Duration = Duration::from_secs(60);

pub(crate) fn any_port() -> ListenAddress {
    "127.0.0.1:0".parse().expect("an address")
}

/// A fixed address that no other test has, and no client gets by chance.
#[cfg(target_os = "linux")]
pub(crate) fn free() -> ListenAddress {
    use std::sync::atomic::{AtomicU16, Ordering};

    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    let [.., high, low] = std::process::id().to_be_bytes();
    let port = PORTS.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, high % 127 + 1, low, 1], port)).into()
}

/// A port that no process has at the moment.
#[cfg(not(target_os = "linux"))]
pub(crate) fn free() -> ListenAddress {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").into()
}

pub(crate) fn listeners_with(
    options: ListenersOptions,
    observer: impl ListenerObserver + 'static,
) -> (Listeners<Config>, impl Future<Output = ()> + Send + 'static) {
    Listeners::new(
        DrainManager::root(DrainSettings::default()),
        ConnTracker::new(),
        options,
        observer,
    )
}

pub(crate) fn listeners() -> (Listeners<Config>, impl Future<Output = ()> + Send + 'static) {
    listeners_with(ListenersOptions::default(), ())
}

pub(crate) async fn lds(listeners: &Listeners<Config>, configs: impl IntoIterator<Item = Config>) {
    let report = listeners.apply(Update::lds("v", configs)).await;
    assert!(report.is_success(), "{report:?}");
}

pub(crate) fn port(listeners: &Listeners<Config>, name: &str) -> SocketAddr {
    listeners
        .local_address(name)
        .and_then(|address| address.as_socket())
        .expect("it listens")
}

/// Writes the number of the version that took it to the client, then waits for its end.
pub(crate) fn answer(accepted: Accepted<Config>) {
    tokio::spawn(async move {
        let Accepted {
            mut stream,
            version,
            watch,
            conn,
            ..
        } = accepted;
        let written = stream.write_u64(version.number()).await;
        if written.is_ok() {
            drop(stream.shutdown().await);
            // Until the client has seen it, so that nothing is reset by us.
            drop(stream.read_u8().await);
        }
        drop((watch, conn));
    });
}

/// Connects and asks which version is there.
pub(crate) async fn ask(address: SocketAddr) -> io::Result<u64> {
    TcpStream::connect(address).await?.read_u64().await
}

pub(crate) async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, work).await.expect("it hangs")
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

/// Asks again and again until the sender of `stop` is gone; every answer counts, and none may be
/// older than the one before.
pub(crate) async fn ask_on(
    address: SocketAddr,
    answered: watch::Sender<usize>,
    stop: watch::Receiver<()>,
) -> usize {
    let (mut newest, mut count) = (0, 0);
    while stop.has_changed().is_ok() {
        let version = ask(address)
            .await
            .expect("neither refused nor reset nor unanswered");
        assert!(version >= newest, "version {version} after {newest}");
        newest = version;
        count += 1;
        answered.send_modify(|answered| *answered += 1);
    }
    count
}
