//! The client and the server of `ticker.proto` for tonic, as `tonic-build` generates them, without
//! compression, limits and interceptors; so nothing here needs `protoc`.
//!
//! ```proto
//! syntax = "proto3";
//! package ticker;
//! service Ticker { rpc Count(CountRequest) returns (stream Tick); }
//! message CountRequest { uint32 every_ms = 1; }
//! message Tick { uint32 number = 1; }
//! ```
#![allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    dead_code,
    clippy::allow_attributes_without_reason,
    clippy::exhaustive_structs,
    clippy::use_self,
    reason = "generated"
)]

#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct CountRequest {
    #[prost(uint32, tag = "1")]
    pub every_ms: u32,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Tick {
    #[prost(uint32, tag = "1")]
    pub number: u32,
}

const COUNT: &str = "/ticker.Ticker/Count";

pub mod ticker_client {
    use tonic::codegen::StdError;
    use tonic::codegen::http::uri::PathAndQuery;
    use tonic::transport::{Channel, Endpoint, Error};

    #[derive(Debug, Clone)]
    pub struct TickerClient(tonic::client::Grpc<Channel>);

    impl TickerClient {
        pub async fn connect<D>(dst: D) -> Result<Self, Error>
        where
            D: TryInto<Endpoint, Error: Into<StdError>>,
        {
            let channel = Endpoint::new(dst)?.connect().await?;
            Ok(Self(tonic::client::Grpc::new(channel)))
        }

        pub async fn count(
            &mut self,
            request: impl tonic::IntoRequest<super::CountRequest>,
        ) -> Result<tonic::Response<tonic::codec::Streaming<super::Tick>>, tonic::Status> {
            let ready = self.0.ready().await;
            ready.map_err(|error| tonic::Status::unknown(format!("not ready: {error}")))?;
            let codec = tonic_prost::ProstCodec::default();
            let path = PathAndQuery::from_static(super::COUNT);
            self.0
                .server_streaming(request.into_request(), path, codec)
                .await
        }
    }
}

pub mod ticker_server {
    use tonic::codegen::*;

    #[async_trait]
    pub trait Ticker: Send + Sync + 'static {
        type CountStream: tokio_stream::Stream<Item = Result<super::Tick, tonic::Status>>
            + Send
            + 'static;

        async fn count(
            &self,
            request: tonic::Request<super::CountRequest>,
        ) -> Result<tonic::Response<Self::CountStream>, tonic::Status>;
    }

    #[derive(Debug)]
    pub struct TickerServer<T>(Arc<T>);

    impl<T> TickerServer<T> {
        pub fn new(inner: T) -> Self {
            Self(Arc::new(inner))
        }
    }

    impl<T> Clone for TickerServer<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    impl<T: Ticker> tonic::server::ServerStreamingService<super::CountRequest> for TickerServer<T> {
        type Response = super::Tick;
        type ResponseStream = T::CountStream;
        type Future = BoxFuture<tonic::Response<T::CountStream>, tonic::Status>;

        fn call(&mut self, request: tonic::Request<super::CountRequest>) -> Self::Future {
            let inner = Arc::clone(&self.0);
            Box::pin(async move { inner.count(request).await })
        }
    }

    impl<T, B> Service<http::Request<B>> for TickerServer<T>
    where
        T: Ticker,
        B: Body<Error: Into<StdError> + Send + 'static> + Send + 'static,
    {
        type Response = http::Response<tonic::body::Body>;
        type Error = std::convert::Infallible;
        type Future = BoxFuture<Self::Response, Self::Error>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<B>) -> Self::Future {
            let method = self.clone();
            Box::pin(async move {
                if request.uri().path() != super::COUNT {
                    return Ok(tonic::Status::unimplemented("").into_http());
                }
                let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::default());
                Ok(grpc.server_streaming(method, request).await)
            })
        }
    }

    impl<T> tonic::server::NamedService for TickerServer<T> {
        const NAME: &'static str = "ticker.Ticker";
    }
}
