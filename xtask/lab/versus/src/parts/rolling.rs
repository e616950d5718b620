//! `rolling`: three instances are replaced one after the other, behind a balancer that notices
//! late.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rig::h1::Wire;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clients::{Loss, Visible, answer, look};
use crate::figure::Figures;
use crate::noise::Noise;
use crate::programs::Programs;
use crate::servers::{Instance, Server, present};
use crate::stage::Stage;

pub(crate) const MEANING: &str = "\
Three instances of each server are replaced one after the other: a new one starts, the old one gets SIGTERM, and the balancer
takes it from its list 2 s later, as a Kubernetes service does at best. Clients connect to the instances that the list names: four
clients open a connection for each request, eight use their connections again from 10 ms away. Ours serves as before for 3 s after
SIGTERM (`lead_time`). The others refuse new connections at once. They need a `preStop` hook that sleeps before SIGTERM; then only
a request that crosses the close of a kept-alive connection can be lost.";

const LIMIT: Duration = Duration::from_secs(3);
const LEAD: Duration = Duration::from_secs(3);
const NOTICED: Duration = Duration::from_secs(2);
const INSTANCES: usize = 3;

/// How many servers are played at the same time.
const AT_ONCE: usize = 4;

/// Whom clients may connect to, and what they went through.
#[derive(Debug, Default)]
struct Balancer {
    list: Mutex<Vec<SocketAddr>>,
    lost: Mutex<Vec<Loss>>,
    ok: Mutex<u64>,
}

impl Balancer {
    fn pick(&self) -> Option<SocketAddr> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let at = fastrand::usize(..list.len().max(1));
        list.get(at).copied()
    }

    fn add(&self, address: SocketAddr) {
        self.list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(address);
    }

    fn remove(&self, address: SocketAddr) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|at| *at != address);
    }

    fn lost(&self, how: Loss) {
        self.lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(how);
    }

    fn ok(&self) {
        *self.ok.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

pub(crate) async fn play(stage: &Stage) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let servers = present(&stage.programs);
    for round in 1..=stage.rounds {
        println!("rolling, round {round}: {} servers", servers.len());
        let noise = Noise::since_now();
        let mut plays = JoinSet::new();
        for server in servers.iter().copied() {
            let (programs, places) = (stage.programs.clone(), Arc::clone(&places));
            plays.spawn(async move {
                // It is never closed.
                let _place = places.acquire().await;
                (server, roll(&programs, server).await)
            });
        }
        let mut played = plays.join_all().await;
        let others = noise.others();
        played.sort_by_key(|(server, _)| servers.iter().position(|at| at == server));
        for (server, rolled) in played {
            let Some(balancer) = stage.or_say(server.name, "rolling", rolled) else {
                continue;
            };
            let table = "Lost while three instances are replaced";
            let lost = balancer.lost.lock().unwrap_or_else(PoisonError::into_inner);
            let figure = figures.at(table, "lost", server.name, "lost");
            figure.add(lost.len() as f64, others);
            for how in lost.iter() {
                figure.kind(how.name(), 1);
            }
            let ok = *balancer.ok.lock().unwrap_or_else(PoisonError::into_inner);
            figures
                .at(table, "*answered*", server.name, "requests")
                .add(ok as f64, others);
        }
    }
    Ok(figures)
}

async fn roll(programs: &Programs, server: Server) -> anyhow::Result<Arc<Balancer>> {
    let balancer = Arc::new(Balancer::default());
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        let instance = Instance::start(programs, server, LIMIT, LEAD).await?;
        balancer.add(instance.address);
        instances.push(instance);
    }
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for nth in 0..12 {
        clients.spawn(client(Arc::clone(&balancer), nth < 4, stopped.clone()));
    }
    sleep(Duration::from_millis(500)).await;
    let mut fresh = Vec::new();
    for mut old in instances {
        let next = Instance::start(programs, server, LIMIT, LEAD).await?;
        balancer.add(next.address);
        fresh.push(next);
        old.process.signal("TERM").await?;
        sleep(NOTICED).await;
        balancer.remove(old.address);
        // It has its time; what does not end by then is ended.
        old.process.end(LIMIT + LEAD + NOTICED).await.ok();
        old.process.kill().await;
    }
    // The clients hold receivers.
    stop.send_replace(true);
    clients.join_all().await;
    Ok(balancer)
}

async fn client(balancer: Arc<Balancer>, short: bool, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        sleep(Duration::from_millis(10)).await;
        let Some(to) = balancer.pick() else { continue };
        let stream = match TcpStream::connect(to).await {
            Ok(stream) => stream,
            Err(error) => {
                balancer.lost(Loss::of_connect(&error));
                continue;
            }
        };
        // Small writes must not wait for acknowledgements.
        stream.set_nodelay(true).ok();
        let mut wire = Wire::new(stream);
        let mut reused = false;
        while !*stop.borrow() && look(&wire.stream) == Visible::Nothing {
            sleep(Duration::from_millis(10)).await;
            // If the write fails, the read says why.
            wire.stream
                .write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .ok();
            match answer(&mut wire, "0", reused).await {
                Ok(head) => {
                    balancer.ok();
                    reused = true;
                    if short || head.close() {
                        break;
                    }
                }
                Err(how) => {
                    balancer.lost(how);
                    break;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}
