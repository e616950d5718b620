//! edge as an operator and a client see it: the real program, its files, its signals, its lines,
//! and bytes on sockets.
//!
//! The clients and upstreams here share no code with it. Nothing sleeps: tests wait for a line of
//! the program or for the wire, and every wait has an end.

mod admin;
#[cfg(feature = "xds")]
mod ads;
#[cfg(all(feature = "tls", feature = "xds"))]
mod ads_tls;
mod ages;
mod alerts;
#[cfg(feature = "tls")]
mod certificates;
mod chain_fields;
mod cluster_fields;
mod clusters;
mod compat;
mod connection_limit;
mod early_answers;
mod files;
mod forwarded;
mod header_fields;
#[cfg(target_os = "linux")]
mod health_check;
mod hot_restart;
mod http2_options;
mod in_progress;
mod listener_fields;
#[cfg(feature = "tracing")]
mod logs;
mod malformed;
mod manager_block;
mod operator;
mod page;
mod probes;
#[cfg(feature = "xds")]
mod rds;
mod ready;
mod refused;
mod removal;
mod request_timeout;
mod rolling;
mod route_fields;
mod routes;
mod signals;
mod startup;
mod storm;
mod stream_limits;
mod support;
#[cfg(feature = "systemd")]
mod systemd;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_fields;
mod tunnels;
mod unread_responses;
mod update;
mod upstreams;
mod warnings;
mod workers;
