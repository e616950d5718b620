//! An app of `axum::serve` whose responses say that their connection leaves.

use std::convert::Infallible;
use std::future::{Ready, pending, poll_fn, ready};
use std::io;
use std::task::{Context, Poll};

use axum::serve::{IncomingStream, Listener};
use conn_tracker::Peer;
use listener_versions::ListenerConfig;
use tower_service::Service;

use super::app_service::AppService;
use super::{IncomingIo, ListenersIncoming};

/// A set of listeners has several addresses: [`Listeners::local_address`] knows them, `local_addr`
/// is [`Unsupported`](io::ErrorKind::Unsupported) here.
///
/// [`Listeners::local_address`]: listener_versions::Listeners::local_address
impl<C: ListenerConfig> Listener for ListenersIncoming<C> {
    type Io = IncomingIo;
    type Addr = Peer;

    async fn accept(&mut self) -> (IncomingIo, Peer) {
        match poll_fn(|cx| self.poll_accept(cx)).await {
            Some(io) => {
                let peer = io.connection().peer().map_or(Peer::Unknown, Peer::from);
                (io, peer)
            }
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A router, or another tower service, for `axum::serve` over [`ListenersIncoming`]: from a
/// connection's slot on its HTTP/1 responses say `connection: close`, and so does a response that
/// comes before the end of its request's body ([`ReceivedBody`](super::ReceivedBody)). Its requests
/// have the [`Connection`](super::Connection) and axum's `ConnectInfo<SocketAddr>` in their
/// extensions.
///
/// `axum::serve` takes a bare router as well; HTTP/1 connections then close at the deadline without
/// a word before.
#[derive(Debug, Clone)]
pub struct DrainApp<S>(S);

impl<S> DrainApp<S> {
    /// Each connection gets a clone of `app`.
    pub const fn new(app: S) -> Self {
        Self(app)
    }
}

impl<S: Clone, C: ListenerConfig> Service<IncomingStream<'_, ListenersIncoming<C>>>
    for DrainApp<S>
{
    type Response = AppService<S>;
    type Error = Infallible;
    type Future = Ready<Result<AppService<S>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: IncomingStream<'_, ListenersIncoming<C>>) -> Self::Future {
        let io = incoming.io();
        let (app, connection) = (self.0.clone(), io.connection().clone());
        ready(Ok(AppService::new(app, connection, io.exchanges().clone())))
    }
}
