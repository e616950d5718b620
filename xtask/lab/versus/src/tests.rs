//! The clients are checked themselves: who changes nothing loses nothing, and who drops connections
//! is found out.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rig::upstream::{Upstream, echo};
use tokio::time::{sleep, timeout};

use crate::clients::Class::{Away10, Away50, H1Upload, KeepAlive, New, Pauses, WebSocket};
use crate::clients::{Doors, Running, Summary};
use crate::programs::Programs;
use crate::proxies::Kind;
use crate::stage::Stage;
use crate::storm::storm;
use crate::upstream::{Upstreams, answer};

const LASTS: Duration = Duration::from_secs(2);

fn lost(classes: &[Summary]) -> u64 {
    classes.iter().map(Summary::losses).sum()
}

/// The crowd before the server itself, which drops each connection so long after its accept; the
/// next one a little later or sooner, so that the ends meet the clients in every moment of their
/// turns.
async fn without_a_proxy(lives: Duration) -> Vec<Summary> {
    let accepted = AtomicU64::new(0);
    let http = Upstream::start(move |stream| {
        let lives = lives + Duration::from_millis(accepted.fetch_add(1, Relaxed) * 7 % 64);
        async move {
            let service = service_fn(async |request| Ok::<_, Infallible>(answer(request).await));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            timeout(lives, connection.with_upgrades()).await.ok();
        }
    });
    let tcp = Upstream::start(move |stream| async move {
        timeout(lives, echo(stream)).await.ok();
    });
    let (http, tcp) = (http.await.unwrap(), tcp.await.unwrap());
    let crowd = Running::start(Doors {
        http1: http.address,
        http2: None,
        tcp: Some(tcp.address),
        drain_time: Duration::from_secs(1),
    });
    sleep(LASTS).await;
    crowd.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_server_that_drops_nothing_nothing_is_lost() {
    let classes = without_a_proxy(Duration::from_secs(60)).await;
    assert!(classes.iter().all(|class| class.ok > 0), "{classes:#?}");
    assert_eq!(lost(&classes), 0, "{classes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_server_that_drops_connections_the_clients_that_cannot_see_it_lose() {
    let classes = without_a_proxy(Duration::from_millis(310)).await;
    for class in &classes {
        // The others see the close before they write, but for a moment.
        if matches!(class.class, Away10 | Away50 | H1Upload) {
            assert!(class.losses() > 0, "{class:?} of {classes:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds the peers in release mode: `cargo xtask ci --full versus`"]
async fn a_proxy_that_rebinds_and_drops_is_found_out_by_every_class() {
    let programs = tokio::task::spawn_blocking(Programs::peers);
    let stage = Stage {
        programs: programs.await.unwrap().unwrap(),
        upstreams: Upstreams::start().await.unwrap(),
        drain_time: Duration::from_secs(2),
        rounds: 1,
        kinds: Vec::new(),
        again: false,
        failed: Mutex::default(),
    };
    let calm = storm(&stage, Kind::Broken, 0, LASTS).await.unwrap();
    assert!(calm.classes.iter().all(|class| class.ok > 0), "{calm:#?}");
    assert_eq!(lost(&calm.classes), 0, "{calm:#?}");

    let broken = storm(&stage, Kind::Broken, 8, LASTS).await.unwrap();
    assert_eq!(broken.first_new.len(), 8, "{broken:#?}");
    for class in &broken.classes {
        // Between two requests a close is visible, and a new connection is seldom hit. An upgraded
        // connection is no more among those that are dropped.
        if !matches!(class.class, KeepAlive | New | Pauses | WebSocket) {
            assert!(class.losses() > 0, "{class:?} of {broken:#?}");
        }
    }
}
