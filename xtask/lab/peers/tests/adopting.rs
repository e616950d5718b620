//! The lines that change for a server which drains by another crate: each pair does the same for
//! the same connections, before and after. `docs/adopting.md` quotes them, from a mark to its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use drain_signal::{DrainEvent, DrainReason, drive, graceful};
use tokio::sync::oneshot;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long a drain may last.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection of some protocol that ends after it was asked to finish, and not before.
struct Connection {
    is_asked: bool,
    finished: Option<oneshot::Sender<()>>,
}

impl Connection {
    /// Serves the client until that leaves.
    async fn serve(&mut self) {
        std::future::pending().await
    }

    /// Finishes what is open, and leaves.
    async fn finish(mut self) {
        self.end();
    }

    /// Asks it to finish and leave: it goes on as a future.
    fn graceful_shutdown(&mut self) {
        self.is_asked = true;
    }

    fn end(&mut self) {
        if let Some(finished) = self.finished.take() {
            finished.send(()).ok();
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if !self.is_asked {
            return Poll::Pending;
        }
        self.end();
        Poll::Ready(())
    }
}

/// Three connections, and how each says that it has finished.
fn crowd() -> (Vec<Connection>, Vec<oneshot::Receiver<()>>) {
    let one = || {
        let (finished, receiver) = oneshot::channel();
        let connection = Connection {
            is_asked: false,
            finished: Some(finished),
        };
        (connection, receiver)
    };
    (0..3).map(|_| one()).unzip()
}

/// That a drain has asked every connection to finish.
async fn drains<F: Future<Output = Result>>(server: impl FnOnce(Vec<Connection>) -> F) {
    let (connections, finished) = crowd();
    let ended = tokio::time::timeout(LIMIT / 2, server(connections)).await;
    ended
        .expect("it ends long before its limit")
        .expect("it drains");
    for mut finished in finished {
        assert_eq!(
            finished.try_recv(),
            Ok(()),
            "finished before the drain was over"
        );
    }
}

/// All at once, as the others do; without the strategy, each at its slot.
fn event() -> DrainEvent {
    #[expect(clippy::disallowed_methods, reason = "as a user writes it")]
    // [event]
    let event = DrainEvent::new(Instant::now(), LIMIT, DrainReason::ProcessShutdown);
    // [end]
    event.with_strategy(drain_signal::DrainStrategy::Immediate)
}

#[tokio::test]
async fn tokio_util() {
    use tokio_util::{sync::CancellationToken, task::TaskTracker};

    drains(async |connections| {
        // [tokio-util: before]
        let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
        for mut connection in connections {
            let token = token.clone();
            tracker.spawn(async move {
                tokio::select! {
                    () = connection.serve() => {}
                    () = token.cancelled() => connection.finish().await,
                }
            });
        }
        token.cancel();
        tracker.close();
        tokio::time::timeout(LIMIT, tracker.wait()).await?;
        // [end]
        Ok(())
    })
    .await;
    drains(async |connections| {
        let event = event();
        // [tokio-util: after]
        let (trigger, signal) = drain_signal::channel();
        for mut connection in connections {
            let watch = signal.watch()?;
            tokio::spawn(async move {
                tokio::select! {
                    () = connection.serve() => {}
                    _ = watch.signaled() => connection.finish().await,
                }
            });
        }
        let left = trigger.start(event).pace().await;
        // [end]
        assert_eq!(left, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn linkerd_drain() {
    drains(async |connections| {
        // [drain: before]
        let (signal, watch) = drain::channel();
        for connection in connections {
            tokio::spawn(
                watch
                    .clone()
                    .watch(connection, |connection| connection.graceful_shutdown()),
            );
        }
        drop(watch);
        tokio::time::timeout(LIMIT, signal.drain()).await?;
        // [end]
        Ok(())
    })
    .await;
    drains(async |connections| {
        let event = event();
        // [drain: after]
        let (trigger, signal) = drain_signal::channel();
        for connection in connections {
            let connection = graceful(connection, |mut connection: Pin<&mut Connection>, _: &_| {
                connection.graceful_shutdown();
            });
            tokio::spawn(drive(connection, signal.watch()?));
        }
        let left = trigger.start(event).pace().await;
        // [end]
        assert_eq!(left, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn tokio_graceful() {
    drains(async |connections| {
        let (terminate, terminated) = oneshot::channel::<()>();
        // [tokio-graceful: before]
        let shutdown = tokio_graceful::Shutdown::new(terminated);
        for mut connection in connections {
            shutdown.spawn_task_fn(async move |guard| {
                tokio::select! {
                    () = connection.serve() => {}
                    () = guard.cancelled() => connection.finish().await,
                }
            });
        }
        // [end]
        drop(terminate);
        // [tokio-graceful: the end before]
        shutdown.shutdown_with_limit(LIMIT).await?;
        // [end]
        Ok(())
    })
    .await;
    drains(async |connections| {
        let (terminate, terminated) = oneshot::channel::<()>();
        let event = event();
        // [tokio-graceful: after]
        let (trigger, signal) = drain_signal::channel();
        for mut connection in connections {
            let watch = signal.watch()?;
            tokio::spawn(async move {
                let served = watch.run_until_signaled(connection.serve()).await;
                if served.is_none() {
                    connection.finish().await;
                }
            });
        }
        // [end]
        drop(terminate);
        // [tokio-graceful: the end after]
        terminated.await.ok();
        let left = trigger.start(event).pace().await;
        // [end]
        assert_eq!(left, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn tokio_graceful_shutdown() {
    use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};

    drains(async |connections| {
        // [tokio-graceful-shutdown: before]
        Toplevel::new(async move |server: &mut SubsystemHandle| {
            for mut connection in connections {
                let serve = async move |subsystem: &mut SubsystemHandle| {
                    tokio::select! {
                        () = connection.serve() => {}
                        () = subsystem.on_shutdown_requested() => connection.finish().await,
                    }
                    Ok::<_, Infallible>(())
                };
                server.start(SubsystemBuilder::new("connection", serve));
            }
            server.request_shutdown();
        })
        .handle_shutdown_requests(LIMIT)
        .await?;
        // [end]
        Ok(())
    })
    .await;
    drains(async |connections| {
        let event = event();
        // [tokio-graceful-shutdown: after]
        let (trigger, signal) = drain_signal::channel();
        for mut connection in connections {
            let watch = signal.watch()?;
            tokio::spawn(async move {
                tokio::select! {
                    () = connection.serve() => {}
                    _ = watch.signaled() => connection.finish().await,
                }
            });
        }
        let left = trigger.start(event).pace().await;
        // [end]
        assert_eq!(left, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn hyper_util() {
    use http_body_util::Empty;
    use hyper::body::{Bytes, Incoming};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use hyper_util::server::graceful::GracefulShutdown;

    let connections = || -> (Vec<_>, Vec<_>) {
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        (0..3)
            .map(|_| {
                let (client, stream) = tokio::io::duplex(1024);
                let stream = TokioIo::new(stream);
                (
                    client,
                    http1::Builder::new().serve_connection(stream, service),
                )
            })
            .unzip()
    };
    let (_clients, served) = connections();
    let before = async {
        // [hyper-util: before]
        let graceful = GracefulShutdown::new();
        for connection in served {
            tokio::spawn(graceful.watch(connection));
        }
        tokio::time::timeout(LIMIT, graceful.shutdown()).await?;
        // [end]
        Result::Ok(())
    };
    before.await.expect("it drains");

    let (_clients, served) = connections();
    let event = event();
    let after = async {
        // [hyper-util: after]
        let (trigger, signal) = drain_signal::channel();
        for connection in served {
            let connection = graceful(
                connection,
                |connection: Pin<&mut http1::Connection<_, _>>, _: &_| {
                    connection.graceful_shutdown();
                },
            );
            tokio::spawn(drive(connection, signal.watch()?));
        }
        let left = trigger.start(event).pace().await;
        // [end]
        assert_eq!(left, 0);
        Result::Ok(())
    };
    after.await.expect("it drains");
}

/// The marked lines of this file, as far to the left as they go.
fn marked() -> Vec<String> {
    let (mut marked, mut open) = (vec![], None::<Vec<&str>>);
    for line in include_str!("adopting.rs").lines() {
        match (line.trim(), &mut open) {
            ("// [end]", lines) => {
                let lines = lines.take().unwrap_or_default();
                let indents = lines
                    .iter()
                    .map(|line| line.len() - line.trim_start().len());
                let indent = indents.min().unwrap_or_default();
                let lines = lines
                    .iter()
                    .map(|line| line.get(indent..).unwrap_or_default());
                marked.push(lines.collect::<Vec<_>>().join("\n"));
            }
            (line, lines) if line.starts_with("// [") => *lines = Some(vec![]),
            (_, Some(lines)) => lines.push(line),
            _ => {}
        }
    }
    marked
}

#[test]
fn the_page_quotes_these_lines() {
    let page = include_str!("../../../../docs/adopting.md");
    let section = page
        .split("\n## ")
        .find(|part| part.starts_with("From another crate\n"));
    let section = section.expect("the page has the section");
    let blocks = section.split("```rust\n").skip(1);
    let quoted: Vec<&str> = blocks
        .map(|block| block.split("\n```").next().unwrap_or_default())
        .collect();
    assert_eq!(quoted, marked());
}
