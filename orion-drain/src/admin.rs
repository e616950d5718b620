//! Envoy's admin interface as a function from request to response, usable in any server.
//!
//! [`handle`] answers a request about an [`AdminHost`], which says what is going on and does what is asked. It reads no
//! body, so a server may refuse bodies. Changing anything takes a POST, as in
//! [Envoy](https://www.envoyproxy.io/docs/envoy/latest/operations/admin); who may do what is for
//! [`AdminHost::authorize`] to say. An interface without such a rule belongs on the loopback address.
//!
//! | path | answer |
//! | --- | --- |
//! | `/ready` | 200 `LIVE`, or 503 and the state |
//! | `/server_info` | version, state, uptime, drain settings (JSON) |
//! | `/stats` | `name: value`; `?filter=TEXT`, `?usedonly`, `?format=json`; `/stats/prometheus` |
//! | `/listeners` | `name::address`; `?format=json` |
//! | `/connections`, `/drain` | who is still here, and how far each drain is (JSON; Envoy has neither) |
//! | POST `/drain_listeners` | stops accepting; `?graceful`, `?inboundonly`, `?skip_exit` |
//! | POST `/healthcheck/fail`, `/healthcheck/ok` | sets and clears the failed state |
//! | POST `/quitquitquit` | ends the process at once |

mod host;
mod operation;
mod router;
mod translate;
mod view;

pub use host::AdminHost;
pub use operation::{Denied, DrainListeners, Operation};
pub use router::handle;
pub use view::{CommandLineOptions, ConnectionView, DrainView, ListenerView, ServerInfo, ServerState};
