//! `versus-pingora KIND ADDRESS SECONDS LEAD`: the application of the other servers behind
//! pingora-core, which SIGTERM ends by its own means.
//!
//! It is started as the other servers are: `KIND` and `LEAD` say nothing to it, `SECONDS` is its
//! grace period. A WebSocket takes messages and answers none.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream,
};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{Server, ShutdownWatch};
use pingora_core::services::listening::Service;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;
use tokio::time::sleep;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [_, address, seconds, _] = arguments.as_slice() else {
        return Err("KIND ADDRESS SECONDS LEAD".into());
    };
    let conf = ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        grace_period_seconds: Some(seconds.parse()?),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    let mut service = Service::new("application".to_owned(), App { options });
    service.add_tcp(address);
    server.add_service(service);
    server.run_forever()
}

struct App {
    options: HttpServerOptions,
}

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        // As its own `HttpServer` does.
        session.set_keepalive((!*shutdown.borrow()).then_some(60));
        if session.is_upgrade_req() {
            web_socket(&mut session).await.ok()?;
            return None;
        }
        respond(&mut session).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

type Outcome = Result<(), Box<Error>>;

async fn respond(session: &mut ServerSession) -> Outcome {
    match session.req_header().uri.path() {
        "/version" => whole(session, "version 1".to_owned()).await,
        "/slow" => {
            sleep(Duration::from_secs(1)).await;
            whole(session, "slow".to_owned()).await
        }
        "/stream" => chunks(session, Some(10)).await,
        "/sse" => chunks(session, None).await,
        "/flood" => {
            begin(session, None).await?;
            loop {
                let zeros = Bytes::from_static(&[0; 65_536]);
                session.write_response_body(zeros, false).await?;
            }
        }
        _ => {
            let mut length = 0;
            while let Some(part) = session.read_request_body().await? {
                length += part.len();
            }
            whole(session, length.to_string()).await
        }
    }
}

async fn begin(session: &mut ServerSession, length: Option<usize>) -> Outcome {
    let mut head = ResponseHeader::build(200, None)?;
    match length {
        Some(length) => head.insert_header("content-length", length.to_string())?,
        None if session.is_http2() => {}
        None => head.insert_header("transfer-encoding", "chunked")?,
    }
    session.write_response_header(Box::new(head)).await
}

async fn whole(session: &mut ServerSession, body: String) -> Outcome {
    begin(session, Some(body.len())).await?;
    session.write_response_body(body.into(), true).await
}

/// A chunk each 100 ms: so many, or without end.
async fn chunks(session: &mut ServerSession, many: Option<usize>) -> Outcome {
    begin(session, None).await?;
    let mut sent = 0;
    while many.is_none_or(|many| sent < many) {
        sleep(Duration::from_millis(100)).await;
        let tick = Bytes::from_static(b"data: tick\n\n");
        session.write_response_body(tick, false).await?;
        sent += 1;
    }
    session.write_response_body(Bytes::new(), true).await
}

async fn web_socket(session: &mut ServerSession) -> Outcome {
    let mut head = ResponseHeader::build(101, None)?;
    head.insert_header("connection", "upgrade")?;
    head.insert_header("upgrade", "websocket")?;
    session.write_response_header(Box::new(head)).await?;
    while session.read_request_body().await?.is_some() {}
    Error::e_explain(ErrorType::ConnectionClosed, "the client is gone")
}
