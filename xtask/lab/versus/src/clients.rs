//! The crowd: classes of clients that are correct, know who ended each connection, and write down
//! what they lost.
//!
//! Each looks at its connection before it writes, as the kernel sees it: a close that was visible
//! then is not a loss, the client connects again. Clients that are "away" write so much later than
//! they have looked, as if the network took that long.

mod bytes;
mod connection;
mod h2;
mod http1;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub(crate) use connection::{Visible, look};
pub(crate) use http1::answer;
pub(crate) use tally::{Class, Loss, Summary, Tally};

/// How long an answer may take beyond what it takes by design.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Where clients connect to. Classes that have no address do not play.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doors {
    pub(crate) http1: SocketAddr,
    pub(crate) http2: Option<SocketAddr>,
    pub(crate) tcp: Option<SocketAddr>,
    /// From which long pauses are taken.
    pub(crate) drain_time: Duration,
}

impl Doors {
    fn of(&self, class: Class) -> Option<SocketAddr> {
        match class {
            Class::H2Small | Class::H2Upload | Class::Grpc => self.http2,
            Class::Tcp => self.tcp,
            _ => Some(self.http1),
        }
    }
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) tally: Arc<Tally>,
    doors: Doors,
    stop: watch::Receiver<bool>,
}

/// A crowd that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

/// How many clients of a class there are.
const fn size_of(class: Class) -> usize {
    match class {
        Class::New | Class::H2Small | Class::Grpc | Class::WebSocket | Class::Tcp => 4,
        Class::KeepAlive | Class::Away10 | Class::Away50 => 8,
        Class::Pauses => 16,
        Class::H1Upload | Class::H2Upload => 3,
    }
}

impl Running {
    /// Lets everybody in who has a door.
    pub(crate) fn start(doors: Doors) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Tally::default());
        let crowd = Arc::new(Crowd {
            tally: Arc::clone(&tally),
            doors,
            stop: stopped,
        });
        let mut clients = JoinSet::new();
        for class in Class::ALL {
            if doors.of(class).is_none() {
                continue;
            }
            tally.plays(class);
            for _ in 0..size_of(class) {
                let crowd = Arc::clone(&crowd);
                clients.spawn(async move {
                    // The members of a class do not march in step.
                    sleep(Duration::from_millis(fastrand::u64(..200))).await;
                    client(&crowd, class).await;
                });
            }
        }
        Self {
            tally,
            stop,
            clients,
        }
    }

    /// Sends everybody home; what each class went through.
    pub(crate) async fn end(mut self) -> Vec<Summary> {
        // The clients hold receivers.
        self.stop.send_replace(true);
        let home = async { while self.clients.join_next().await.is_some() {} };
        // Each waits for its last answer, but not for ever.
        timeout(PATIENCE * 2, home).await.ok();
        self.tally.summaries()
    }
}

async fn client(crowd: &Arc<Crowd>, class: Class) {
    match class {
        Class::New => http1::new_connections(crowd).await,
        Class::KeepAlive | Class::Away10 | Class::Away50 | Class::Pauses => {
            http1::keep_alive(crowd, class).await;
        }
        Class::H1Upload => http1::upload(crowd).await,
        Class::H2Small | Class::H2Upload | Class::Grpc => h2::client(crowd, class).await,
        Class::WebSocket => bytes::web_socket(crowd).await,
        Class::Tcp => bytes::tcp(crowd).await,
    }
}

impl Crowd {
    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Sleeps, unless it is time to go home.
    async fn pause(&self, time: Duration) {
        let mut stop = self.stop.clone();
        // An error means that the sender is gone, and so is the crowd.
        timeout(time, stop.wait_for(|stop| *stop)).await.ok();
    }

    /// Connects; a failure is written down, and some time passes.
    async fn connect(&self, class: Class) -> Option<TcpStream> {
        let to = self.doors.of(class)?;
        match timeout(PATIENCE, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => {
                // Small writes must not wait for acknowledgements.
                stream.set_nodelay(true).ok();
                return Some(stream);
            }
            Ok(Err(error)) => self.tally.lost(class, Loss::of_connect(&error)),
            Err(_) => self.tally.lost(class, Loss::Late),
        }
        self.pause(Duration::from_millis(20)).await;
        None
    }
}
