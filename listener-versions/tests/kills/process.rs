//! One of the processes: this test program, started again.

use std::collections::HashSet;
use std::io::BufRead as _;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use listener_versions::handover::{
    HandoverOptions, Hooks, Offer, Start, SuccessorEvent, set_hooks, start,
};
use listener_versions::{Accepted, Inherited, Listeners};
use tokio::io::AsyncWriteExt as _;

use crate::common::wire::{lds, listeners};
use crate::common::{Config, at};

/// What it is told on its standard input.
struct Told {
    stops: HashSet<String>,
    /// How often it may go on where it stops.
    go: usize,
    configure: bool,
}

static TOLD: Mutex<Option<Told>> = Mutex::new(None);
static MORE: Condvar = Condvar::new();

fn until<T>(mut found: impl FnMut(&mut Told) -> Option<T>) -> T {
    let mut told = TOLD.lock().expect("no panic");
    loop {
        if let Some(found) = told.as_mut().and_then(&mut found) {
            return found;
        }
        told = MORE.wait(told).expect("no panic");
    }
}

/// Stops the whole process at a point: its runtime has one thread.
fn stop_at(point: &'static str) {
    if !until(|told| Some(told.stops.contains(point))) {
        return;
    }
    println!("at {point}");
    until(|told| {
        let goes = told.go > 0 || !told.stops.contains(point);
        told.go = told.go.saturating_sub(1);
        goes.then_some(())
    });
}

fn listen_to_stdin() {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let mut told = TOLD.lock().expect("no panic");
        let told_now = told.as_mut().expect("it is there");
        match line.split_once(' ') {
            Some(("stop", point)) => {
                told_now.stops.insert(point.to_owned());
                println!("noted {point}");
            }
            _ if line == "go" => told_now.go += 1,
            _ if line == "configure" => told_now.configure = true,
            _ => {
                // "run": it stops nowhere any more.
                told_now.stops.clear();
            }
        }
        drop(told);
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
    *TOLD.lock().expect("no panic") = Some(Told {
        stops,
        go: 0,
        configure: number("WAITS", 0) == 0,
    });
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
    println!("serving");
    hand_over(offer, &listeners, &options).await;
}

async fn begin(
    begun: Start,
    listeners: &Listeners<Config>,
) -> Result<Offer, Box<dyn std::error::Error>> {
    let address = variable("ADDRESS")
        .expect("an address")
        .parse()
        .expect("an address");
    let config = at("a", address, 0);
    match begun {
        Start::Fresh(offer) => {
            lds(listeners, [config]).await;
            Ok(offer)
        }
        Start::Takeover(mut takeover) => {
            listeners.inherit(takeover.sockets());
            lds(listeners, [config]).await;
            println!("configures");
            until(|told| told.configure.then_some(()));
            let (predecessor, offer) = takeover.serving(listeners).await?;
            // The old process drains as long as it likes.
            tokio::spawn(predecessor.ends(std::future::pending()));
            Ok(offer)
        }
    }
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
