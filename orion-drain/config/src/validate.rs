//! Envoy's rules that a type cannot express. Every breach is found, with the path of its field.

use std::collections::{BTreeMap, BTreeSet};

use listener_versions::ListenAddress;

use super::{
    Action, Address, Bootstrap, CidrRange, Cluster, DownstreamTlsContext, FieldError, FilterChain,
    HttpConnectionManager, Listener, NetworkFilter, Route, RouteConfiguration, RouteMatch,
    TcpProxy, api_source, foreign::Root, path::FieldPath, read::Unknown, route::HeaderValueOption,
    unsupported,
};

pub(super) fn bootstrap(bootstrap: &Bootstrap, unknown: &[Unknown]) -> Vec<FieldError> {
    let mut wrong = unsupported::find(unknown, Root::Bootstrap);
    if let Some(admin) = bootstrap.admin_address() {
        address(
            admin,
            &FieldPath::root().key("admin").key("address"),
            &mut wrong,
        );
    }
    let resources = FieldPath::root().key("static_resources");
    let mut names = BTreeMap::new();
    for (index, listener) in bootstrap.listeners().iter().enumerate() {
        let at = resources.key("listeners").index(index);
        wrong.append(&mut self::listener(listener, &at));
        if let Some(first) = names.insert(&listener.name, index) {
            wrong.push(FieldError::new(
                &at.key("name"),
                format!("duplicate, listeners[{first}] has it already"),
            ));
        }
    }
    let mut names = BTreeMap::new();
    for (index, cluster) in bootstrap.clusters().iter().enumerate() {
        let at = resources.key("clusters").index(index);
        self::cluster(cluster, &at, &mut wrong);
        if let Some(first) = names.insert(&cluster.name, index) {
            wrong.push(FieldError::new(
                &at.key("name"),
                format!("duplicate, clusters[{first}] has it already"),
            ));
        }
    }
    api_source::validate(bootstrap, &mut wrong);
    if let Some(manager) = &bootstrap.listener_manager {
        if manager.versions_limit() == 0 {
            let at = FieldPath::root().key("listener_manager");
            wrong.push(FieldError::new(
                &at,
                "at least one version of a listener must be allowed",
            ));
        }
    }
    wrong
}

fn cluster(cluster: &Cluster, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    required(&cluster.name, &at.key("name"), wrong);
    if cluster
        .load_assignment
        .as_ref()
        .is_some_and(|assignment| assignment.cluster_name.is_empty())
    {
        wrong.push(FieldError::new(
            &at.key("load_assignment").key("cluster_name"),
            EMPTY,
        ));
    }
    for (index, locality) in cluster.localities().iter().enumerate() {
        let at = at.key("load_assignment").key("endpoints").index(index);
        for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let at = at.key("lb_endpoints").index(index).key("endpoint");
            address(&endpoint.endpoint.address, &at.key("address"), wrong);
        }
    }
}

fn address(address: &Address, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    let Address::Pipe(pipe) = address else { return };
    let at = at.key("pipe");
    if pipe.path.as_os_str().is_empty() {
        wrong.push(FieldError::new(&at.key("path"), EMPTY));
    }
    match pipe.mode {
        Some(mode) if mode > 0o777 => {
            wrong.push(FieldError::new(
                &at.key("mode"),
                format!("{mode} is over 511 (octal 777)"),
            ));
        }
        Some(_) if ListenAddress::from(address).is_abstract() => {
            wrong.push(FieldError::new(
                &at.key("mode"),
                "an abstract socket has none",
            ));
        }
        Some(_) | None => {}
    }
}

const EMPTY: &str = "must not be empty";

fn required(value: &str, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    if value.is_empty() {
        wrong.push(FieldError::new(at, EMPTY));
    }
}

pub(super) fn listener(listener: &Listener, at: &FieldPath) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    address(&listener.address, &at.key("address"), &mut wrong);
    for (index, additional) in listener.additional_addresses.iter().enumerate() {
        let at = at.key("additional_addresses").index(index).key("address");
        address(&additional.address, &at, &mut wrong);
    }
    if listener.all_chains().next().is_none() {
        wrong.push(FieldError::new(
            &at.key("filter_chains"),
            "no filter chains specified",
        ));
    }
    let mut matches = BTreeMap::new();
    for (index, chain) in listener.filter_chains.iter().enumerate() {
        let at = at.key("filter_chains").index(index);
        chain_rules(chain, &at, &mut wrong);
        for criterion in criteria(chain) {
            match matches.insert(criterion, index) {
                Some(first) if first != index => {
                    wrong.push(FieldError::new(
                        &at.key("filter_chain_match"),
                        format!("filter_chains[{first}] has the same matching rules"),
                    ));
                    break;
                }
                _ => {}
            }
        }
    }
    if let Some(chain) = &listener.default_filter_chain {
        chain_rules(chain, &at.key("default_filter_chain"), &mut wrong);
    }
    wrong
}

/// What two chains may not have in common: a port, and a range of sources.
fn criteria(chain: &FilterChain) -> Vec<(Option<u16>, Option<CidrRange>)> {
    let Some(criteria) = &chain.filter_chain_match else {
        return vec![(None, None)];
    };
    let port = criteria.destination_port;
    if criteria.source_prefix_ranges.is_empty() {
        return vec![(port, None)];
    }
    let ranges = criteria
        .source_prefix_ranges
        .iter()
        .map(|range| range.normalized());
    ranges.map(|range| (port, Some(range))).collect()
}

