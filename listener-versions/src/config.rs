//! What this crate must know about a listener's configuration, and nothing more.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use drain_tree::{DrainType, TrafficDirection};
use tokio_util::sync::CancellationToken;

use crate::{FieldError, ListenAddress};

/// A listener's configuration, as far as versions need to know it. serde and xDS types stay with
/// the caller.
///
/// Updates ask a configuration while the versions are locked: no method may call
/// [`Listeners`](crate::Listeners), which panics then. Tasks that a method spawns may,
/// [`ready`](Self::ready) and its future may, and so may the configuration's drop.
///
/// ```
/// use listener_versions::{ListenAddress, ListenerConfig};
///
/// #[derive(PartialEq)]
/// struct Echo { name: String, address: ListenAddress, greeting: String }
///
/// impl ListenerConfig for Echo {
///     type Chain = ();
///     fn name(&self) -> &str { &self.name }
///     fn address(&self) -> &ListenAddress { &self.address }
///     fn same_content(&self, other: &Self) -> bool { self == other }
/// }
/// ```
pub trait ListenerConfig: Send + Sync + 'static {
    /// The content of a filter chain: what must be equal for a connection to see nothing of an
    /// update. `()` if there are none.
    type Chain: PartialEq;

    /// The name that identifies the listener over all its versions (Envoy's `name`).
    fn name(&self) -> &str;

    /// Where it listens (Envoy's `address`).
    fn address(&self) -> &ListenAddress;

    /// Where it listens as well (Envoy's `additional_addresses`). Default: nowhere else.
    ///
    /// Each address has sockets of its own, and one version takes what comes on all of them. If one
    /// of them cannot be had, the listener is refused, and nothing changes at the others. Between
    /// two versions an address may come or go, also from or to another listener; the sockets of
    /// those that stay keep their queues.
    fn additional_addresses(&self) -> &[ListenAddress] {
        &[]
    }

    /// Whether an update from `self` to `other` changes nothing (Envoy compares hashes of the whole
    /// message).
    fn same_content(&self, other: &Self) -> bool;

    /// Its filter chains, each with what identifies it in this listener (Envoy's `filter_chains`,
    /// and `default_filter_chain`). Their order means nothing. Default: none, connections are the
    /// version's own.
    ///
    /// No two of them may have the same identity: the listener is refused with the field
    /// `filter_chains`. In an update that [differs only in chains](Self::differs_only_in_chains),
    /// chains of the same identity that are equal keep their connections.
    fn chains(&self) -> Vec<(Arc<str>, &Self::Chain)> {
        Vec::new()
    }

    /// Whether nothing but filter chains changes in an update from `self` to `other`: then the
    /// version goes on, and only the connections of chains that changed, or are gone, drain.
    /// Default: no, every update is a new version.
    fn differs_only_in_chains(&self, other: &Self) -> bool {
        let _ = other;
        false
    }

    /// Which causes drain this listener (Envoy's `drain_type`). Default: [`DrainType::Default`].
    fn drain_type(&self) -> DrainType {
        DrainType::default()
    }

    /// The direction of its traffic (Envoy's `traffic_direction`). Default:
    /// [`TrafficDirection::Unspecified`].
    fn traffic_direction(&self) -> TrafficDirection {
        TrafficDirection::Unspecified
    }

    /// How many connections this version may have: Envoy's runtime key
    /// `envoy.resource_limits.listener.NAME.connection_limit`, which counts each version by itself.
    /// One more is closed as soon as it is accepted, and
    /// [reported](crate::ListenerObserver::refused). Default: as
    /// [`ListenersOptions`](crate::ListenersOptions::max_connections_per_version) say.
    fn max_connections(&self) -> Option<usize> {
        None
    }

    /// What its connections need between being asked to leave and being gone (the longest
    /// `drain_timeout` of its HTTP connection managers). Only the
    /// [`Envoy140`](drain_tree::DrainSchedule::Envoy140) schedule asks. Default: nothing.
    fn drain_timeout(&self) -> Duration {
        Duration::ZERO
    }

    /// How its sockets at `address`, one of its addresses, are opened. A later version at the same
    /// address takes the socket as it is, with the [`backlog`](SocketOptions::backlog) that it asks
    /// for; one that asks for another [`reuse_port`](SocketOptions::reuse_port),
    /// [`dual_stack`](SocketOptions::dual_stack) or [`mode`](SocketOptions::mode) is refused.
    fn socket_options(&self, address: &ListenAddress) -> SocketOptions {
        let _ = address;
        SocketOptions::default()
    }

    /// Opens a socket of this listener and binds it, without listening: here go options that
    /// [`SocketOptions`] does not know, such as `SO_BINDTODEVICE`, `IP_FREEBIND` and
    /// `IP_TRANSPARENT`, and network namespaces. Default: [`SocketOptions::bind`].
    ///
    /// It is called when the listener's address is opened, and with [`reuse_port`](SocketOptions::reuse_port)
    /// once more for each further worker, in the worker's thread, in the configuration that is active
    /// then. `address` is [`address`](Self::address) or one of
    /// [`additional_addresses`](Self::additional_addresses), with the port that the kernel chose
    /// for the first socket. It is not called for sockets that came from
    /// [elsewhere](crate::Listeners::inherit).
    ///
    /// ```
    /// use std::io;
    /// use listener_versions::{ListenAddress, ListenerConfig, socket2};
    ///
    /// struct OfDevice { address: ListenAddress, device: String }
    ///
    /// impl ListenerConfig for OfDevice {
    ///     type Chain = ();
    ///     fn name(&self) -> &str { "of-device" }
    ///     fn address(&self) -> &ListenAddress { &self.address }
    ///     fn same_content(&self, other: &Self) -> bool { self.device == other.device }
    ///     fn bind(&self, address: &ListenAddress) -> io::Result<socket2::Socket> {
    ///         self.socket_options(address).bind(address, |socket| {
    ///             # #[cfg(target_os = "linux")]
    ///             socket.bind_device(Some(self.device.as_bytes()))?;
    ///             socket.set_tcp_keepalive(&socket2::TcpKeepalive::new())
    ///         })
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// What the system says. The listener is refused with the field `address` or
    /// `additional_addresses`, and its previous version goes on; a worker's socket is tried again,
    /// with pauses.
    fn bind(&self, address: &ListenAddress) -> io::Result<socket2::Socket> {
        self.socket_options(address).bind(address, |_| Ok(()))
    }

    /// Whether a new version waits in `Warming` until it is [ready](Self::ready), or
    /// [said](crate::Listeners::warmed) to be warm. The version that it replaces serves meanwhile.
    /// Default: false, it is active at once.
    fn warms(&self) -> bool {
        false
    }

    /// What a version that [warms](Self::warms) waits for: when the future is over, the version
    /// takes over. The [driver](crate::Listeners::new) calls this once for each version that is
    /// taken, polls the future, and drops it when the version is dropped. Default: it never is, and
    /// [`Listeners::warmed`](crate::Listeners::warmed) says so. [`Routes`](crate::Routes) are an
    /// example.
    ///
    /// A version that panics here, or whose future does, stays warming.
    fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }

    /// Makes what serves connections: it is called only for a configuration that is about to be
    /// taken, after everything else has been checked but the opening of a socket, and never for one
    /// that changes nothing. Default: nothing is to be made.
    ///
    /// What it makes can be kept in a `OnceLock` of the configuration. Tasks that it starts, such as
    /// those that renew certificates, can end with `token`: it is cancelled when the version is
    /// drained, or dropped before it ever accepted. A configuration that an update in place has
    /// replaced ends with its last connection, and with its version at the latest. One that was
    /// refused after it was built has ended too.
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use listener_versions::{FieldError, ListenAddress, ListenerConfig};
    /// use listener_versions::tokio_util::sync::CancellationToken;
    ///
    /// struct Greeter { address: ListenAddress, greeting: String, shout: OnceLock<String> }
    ///
    /// impl ListenerConfig for Greeter {
    ///     type Chain = ();
    ///     fn name(&self) -> &str { "greeter" }
    ///     fn address(&self) -> &ListenAddress { &self.address }
    ///     fn same_content(&self, other: &Self) -> bool { self.greeting == other.greeting }
    ///     fn build(&self, token: &CancellationToken) -> Result<(), FieldError> {
    ///         if self.greeting.is_empty() {
    ///             return Err(FieldError::new("greeting", "must not be empty"));
    ///         }
    ///         self.shout.set(self.greeting.to_uppercase()).ok();
    ///         let token = token.clone();
    ///         # if false {
    ///         tokio::spawn(async move { token.run_until_cancelled(std::future::pending::<()>()).await });
    ///         # }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The field because of which it cannot be made. The listener is refused and its previous
    /// version goes on.
    fn build(&self, token: &CancellationToken) -> Result<(), FieldError> {
        let _ = token;
        Ok(())
    }

    /// A last check before the configuration is taken. Default: everything is fine.
    ///
    /// # Errors
    ///
    /// The field that is wrong, and why. The listener is refused and its previous version goes on.
    fn validate(&self) -> Result<(), FieldError> {
        Ok(())
    }
}

