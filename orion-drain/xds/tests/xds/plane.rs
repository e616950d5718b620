//! A control plane whose every word the test says itself, over real sockets.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server as ads;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::listener::v3::listener_discovery_service_server as lds;
use envoy_types::pb::google::protobuf::Any;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use super::messages::{LISTENER, ROUTES};

/// Waits for something that must happen soon; a machine under load has all the time it can need.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within 60 s"),
    }
}

/// The control plane. Dropped, it is gone with all its streams.
pub(crate) struct Plane {
    pub(crate) address: SocketAddr,
    whole: mpsc::Receiver<Whole>,
    delta: mpsc::Receiver<Deltas>,
    server: tokio::task::JoinHandle<()>,
}

/// A stream that a client opened.
pub(crate) struct Stream<I, O> {
    pub(crate) method: &'static str,
    pub(crate) metadata: MetadataMap,
    /// The names of the last request for routes.
    names: Vec<String>,
    requests: Streaming<I>,
    responses: mpsc::Sender<Result<O, Status>>,
}

pub(crate) type Whole = Stream<DiscoveryRequest, DiscoveryResponse>;
pub(crate) type Deltas = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        Self::serve(address, TcpListenerStream::new(listener))
    }

    /// At a Unix socket.
    pub(crate) fn start_unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a new path");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::serve(nowhere, UnixListenerStream::new(listener))
    }

    fn serve<L, IO>(address: SocketAddr, listener: L) -> Self
    where
        L: tokio_stream::Stream<Item = io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let (to_whole, whole) = mpsc::channel(4);
        let (to_delta, delta) = mpsc::channel(4);
        let service = Service { to_whole, to_delta };
        let server = tonic::transport::Server::builder()
            .add_service(ads::AggregatedDiscoveryServiceServer::new(service.clone()))
            .add_service(lds::ListenerDiscoveryServiceServer::new(service))
            .serve_with_incoming(listener);
        let server = tokio::spawn(async move { server.await.expect("it serves") });
        Self {
            address,
            whole,
            delta,
            server,
        }
    }

    /// The next stream of the state of the world.
    pub(crate) async fn whole(&mut self) -> Whole {
        within("a stream", self.whole.recv())
            .await
            .expect("a stream")
    }

    /// The next stream of changes.
    pub(crate) async fn delta(&mut self) -> Deltas {
        within("a stream", self.delta.recv())
            .await
            .expect("a stream")
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl<I: Send + 'static, O> Stream<I, O> {
    /// The next request of the client.
    pub(crate) async fn request(&mut self) -> I {
        let request = within("a request", self.requests.message()).await;
        request.expect("a request").expect("the stream is open")
    }

    /// Waits until the client has ended the stream.
    pub(crate) async fn ended(&mut self) {
        let request = within("the end of a stream", self.requests.message()).await;
        assert!(!matches!(request, Ok(Some(_))), "another request");
    }

    pub(crate) async fn respond(&self, response: Result<O, Status>) {
        let sent = within("room for a response", self.responses.send(response)).await;
        assert!(sent.is_ok(), "the stream is open");
    }
}

/// What a request for routes says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) version: String,
    pub(crate) nonce: String,
    pub(crate) names: Vec<String>,
    pub(crate) wrong: Option<String>,
}

/// Version, nonce, names, and what is wrong; an empty text: nothing.
impl From<(&str, &str, &[&str], &str)> for Asked {
    fn from((version, nonce, names, wrong): (&str, &str, &[&str], &str)) -> Self {
        Self {
            version: version.to_owned(),
            nonce: nonce.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            wrong: (!wrong.is_empty()).then(|| wrong.to_owned()),
        }
    }
}

impl Whole {
    /// Sends a state of the world.
    pub(crate) async fn send(&self, version: &str, nonce: &str, resources: Vec<Any>) {
        self.send_of(LISTENER, version, nonce, resources).await;
    }

    /// Sends routes.
    pub(crate) async fn send_routes(&self, version: &str, nonce: &str, resources: Vec<Any>) {
        self.send_of(ROUTES, version, nonce, resources).await;
    }

    async fn send_of(&self, kind: &str, version: &str, nonce: &str, resources: Vec<Any>) {
        let response = DiscoveryResponse {
            version_info: version.to_owned(),
            nonce: nonce.to_owned(),
            type_url: kind.to_owned(),
            resources,
            ..DiscoveryResponse::default()
        };
        self.respond(Ok(response)).await;
    }

