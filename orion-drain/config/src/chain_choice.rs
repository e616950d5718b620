//! Which filter chain a connection takes: destination port, then the longest source range, then the default chain.

use std::net::IpAddr;

use super::{FilterChain, Listener};

/// The chain of a connection from `source` to port `destination_port` (`None` for both on a Unix socket); `None` means
/// that the connection is closed.
///
/// As in [Envoy](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto), the
/// criteria are taken one by one and there is no way back: if any chain names the port, only chains that name it are
/// looked at; among those the one with the longest range that holds the source wins; a chain without ranges is a range
/// of length zero. An IPv4 client of an IPv6 socket counts as IPv4.
pub fn choose_chain(
    listener: &Listener,
    source: Option<IpAddr>,
    destination_port: Option<u16>,
) -> Option<&FilterChain> {
    let port_of = |chain: &FilterChain| {
        chain
            .filter_chain_match
            .as_ref()
            .and_then(|rule| rule.destination_port)
    };
    let named = destination_port.filter(|port| {
        listener
            .filter_chains
            .iter()
            .any(|chain| port_of(chain) == Some(*port))
    });
    let source = source.map(|ip| ip.to_canonical());
    listener
        .filter_chains
        .iter()
        .filter(|chain| port_of(chain) == named)
        .filter_map(|chain| Some((source_specificity(chain, source)?, chain)))
        // The first of equals; a checked listener has none.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, chain)| chain)
        .or(listener.default_filter_chain.as_ref())
}

/// The length of the longest range that holds the source.
fn source_specificity(chain: &FilterChain, source: Option<IpAddr>) -> Option<u32> {
    let ranges = chain
        .filter_chain_match
        .as_ref()
        .map_or(&[][..], |rule| &rule.source_prefix_ranges);
    if ranges.is_empty() {
        return Some(0);
    }
    let source = source?;
    ranges
        .iter()
        .filter(|range| range.contains(source))
        .map(|range| range.prefix_len)
        .max()
}
