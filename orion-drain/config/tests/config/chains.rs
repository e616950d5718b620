//! Which filter chain a connection takes.

use std::net::{IpAddr, SocketAddr};

use orion_drain_config::{
    CidrRange, ConnectionFacts, Filter, FilterChain, FilterChainMatch, Listener, NetworkFilter,
    TcpProxy, choose_chain,
};
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn range(text: &str) -> CidrRange {
    let (prefix, len) = text.split_once('/').expect("a range");
    CidrRange::new(ip(prefix), len.parse().expect("a length"))
}

fn chain(name: &str, port: Option<u16>, ranges: &[&str]) -> FilterChain {
    let mut chain = FilterChain::new(Filter::new(
        "tcp",
        NetworkFilter::TcpProxy(TcpProxy::new("tcp", "up")),
    ));
    chain.name = name.to_owned();
    let mut rule = FilterChainMatch::any();
    rule.destination_port = port;
    chain.filter_chain_match =
        Some(rule.with_source_prefix_ranges(ranges.iter().copied().map(range).collect()));
    chain
}

fn listener(chains: Vec<FilterChain>, default: Option<FilterChain>) -> Listener {
    let mut listener = Listener::new(
        "in",
        "127.0.0.1:80".parse::<SocketAddr>().expect("an address"),
        chains,
    );
    listener.default_filter_chain = default;
    listener
}

fn chosen<'a>(listener: &'a Listener, source: &str, port: u16) -> Option<&'a str> {
    let destination = SocketAddr::new(ip("192.0.2.1"), port);
    let facts = ConnectionFacts::new(Some(SocketAddr::new(ip(source), 9)), Some(destination));
    choose_chain(listener, &facts).map(|chain| chain.name.as_str())
}

#[test]
fn the_longest_source_range_wins_and_one_without_ranges_takes_the_rest() {
    let listener = listener(
        vec![
            chain("rest", None, &[]),
            chain("eight", None, &["10.0.0.0/8"]),
            chain("sixteen", None, &["10.1.0.0/16", "192.168.0.0/24"]),
            chain("six", None, &["2001:db8::/32"]),
        ],
        None,
    );
    assert_eq!(chosen(&listener, "10.1.2.3", 80), Some("sixteen"));
    assert_eq!(chosen(&listener, "192.168.0.9", 80), Some("sixteen"));
    assert_eq!(chosen(&listener, "10.2.2.3", 80), Some("eight"));
    assert_eq!(chosen(&listener, "11.2.2.3", 80), Some("rest"));
    assert_eq!(chosen(&listener, "2001:db8::1", 80), Some("six"));
    assert_eq!(chosen(&listener, "2001:db9::1", 80), Some("rest"));
}

#[test]
fn the_port_is_looked_at_first_and_there_is_no_way_back() {
    let chains = vec![
        chain("any", None, &[]),
        chain("port", Some(81), &["10.0.0.0/8"]),
    ];
    let without = listener(chains.clone(), None);
    assert_eq!(chosen(&without, "10.0.0.1", 81), Some("port"));
    assert_eq!(chosen(&without, "10.0.0.1", 82), Some("any"));
    assert_eq!(
        chosen(&without, "11.0.0.1", 81),
        None,
        "a chain without a port is no refuge"
    );
    let with = listener(chains, Some(chain("default", None, &[])));
    assert_eq!(chosen(&with, "11.0.0.1", 81), Some("default"));
}

#[test]
fn nothing_that_matches_is_the_default_chain_or_a_close() {
    let chains = vec![chain("ten", None, &["10.0.0.0/8"])];
    assert_eq!(
        chosen(&listener(chains.clone(), None), "11.0.0.1", 80),
        None
    );
    let with = listener(chains, Some(chain("default", None, &[])));
    assert_eq!(chosen(&with, "11.0.0.1", 80), Some("default"));
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_counts_as_ipv4() {
    let listener = listener(vec![chain("ten", None, &["10.0.0.0/8"])], None);
    assert_eq!(chosen(&listener, "::ffff:10.0.0.1", 80), Some("ten"));
}

#[test]
fn a_unix_socket_has_neither_port_nor_source() {
    let listener = listener(
        vec![
            chain("ten", Some(80), &["10.0.0.0/8"]),
            chain("rest", None, &[]),
        ],
        None,
    );
    assert_eq!(
        choose_chain(&listener, &ConnectionFacts::default()).map(|chain| chain.name.as_str()),
        Some("rest")
    );
}

#[test]
fn names_and_protocols_of_a_hello_choose_the_most_specific_chain() {
    let named = |name: &str, change: fn(&mut FilterChainMatch)| {
        let mut chain = chain(name, None, &[]);
        change(chain.filter_chain_match.as_mut().expect("a rule"));
        chain
    };
    let listener = listener(
        vec![
            named("exact", |rule| rule.server_names = vec!["a.example".into()]),
            named("suffix", |rule| {
                rule.server_names = vec!["*.example".into()]
            }),
            named("longer", |rule| {
                rule.server_names = vec!["*.b.example".into()]
            }),
            named("h2", |rule| rule.application_protocols = vec!["h2".into()]),
            named("clear", |rule| {
                rule.transport_protocol = "raw_buffer".into()
            }),
            named("rest", |_| {}),
        ],
        None,
    );
    let h2 = ["h2".to_owned()];
    for (tls, name, protocols, expected) in [
        (true, Some("A.example"), &[][..], "exact"),
        (true, Some("x.example"), &h2[..], "suffix"),
        (true, Some("x.b.example"), &[], "longer"),
        (true, Some("b.example"), &[], "suffix"),
        (true, Some("example"), &h2, "h2"),
        (true, None, &[], "rest"),
        (false, None, &[], "clear"),
    ] {
        let mut facts = ConnectionFacts::default();
        (facts.tls, facts.server_name, facts.application_protocols) = (tls, name, protocols);
        let chosen = choose_chain(&listener, &facts).map(|chain| chain.name.as_str());
        assert_eq!(chosen, Some(expected), "{facts:?}");
    }
}

proptest! {
    #[test]
    fn a_range_holds_exactly_the_addresses_that_share_its_first_bits(prefix: u32, ip: u32, len in 0_u32..=32) {
        let expected = (0..len).all(|bit| (prefix >> (31 - bit)) & 1 == (ip >> (31 - bit)) & 1);
        prop_assert_eq!(CidrRange::new(IpAddr::V4(prefix.into()), len).contains(IpAddr::V4(ip.into())), expected);
    }

    #[test]
    fn the_same_holds_for_ipv6(prefix: u128, flip in 0_u32..128, len in 0_u32..=128) {
        let ip = prefix ^ (1 << (127 - flip));
        prop_assert_eq!(CidrRange::new(IpAddr::V6(prefix.into()), len).contains(IpAddr::V6(ip.into())), flip >= len);
    }
}
