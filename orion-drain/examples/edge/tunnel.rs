//! What is left of an upgraded request: two streams and a guard.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orion_drain::conn_tracker::ConnProtocol;
use orion_drain::proto_drain_tcp::CopyOptions;
use orion_drain::serve::{Connection, serve_tunnel};

/// Relays an upgraded connection once both sides have switched. The connection's guard came with the request, so the
/// drain never loses sight of it between the two.
pub(crate) async fn upgraded(
    client: OnUpgrade,
    upstream: OnUpgrade,
    connection: Connection,
    options: CopyOptions,
) {
    let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else {
        return;
    };
    connection.guard().set_protocol(ConnProtocol::WebSocket);
    serve_tunnel(TokioIo::new(client), TokioIo::new(upstream), connection, options).await;
}
