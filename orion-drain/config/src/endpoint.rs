//! Where an endpoint of a cluster is: an address, or a host name that is resolved.

use std::{fmt, net::IpAddr, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{
    Address, Pipe, Protocol,
    names::{self, is_default},
    numbers,
};

/// Where an endpoint is: Envoy's `config.core.v3.Address`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Oneof", into = "Oneof")]
pub enum EndpointAddress {
    /// A host and a port.
    SocketAddress(HostAddress),
    /// A Unix socket.
    Pipe(Pipe),
}

/// A host and a port: `config.core.v3.SocketAddress`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostAddress {
    /// The transport; only TCP is served.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// An IP address; in clusters of type `STRICT_DNS` or `LOGICAL_DNS` also a host name.
    pub address: String,
    /// The port.
    #[serde(deserialize_with = "numbers::deserialize")]
    pub port_value: u16,
}

#[derive(Clone, Serialize, Deserialize)]
struct Oneof {
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_address: Option<HostAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipe: Option<Pipe>,
}

impl TryFrom<Oneof> for EndpointAddress {
    type Error = &'static str;

    fn try_from(oneof: Oneof) -> Result<Self, Self::Error> {
        match (oneof.socket_address, oneof.pipe) {
            (Some(address), None) => Ok(Self::SocketAddress(address)),
            (None, Some(pipe)) => Ok(Self::Pipe(pipe)),
            (None, None) => Err("expected one of `socket_address`, `pipe`"),
            (Some(_), Some(_)) => Err("expected one of `socket_address`, `pipe`, not both"),
        }
    }
}

impl From<EndpointAddress> for Oneof {
    fn from(address: EndpointAddress) -> Self {
        let (socket_address, pipe) = match address {
            EndpointAddress::SocketAddress(address) => (Some(address), None),
            EndpointAddress::Pipe(pipe) => (None, Some(pipe)),
        };
        Self {
            socket_address,
            pipe,
        }
    }
}

impl EndpointAddress {
    /// The address; `None` for a host name and for a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let Self::SocketAddress(host) = self else {
            return None;
        };
        let ip: IpAddr = host.address.parse().ok()?;
        Some(SocketAddr::new(ip, host.port_value))
    }

    /// The host name and the port; `None` for an IP address and for a Unix socket.
    pub fn host_name(&self) -> Option<(&str, u16)> {
        match self {
            Self::SocketAddress(host) if host.address.parse::<IpAddr>().is_err() => {
                Some((&host.address, host.port_value))
            }
            Self::SocketAddress(_) | Self::Pipe(_) => None,
        }
    }
}

impl From<Address> for EndpointAddress {
    fn from(address: Address) -> Self {
        match address {
            Address::SocketAddress(address) => Self::SocketAddress(HostAddress {
                protocol: address.protocol,
                address: address.address.to_string(),
                port_value: address.port_value,
            }),
            Address::Pipe(pipe) => Self::Pipe(pipe),
        }
    }
}

/// `127.0.0.1:80`, `[::1]:80`, `shop.example:80`, `/run/socket`.
impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.socket_addr(), self) {
            (Some(address), _) => address.fmt(f),
            (None, Self::SocketAddress(host)) => {
                write!(f, "{}:{}", host.address, host.port_value)
            }
            (None, Self::Pipe(pipe)) => pipe.path.display().fmt(f),
        }
    }
}
