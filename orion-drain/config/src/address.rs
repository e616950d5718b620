//! Addresses as Envoy writes them: `socket_address` or `pipe`, and ranges of them.

use std::{fmt, net::IpAddr, net::SocketAddr, path::PathBuf};

use listener_versions::ListenAddress;
use serde::{Deserialize, Serialize};

use super::{
    flags,
    names::{self, Named, is_default},
    numbers,
};

/// Where a listener, the admin interface or an endpoint is: Envoy's `config.core.v3.Address`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Oneof", into = "Oneof")]
pub enum Address {
    /// An IP address and a port.
    SocketAddress(SocketAddress),
    /// A Unix socket.
    Pipe(Pipe),
}

/// An IP address and a port: `config.core.v3.SocketAddress`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketAddress {
    /// The transport; only TCP is served.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// The IP address. Names are not resolved, as in Envoy's listeners.
    pub address: IpAddr,
    /// The port. 0 lets the system choose one.
    #[serde(deserialize_with = "numbers::deserialize")]
    pub port_value: u16,
    /// Whether a socket at an IPv6 address takes IPv4 clients as well. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub ipv4_compat: bool,
}

/// The transport of a [`SocketAddress`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// `TCP`.
    #[default]
    Tcp,
}

impl Named for Protocol {
    const NAMES: &'static [(&'static str, u64, Self)] = &[("TCP", 0, Self::Tcp)];
}

/// A Unix socket: `config.core.v3.Pipe`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pipe {
    /// The path. A listener at `@name` has an abstract socket, on Linux.
    pub path: PathBuf,
    /// The permission bits of a listening socket's file, at most 511 (octal 777): 384, or in YAML
    /// `0600`, for its owner alone. Default, and 0: what the process's umask leaves. It cannot
    /// change while the listener keeps its address, where Envoy takes the update and leaves the
    /// mode; a socket that is inherited, by hot restart or from systemd, keeps the mode it has. An
    /// abstract socket has none.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub mode: Option<u32>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Oneof {
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_address: Option<SocketAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipe: Option<Pipe>,
}

impl TryFrom<Oneof> for Address {
    type Error = &'static str;

    fn try_from(oneof: Oneof) -> Result<Self, Self::Error> {
        match (oneof.socket_address, oneof.pipe) {
            (Some(address), None) => Ok(Self::SocketAddress(address)),
            (None, Some(mut pipe)) => {
                // In a message 0 is as good as absent.
                pipe.mode = pipe.mode.filter(|&mode| mode != 0);
                Ok(Self::Pipe(pipe))
            }
            (None, None) => Err("expected one of `socket_address`, `pipe`"),
            (Some(_), Some(_)) => Err("expected one of `socket_address`, `pipe`, not both"),
        }
    }
}

impl From<Address> for Oneof {
    fn from(address: Address) -> Self {
        match address {
            Address::SocketAddress(address) => Self {
                socket_address: Some(address),
                pipe: None,
            },
            Address::Pipe(pipe) => Self {
                socket_address: None,
                pipe: Some(pipe),
            },
        }
    }
}

impl Address {
    /// The address as the standard library has it; `None` for a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::SocketAddress(address) => {
                Some(SocketAddr::new(address.address, address.port_value))
            }
            Self::Pipe(_) => None,
        }
    }
}

impl Address {
    /// Whether a socket at `local` was opened for this address: its port may be one that the kernel
    /// chose.
    pub(super) fn is_at(&self, local: &ListenAddress) -> bool {
        let (own, local) = (ListenAddress::from(self), local);
        let chosen = || Some((own.as_socket()?.ip(), local.as_socket()?.ip()));
        own == *local || own.is_ephemeral() && chosen().is_some_and(|(own, local)| own == local)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::SocketAddress(SocketAddress {
            protocol: Protocol::Tcp,
            address: address.ip(),
            port_value: address.port(),
            ipv4_compat: false,
        })
    }
}

impl From<&Address> for ListenAddress {
    fn from(address: &Address) -> Self {
        match address {
            Address::SocketAddress(address) => {
                Self::Socket(SocketAddr::new(address.address, address.port_value))
            }
            Address::Pipe(pipe) => Self::Unix(pipe.path.clone()),
        }
    }
}

/// As Envoy prints it in `/listeners` and in logs: `127.0.0.1:80`, `[::1]:80`, `/run/socket`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SocketAddress(address) => {
                SocketAddr::new(address.address, address.port_value).fmt(f)
            }
            Self::Pipe(pipe) => pipe.path.display().fmt(f),
        }
    }
}

/// A range of addresses: `config.core.v3.CidrRange`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CidrRange {
    /// The first bits, e.g. `10.0.0.0` or `2001:db8::`.
    pub address_prefix: IpAddr,
    /// How many bits count: 0 (the default) to 32, or to 128 for IPv6.
    #[serde(
        default,
        deserialize_with = "numbers::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub prefix_len: u32,
}

impl CidrRange {
    /// The range of addresses whose first `prefix_len` bits are those of `address_prefix`.
    pub fn new(address_prefix: IpAddr, prefix_len: u32) -> Self {
        Self {
            address_prefix,
            prefix_len,
        }
    }

    /// How many bits an address of this family has.
    pub(super) fn bits(&self) -> u32 {
        if self.address_prefix.is_ipv4() {
            32
        } else {
            128
        }
    }

    /// Whether `ip` is in this range. An IPv4 address is never in an IPv6 range, nor the other way
    /// round.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address_prefix, ip) {
            (IpAddr::V4(prefix), IpAddr::V4(ip)) => {
                let shift = 32_u32.saturating_sub(self.prefix_len);
                (prefix.to_bits() ^ ip.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(prefix), IpAddr::V6(ip)) => {
                let shift = 128_u32.saturating_sub(self.prefix_len);
                (prefix.to_bits() ^ ip.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }

    /// The same range with the bits that do not count set to zero, so that equal ranges compare
    /// equal.
    pub(super) fn normalized(&self) -> Self {
        let address_prefix = match self.address_prefix {
            IpAddr::V4(ip) => {
                let mask = u32::MAX
                    .checked_shl(32_u32.saturating_sub(self.prefix_len))
                    .unwrap_or(0);
                IpAddr::V4((ip.to_bits() & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX
                    .checked_shl(128_u32.saturating_sub(self.prefix_len))
                    .unwrap_or(0);
                IpAddr::V6((ip.to_bits() & mask).into())
            }
        };
        Self {
            address_prefix,
            prefix_len: self.prefix_len,
        }
    }
}
