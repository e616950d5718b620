//! Which filter chain a connection takes: one criterion after the other, then the default chain.

use std::net::{IpAddr, SocketAddr};

use super::{CidrRange, FilterChain, FilterChainMatch, Listener, SourceType};

/// What is known of a connection before any filter chain takes it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionFacts<'c> {
    /// Where the client connects from; `None` on a Unix socket.
    pub source: Option<SocketAddr>,
    /// Where it connects to; `None` on a Unix socket.
    pub destination: Option<SocketAddr>,
    /// Whether it begins with a TLS handshake.
    pub tls: bool,
    /// The name that it asks for by TLS.
    pub server_name: Option<&'c str>,
    /// The protocols that it offers by ALPN.
    pub application_protocols: &'c [String],
}

impl ConnectionFacts<'_> {
    /// A connection of which nothing is known but its addresses.
    pub fn new(source: Option<SocketAddr>, destination: Option<SocketAddr>) -> Self {
        Self {
            source,
            destination,
            ..Self::default()
        }
    }
}

/// How closely a chain's rule fits a connection in one respect: 0 for a rule that does not ask,
/// `None` for one that does not fit.
type Criterion = fn(&FilterChainMatch, &ConnectionFacts<'_>) -> Option<usize>;

/// In Envoy's order.
const CRITERIA: [Criterion; 8] = [
    destination_port,
    destination,
    server_name,
    transport_protocol,
    application_protocol,
    source_type,
    source,
    source_port,
];

/// The chain of a connection; `None` means that the connection is closed.
///
/// As in
/// [Envoy](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto),
/// the criteria are taken one by one and there is no way back: if any chain names the port, only
/// chains that name it are looked at; among those the ones with the longest range that holds the
/// destination, then those with the most specific server name, and so on. A chain without a
/// criterion fits every connection, least of all. An IPv4 client of an IPv6 socket counts as IPv4.
pub fn choose_chain<'l>(
    listener: &'l Listener,
    facts: &ConnectionFacts<'_>,
) -> Option<&'l FilterChain> {
    static ANY: FilterChainMatch = FilterChainMatch::any();
    let mut left: Vec<&FilterChain> = listener.filter_chains.iter().collect();
    for criterion in CRITERIA {
        let fits = |chain: &FilterChain| {
            criterion(chain.filter_chain_match.as_ref().unwrap_or(&ANY), facts)
        };
        let best = left.iter().filter_map(|chain| fits(chain)).max();
        left.retain(|chain| best.is_some() && fits(chain) == best);
        if left.is_empty() {
            break;
        }
    }
    // The first of equals; a checked listener has none.
    left.first()
        .copied()
        .or(listener.default_filter_chain.as_ref())
}

fn destination_port(rule: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Option<usize> {
    let Some(port) = rule.destination_port else {
        return Some(0);
    };
    (facts.destination?.port() == port).then_some(1)
}

/// One more than the length of the longest range that holds the address.
fn longest(ranges: &[CidrRange], address: Option<IpAddr>) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    let address = address?.to_canonical();
    let holding = ranges.iter().filter(|range| range.contains(address));
    holding.map(|range| 1 + range.prefix_len as usize).max()
}

fn destination(rule: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Option<usize> {
    longest(&rule.prefix_ranges, facts.destination.map(|at| at.ip()))
}

fn source(rule: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Option<usize> {
    longest(&rule.source_prefix_ranges, facts.source.map(|at| at.ip()))
}

fn server_name(rule: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Option<usize> {
    if rule.server_names.is_empty() {
        return Some(0);
    }
    let asked = facts.server_name?;
    let fits = |name: &String| match name.strip_prefix('*') {
        Some(suffix) => {
            let at = asked.len().checked_sub(suffix.len()).filter(|&at| at > 0)?;
            let end = asked.as_bytes().get(at..)?;
            end.eq_ignore_ascii_case(suffix.as_bytes())
                .then_some(1 + suffix.len())
        }
        None => asked.eq_ignore_ascii_case(name).then_some(usize::MAX),
    };
    rule.server_names.iter().filter_map(fits).max()
}

fn transport_protocol(rule: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Option<usize> {
    match &*rule.transport_protocol {
        "" => Some(0),
        protocol => ((protocol == "tls") == facts.tls).then_some(1),
    }
}

fn application_protocol(rule: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Option<usize> {
    if rule.application_protocols.is_empty() {
        return Some(0);
    }
    let wanted = |offered: &String| rule.application_protocols.contains(offered);
    // What the client likes best counts most.
    let place = facts.application_protocols.iter().position(wanted)?;
    Some(usize::MAX - place)
}

fn source_type(rule: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Option<usize> {
    let local = match (facts.source, facts.destination) {
        (Some(source), Some(destination)) => {
            source.ip().to_canonical().is_loopback() || source.ip() == destination.ip()
        }
        _ => true,
    };
    match rule.source_type {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => local.then_some(1),
        SourceType::External => (!local).then_some(1),
    }
}

fn source_port(rule: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Option<usize> {
    if rule.source_ports.is_empty() {
        return Some(0);
    }
    let port = facts.source?.port();
    rule.source_ports.contains(&port).then_some(1)
}
