//! What is known of a connection when it is accepted.

use crate::labels::{ConnLabel, ConnProtocol};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

/// Ends one connection: called by [`ConnTracker::close`](crate::ConnTracker::close), with nothing
/// locked.
pub(crate) type Closer = Box<dyn Control>;

/// What a connection is asked to do through the registry: see [`ConnInfo::with_control`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnRequest {
    /// To leave when it can, in its protocol's words:
    /// [`ConnTracker::drain`](crate::ConnTracker::drain).
    Drain,
    /// To end now: [`ConnTracker::close`](crate::ConnTracker::close).
    Close,
}

/// A connection's own code behind its entry.
pub(crate) trait Control: Send + Sync {
    fn ask(&self, request: ConnRequest);

    /// Whether it can be asked to leave.
    fn drains(&self) -> bool;
}

struct CloseOnly<F>(F);

impl<F: Fn() + Send + Sync> Control for CloseOnly<F> {
    fn ask(&self, request: ConnRequest) {
        if request == ConnRequest::Close {
            (self.0)();
        }
    }

    fn drains(&self) -> bool {
        false
    }
}

impl<F: Fn(ConnRequest) + Send + Sync> Control for F {
    fn ask(&self, request: ConnRequest) {
        self(request);
    }

    fn drains(&self) -> bool {
        true
    }
}

pub(crate) fn close_only(closer: impl Fn() + Send + Sync + 'static) -> Closer {
    Box::new(CloseOnly(closer))
}

/// The address of the other end. For the admin view only: keep it out of metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// Not known.
    #[default]
    Unknown,
    /// An IP address and port.
    Ip(SocketAddr),
    /// A Unix socket: its clients have no name.
    Unix,
}

impl Peer {
    /// The IP address and port, if it has one.
    #[must_use]
    pub fn as_socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unknown | Self::Unix => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// What is known of a connection when it is accepted. All of it can be set later, through the
/// guard.
///
/// ```
/// use conn_tracker::{ConnInfo, ConnLabel, ConnTracker, Peer};
/// let tracker = ConnTracker::new();
/// let info = ConnInfo::new(Peer::Unix).with_label(ConnLabel::Admin);
/// let _guard = tracker.group("admin", 1).open(info);
/// assert_eq!((tracker.len(), tracker.awaited()), (1, 0));
/// ```
#[derive(Default)]
#[must_use]
pub struct ConnInfo {
    pub(crate) peer: Peer,
    pub(crate) protocol: ConnProtocol,
    pub(crate) label: ConnLabel,
    pub(crate) closer: Option<Closer>,
}

impl ConnInfo {
    /// A client's connection from `peer`, protocol unknown, with nothing to close it by.
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            ..Self::default()
        }
    }

    /// The protocol, where the listener already fixes it. Default: [`ConnProtocol::Unknown`].
    pub fn with_protocol(self, protocol: ConnProtocol) -> Self {
        Self { protocol, ..self }
    }

    /// Whose connection it is. Default: [`ConnLabel::Traffic`].
    pub fn with_label(self, label: ConnLabel) -> Self {
        Self { label, ..self }
    }

    /// What ends this connection: [`ConnTracker::close`](crate::ConnTracker::close) calls it. It
    /// must not block, and may be called more than once and after the connection has ended; never
    /// by two callers at a time.
    pub fn with_closer(self, closer: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            closer: Some(close_only(closer)),
            ..self
        }
    }

    /// What ends this connection, and also what asks it to leave: in place of
    /// [`with_closer`](Self::with_closer), under the same conditions.
    ///
    /// ```
    /// use conn_tracker::{ConnInfo, ConnRequest, ConnTracker, Peer};
    /// use std::sync::mpsc;
    /// let (sender, asked) = mpsc::channel();
    /// let control = move |request| drop(sender.send(request));
    /// let tracker = ConnTracker::new();
    /// let guard = tracker.group("ingress", 1).open(ConnInfo::new(Peer::Unix).with_control(control));
    /// tracker.drain(guard.id())?;
    /// tracker.close(guard.id())?;
    /// assert!(asked.try_iter().eq([ConnRequest::Drain, ConnRequest::Close]));
    /// # Ok::<(), conn_tracker::CloseError>(())
    /// ```
    pub fn with_control(self, control: impl Fn(ConnRequest) + Send + Sync + 'static) -> Self {
        Self {
            closer: Some(Box::new(control)),
            ..self
        }
    }
}

impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnInfo")
            .field("peer", &self.peer)
            .field("protocol", &self.protocol)
            .field("label", &self.label)
            .field("has_closer", &self.closer.is_some())
            .finish()
    }
}

impl From<Peer> for ConnInfo {
    fn from(peer: Peer) -> Self {
        Self::new(peer)
    }
}

impl From<SocketAddr> for ConnInfo {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.into())
    }
}

/// [`Peer`] in 24 bytes instead of 32, so that the cold half of an entry is one cache line. An IPv6
/// flow label is dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedPeer {
    ip: [u8; 16],
    scope: u32,
    port: u16,
    form: Form,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Unknown,
    Unix,
    V4,
    V6,
}

impl PackedPeer {
    pub(crate) const UNKNOWN: Self = Self {
        ip: [0; 16],
        scope: 0,
        port: 0,
        form: Form::Unknown,
    };

    pub(crate) fn pack(peer: Peer) -> Self {
        match peer {
            Peer::Unknown => Self::UNKNOWN,
            Peer::Unix => Self {
                form: Form::Unix,
                ..Self::UNKNOWN
            },
            Peer::Ip(SocketAddr::V4(address)) => {
                let mut ip = [0; 16];
                ip[..4].copy_from_slice(&address.ip().octets());
                Self {
                    ip,
                    scope: 0,
                    port: address.port(),
                    form: Form::V4,
                }
            }
            Peer::Ip(SocketAddr::V6(address)) => Self {
                ip: address.ip().octets(),
                scope: address.scope_id(),
                port: address.port(),
                form: Form::V6,
            },
        }
    }

    pub(crate) fn unpack(self) -> Peer {
        let [a, b, c, d, ..] = self.ip;
        match self.form {
            Form::Unknown => Peer::Unknown,
            Form::Unix => Peer::Unix,
            Form::V4 => Peer::Ip(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                self.port,
            )),
            Form::V6 => {
                let ip = Ipv6Addr::from(self.ip);
                Peer::Ip(SocketAddr::V6(SocketAddrV6::new(
                    ip, self.port, 0, self.scope,
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_survives_packing() {
        let addresses = ["192.0.2.7:443", "[2001:db8::1]:80", "[fe80::1%3]:9"];
        let ips = addresses.iter().map(|a| Peer::Ip(a.parse().unwrap()));
        for peer in ips.chain([Peer::Unknown, Peer::Unix]) {
            assert_eq!(PackedPeer::pack(peer).unpack(), peer);
        }
        assert_eq!(size_of::<PackedPeer>(), 24);
    }
}
