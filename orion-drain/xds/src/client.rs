//! The stream to the control plane: opened, read one response after the other, opened again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::backoff::Backoff;
use super::connect::Target;
use super::refusals::Refusals;
use super::session::{Asker, Delta, Kind, StateOfTheWorld};
use super::streams::Streams;
use super::update::XdsUpdate;
use orion_drain_config::{ApiConfigSource, ApiType, Bootstrap, ListenerUpdate, Refused};
use orion_drain_stats::{ControlPlaneStats, Stats};

/// The largest response that is read, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// Takes listeners from a control plane, and the routes that they refer to by name.
#[derive(Debug)]
pub struct XdsClient {
    source: ApiConfigSource,
    aggregated: bool,
    cluster: String,
    targets: Vec<Target>,
    asker: Asker,
    /// The names of the routes that are wanted, as they change.
    routes: Option<watch::Receiver<BTreeSet<String>>>,
    stats: Stats,
    largest: usize,
    observer: Observer,
}

/// A stream that could not be opened, or ended.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnded {
    /// The cluster that the control plane is in.
    pub cluster: String,
    /// Why.
    pub reason: String,
    /// How long nothing is tried.
    pub wait: Duration,
}

struct Observer(Box<dyn Fn(&StreamEnded) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl XdsClient {
    /// A client of the control plane that this bootstrap names as the source of listeners; `None`
    /// if listeners come from elsewhere. It asks for no routes.
    ///
    /// A cluster with a TLS `transport_socket` is asked over TLS, with ALPN `h2` (feature `tls`).
    /// The files of certificates are read for each connection; one that cannot be read ends the
    /// attempt like a control plane that is away.
    ///
    /// Streams and updates are counted in `listener_manager.lds.*`, and in `control_plane.*` or
    /// `listener_manager.lds.control_plane.*`.
    pub fn of(bootstrap: &Bootstrap, stats: Stats) -> Option<Self> {
        let (source, aggregated) = bootstrap.lds_control_plane()?;
        Self::new(bootstrap, source, aggregated, stats)
    }

    /// A client for each stream that this bootstrap asks for: that of `ads_config`, which brings
    /// the routes of these names and, if `lds_config` says so, listeners; and that of listeners
    /// which come over a stream of their own.
    ///
    /// Routes come over `ads_config` only; a stream for them alone is opened when one is wanted.
    pub fn all(
        bootstrap: &Bootstrap,
        stats: &Stats,
        routes: &watch::Receiver<BTreeSet<String>>,
    ) -> Vec<Self> {
        let mut listeners = Self::of(bootstrap, stats.clone());
        if let Some(client) = listeners.as_mut().filter(|client| client.aggregated) {
            client.routes = Some(routes.clone());
            return listeners.into_iter().collect();
        }
        let ads = bootstrap.ads_control_plane();
        let ads = ads.and_then(|ads| Self::new(bootstrap, ads, true, stats.clone()));
        let ads = ads.map(|mut client| {
            client.asker.want(None);
            client.routes = Some(routes.clone());
            client
        });
        listeners.into_iter().chain(ads).collect()
    }

    fn new(
        bootstrap: &Bootstrap,
        source: &ApiConfigSource,
        aggregated: bool,
        stats: Stats,
    ) -> Option<Self> {
        let service = &source.grpc_services.first()?.envoy_grpc;
        let cluster = bootstrap.cluster(&service.cluster_name)?;
        let authority = match &*service.authority {
            "" => &service.cluster_name,
            authority => authority,
        };
        let secrets = bootstrap.secrets();
        let targets = cluster
            .addresses()
            .filter_map(|address| Target::new(address, cluster, secrets, authority));
        Some(Self {
            source: source.clone(),
            aggregated,
            cluster: cluster.name.clone(),
            targets: targets.collect(),
            asker: Asker::new(
                bootstrap.node.as_ref(),
                source.set_node_on_first_message_only,
            ),
            routes: None,
            stats,
            largest: LARGEST,
            observer: Observer(Box::new(|_| {})),
        })
    }

    /// Asks for these listeners only. Default: for all, as Envoy.
    #[must_use]
    pub fn with_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.asker.want(Some(names));
        self
    }

    /// Whether it asks for listeners.
    pub const fn takes_listeners(&self) -> bool {
        self.asker.wants_listeners()
    }

    /// Reads responses up to this size, in bytes. Default 16 MiB; Envoy has no limit. A larger one
    /// ends the stream.
    #[must_use]
    pub const fn with_largest_response(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    /// Tells of every stream that could not be opened, or ended; for a log.
    #[must_use]
    pub fn with_observer(
        mut self,
        observer: impl Fn(&StreamEnded) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Observer(Box::new(observer));
        self
    }

    /// Takes updates for ever. `apply` gets one after the other and says what it refuses of it.
    /// Routes come only to a client that [asks for them](Self::all).
    ///
    /// A state of the world with a listener that has not even a name is refused as a whole, since
    /// no one knows which listener must then not be taken for absent. `apply` sees of it only what
    /// is [rejected](ListenerUpdate::rejected), in an update that neither has nor removes a
    /// listener, so that it can tell; it is refused whatever `apply` says.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the stream; listeners stay as they are.
    pub async fn run<F, A>(self, apply: F) -> Infallible
    where
        F: FnMut(XdsUpdate) -> A + Send,
        A: Future<Output = Vec<Refused>> + Send,
    {
        match self.source.api_type {
            ApiType::Grpc => {
                self.serve(StateOfTheWorld::new(self.asker.clone()), apply)
                    .await
            }
            ApiType::DeltaGrpc => self.serve(Delta::new(self.asker.clone()), apply).await,
        }
    }

    async fn serve<S, F, A>(&self, mut session: S, mut apply: F) -> Infallible
    where
        S: Streams,
        F: FnMut(XdsUpdate) -> A + Send,
        A: Future<Output = Vec<Refused>> + Send,
    {
        let mut routes = self.routes.clone();
        let mut backoff = Backoff::new();
        self.attempt();
        // They take turns.
        for target in self.targets.iter().cycle() {
            self.until_wanted(&mut routes).await;
            let ended = self
                .stream(target, &mut session, &mut routes, &mut apply, &mut backoff)
                .await;
            if self.asker.wants_listeners() {
                self.stats.lds().update_failure.inc();
            }
            self.attempt();
            let wait = backoff.wait(fastrand::f64());
            (self.observer.0)(&StreamEnded {
                cluster: self.cluster.clone(),
                reason: with_causes(&ended),
                wait,
            });
            tokio::time::sleep(wait).await;
        }
        // Without an endpoint there is no server to ask.
        std::future::pending().await
    }

    fn attempt(&self) {
        if self.asker.wants_listeners() {
            self.stats.lds().update_attempt.inc();
        }
    }

    /// Without listeners to ask for, there is something to say only when a route is wanted.
    async fn until_wanted(&self, routes: &mut Option<watch::Receiver<BTreeSet<String>>>) {
        if let (false, Some(routes)) = (self.asker.wants_listeners(), routes) {
            let is_over = routes.wait_for(|names| !names.is_empty()).await.is_err();
            if is_over {
                std::future::pending().await
            }
        }
    }

    /// One stream, from connecting to its end.
    async fn stream<S, F, A>(
        &self,
        target: &Target,
        session: &mut S,
        routes: &mut Option<watch::Receiver<BTreeSet<String>>>,
        apply: &mut F,
        backoff: &mut Backoff,
    ) -> Status
    where
        S: Streams,
        F: FnMut(XdsUpdate) -> A + Send,
        A: Future<Output = Vec<Refused>> + Send,
    {
        let channel = match target.connect().await {
            Ok(channel) => channel,
            Err(error) => return Status::unavailable(with_causes(&*error)),
        };
        let _connected = Connected::new(match self.aggregated {
            true => self.stats.control_plane(),
            false => &self.stats.lds().control_plane,
        });
        // What waits at most: the first requests, or the answer to the response before the one that
        // is read; and room that is kept for a change of the names.
        let (answers, requests) = mpsc::channel(Kind::COUNT + 1);
        if let Some(routes) = routes.as_mut() {
            session.want_routes(&routes.borrow_and_update());
        }
        for request in session.open() {
            if answers.try_send(request).is_err() {
                return Status::internal("no room for the first requests");
            }
        }
        let mut request = Request::new(ReceiverStream::new(requests));
        let services = self.source.grpc_services.iter();
        for header in services.flat_map(|service| &service.initial_metadata) {
            if let Some((name, value)) = header.parts() {
                request.metadata_mut().as_mut().append(name, value);
            }
        }
        // A control plane may say nothing, not even that there is a stream, as long as it has
        // nothing new.
        let mut opened = pin!(S::call(channel, self.aggregated, self.largest, request));
        let opened = loop {
            tokio::select! {
                opened = &mut opened => break opened,
                room = change(routes, &answers) => renew(session, routes, room),
            }
        };
        let mut responses = match opened {
            Ok(responses) => responses.into_inner(),
            Err(status) => return status,
        };
        let mut refusals = Refusals::default();
        loop {
            let response = tokio::select! {
                response = responses.message() => response,
                room = change(routes, &answers) => {
                    renew(session, routes, room);
                    continue;
                }
            };
            let response = match response {
                Ok(Some(response)) => response,
                Ok(None) => return Status::unavailable("closed by the control plane"),
                Err(status) => return status,
            };
            backoff.reset();
            let Some(update) = session.read(&response) else {
                continue;
            };
            let refused = self.apply(update, apply).await;
            if !refused.is_empty() {
                tokio::time::sleep(refusals.wait(Instant::now().into_std())).await;
            }
            let Some(answer) = session.answer(&response, &refused) else {
                continue;
            };
            if answers.send(answer).await.is_err() {
                return Status::unavailable("the control plane takes no answers");
            }
        }
    }

    /// Has an update applied, and counts it; what is refused of it.
    async fn apply<F, A>(&self, update: XdsUpdate, apply: &mut F) -> Vec<Refused>
    where
        F: FnMut(XdsUpdate) -> A + Send,
        A: Future<Output = Vec<Refused>> + Send,
    {
        let unknown = update.unknown_fields().len() as u64;
        self.stats.server().dynamic_unknown_fields.add(unknown);
        let update = match update {
            XdsUpdate::Listeners(update) => update,
            routes @ XdsUpdate::Routes(_) => return apply(routes).await,
        };
        let (lds, version) = (self.stats.lds(), update.version_info.clone());
        let (update, nameless) = without_nameless(update);
        let refused = apply(update.into()).await;
        let refused = nameless.unwrap_or(refused);
        if refused.is_empty() {
            lds.update_success.inc();
            lds.version_text.set(version);
        } else {
            lds.update_rejected.inc();
        }
        lds.update_attempt.inc();
        refused
    }
}

/// Waits until other routes are wanted, and there is room to say so.
async fn change<'a, T>(
    routes: &mut Option<watch::Receiver<BTreeSet<String>>>,
    answers: &'a mpsc::Sender<T>,
) -> mpsc::Permit<'a, T> {
    // The room first: of what is dropped here nothing may be lost.
    if let (Some(routes), Ok(room)) = (routes, answers.reserve().await) {
        if routes.changed().await.is_ok() {
            return room;
        }
    }
    // No name changes any more, or the stream ends.
    std::future::pending().await
}

/// Says which routes are wanted now.
fn renew<S: Streams>(
    session: &mut S,
    routes: &mut Option<watch::Receiver<BTreeSet<String>>>,
    room: mpsc::Permit<'_, S::Request>,
) {
    let Some(routes) = routes else { return };
    if let Some(request) = session.want_routes(&routes.borrow_and_update()) {
        room.send(request);
    }
}

/// A state of the world that cannot be taken as a whole changes nothing; and what is refused of it,
/// if it is one.
fn without_nameless(update: ListenerUpdate) -> (ListenerUpdate, Option<Vec<Refused>>) {
    if !update.hides_a_listener() {
        return (update, None);
    }
    let rejected = update.rejected.iter();
    let refused =
        rejected.map(|rejected| Refused::new(rejected.name.clone(), rejected.error.to_string()));
    let refused = refused.collect();
    (update.without_listeners(), Some(refused))
}

/// An error and what caused it: the outermost says little.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Tells by its gauge that there is a stream.
struct Connected<'s>(&'s ControlPlaneStats);

impl<'s> Connected<'s> {
    fn new(stats: &'s ControlPlaneStats) -> Self {
        stats.connected_state.set(1);
        Self(stats)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connected_state.set(0);
    }
}