/// How a listening socket is opened. `SO_REUSEADDR` is always set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// How many connections may wait to be accepted (Envoy's `tcp_backlog_size`). Default: 1024;
    /// the kernel caps it.
    ///
    /// A version that asks for another one at the same address gets it as soon as it accepts.
    pub backlog: u32,
    /// Whether an IPv6 socket takes IPv4 clients as well, which arrive as mapped addresses (Envoy's
    /// `ipv4_compat`). Default: false, IPv6 only.
    ///
    /// It cannot change as long as the listener keeps its address.
    pub dual_stack: bool,
    /// Whether each worker has a socket of its own (`SO_REUSEPORT`; Envoy's `enable_reuse_port`),
    /// opened when the worker first runs. None is closed before the listener gives up its address:
    /// the socket of a worker that ends goes to one that stays, with its queue. On Linux and for IP
    /// addresses; elsewhere workers always share one socket.
    ///
    /// Default: false, all workers accept on one socket; Envoy's default on Linux is true. From one
    /// queue the worker that has time takes the next connection, and an address that another
    /// process listens on is refused. A socket for each worker spreads accepting over many
    /// processors without contention; in return what waits for a busy worker waits, and another
    /// process of the same user that sets `SO_REUSEPORT` too shares the address unnoticed.
    ///
    /// It cannot change as long as the listener keeps its address, as in Envoy.
    pub reuse_port: bool,
    /// The permission bits of a Unix socket's file, `0o777` at most (Envoy's `Pipe.mode`). Default:
    /// what the process's umask leaves.
    ///
    /// They are set before a client can connect. They cannot change as long as the address is
    /// listened on (Envoy takes such an update, and the file keeps its mode), and a socket that
    /// came from elsewhere keeps those it has. An abstract socket has no file, and is refused with
    /// a mode, as in Envoy.
    pub mode: Option<u32>,
}

