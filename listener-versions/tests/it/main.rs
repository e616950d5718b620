//! Listeners, their versions and their sockets: one program, which is linked once, of all tests that
//! start no program. A socket that is closed while another program starts is open for a moment
//! longer.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod adopters;
mod auto_traits;
mod calls_back;
mod events;
mod exchange;
mod foreign_code;
mod in_place;
#[cfg(unix)]
mod inherited;
mod internal;
mod life;
mod lifecycle;
mod live_model;
mod overload;
#[cfg(target_os = "linux")]
mod reuse_port;
mod routes;
mod several_addresses;
#[cfg(unix)]
mod socket_changes;
mod sockets;
mod warming;
