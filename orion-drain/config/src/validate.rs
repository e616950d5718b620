//! Envoy's rules that a type cannot express. Every breach is found, with the path of its field.

mod chain;
mod route;
mod tls;

use std::collections::BTreeMap;

use listener_versions::ListenAddress;

#[cfg(feature = "xds")]
use super::RouteConfiguration;
use super::{
    Address, Bootstrap, Cluster, DiscoveryType, EndpointAddress, FieldError, Listener, api_source,
    foreign::Root, overload, path::FieldPath, rds, read::Unknown, unsupported,
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
    let (mut names, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for (index, listener) in bootstrap.listeners().iter().enumerate() {
        let at = resources.key("listeners").index(index);
        wrong.append(&mut self::listener(listener, &at));
        if bootstrap.ads_control_plane().is_none() {
            rds::without_ads(listener, &at, &mut wrong);
        }
        if let Some(first) = names.insert(&listener.name, index) {
            wrong.push(FieldError::new(
                &at.key("name"),
                format!("duplicate, listeners[{first}] has it already"),
            ));
        }
        let more = listener.additional_addresses.iter().enumerate();
        let more = more.map(|(index, more)| {
            let at = at.key("additional_addresses").index(index);
            (at.key("address"), &more.address)
        });
        for (at, address) in [(at.key("address"), &listener.address)]
            .into_iter()
            .chain(more)
        {
            let is_any = address.socket_addr().is_some_and(|it| it.port() == 0);
            if is_any {
                continue;
            }
            if let Some(first) = addresses.insert(address.to_string(), index) {
                let message = format!("duplicate, listeners[{first}] has it already");
                wrong.push(FieldError::new(&at, message));
            }
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
    if let Some(overload) = &bootstrap.overload_manager {
        let at = FieldPath::root().key("overload_manager");
        overload.rules(&at, &mut wrong);
    }
    if bootstrap.connection_limit().is_some() {
        overload::uncounted(unknown, &mut wrong);
    }
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
    if cluster.connect_timeout.is_some_and(|limit| limit.is_zero()) {
        let message = "must be above 0: no connection would be made";
        wrong.push(FieldError::new(&at.key("connect_timeout"), message));
    }
    for (index, locality) in cluster.localities().iter().enumerate() {
        let at = at.key("load_assignment").key("endpoints").index(index);
        for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let at = at.key("lb_endpoints").index(index);
            if endpoint.load_balancing_weight == Some(0) {
                let at = at.key("load_balancing_weight");
                wrong.push(FieldError::new(&at, "must be at least 1"));
            }
            let at = at.key("endpoint").key("address");
            match &endpoint.endpoint.address {
                EndpointAddress::Pipe(pipe) => {
                    let pipe = Address::Pipe(pipe.clone());
                    address(&pipe, &at, wrong);
                }
                host => host_name(cluster, host, &at.key("socket_address"), wrong),
            }
        }
    }
    let common = cluster.common_lb_config.unwrap_or_default();
    let threshold = at.key("common_lb_config").key("healthy_panic_threshold");
    chain::percent(common.healthy_panic_threshold, &threshold, wrong);
    let count = cluster.addresses().count();
    if cluster.discovery_type == DiscoveryType::LogicalDns && count != 1 {
        let message = format!("a `LOGICAL_DNS` cluster has exactly one endpoint, found {count}");
        wrong.push(FieldError::new(&at.key("load_assignment"), message));
    }
    let socket = cluster.transport_socket.as_ref();
    if let Some(context) = socket.and_then(|socket| socket.tls()) {
        tls::upstream(context, &at.key("transport_socket"), wrong);
    }
}

fn host_name(
    cluster: &Cluster,
    host: &EndpointAddress,
    at: &FieldPath,
    wrong: &mut Vec<FieldError>,
) {
    let Some((name, _)) = host.host_name() else {
        return;
    };
    let at = at.key("address");
    if name.is_empty() {
        wrong.push(FieldError::new(&at, EMPTY));
    } else if cluster.discovery_type == DiscoveryType::Static {
        let message = format!(
            "`{name}` is not an IP address; names are resolved in clusters of type `STRICT_DNS` and `LOGICAL_DNS` only"
        );
        wrong.push(FieldError::new(&at, message));
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

/// The rules of a table that came by itself, by its name.
#[cfg(feature = "xds")]
pub(super) fn routes(table: &RouteConfiguration, at: &FieldPath) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    required(&table.name, &at.key("name"), &mut wrong);
    route::table(table, at, &mut wrong);
    wrong
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
        chain::rules(chain, &at, &mut wrong);
        for criterion in chain::criteria(chain) {
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
        chain::rules(chain, &at.key("default_filter_chain"), &mut wrong);
    }
    wrong
}
