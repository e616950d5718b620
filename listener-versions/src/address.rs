//! Where a listener takes connections: at an IP address and port, at the path of a Unix socket, or
//! from the program itself.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::FieldError;

/// Where a listener takes connections.
///
/// Two listeners want the same socket if their addresses are equal. Envoy writes the same as
/// `socket_address`, `pipe` and `internal_listener`.
///
/// ```
/// use listener_versions::ListenAddress;
///
/// let tcp: ListenAddress = "127.0.0.1:8080".parse()?;
/// let unix: ListenAddress = "unix:/run/edge.sock".parse()?;
/// assert_eq!((tcp.to_string(), unix.to_string()), ("127.0.0.1:8080".to_owned(), "unix:/run/edge.sock".to_owned()));
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ListenAddress {
    /// An IPv4 or IPv6 address and a TCP port. Port 0 lets the kernel choose; such a socket belongs
    /// to its listener's name.
    Socket(SocketAddr),
    /// The path of a Unix stream socket. `@name` is an abstract one, as in Envoy: on Linux, and in
    /// no folder.
    Unix(PathBuf),
    /// No socket: the program accepts connections itself, or makes them, and hands them in with
    /// [`Listeners::enter`](crate::Listeners::enter) under the listener's name. Every listener has
    /// its own.
    Internal,
}

impl ListenAddress {
    /// Whether the kernel chooses the port (port 0), so that equal addresses do not mean the same
    /// socket.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        matches!(self, Self::Socket(address) if address.port() == 0)
    }

    /// Whether this is an abstract Unix socket, `@name`: there is no file of it, and so no mode. A
    /// file of that name is `./@name`.
    #[must_use]
    pub fn is_abstract(&self) -> bool {
        matches!(self, Self::Unix(path) if path.as_os_str().as_encoded_bytes().starts_with(b"@"))
    }

    /// Whether a listener could have this address at all.
    pub(crate) fn check(&self) -> Result<(), FieldError> {
        // The kernel would choose a name for an empty path, and no client would find it.
        let wrong = match self {
            Self::Unix(path) if path.as_os_str().is_empty() => "must not be empty",
            Self::Unix(path) if path.as_os_str() == "@" => "an abstract socket must have a name",
            _ => return Ok(()),
        };
        Err(FieldError::new("address.pipe.path", wrong))
    }

    /// The IP address and port, unless this is a Unix socket.
    #[must_use]
    pub fn as_socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Unix(_) | Self::Internal => None,
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl FromStr for ListenAddress {
    type Err = std::net::AddrParseError;

    /// Reads `ip:port`, `[ipv6]:port`, `unix:/path` or `internal`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Self::Unix(path.into())),
            None if text == "internal" => Ok(Self::Internal),
            None => text.parse().map(Self::Socket),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Internal => f.write_str("internal"),
        }
    }
}

/// The opaque key of one listening socket: the address, and for port 0 also the listener that it
/// belongs to, and how many of its sockets with this address are before it.
///
/// Versions with the same key share the socket, so nothing is bound again between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SocketKey {
    address: ListenAddress,
    owner: Option<(Arc<str>, usize)>,
}

impl SocketKey {
    /// The keys of the sockets that listener `name` wants with these addresses, in their order.
    pub(crate) fn of<'a>(
        name: &Arc<str>,
        addresses: impl IntoIterator<Item = &'a ListenAddress>,
    ) -> Vec<Self> {
        let mut keys: Vec<Self> = Vec::new();
        for address in addresses {
            let same = || keys.iter().filter(|key| key.address == *address);
            let owner = match address {
                ListenAddress::Internal => Some((Arc::clone(name), 0)),
                _ if address.is_ephemeral() => Some((Arc::clone(name), same().count())),
                _ => None,
            };
            let address = address.clone();
            keys.push(Self { address, owner });
        }
        keys
    }

    /// Whether it belongs to its listener's name, so that no other listener and no other process
    /// can ask for it.
    pub(crate) fn is_of_listener(&self) -> bool {
        self.owner.is_some()
    }

    /// That listener.
    pub(crate) fn listener(&self) -> Option<&Arc<str>> {
        self.owner.as_ref().map(|(listener, _)| listener)
    }

    /// Whether there is no socket.
    pub(crate) fn is_internal(&self) -> bool {
        self.address == ListenAddress::Internal
    }

    /// The address as configured (port 0 stays 0 here).
    pub(crate) fn address(&self) -> &ListenAddress {
        &self.address
    }
}

impl fmt::Display for SocketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
