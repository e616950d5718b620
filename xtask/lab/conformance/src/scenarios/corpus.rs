//! Configurations, valid and invalid: `--mode validate` of both sides accepts and refuses the same.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::rows;
use crate::Stage;
use crate::rule::Checks;
use crate::yaml::{self, ADMIN, Listener};

/// What is changed of a good listener, whether Envoy takes it, and the row that says why we do not
/// do the same.
struct Case {
    rule: &'static str,
    replace: (&'static str, &'static str),
    accepted: bool,
    otherwise: Option<&'static str>,
    /// More flags, of the same name on both sides.
    flags: &'static [&'static str],
}

const fn accepted(rule: &'static str, from: &'static str, to: &'static str) -> Case {
    Case {
        rule,
        replace: (from, to),
        accepted: true,
        otherwise: None,
        flags: &[],
    }
}

const fn refused(rule: &'static str, from: &'static str, to: &'static str) -> Case {
    Case {
        accepted: false,
        ..accepted(rule, from, to)
    }
}

impl Case {
    const fn but(self, row: &'static str) -> Self {
        Self {
            otherwise: Some(row),
            ..self
        }
    }

    /// The listeners of a bootstrap.
    fn listeners(&self, ip: Ipv4Addr) -> String {
        let (good, (from, to)) = (good(ip), self.replace);
        match from.replace("IP", &ip.to_string()).as_str() {
            "" if to == TWICE => good.clone() + &good.replace("10080", "10081"),
            "" => good,
            from => good.replacen(from, to, 1),
        }
    }

    const fn with(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }
}

/// The plain listener, as an item of `static_resources.listeners`.
fn good(ip: Ipv4Addr) -> String {
    let good = Listener::http().yaml(ip, 0, false);
    good.lines().map(|line| format!("  {line}\n")).collect()
}

