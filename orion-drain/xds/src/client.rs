//! The stream to the control plane: opened, read one response after the other, opened again.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::backoff::Backoff;
use super::connect::Target;
use super::refusals::Refusals;
use super::session::{Asker, Delta, StateOfTheWorld};
use super::streams::Streams;
use orion_drain_config::{ApiConfigSource, ApiType, Bootstrap, ListenerUpdate, Refused};
use orion_drain_stats::{ControlPlaneStats, Stats};

/// The largest response that is read, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// Takes listeners from a control plane.
#[derive(Debug)]
pub struct LdsClient {
    source: ApiConfigSource,
    aggregated: bool,
    cluster: String,
    targets: Vec<Target>,
    asker: Asker,
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

impl LdsClient {
    /// A client for the control plane that the bootstrap names; `None` if its listeners come from
    /// elsewhere.
    ///
    /// A cluster with a TLS `transport_socket` is asked over TLS, with ALPN `h2` (feature `tls`).
    /// The files of certificates are read for each connection; one that cannot be read ends the
    /// attempt like a control plane that is away.
    ///
    /// Streams and updates are counted in `listener_manager.lds.*`, and in `control_plane.*` or
    /// `listener_manager.lds.control_plane.*`.
    pub fn of(bootstrap: &Bootstrap, stats: Stats) -> Option<Self> {
        let (source, aggregated) = bootstrap.lds_control_plane()?;
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
            stats,
            largest: LARGEST,
            observer: Observer(Box::new(|_| {})),
        })
    }

    /// Asks for these listeners only. Default: for all, as Envoy.
    #[must_use]
    pub fn with_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.asker.want(names.into_iter().map(Into::into).collect());
        self
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
        F: FnMut(ListenerUpdate) -> A + Send,
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
        F: FnMut(ListenerUpdate) -> A + Send,
        A: Future<Output = Vec<Refused>> + Send,
    {
        let lds = self.stats.lds();
        let mut backoff = Backoff::new();
        lds.update_attempt.inc();
        // They take turns.
        for target in self.targets.iter().cycle() {
            let ended = self
                .stream(target, &mut session, &mut apply, &mut backoff)
                .await;
            lds.update_failure.inc();
            lds.update_attempt.inc();
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

    /// One stream, from connecting to its end.
    async fn stream<S, F, A>(
        &self,
        target: &Target,
        session: &mut S,
        apply: &mut F,
        backoff: &mut Backoff,
    ) -> Status
    where
        S: Streams,
        F: FnMut(ListenerUpdate) -> A + Send,
        A: Future<Output = Vec<Refused>> + Send,
    {
        let channel = match target.connect().await {
            Ok(channel) => channel,
            Err(error) => return Status::unavailable(with_causes(&*error)),
        };
        let lds = self.stats.lds();
        let _connected = Connected::new(match self.aggregated {
            true => self.stats.control_plane(),
            false => &lds.control_plane,
        });
        // One request waits at most: that of the response before the one that is read.
        let (answers, requests) = mpsc::channel(1);
        if answers.try_send(session.open()).is_err() {
            return Status::internal("no room for the first request");
        }
        let mut request = Request::new(ReceiverStream::new(requests));
        let services = self.source.grpc_services.iter();
        for header in services.flat_map(|service| &service.initial_metadata) {
            if let Some((name, value)) = header.parts() {
                request.metadata_mut().as_mut().append(name, value);
            }
        }
        let mut responses = match S::call(channel, self.aggregated, self.largest, request).await {
            Ok(responses) => responses.into_inner(),
            Err(status) => return status,
        };
        let mut refusals = Refusals::default();
        loop {
            let response = match responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Status::unavailable("closed by the control plane"),
                Err(status) => return status,
            };
            backoff.reset();
            let Some(update) = session.read(&response) else {
                continue;
            };
            let version = update.version_info.clone();
            let unknown = update.unknown_fields.len() as u64;
            self.stats.server().dynamic_unknown_fields.add(unknown);
            let (update, nameless) = without_nameless(update);
            let refused = apply(update).await;
            let refused = nameless.unwrap_or(refused);
            if refused.is_empty() {
                lds.update_success.inc();
                lds.version_text.set(version);
            } else {
                lds.update_rejected.inc();
                tokio::time::sleep(refusals.wait(Instant::now().into_std())).await;
            }
            lds.update_attempt.inc();
            if answers
                .send(session.answer(&response, &refused))
                .await
                .is_err()
            {
                return Status::unavailable("the control plane takes no answers");
            }
        }
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
