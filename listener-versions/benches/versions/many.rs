//! Many listeners: how long a process takes to open them, to update one of them, and a new process
//! to take them over; and what they allocate.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use listener_versions::handover::{HandoverOptions, Offer, take_over};
use listener_versions::{Inherited, Listeners, Update};
use measure::{Row, Target, median};

use crate::config::{Config, listeners, runtime};

/// An address that no other listener has: below the ports that the kernel chooses. With one port at
/// many addresses the kernel would look through all of them for each bind.
fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 77, 0, 1], 10_000 + index as u16))
}

/// So many updates are timed.
const UPDATES: usize = 100;

fn configs(count: usize) -> Vec<Config> {
    let config = |index| Config {
        name: format!("listener-{index}"),
        address: address(index).into(),
        content: 0,
    };
    (0..count).map(config).collect()
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds for as many sockets and nothing else.
fn sockets(count: usize) -> f64 {
    let began = Instant::now();
    let sockets: Vec<_> = (0..count)
        .map(|index| TcpListener::bind(address(index)).expect("a socket"))
        .collect();
    let took = millis(began);
    assert_eq!(sockets.len(), count);
    took
}

/// Microseconds for an update of one listener of so many, until the old version is removed; ten in
/// turn.
async fn update_one(of: &Listeners<Config>, count: usize) -> f64 {
    let all = configs(count);
    let mut took = Vec::new();
    for content in 1..=UPDATES {
        let config = Config {
            content: content as u64,
            ..all[content % 10 * (count / 10)].clone()
        };
        let began = Instant::now();
        let report = of.apply(Update::put(config)).await;
        // The driver sees that nothing is left of the old version.
        tokio::task::yield_now().await;
        took.push(millis(began) * 1e3);
        assert!(report.is_success(), "{:?}", report.errors().next());
    }
    median(took)
}

/// The same of ten listeners.
async fn update_one_of_ten() -> f64 {
    let (ten, driver) = listeners(Duration::from_secs(600));
    tokio::spawn(driver);
    let report = ten.apply(Update::lds("v", configs(10))).await;
    assert!(report.is_success(), "{:?}", report.errors().next());
    update_one(&ten, 10).await
}

struct Took {
    sockets: f64,
    ten: f64,
    start: f64,
    update: f64,
    bytes: f64,
    handover: f64,
}

async fn start_and_hand_over(count: usize) -> Took {
    let (sockets, ten) = (sockets(count), update_one_of_ten().await);
    let (old, driver) = listeners(Duration::from_secs(600));
    tokio::spawn(driver);
    let mut start = 0.0;
    let counted = allocation_counter::measure(|| {
        let began = Instant::now();
        let update = Update::lds("v", configs(count));
        let report = old.apply_now(update).unwrap_or_else(|_| unreachable!());
        start = millis(began);
        assert!(report.is_success(), "{:?}", report.errors().next());
    });

    let update = update_one(&old, count).await;

    let path = std::env::temp_dir().join(format!("many-{}", std::process::id()));
    let options = HandoverOptions::default();
    let mut offer = Offer::bind(&path).await.expect("no process is there");
    let given = async { offer.next(&old, &options, &Inherited::new()).await };
    let (new, driver) = listeners(Duration::from_secs(600));
    tokio::spawn(driver);
    let taken = async {
        let began = Instant::now();
        let takeover = take_over(&path, &options).await.expect("it is not refused");
        let mut takeover = takeover.expect("a process is there");
        new.inherit(takeover.sockets());
        let report = new.apply(Update::lds("v", configs(count))).await;
        assert!(report.is_success(), "{:?}", report.errors().next());
        let serving = takeover.serving(&new).await.expect("the old one agrees");
        (millis(began), serving)
    };
    let (given, (handover, _serving)) = tokio::join!(given, taken);
    let _successor = given.expect("it is replaced");
    assert!(new.unclaimed().is_empty());
    std::fs::remove_file(&path).expect("it is there");
    Took {
        sockets,
        ten,
        start,
        update,
        bytes: counted.bytes_current as f64 / count as f64,
        handover,
    }
}

pub(crate) fn rows(quick: bool) -> Vec<Row> {
    // The old process has two descriptors of each socket for a moment, and the new one, which is
    // the same process here, a third.
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = descriptors.map_or(usize::MAX, |most| most as usize / 3 - 100);
    let (count, rounds) = if quick {
        (50, 1)
    } else {
        (10_000.min(most), 5)
    };
    let took: Vec<Took> = (0..rounds)
        .map(|_| runtime().block_on(start_and_hand_over(count)))
        .collect();
    let of = |part: fn(&Took) -> f64| median(took.iter().map(part).collect());
    let row = |row: String, unit, value: f64, floor_name, floor: f64| Row {
        row,
        unit,
        value,
        floor_name,
        floor,
        ratio: value / floor,
        target: Target::None,
        peers: vec![],
    };
    let sockets = of(|took| took.sockets);
    vec![
        row(
            format!("many: {count} listeners start"),
            "ms",
            of(|took| took.start),
            "as many sockets",
            sockets,
        ),
        row(
            format!("many: update one of {count} listeners"),
            "us",
            of(|took| took.update),
            "one of ten",
            of(|took| took.ten),
        ),
        row(
            format!("many: a new process takes {count} listeners over"),
            "ms",
            of(|took| took.handover),
            "as many sockets",
            sockets,
        ),
        row(
            "many: each listener's memory".to_owned(),
            "bytes",
            of(|took| took.bytes),
            "a kibibyte",
            1024.0,
        ),
    ]
}