const NAME: &str = "name: ing\n";
/// The listener stands there a second time, on another port.
const TWICE: &str = "twice";
const CASES: &[Case] = &[
    accepted("a plain HTTP listener", "", ""),
    accepted(
        "MODIFY_ONLY, INBOUND",
        NAME,
        "name: ing\n    drain_type: MODIFY_ONLY\n    traffic_direction: INBOUND\n",
    ),
    refused(
        "an unknown field",
        NAME,
        "name: ing\n    no_such_field: 1\n",
    ),
    accepted(
        "an unknown field, and a flag that allows it",
        NAME,
        "name: ing\n    no_such_field: 1\n",
    )
    .with(&["--allow-unknown-static-fields"]),
    refused(
        "an unknown field, deep inside",
        "inline_string: 'v1'",
        "inline_strings: 'v1'",
    ),
    accepted(
        "fields of Envoy's that concern no drain",
        NAME,
        "name: ing\n    listener_filters_timeout: 5s\n    metadata: {}\n",
    ),
    accepted(
        "more such fields, deep inside",
        "stat_prefix: ing, ",
        "stat_prefix: ing, use_remote_address: true, server_name: x, generate_request_id: false, ",
    ),
    accepted("codec_type HTTP2", "codec_type: AUTO", "codec_type: HTTP2"),
    accepted("an enum by its number", "codec_type: AUTO", "codec_type: 1"),
    accepted("drain_timeout 0s", "drain_timeout: 1.000s", "drain_timeout: 0s"),
    accepted(
        "drain_timeout with nanoseconds",
        "drain_timeout: 1.000s",
        "drain_timeout: 1.123456789s",
    ),
    accepted(
        "field names in lowerCamelCase",
        "drain_timeout: 1.000s",
        "drainTimeout: 1s",
    ),
    accepted(
        "a prefix of length 8",
        "filters:",
        "filter_chain_match: { source_prefix_ranges: [ { address_prefix: 10.0.0.0, prefix_len: 8 } ] }\n      filters:",
    ),
    accepted(
        "destination_port",
        "filters:",
        "filter_chain_match: { destination_port: 80 }\n      filters:",
    ),
    accepted("no name", "name: ing\n    ", ""),
    accepted("two listeners of one name", "", TWICE).but(rows::TWINS),
    refused(
        "an unknown drain_type",
        NAME,
        "name: ing\n    drain_type: SOMETIMES\n",
    ),
    refused("an unknown codec_type", "codec_type: AUTO", "codec_type: HTTP9"),
    refused(
        "a negative drain_timeout",
        "drain_timeout: 1.000s",
        "drain_timeout: -1s",
    ),
    refused(
        "a duration that is none",
        "drain_timeout: 1.000s",
        "drain_timeout: soon",
    ),
    refused(
        "a duration in minutes",
        "drain_timeout: 1.000s",
        "drain_timeout: 10m",
    )
    .but(rows::DURATIONS),
    refused(
        "a duration without its unit",
        "drain_timeout: 1.000s",
        "drain_timeout: 10",
    ),
    refused("a port of 70000", "port_value: 10080", "port_value: 70000"),
    refused("no port", ", port_value: 10080", ""),
    refused("an address that is none", "address: 127.", "address: 327."),
    refused("no stat_prefix", "stat_prefix: ing, ", ""),
    accepted(
        "a prefix_len of 33",
        "filters:",
        "filter_chain_match: { source_prefix_ranges: [ { address_prefix: 10.0.0.0, prefix_len: 33 } ] }\n      filters:",
    ).but(rows::PREFIX),
    accepted(
        "no router filter",
        "http_filters: [ { name: envoy.filters.http.router, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } } ],",
        "",
    ),
    refused("no routes", "route_config: ", "no_route_config: "),
    refused(
        "a route to nowhere",
        "route: { cluster: http,",
        "route: { cluster: nowhere,",
    ),
    refused(
        "a route to nowhere, validate_clusters: true",
        "name: r, virtual_hosts: [ { name: all, domains: ['*'], routes: [",
        "name: r, validate_clusters: true, virtual_hosts: [ { name: all, domains: ['*'], routes: [ { match: { path: /n }, route: { cluster: nowhere } },",
    ),
    accepted(
        "a route to nowhere, validate_clusters: false",
        "name: r, virtual_hosts: [ { name: all, domains: ['*'], routes: [",
        "name: r, validate_clusters: false, virtual_hosts: [ { name: all, domains: ['*'], routes: [ { match: { path: /n }, route: { cluster: nowhere } },",
    ),
    refused(
        "a status of 42",
        "direct_response: { status: 200",
        "direct_response: { status: 42",
    ),
    refused(
        "an unknown type of filter",
        "http_connection_manager.v3.",
        "no_such_thing.v3.",
    ),
    refused(
        "a buffer limit of text",
        "per_connection_buffer_limit_bytes: 1048576",
        "per_connection_buffer_limit_bytes: many",
    ),
    refused(
        "a route without an action",
        "route: { cluster: http, timeout: 0s }",
        "no_route: {}",
    ),
    refused(
        "no address",
        "address: { socket_address: { address: IP, port_value: 10080 } }",
        "use_original_dst: false",
    ),
    accepted(
        "a match by server name",
        "filters:",
        "filter_chain_match: { server_names: [ a.example ] }\n      filters:",
    ),
    accepted(
        "a route by regular expression",
        "match: { path: /v }",
        "match: { safe_regex: { regex: '/v' } }",
    ),
    accepted(
        "a route that follows redirects itself",
        "route: { cluster: http,",
        "route: { internal_redirect_policy: {}, cluster: http,",
    )
    .but(rows::FILTERS),
];

pub(crate) async fn corpus(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let (ip, folder) = stage.world.place()?;
    for case in CASES {
        let text = case.listeners(ip);
        let bootstrap = format!(
            "node: {{ id: c, cluster: c }}\nadmin:\n  address: {}\nstatic_resources:\n  clusters:\n{}  listeners:\n{text}",
            rig::yaml::socket_address((ip, ADMIN).into()),
            yaml::clusters(stage.world.http, stage.world.tcp).concat(),
        );
        let path = folder.join("bootstrap.yaml");
        std::fs::write(&path, bootstrap)?;
        let mut command = Command::new(stage.world.program(stage.side));
        command
            .arg("-c")
            .arg(&path)
            .args(stage.side.flags())
            .args(case.flags)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.args(["--mode", "validate"]).spawn()?;
        let taken = timeout(Duration::from_secs(10), child.wait())
            .await??
            .success();
        let check = checks.rule(
            case.rule,
            if taken { "accepted" } else { "refused" },
            taken == case.accepted,
        );
        if let Some(row) = case.otherwise {
            check.or_everywhere(row, taken != case.accepted);
        }
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_but_the_plain_one_is_another_listener() {
        let ip = Ipv4Addr::LOCALHOST;
        let same = CASES.iter().filter(|case| case.listeners(ip) == good(ip));
        let same: Vec<_> = same.map(|case| case.rule).collect();
        assert_eq!(same, ["a plain HTTP listener"]);
    }
}
