//! The accept loop of one address in one worker. It lives as long as the sockets, whatever versions
//! come and go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

use conn_tracker::{CloseReason, ConnInfo, ConnTracker, Peer};
use futures_util::future::{Either, select};

use super::accepted::ask;
use super::backoff::{Backoff, Next};
use super::limits::{self, Open};
use super::listening::{Acceptor, Listening};
use super::worker_sockets::{WorkerSockets, adopt};
use super::{Accepted, Refusal, Stream};
use crate::live::Reporter;
use crate::{ListenerConfig, ListenerVersion, ListenersOptions};

/// What accept loops share with the one who applies updates.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) tracker: ConnTracker,
    pub(crate) options: ListenersOptions,
    pub(crate) reporter: Reporter,
}

/// Accepts until the sockets are closed, then serves what was left in their queues.
pub(super) async fn accept_loop<C: ListenerConfig, F: Fn(Accepted<C>)>(
    mut acceptor: Acceptor<C>,
    shared: &Shared,
    worker: usize,
    handler: &F,
) {
    let listening = Arc::clone(&acceptor.listening);
    let number = acceptor.number;
    let mut share = WorkerSockets::default();
    let mut backoff = Backoff::default();
    let mut pauses = 0;
    // Until they are closed and their queues saved. A change after this look wakes `changed`.
    while !*acceptor.changes.borrow_and_update() {
        let mut changed = pin!(acceptor.changes.changed());
        let mut lack = share.look(&listening, number).err();
        // Until there is something to look at.
        loop {
            let error = match lack.take() {
                Some(error) => error,
                // Connections first: looking for changes takes a lock.
                None => match select(share.accept(), changed.as_mut()).await {
                    Either::Left((Ok((stream, peer)), _)) => {
                        backoff.reset();
                        pauses = 0;
                        take(&listening, shared, handler, stream, peer, worker);
                        // Another process accepts on this socket too, so it need not run empty.
                        if listening.is_closed() {
                            break;
                        }
                        continue;
                    }
                    // A socket that has just been shut down says so by an error.
                    Either::Left((Err(_), _)) if listening.is_closed() => {
                        drop(changed.await);
                        break;
                    }
                    Either::Left((Err(error), _)) => error,
                    Either::Right(_) => break,
                },
            };
            let Next::Pause(pause) = backoff.after(&error) else {
                continue;
            };
            pauses += 1;
            shared
                .reporter
                .report(|observer| observer.accept_error(listening.local(), &error, pauses));
            if let Either::Left(_) = select(changed.as_mut(), pin!(tokio::time::sleep(pause))).await
            {
                break;
            }
            lack = share.look(&listening, number).err();
        }
    }
    drop(share);
    serve_saved(&listening, shared, worker, handler).await;
}

/// Serves what was in the queues when the sockets closed.
async fn serve_saved<C: ListenerConfig, F: Fn(Accepted<C>)>(
    listening: &Listening<C>,
    shared: &Shared,
    worker: usize,
    handler: &F,
) {
    let mut backoff = Backoff::default();
    let mut pauses = 0;
    loop {
        let connection = match listening.next_saved() {
            Ok(Some(connection)) => connection,
            Ok(None) => return,
            Err(error) => {
                if let Next::Pause(pause) = backoff.after(&error) {
                    pauses += 1;
                    shared.reporter.report(|observer| {
                        observer.accept_error(listening.local(), &error, pauses)
                    });
                    tokio::time::sleep(pause).await;
                }
                continue;
            }
        };
        backoff.reset();
        match adopt(connection) {
            Ok((stream, peer)) => take(listening, shared, handler, stream, peer, worker),
            Err(_) => {
                let version = listening.current().map_or(0, |version| version.number());
                shared.reporter.report(|observer| {
                    observer.refused(listening.local(), version, Refusal::Unregistered)
                });
            }
        }
    }
}

/// Gives a connection to the version that takes it, or refuses it and says why.
fn take<C: ListenerConfig, F: Fn(Accepted<C>)>(
    listening: &Listening<C>,
    shared: &Shared,
    handler: &F,
    stream: Stream,
    peer: Peer,
    worker: usize,
) {
    let accepted = match admit(listening, shared, stream, peer, worker) {
        Ok(accepted) => accepted,
        Err((version, refusal)) => {
            report_refusal(listening, shared, version, refusal);
            return;
        }
    };
    let number = accepted.version.number();
    // The handler is not ours: a panic over one connection must not end the socket's accept loop.
    if catch_unwind(AssertUnwindSafe(|| handler(accepted))).is_err() {
        shared
            .reporter
            .report(|observer| observer.handler_panicked(listening.local(), number));
    }
}

/// A connection that the program hands in, at an internal address.
pub(crate) fn enter<C: ListenerConfig>(
    listening: &Listening<C>,
    shared: &Shared,
    peer: Peer,
) -> Result<Accepted<C, ()>, Refusal> {
    admit(listening, shared, (), peer, 0).map_err(|(version, refusal)| {
        report_refusal(listening, shared, version, refusal);
        refusal
    })
}

/// Gives a connection to the version that takes it; or closes it, and says which version refuses it
/// and why.
fn admit<C: ListenerConfig, S>(
    listening: &Listening<C>,
    shared: &Shared,
    stream: S,
    peer: Peer,
    worker: usize,
) -> Result<Accepted<C, S>, (u64, Refusal)> {
    let (version, watch) = listening
        .admit()
        .map_err(|version| (version.map_or(0, |v| v.number()), Refusal::DrainCompleted))?;
    let handle = watch.handle();
    let info = ConnInfo::new(peer).with_control(move |request| ask(&handle, request));
    let conn = version.group().open(info);
    if let Err(refusal) = check(shared, &version) {
        conn.set_close_reason(CloseReason::Refused);
        return Err((version.number(), refusal));
    }
    Ok(Accepted {
        stream,
        peer,
        version,
        watch,
        conn,
        worker,
    })
}

fn report_refusal<C>(listening: &Listening<C>, shared: &Shared, version: u64, refusal: Refusal) {
    let local = listening.local();
    shared
        .reporter
        .report(|observer| observer.refused(local, version, refusal));
}

/// The connection is counted already, so a limit is never exceeded, also by several workers at
/// once.
fn check<C: ListenerConfig>(shared: &Shared, version: &ListenerVersion<C>) -> Result<(), Refusal> {
    let options = &shared.options;
    let version_limit = version.max_connections();
    if options.admits_all() && version_limit.is_none() {
        return Ok(());
    }
    let per_listener = options.max_connections_per_listener;
    let open = Open {
        total: shared.tracker.len(),
        of_listener: per_listener.map_or(0, |_| version.listener_conns().len()),
        of_version: version.group().len(),
        version_limit,
        version_drains: version.drain().is_draining(),
    };
    limits::check(options, open)
}
