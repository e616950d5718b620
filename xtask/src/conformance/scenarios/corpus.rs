//! Listener configurations, valid and invalid: `envoy --mode validate` and our parser accept and refuse the same.
//!
//! edge has no mode that only reads, so it is started with the configuration, and ended when it is ready.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::rows;
use crate::conformance::rule::Checks;
use crate::conformance::yaml::{self, ADMIN, Listener};
use crate::conformance::{Side, Stage};
use crate::demo::ask;

/// What is changed of a good listener, whether Envoy takes it, and the row that says why we do not do the same.
struct Case {
    rule: &'static str,
    replace: (&'static str, &'static str),
    accepted: bool,
    otherwise: Option<&'static str>,
}

const fn accepted(rule: &'static str, from: &'static str, to: &'static str) -> Case {
    Case {
        rule,
        replace: (from, to),
        accepted: true,
        otherwise: None,
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
}

const NAME: &str = "name: ing\n";
const CASES: &[Case] = &[
    accepted("a plain HTTP listener", "", ""),
    accepted(
        "MODIFY_ONLY, INBOUND",
        NAME,
        "name: ing\n    drain_type: MODIFY_ONLY\n    traffic_direction: INBOUND\n",
    ),
    refused(
        "a field that nobody knows",
        NAME,
        "name: ing\n    no_such_field: 1\n",
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
    )
    .but(rows::FILTERS),
    accepted(
        "a route by regular expression",
        "match: { path: /v }",
        "match: { safe_regex: { regex: '/v' } }",
    )
    .but(rows::FILTERS),
];

pub(crate) async fn corpus(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let (ip, folder) = stage.world.place()?;
    let good = Listener::http().yaml(ip, 0, false);
    // As an item of `static_resources.listeners`.
    let good: String = good.lines().map(|line| format!("  {line}\n")).collect();
    let address = ip.to_string();
    for case in CASES {
        let (from, to) = case.replace;
        let from = from.replace("IP", &address);
        let text = match from.as_str() {
            "" => good.clone(),
            from => good.replacen(from, to, 1),
        };
        anyhow::ensure!(from.is_empty() || text != good, "`{}` changes nothing", case.rule);
        let bootstrap = format!(
            "node: {{ id: c, cluster: c }}\nadmin:\n  address: {}\nstatic_resources:\n  clusters:\n{}  listeners:\n{text}",
            yaml::socket_address(ip, ADMIN),
            yaml::clusters(stage.world.http, stage.world.tcp),
        );
        let path = folder.join("bootstrap.yaml");
        std::fs::write(&path, bootstrap)?;
        let mut command = Command::new(stage.world.program(stage.side));
        command
            .arg("-c")
            .arg(&path)
            .args(stage.side.flags())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let taken = match stage.side {
            Side::Envoy => {
                let mut child = command.args(["--mode", "validate"]).spawn()?;
                timeout(Duration::from_secs(10), child.wait()).await??.success()
            }
            Side::Compat | Side::Defaults => {
                let mut child = command.spawn()?;
                let taken = became_ready(&mut child, (ip, ADMIN).into()).await?;
                if taken {
                    child.kill().await?;
                }
                taken
            }
        };
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

/// Whether it is live; not if it ends before.
async fn became_ready(
    child: &mut tokio::process::Child,
    admin: std::net::SocketAddr,
) -> anyhow::Result<bool> {
    for _ in 0..200 {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        if ask(admin, "GET", "/ready")
            .await
            .is_ok_and(|(status, _)| status == 200)
        {
            return Ok(true);
        }
        sleep(Duration::from_millis(25)).await;
    }
    anyhow::bail!("neither ready nor ended within 5 s")
}
