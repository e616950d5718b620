//! What is left of an upgraded request: two streams and a guard.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orion_drain::conn_tracker::ConnProtocol;
use orion_drain::proto_drain_http1::{CloseCode, WebSocketClientIo, WebSocketIo};
use orion_drain::proto_drain_tcp::CopyOptions;
use orion_drain::serve::{Connection, TunnelUpstream, serve_tunnel};

use crate::dial::Dialed;
use crate::timed::TimedIo;
use crate::timeout::Progress;

/// How tunnels are relayed, and how those of WebSocket end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tunnels {
    pub(crate) options: CopyOptions,
    /// The Close code that a WebSocket client reads before its tunnel's deadline; `None`: it reads
    /// FIN.
    pub(crate) websocket_close: Option<CloseCode>,
}

impl Tunnels {
    /// Relays an upgraded connection once both sides have switched. The connection's guard came
    /// with the request, so the drain never loses sight of it between the two.
    pub(crate) async fn relay(
        self,
        client: OnUpgrade,
        upstream: OnUpgrade,
        connection: Connection,
        is_websocket: bool,
        progress: Option<Arc<Progress>>,
    ) {
        let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else {
            return;
        };
        let (client, upstream) = (
            TimedIo::new(TokioIo::new(client), progress),
            TunnelUpstream::over(upstream, Dialed::tcp),
        );
        // Over HTTP/2 the connection is more than this tunnel.
        if is_websocket && connection.guard().protocol() != ConnProtocol::Http2 {
            connection.guard().set_protocol(ConnProtocol::WebSocket);
        }
        let Some(code) = self.websocket_close.filter(|_| is_websocket) else {
            serve_tunnel(client, upstream, connection, self.options).await;
            return;
        };
        // The Close frame is the last word: a quiet moment is not needed for it, only the end of a
        // frame. What is left until the deadline, a second as a rule, is for the client's answer
        // and for its FIN.
        let options = self.options.with_finish_quiet(Duration::MAX);
        let upstream = WebSocketIo::new(upstream, connection.drain().clone(), code)
            .at_last_word()
            .with_reply_timeout(Duration::from_millis(500));
        serve_tunnel(
            WebSocketClientIo::new(client),
            upstream,
            connection,
            options,
        )
        .await;
    }
}
