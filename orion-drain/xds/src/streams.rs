//! The four streams that updates can come over: aggregated or alone, state of the world or delta.

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient as Ads;
use envoy_types::pb::envoy::service::listener::v3::listener_discovery_service_client::ListenerDiscoveryServiceClient as Lds;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::session::{Delta, Session, StateOfTheWorld};

/// A session's stream, on either service.
pub(super) trait Streams:
    Session<Request: Send + 'static, Response: Send + 'static> + Send
{
    fn call(
        channel: Channel,
        aggregated: bool,
        largest: usize,
        requests: Request<ReceiverStream<Self::Request>>,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Response>>, Status>> + Send;
}

impl Streams for StateOfTheWorld {
    async fn call(
        channel: Channel,
        aggregated: bool,
        largest: usize,
        requests: Request<ReceiverStream<Self::Request>>,
    ) -> Result<Response<Streaming<Self::Response>>, Status> {
        if aggregated {
            let mut client = Ads::new(channel).max_decoding_message_size(largest);
            client.stream_aggregated_resources(requests).await
        } else {
            let mut client = Lds::new(channel).max_decoding_message_size(largest);
            client.stream_listeners(requests).await
        }
    }
}

impl Streams for Delta {
    async fn call(
        channel: Channel,
        aggregated: bool,
        largest: usize,
        requests: Request<ReceiverStream<Self::Request>>,
    ) -> Result<Response<Streaming<Self::Response>>, Status> {
        if aggregated {
            let mut client = Ads::new(channel).max_decoding_message_size(largest);
            client.delta_aggregated_resources(requests).await
        } else {
            let mut client = Lds::new(channel).max_decoding_message_size(largest);
            client.delta_listeners(requests).await
        }
    }
}