    /// The names of the last request for routes.
    #[allow(dead_code, reason = "tests of traffic ask for it")]
    pub(crate) fn last_names(&self) -> &[String] {
        &self.names
    }

    /// The next request, which is for routes.
    pub(crate) async fn routes_request(&mut self) -> Asked {
        let request = self.request().await;
        assert_eq!(request.type_url, ROUTES);
        self.names.clone_from(&request.resource_names);
        Asked {
            version: request.version_info,
            nonce: request.response_nonce,
            names: request.resource_names,
            wrong: request.error_detail.map(|detail| detail.message),
        }
    }

    /// The next request: its version, its nonce, and what it says is wrong.
    pub(crate) async fn answer(&mut self) -> (String, String, Option<String>) {
        let request = self.request().await;
        assert_eq!(request.type_url, LISTENER);
        let wrong = request.error_detail.map(|detail| detail.message);
        (request.version_info, request.response_nonce, wrong)
    }
}

impl Deltas {
    /// Sends changes: names with version and content, and names that are gone.
    pub(crate) async fn send(
        &self,
        nonce: &str,
        changed: Vec<(&str, &str, Any)>,
        removed: &[&str],
    ) {
        self.send_of(LISTENER, nonce, changed, removed).await;
    }

    /// The same of routes.
    pub(crate) async fn send_routes(
        &self,
        nonce: &str,
        changed: Vec<(&str, &str, Any)>,
        removed: &[&str],
    ) {
        self.send_of(ROUTES, nonce, changed, removed).await;
    }

    async fn send_of(
        &self,
        kind: &str,
        nonce: &str,
        changed: Vec<(&str, &str, Any)>,
        removed: &[&str],
    ) {
        let resources = changed
            .into_iter()
            .map(|(name, version, resource)| discovery::Resource {
                name: name.to_owned(),
                version: version.to_owned(),
                resource: Some(resource),
                ..discovery::Resource::default()
            });
        let response = DeltaDiscoveryResponse {
            system_version_info: format!("system {nonce}"),
            nonce: nonce.to_owned(),
            type_url: kind.to_owned(),
            resources: resources.collect(),
            removed_resources: removed.iter().map(|&name| name.to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        self.respond(Ok(response)).await;
    }

    /// The next request: its nonce, what it says is there, sorted, and what is wrong.
    pub(crate) async fn answer(&mut self) -> (String, Vec<(String, String)>, Option<String>) {
        let request = self.request().await;
        assert_eq!(request.type_url, LISTENER);
        let mut there: Vec<_> = request.initial_resource_versions.into_iter().collect();
        there.sort();
        let wrong = request.error_detail.map(|detail| detail.message);
        (request.response_nonce, there, wrong)
    }
}

#[derive(Clone)]
struct Service {
    to_whole: mpsc::Sender<Whole>,
    to_delta: mpsc::Sender<Deltas>,
}

type Answer<O> = Result<Response<ReceiverStream<Result<O, Status>>>, Status>;

async fn hand_over<I, O>(
    to: &mpsc::Sender<Stream<I, O>>,
    method: &'static str,
    request: Request<Streaming<I>>,
) -> Answer<O> {
    let (responses, sent) = mpsc::channel(8);
    let (metadata, _, requests) = request.into_parts();
    let stream = Stream {
        method,
        metadata,
        names: Vec::new(),
        requests,
        responses,
    };
    let handed = to.send(stream).await;
    handed.map_err(|_| Status::unavailable("the test is over"))?;
    Ok(Response::new(ReceiverStream::new(sent)))
}

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Answer<DiscoveryResponse> {
        hand_over(&self.to_whole, "StreamAggregatedResources", request).await
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Answer<DeltaDiscoveryResponse> {
        hand_over(&self.to_delta, "DeltaAggregatedResources", request).await
    }
}

#[tonic::async_trait]
impl lds::ListenerDiscoveryService for Service {
    type StreamListenersStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaListenersStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_listeners(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Answer<DiscoveryResponse> {
        hand_over(&self.to_whole, "StreamListeners", request).await
    }

    async fn delta_listeners(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Answer<DeltaDiscoveryResponse> {
        hand_over(&self.to_delta, "DeltaListeners", request).await
    }

    async fn fetch_listeners(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("nobody asks for it"))
    }
}