fn chain_rules(chain: &FilterChain, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    if let Some(criteria) = &chain.filter_chain_match {
        let at = at.key("filter_chain_match");
        if criteria.destination_port == Some(0) {
            wrong.push(FieldError::new(
                &at.key("destination_port"),
                "must be 1 to 65535",
            ));
        }
        for (index, range) in criteria.source_prefix_ranges.iter().enumerate() {
            if range.prefix_len > range.bits() {
                let at = at
                    .key("source_prefix_ranges")
                    .index(index)
                    .key("prefix_len");
                wrong.push(FieldError::new(
                    &at,
                    format!("{} is over {}", range.prefix_len, range.bits()),
                ));
            }
        }
    }
    if let Some(socket) = &chain.transport_socket {
        tls(socket.tls(), &at.key("transport_socket"), wrong);
    }
    for (index, filter) in chain.filters.iter().enumerate() {
        let at = at.key("filters").index(index);
        required(&filter.name, &at.key("name"), wrong);
        if index + 1 < chain.filters.len() {
            wrong.push(FieldError::new(
                &at,
                "a terminal filter must be the last of its chain",
            ));
        }
        match &filter.typed_config {
            NetworkFilter::HttpConnectionManager(manager) => {
                http(manager, &at.key("typed_config"), wrong)
            }
            NetworkFilter::TcpProxy(TcpProxy {
                stat_prefix,
                cluster,
                ..
            }) => {
                required(
                    stat_prefix,
                    &at.key("typed_config").key("stat_prefix"),
                    wrong,
                );
                required(cluster, &at.key("typed_config").key("cluster"), wrong);
            }
        }
    }
}

fn tls(context: &DownstreamTlsContext, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    if cfg!(not(feature = "tls")) {
        wrong.push(FieldError::new(at, "needs the feature `tls`"));
    }
    let at = at.key("typed_config");
    if context.require_client_certificate == Some(true) {
        let at = at.key("require_client_certificate");
        wrong.push(FieldError::new(
            &at,
            "not supported, and ignoring it would let everybody in",
        ));
    }
    let at = at.key("common_tls_context");
    let count = context.common_tls_context.tls_certificates.len();
    if count != 1 {
        wrong.push(FieldError::new(
            &at.key("tls_certificates"),
            format!("exactly one certificate is supported, found {count}"),
        ));
    }
    for (index, protocol) in context.common_tls_context.alpn_protocols.iter().enumerate() {
        if protocol.is_empty() || protocol.len() > 255 {
            let at = at.key("alpn_protocols").index(index);
            wrong.push(FieldError::new(&at, "must be 1 to 255 bytes long"));
        }
    }
}

fn http(manager: &HttpConnectionManager, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    required(&manager.stat_prefix, &at.key("stat_prefix"), wrong);
    if let Some(jitter) = manager.drain_timeout_jitter {
        if !(0.0..=100.0).contains(&jitter.value) {
            wrong.push(FieldError::new(
                &at.key("drain_timeout_jitter").key("value"),
                format!("{} is not one of 0 to 100", jitter.value),
            ));
        }
    }
    match &manager.route_config {
        Some(table) => routes(table, &at.key("route_config"), wrong),
        None => wrong.push(FieldError::new(
            at,
            "missing field `route_config`, the only source of routes here",
        )),
    }
    for (index, filter) in manager.http_filters.iter().enumerate() {
        let at = at.key("http_filters").index(index);
        required(&filter.name, &at.key("name"), wrong);
        if index + 1 < manager.http_filters.len() {
            wrong.push(FieldError::new(
                &at,
                "the router must be the last of its chain",
            ));
        }
    }
    for (index, upgrade) in manager.upgrade_configs.iter().enumerate() {
        required(
            &upgrade.upgrade_type,
            &at.key("upgrade_configs").index(index).key("upgrade_type"),
            wrong,
        );
    }
}

fn routes(table: &RouteConfiguration, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    headers(&table.response_headers_to_add, at, wrong);
    let mut domains = BTreeSet::new();
    for (index, host) in table.virtual_hosts.iter().enumerate() {
        let at = at.key("virtual_hosts").index(index);
        required(&host.name, &at.key("name"), wrong);
        headers(&host.response_headers_to_add, &at, wrong);
        if host.domains.is_empty() {
            wrong.push(FieldError::new(&at.key("domains"), EMPTY));
        }
        for (index, domain) in host.domains.iter().enumerate() {
            let at = at.key("domains").index(index);
            required(domain, &at, wrong);
            if !domains.insert(domain.to_ascii_lowercase()) {
                wrong.push(FieldError::new(&at, format!("duplicate domain `{domain}`")));
            }
        }
        for (index, route) in host.routes.iter().enumerate() {
            self::route(route, &at.key("routes").index(index), wrong);
        }
    }
}

fn route(route: &Route, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    headers(&route.response_headers_to_add, at, wrong);
    if let RouteMatch::Path(path) = &route.matches {
        if !path.starts_with('/') {
            wrong.push(FieldError::new(
                &at.key("match").key("path"),
                "must begin with `/`",
            ));
        }
    }
    match &route.action {
        Action::DirectResponse(response) if !(200..600).contains(&response.status) => {
            let at = at.key("direct_response").key("status");
            wrong.push(FieldError::new(
                &at,
                format!("{} is not one of 200 to 599", response.status),
            ));
        }
        Action::DirectResponse(_) => {}
        Action::Route(action) => required(&action.cluster, &at.key("route").key("cluster"), wrong),
    }
}

fn headers(list: &[HeaderValueOption], at: &FieldPath, wrong: &mut Vec<FieldError>) {
    for (index, option) in list.iter().enumerate() {
        if option.parts().is_none() {
            let at = at.key("response_headers_to_add").index(index).key("header");
            wrong.push(FieldError::new(&at, "not a header that HTTP allows"));
        }
    }
}
