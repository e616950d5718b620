//! An echo server whose version changes twenty times while four clients talk to it. No client is
//! refused.
//!
//! ```sh
//! cargo run -p listener-versions --example echo
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainOutcome, DrainReason, DrainSettings};
use listener_versions::{
    Accepted, ListenAddress, ListenerConfig, ListenerObserver, Listeners, ListenersOptions, Update,
    VersionView,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy};
use tokio::net::TcpStream;
use tokio::sync::watch;

const UPDATES: u32 = 20;
const CLIENTS: usize = 4;
/// An update each time that so many connections have been served.
const PACE: usize = 200;

#[derive(PartialEq)]
struct Echo {
    address: ListenAddress,
    banner: String,
}

impl ListenerConfig for Echo {
    type Chain = ();

    fn name(&self) -> &str {
        "echo"
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn same_content(&self, other: &Self) -> bool {
        self == other
    }
}

/// Prints what happens to versions.
struct Print;

impl ListenerObserver for Print {
    fn activated(&self, version: &VersionView, _: Option<u64>) {
        println!(
            "version {:>2} accepts on {}",
            version.number, version.addresses[0]
        );
    }

    fn drain_started(&self, version: &VersionView, reason: DrainReason) {
        println!(
            "version {:>2} drains ({reason:?}), {} connections",
            version.number, version.connections
        );
    }

    fn drained(&self, version: &VersionView, outcome: &DrainOutcome) {
        println!(
            "version {:>2} is gone: {:?} after {:?}",
            version.number, outcome.ending, outcome.took
        );
    }
}

/// The banner, then an echo until the client has said all.
async fn serve(accepted: Accepted<Echo>) {
    let (stream, connection) = accepted.split();
    let version = &connection.version;
    let (read, mut write) = tokio::io::split(stream);
    let echoed = async {
        write.write_all(version.config().banner.as_bytes()).await?;
        copy(&mut BufReader::new(read), &mut write).await?;
        write.shutdown().await
    };
    if let Err(error) = echoed.await {
        eprintln!("version {}: {error}", version.number());
    }
}

async fn talk(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b" world").await?;
    stream.shutdown().await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    Ok(heard)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root =
        DrainManager::root(DrainSettings::default().with_drain_time(Duration::from_secs(10)));
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), Print);
    let driver = tokio::spawn(driver);
    tokio::spawn(listeners.worker().run_each(serve));

    let address: ListenAddress = "127.0.0.1:0".parse()?;
    let config = |update| Echo {
        address: address.clone(),
        banner: format!("hello {update}"),
    };
    listeners.apply(Update::lds("0", [config(0)])).await;
    let local = listeners
        .local_address("echo")
        .and_then(|local| local.as_socket())
        .ok_or("it does not listen")?;

    let (served, mut progress) = watch::channel(0);
    let (stop, stopped) = watch::channel(());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (served, stopped) = (served.clone(), stopped.clone());
            tokio::spawn(async move {
                while stopped.has_changed().is_ok() {
                    let heard = talk(local).await?;
                    assert!(heard.ends_with(" world"), "{heard}");
                    served.send_modify(|served| *served += 1);
                }
                Ok::<_, std::io::Error>(())
            })
        })
        .collect();
    for update in 1..=UPDATES {
        progress
            .wait_for(|served| *served >= PACE * update as usize)
            .await?;
        let report = listeners
            .apply(Update::lds(&update.to_string(), [config(update)]))
            .await;
        assert!(report.is_success());
    }
    drop(stop);
    for client in clients {
        client.await??;
    }
    drop(listeners);
    driver.await?;
    println!(
        "{} connections over {UPDATES} updates, none lost",
        *progress.borrow()
    );
    Ok(())
}
