//! Statistics under Envoy's names: counted without locks, read as one snapshot.
//!
//! [`Stats`] hands out scopes: a connection's code holds an [`HttpStats`], [`TcpStats`] or [`ListenerStats`] and touches
//! atomics only, each thread its own. A scope disappears from the snapshot with its last handle, so the set of names is
//! bounded by what is configured; keep the handle in the listener's version, not in each connection.
//!
//! No name or value says who a client is.
//!
//! ```
//! use orion_drain::stats::Stats;
//!
//! let stats = Stats::new();
//! let http = stats.http("ingress");
//! let connection = http.connection();
//! http.downstream_cx_drain_close.inc();
//! assert_eq!(stats.snapshot().get("http.ingress.downstream_cx_active"), Some(1));
//! drop(connection);
//! assert_eq!(stats.snapshot().get("http.ingress.downstream_cx_active"), Some(0));
//! assert!(stats.snapshot().to_string().contains("http.ingress.downstream_cx_drain_close: 1\n"));
//! ```

mod cell;
mod prometheus;
mod registry;
mod scope;
mod snapshot;

pub use cell::{Counter, Gauge};
pub use registry::{LdsStats, ListenerManagerStats, ServerStats, Stats};
pub use scope::{Held, HttpStats, ListenerStats, TcpStats};
pub use snapshot::StatsSnapshot;
