//! The rules of filter chains and their filters.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{required, route, tls};
use crate::{
    CidrRange, FieldError, FilterChain, HttpConnectionManager, HttpFilterConfig, NetworkFilter,
    Percent, TcpProxy, UpgradeConfig, path::FieldPath, rds,
};

/// What two chains may not have in common: all that decides which of them a connection takes.
pub(super) fn criteria(chain: &FilterChain) -> BTreeSet<String> {
    let any = crate::FilterChainMatch::any();
    let rule = chain.filter_chain_match.as_ref().unwrap_or(&any);
    let ranges = |ranges: &[CidrRange]| -> Vec<String> {
        let ranges = ranges.iter().map(|range| range.normalized());
        ranges
            .map(|range| format!("{}/{}", range.address_prefix, range.prefix_len))
            .collect()
    };
    let names = rule.server_names.iter();
    let ports = rule.source_ports.iter().map(ToString::to_string);
    let mut all = BTreeSet::from([format!(
        "{:?} {} {:?}",
        rule.destination_port, rule.transport_protocol, rule.source_type
    )]);
    for values in [
        ranges(&rule.prefix_ranges),
        names.map(|name| name.to_ascii_lowercase()).collect(),
        rule.application_protocols.clone(),
        ranges(&rule.source_prefix_ranges),
        ports.collect(),
    ] {
        let values = if values.is_empty() {
            vec![String::new()]
        } else {
            values
        };
        let with = |so_far: &String| -> Vec<String> {
            let values = values.iter();
            values.map(|value| format!("{so_far}|{value}")).collect()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

fn chain_match(chain: &FilterChain, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    let Some(rule) = &chain.filter_chain_match else {
        return;
    };
    let at = at.key("filter_chain_match");
    if rule.destination_port == Some(0) {
        let at = at.key("destination_port");
        wrong.push(FieldError::new(&at, "must be 1 to 65535"));
    }
    for (field, ranges) in [
        ("source_prefix_ranges", &rule.source_prefix_ranges),
        ("prefix_ranges", &rule.prefix_ranges),
    ] {
        for (index, range) in ranges.iter().enumerate() {
            if range.prefix_len > range.bits() {
                let at = at.key(field).index(index).key("prefix_len");
                let message = format!("{} is over {}", range.prefix_len, range.bits());
                wrong.push(FieldError::new(&at, message));
            }
        }
    }
    for (index, name) in rule.server_names.iter().enumerate() {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        if rest.is_empty() || rest.contains('*') {
            let at = at.key("server_names").index(index);
            let message = "expected a name such as `a.example` or `*.example`";
            wrong.push(FieldError::new(&at, message));
        }
    }
    if !["", "tls", "raw_buffer"].contains(&&*rule.transport_protocol) {
        let at = at.key("transport_protocol");
        let message = format!(
            "unknown value `{}`, expected one of `tls`, `raw_buffer`",
            rule.transport_protocol
        );
        wrong.push(FieldError::new(&at, message));
    }
}

pub(super) fn rules(chain: &FilterChain, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    chain_match(chain, at, wrong);
    if let Some(context) = chain
        .transport_socket
        .as_ref()
        .and_then(|socket| socket.tls())
    {
        tls::downstream(context, &at.key("transport_socket"), wrong);
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
        let at = at.key("typed_config");
        match &filter.typed_config {
            NetworkFilter::HttpConnectionManager(manager) => http(manager, &at, wrong),
            NetworkFilter::TcpProxy(proxy) => tcp(proxy, &at, wrong),
        }
    }
}

pub(super) fn percent(share: Option<Percent>, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    let Some(Percent { value }) = share else {
        return;
    };
    if !(0.0..=100.0).contains(&value) {
        let message = format!("{value} is not one of 0 to 100");
        wrong.push(FieldError::new(&at.key("value"), message));
    }
}

fn tcp(proxy: &TcpProxy, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    required(&proxy.stat_prefix, &at.key("stat_prefix"), wrong);
    if proxy
        .max_downstream_connection_duration
        .is_some_and(|age| age < Duration::from_millis(1))
    {
        let at = at.key("max_downstream_connection_duration");
        wrong.push(FieldError::new(&at, "must be at least 0.001s"));
    }
    percent(
        proxy.max_downstream_connection_duration_jitter_percentage,
        &at.key("max_downstream_connection_duration_jitter_percentage"),
        wrong,
    );
    match &proxy.weighted_clusters {
        None => required(&proxy.cluster, &at.key("cluster"), wrong),
        Some(weighted) => {
            if !proxy.cluster.is_empty() {
                let message = "expected one of `cluster`, `weighted_clusters`, not both";
                wrong.push(FieldError::new(at, message));
            }
            route::weighted(weighted, &at.key("weighted_clusters"), wrong);
        }
    }
}

fn http(manager: &HttpConnectionManager, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    required(&manager.stat_prefix, &at.key("stat_prefix"), wrong);
    percent(
        manager.drain_timeout_jitter,
        &at.key("drain_timeout_jitter"),
        wrong,
    );
    if let Some(options) = &manager.common_http_protocol_options {
        let at = at.key("common_http_protocol_options");
        let at = at.key("max_connection_duration_jitter");
        percent(options.max_connection_duration_jitter, &at, wrong);
    }
    if let Some(table) = &manager.route_config {
        route::table(table, &at.key("route_config"), wrong);
    }
    if let Some(rds) = &manager.rds {
        rds::rules(rds, &at.key("rds"), wrong);
    }
    match (&manager.route_config, &manager.rds) {
        (None, None) => {
            let message = "expected one of `route_config`, `rds`, found no source of routes";
            wrong.push(FieldError::new(at, message));
        }
        (Some(_), Some(_)) => {
            let message = "expected one of `route_config`, `rds`, not both";
            wrong.push(FieldError::new(at, message));
        }
        _ => {}
    }
    for (index, filter) in manager.http_filters.iter().enumerate() {
        let at = at.key("http_filters").index(index);
        required(&filter.name, &at.key("name"), wrong);
        let is_router = matches!(filter.typed_config, HttpFilterConfig::Router(_));
        if let HttpFilterConfig::HealthCheck(check) = &filter.typed_config {
            if check.pass_through_mode.is_none() {
                let at = at.key("typed_config").key("pass_through_mode");
                wrong.push(FieldError::new(&at, "is required"));
            }
        }
        let is_last = index + 1 == manager.http_filters.len();
        if is_router != is_last {
            let message = "the router must be the last of its chain, and must be there";
            wrong.push(FieldError::new(&at, message));
        }
    }
    if let Some(options) = &manager.http2_protocol_options {
        let at = at.key("http2_protocol_options");
        for (field, value, least) in [
            ("max_concurrent_streams", options.max_concurrent_streams, 1),
            (
                "initial_stream_window_size",
                options.initial_stream_window_size,
                65535,
            ),
            (
                "initial_connection_window_size",
                options.initial_connection_window_size,
                65535,
            ),
        ] {
            if let Some(value) = value.filter(|value| !(least..=0x7fff_ffff).contains(value)) {
                let message = format!("{value} is not one of {least} to 2147483647");
                wrong.push(FieldError::new(&at.key(field), message));
            }
        }
        let keepalive = options.connection_keepalive.as_ref();
        if let Some(keepalive) = keepalive {
            let at = at.key("connection_keepalive");
            if keepalive.timeout.is_none() {
                wrong.push(FieldError::new(&at.key("timeout"), "is required"));
            }
            for (field, value) in [
                ("timeout", keepalive.timeout),
                ("interval", keepalive.interval),
            ] {
                if value.is_some_and(|value| value < Duration::from_millis(1)) {
                    wrong.push(FieldError::new(&at.key(field), "must be at least 0.001s"));
                }
            }
        }
    }
    upgrades(&manager.upgrade_configs, at, wrong);
}

/// What `upgrade_configs` says of protocols, each of which it may name once.
pub(super) fn upgrades(configs: &[UpgradeConfig], at: &FieldPath, wrong: &mut Vec<FieldError>) {
    let mut named = BTreeSet::new();
    for (index, upgrade) in configs.iter().enumerate() {
        let at = at.key("upgrade_configs").index(index).key("upgrade_type");
        let name = &upgrade.upgrade_type;
        required(name, &at, wrong);
        if !named.insert(name.to_ascii_lowercase()) {
            wrong.push(FieldError::new(&at, format!("duplicate upgrade `{name}`")));
        }
    }
}
