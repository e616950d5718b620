//! Where a listener listens: an IP address and port, or the path of a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::FieldError;

/// Where a listener listens.
///
/// Two listeners want the same socket if their addresses are equal. Envoy writes the same as `socket_address` and `pipe`.
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
    /// An IPv4 or IPv6 address and a TCP port. Port 0 lets the kernel choose; such a socket belongs to its listener's name.
    Socket(SocketAddr),
    /// The path of a Unix stream socket. `@name` is an abstract one, as in Envoy: on Linux, and in no folder.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether the kernel chooses the port (port 0), so that equal addresses do not mean the same socket.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        matches!(self, Self::Socket(address) if address.port() == 0)
    }

    /// Whether this is an abstract Unix socket, `@name`: there is no file of it, and so no mode. A file of that name is `./@name`.
    #[must_use]
    pub fn is_abstract(&self) -> bool {
        matches!(self, Self::Unix(path) if path.as_os_str().as_encoded_bytes().starts_with(b"@"))
    }

    /// Whether somebody could listen there at all.
    pub(crate) fn check(&self) -> Result<(), FieldError> {
        // The kernel would choose a name for an empty path, and nobody would find it.
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
            Self::Unix(_) => None,
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

    /// Reads `ip:port`, `[ipv6]:port` or `unix:/path`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Socket),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The opaque key of one listening socket: the address, and for port 0 also the listener that it belongs to.
///
/// Versions with the same key share the socket, so nothing is bound again between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SocketKey {
    address: ListenAddress,
    owner: Option<Arc<str>>,
}

impl SocketKey {
    /// The key of the socket that listener `name` wants with `address`.
    pub(crate) fn new(name: &Arc<str>, address: &ListenAddress) -> Self {
        Self {
            address: address.clone(),
            owner: address.is_ephemeral().then(|| Arc::clone(name)),
        }
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
