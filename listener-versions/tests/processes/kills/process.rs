//! One of the processes: this test program, started again.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufRead as _;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use listener_versions::handover::{
    HandoverOptions, Hooks, Offer, SuccessorEvent, Takeover, set_hooks, start,
};
use listener_versions::{Accepted, Inherited, Listeners};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;

use crate::common::wire::{lds, listeners};
use crate::common::{Config, at};

/// What its standard input has asked of it.
struct Orders {
    stops: HashSet<String>,
    /// How often it may go on where it stops.
    go: usize,
    configure: bool,
}

static ORDERS: Mutex<Option<Orders>> = Mutex::new(None);
static MORE: Condvar = Condvar::new();

fn until<T>(mut found: impl FnMut(&mut Orders) -> Option<T>) -> T {
    let mut orders = ORDERS.lock().expect("no panic");
    loop {
        if let Some(found) = orders.as_mut().and_then(&mut found) {
            return found;
        }
        orders = MORE.wait(orders).expect("no panic");
    }
}

/// Every descriptor that this process may have, as long as they are here.
static OPENED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Opens files until there are no descriptors left.
fn use_up_descriptors() {
    let few = Rlimit {
        current: Some(64),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, few).expect("fewer are allowed");
    let mut opened = OPENED.lock().expect("no panic");
    opened.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
}

/// Stops the whole process at a point: its runtime has one thread.
fn stop_at(point: &'static str) {
    if variable("LACKS_AT").as_deref() == Some(point) {
        use_up_descriptors();
    }
    if !until(|orders| Some(orders.stops.contains(point))) {
        return;
    }
    println!("at {point}");
    until(|orders| {
        let goes = orders.go > 0 || !orders.stops.contains(point);
        orders.go = orders.go.saturating_sub(1);
        goes.then_some(())
    });
}

fn listen_to_stdin() {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let mut locked = ORDERS.lock().expect("no panic");
        let orders = locked.as_mut().expect("it is there");
        match line.split_once(' ') {
            Some(("stop", point)) => {
                orders.stops.insert(point.to_owned());
                println!("noted {point}");
            }
            _ if line == "go" => orders.go += 1,
            _ if line == "configure" => orders.configure = true,
            _ => {
                // "run": it stops nowhere any more.
                orders.stops.clear();
            }
        }
        drop(locked);
        MORE.notify_all();
    }
    // The test is over, however it ended.
    std::process::exit(0);
}

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("HANDOVER_{name}")).ok()
}

fn number(name: &str, default: u64) -> u64 {
    variable(name).map_or(default, |value| value.parse().expect("a number"))
}

#[tokio::test]
#[ignore = "a process of the tests below, started by them"]
async fn process() {
    let Some(path) = variable("PATH") else { return };
    let stops = variable("STOPS").unwrap_or_default();
    let stops = stops.split(',').map(str::to_owned).collect();
    *ORDERS.lock().expect("no panic") = Some(Orders {
        stops,
        go: 0,
        configure: number("WAITS", 0) == 0,
    });
    println!("pid {}", std::process::id());
    std::thread::spawn(listen_to_stdin);
    set_hooks(Hooks {
        at: stop_at,
        version: number("VERSION", 1).try_into().expect("a version"),
        features: number("FEATURES", 0).try_into().expect("features"),
    });
    let options = HandoverOptions::default().with_patience(Duration::from_secs(20));
    let begun = match start(path.as_ref(), &options).await {
        Ok(begun) => begun,
        Err(error) => return println!("failed: {error}"),
    };
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    let label = number("LABEL", 0);
    // Ready to accept, before it may.
    tokio::spawn(
        listeners
            .worker()
            .run(move |accepted| answer(accepted, label)),
    );
    let offer = match begin(begun, &listeners).await {
        Ok(offer) => offer,
        Err(error) => return println!("failed: {error}"),
    };
    OPENED.lock().expect("no panic").clear();
    println!("serving");
    hand_over(offer, &listeners, &options).await;
}

async fn begin(
    mut begun: Takeover,
    listeners: &Listeners<Config>,
) -> Result<Offer, Box<dyn std::error::Error>> {
    let address = variable("ADDRESS")
        .expect("an address")
        .parse()
        .expect("an address");
    listeners.inherit(begun.sockets());
    lds(listeners, [at("a", address, 0)]).await;
    if begun.pid().is_some() {
        println!("configures");
        until(|orders| orders.configure.then_some(()));
    }
    stop_at("new: ready");
    let mut offer = begun.serving(listeners).await?;
    // The old process drains as long as it likes.
    tokio::spawn(offer.predecessor_ends(std::future::pending()));
    Ok(offer)
}

async fn hand_over(mut offer: Offer, listeners: &Listeners<Config>, options: &HandoverOptions) {
    let mut successor = loop {
        match offer.next(listeners, options, &Inherited::new()).await {
            Ok(successor) => break successor,
            Err(error) => println!("goes on: {error}"),
        }
    };
    println!("replaced");
    loop {
        match successor.next().await {
            SuccessorEvent::Died => println!("died"),
            SuccessorEvent::Replaced => println!("replaced"),
            event => println!("{event:?}"),
        }
    }
}

fn answer(accepted: Accepted<Config>, label: u64) {
    tokio::spawn(async move {
        let Accepted {
            mut stream,
            watch,
            conn,
            ..
        } = accepted;
        if stream.write_u64(label).await.is_ok() {
            drop(stream.shutdown().await);
        }
        drop((watch, conn));
    });
}