impl SocketOptions {
    /// Opens a socket with these options and binds it, without listening. `prepare` is called
    /// before it is bound, for other options.
    ///
    /// # Errors
    ///
    /// What the system or `prepare` says, and what cannot be: a mode of an abstract socket or over
    /// `0o777`, a path where a process listens or where something else than a socket is.
    pub fn bind(
        &self,
        address: &ListenAddress,
        prepare: impl FnOnce(&socket2::Socket) -> io::Result<()>,
    ) -> io::Result<socket2::Socket> {
        crate::net::bind(address, self, prepare)
    }

    /// Sets [`backlog`](Self::backlog).
    #[must_use]
    pub fn with_backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets [`dual_stack`](Self::dual_stack).
    #[must_use]
    pub fn with_dual_stack(mut self, dual_stack: bool) -> Self {
        self.dual_stack = dual_stack;
        self
    }

    /// Sets [`reuse_port`](Self::reuse_port).
    #[must_use]
    pub fn with_reuse_port(mut self, reuse_port: bool) -> Self {
        self.reuse_port = reuse_port;
        self
    }

    /// Sets [`mode`](Self::mode).
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Whether each worker has a socket of its own at this address, on this system.
    pub(crate) fn reuse_port_at(&self, address: &ListenAddress) -> bool {
        let can_be = cfg!(target_os = "linux") && matches!(address, ListenAddress::Socket(_));
        self.reuse_port && can_be
    }

    /// The field that differs from `before`, of those that a socket keeps once it is open.
    pub(crate) fn field_that_stays(
        &self,
        before: &Self,
        address: &ListenAddress,
    ) -> Option<&'static str> {
        let is_ipv6 = address.as_socket().is_some_and(|address| address.is_ipv6());
        if self.reuse_port != before.reuse_port {
            Some("enable_reuse_port")
        } else if self.mode != before.mode {
            Some("address.pipe.mode")
        } else if is_ipv6 && self.dual_stack != before.dual_stack {
            Some("address.socket_address.ipv4_compat")
        } else {
            None
        }
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            dual_stack: false,
            reuse_port: false,
            mode: None,
        }
    }
}
