//! Serving a connection so that it can be drained: the protocol crates, the drain signal and the registry, composed.
//!
//! ```text
//!  accepted ─► Connection (watch + registry entry + decision)
//!                 ├─ serve_http: LingerIo ⊂ GoawayIo ⊂ hyper's auto connection, the service asked once per response
//!                 └─ serve_tcp:  a two-way copy
//!              both run by drain_signal::drive, which leads them through slot, last word and deadline
//! ```

mod aging;
mod auto;
mod behavior;
mod connection;
mod http;
mod request;
mod tcp;
mod tracked;

pub use self::http::{HttpServer, serve_http};
pub use behavior::SharedBehavior;
pub use connection::{Connection, WeakConnection};
pub use request::RequestBody;
pub use tcp::{serve_tcp, serve_tunnel};
