//! The place where an old process and a new one meet, and what both do.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::common::Config;
use crate::common::wire::{answer, lds, listeners};
use listener_versions::handover::{
    HandoverError, HandoverOptions, Offer, Successor, Takeover, take_over,
};
use listener_versions::{Inherited, Listeners};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A folder with the path at which they meet.
pub(crate) struct Meeting(pub(crate) PathBuf);

impl Meeting {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("handover-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("edge.sock")
    }

    pub(crate) async fn ask(&self) -> Result<Option<Takeover>, HandoverError> {
        self.ask_with(&HandoverOptions::default()).await
    }

    pub(crate) async fn ask_with(
        &self,
        options: &HandoverOptions,
    ) -> Result<Option<Takeover>, HandoverError> {
        take_over(&self.path(), options).await
    }

    pub(crate) async fn take_over(&self) -> Takeover {
        self.ask()
            .await
            .expect("it is not refused")
            .expect("somebody is there")
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn process(workers: usize) -> Listeners<Config> {
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    work(&listeners, workers);
    listeners
}

pub(crate) fn work(listeners: &Listeners<Config>, workers: usize) {
    for _ in 0..workers {
        tokio::spawn(listeners.worker().run(answer));
    }
}

pub(crate) type Offering = JoinHandle<(Offer, Result<Successor, HandoverError>)>;

/// Waits for one attempt.
pub(crate) fn offering(offer: Offer, listeners: &Listeners<Config>) -> Offering {
    offering_with(offer, listeners, HandoverOptions::default())
}

pub(crate) fn offering_with(
    mut offer: Offer,
    listeners: &Listeners<Config>,
    options: HandoverOptions,
) -> Offering {
    let listeners = listeners.clone();
    tokio::spawn(async move {
        let next = offer.next(&listeners, &options, &Inherited::new()).await;
        (offer, next)
    })
}

pub(crate) async fn offered(meeting: &Meeting, listeners: &Listeners<Config>) -> Offering {
    offering(
        Offer::bind(&meeting.path())
            .await
            .expect("no process is there"),
        listeners,
    )
}

pub(crate) async fn failed(attempt: Offering) -> (Offer, HandoverError) {
    let (offer, outcome) = attempt.await.expect("no panic");
    (offer, outcome.expect_err("nothing came of it"))
}

pub(crate) async fn replaced(attempt: Offering) -> Successor {
    attempt.await.expect("no panic").1.expect("it is replaced")
}

/// The whole of a new process.
pub(crate) async fn restart(meeting: &Meeting, configs: Vec<Config>) -> (Listeners<Config>, Offer) {
    let mut takeover = meeting.take_over().await;
    let new = process(0);
    new.inherit(takeover.sockets());
    lds(&new, configs).await;
    let offer = takeover.serving(&new).await.expect("the old one agrees");
    work(&new, 1);
    (new, offer)
}

/// The same, if it is not refused at the last moment.
pub(crate) async fn try_restart(
    meeting: &Meeting,
    configs: Vec<Config>,
) -> Option<(Listeners<Config>, Offer)> {
    let mut takeover = meeting.ask().await.ok()??;
    let new = process(0);
    new.inherit(takeover.sockets());
    lds(&new, configs).await;
    let offer = takeover.serving(&new).await.ok()?;
    work(&new, 1);
    Some((new, offer))
}

/// The same, until it is not refused.
pub(crate) async fn restart_at_last(
    meeting: &Meeting,
    configs: impl Fn() -> Vec<Config>,
) -> (Listeners<Config>, Offer) {
    loop {
        if let Some(new) = try_restart(meeting, configs()).await {
            return new;
        }
        // So that a test that waits in vain ends.
        tokio::task::yield_now().await;
    }
}

/// As the kernel ends a process: no goodbye is said.
pub(crate) async fn killed(handles: impl Send + 'static) {
    let killed = tokio::spawn(async move {
        let _handles = handles;
        std::panic::resume_unwind(Box::new("killed"));
    });
    killed.await.expect_err("it was killed");
}

/// The process waits for the next one, until what is returned kills it.
pub(crate) async fn offering_until_killed(
    meeting: &Meeting,
    old: &Listeners<Config>,
) -> impl AsyncFnOnce(Listeners<Config>) + use<> {
    let mut offer = Offer::bind(&meeting.path())
        .await
        .expect("no process is there");
    let (kill, killed) = tokio::sync::oneshot::channel();
    let attempt = tokio::spawn({
        let old = old.clone();
        async move {
            let (options, more) = (HandoverOptions::default(), Inherited::new());
            let mut next = std::pin::pin!(offer.next(&old, &options, &more));
            tokio::select! {
                _ = &mut next => panic!("it was not asked"),
                _ = killed => std::panic::resume_unwind(Box::new("killed")),
            }
        }
    });
    async move |old: Listeners<Config>| {
        kill.send(()).expect("it waits");
        attempt.await.expect_err("it was killed");
        // As the kernel closes them.
        drop(old.share_sockets());
    }
}

/// What a process says first that speaks this version of the protocol, as it is written.
pub(crate) fn hello(version: u8) -> Vec<u8> {
    let mut hello = b"LVHO\0\x01\x01\0\0\0\0\x28".to_vec();
    hello[5] = version;
    // No owner, a namespace that is not known, the first in a row, just started, nothing special.
    hello.extend([0; 40]);
    hello
}

/// Reads messages until there is one of this kind.
pub(crate) fn hear(stream: &mut UnixStream, kind: u8) {
    loop {
        let mut header = [0; 12];
        stream.read_exact(&mut header).expect("a message");
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        stream
            .read_exact(&mut vec![0; length as usize])
            .expect("its body");
        if header[6] == kind {
            return;
        }
    }
}

pub(crate) fn park(address: SocketAddr) -> Vec<std::net::TcpStream> {
    let connect = |_| std::net::TcpStream::connect(address).expect("the kernel takes it");
    (0..32).map(connect).collect()
}

pub(crate) async fn answered(parked: Vec<std::net::TcpStream>) {
    for client in parked {
        client.set_nonblocking(true).expect("a socket");
        let mut client = TcpStream::from_std(client).expect("a socket");
        client.read_u64().await.expect("it is served");
    }
}

pub(crate) async fn refused(address: SocketAddr) {
    let error = TcpStream::connect(address)
        .await
        .expect_err("no process listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
