//! Files as operators write them: everything that Envoy's parser takes, and what becomes of what is
//! not carried out.

use std::path::Path;

use crate::support::edge::run_with;
use crate::support::upstream::Upstream;
use crate::support::{Edge, H1};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// A bootstrap in the loosest words that Envoy takes.
fn loose(filters: &str) -> String {
    format!(
        "admin:\n  address: {{ socket_address: {{ address: 127.0.0.1, port_value: \"0\" }} }}\t# anywhere\n\
         static_resources:\n  listeners:\n    name: in\n    address: !own {{ socket_address: {{ address: 127.0.0.1, portValue: !own 0.0 }} }}\n\
         \x20   traffic_direction: inbound\n    filter_chains:\n      filters:\n        name: http\n        typed_config:\n\
         \x20         stat_prefix: in\n          codec_type: auto\t\t# either\n\
         \x20         '@type': {TYPES}.network.http_connection_manager.v3.HttpConnectionManager\n\
         \x20         drain_timeout: {{ seconds: 2, nanos: 500000000 }}\n          use_remote_address: \"true\"\n\
         \x20         drain_timeout_jitter: {{ value: \"12.5\" }}\n\
         \x20         route_config:\n            virtual_hosts:\n              name: all\n              domains: \"*\"\n\
         \x20             routes:\n                match: {{ prefix: / }}\n\
         \x20               direct_response: {{ status: 200, body: {{ inline_string: loose }} }}\n\
         \x20         http_filters:\n{filters}\
         \x20         - {{ name: router, typed_config: {{ '@type': {TYPES}.http.router.v3.Router }} }}\n"
    )
}

async fn answers(flags: &str, bootstrap: &str) -> Edge {
    let edge = Edge::start_of(flags, |_: &Path, _: &Upstream| bootstrap.to_owned()).await;
    let mut client = H1::connect(edge.address("in").await).await;
    assert_eq!(client.get("/").await.ok(), "loose");
    edge
}

#[tokio::test]
async fn what_envoys_parser_takes_is_served() {
    answers("", &loose("")).await;
    let indented: String = loose("")
        .lines()
        .map(|line| format!("  {line}\n"))
        .collect();
    let orions = format!("runtime: {{ num_cpus: 1 }}\nenvoy_bootstrap:\n{indented}");
    answers("--service-node a --service-cluster b", &orions).await;
}

/// Envoy 1.40 answers nothing there: no filter takes the request.
#[tokio::test]
async fn a_manager_without_filters_serves_its_routes() {
    let bootstrap = loose("");
    let (bare, _) = bootstrap
        .split_once("          http_filters")
        .expect("filters");
    answers("", bare).await;
}

/// Envoy 1.40 takes the first one, and says nothing of the others.
#[tokio::test]
async fn a_file_of_two_documents_is_refused() {
    let two = format!("{}---\n{}", loose(""), loose(""));
    let (success, said) = run_with(VALIDATE, &two).await;
    assert!(
        !success && said.contains("more than one document"),
        "{said}"
    );
    let one = format!("---\n{}...\n", loose(""));
    let (success, said) = run_with(VALIDATE, &one).await;
    assert!(success, "{said}");
}

fn decorated() -> String {
    [
        "cors.v3.Cors",
        "compressor.v3.Compressor",
        "grpc_web.v3.GrpcWeb",
        "csrf.v3.CsrfPolicy",
    ]
    .iter()
    .map(|filter| {
        format!(
            "          - {{ name: {filter}, typed_config: {{ '@type': {TYPES}.http.{filter} }} }}\n"
        )
    })
    .collect()
}

#[tokio::test]
async fn filters_that_only_decorate_are_left_out_told_once_and_counted() {
    let edge = answers("", &loose(&decorated())).await;
    let at = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters";
    for index in 0..4 {
        let told = |line: &&String| line.contains(&format!("{at}[{index}]: not carried out"));
        assert_eq!(
            edge.said().iter().filter(told).count(),
            1,
            "{:?}",
            edge.said()
        );
    }
    assert_eq!(edge.stat("server.static_unknown_fields").await, 4);
}

const VALIDATE: &[&str] = &["--mode", "validate"];

#[tokio::test]
async fn fields_that_are_not_carried_out_can_be_refused() {
    let flags = [VALIDATE, &["--unsupported-fields", "refuse"]].concat();
    let (success, said) = run_with(&flags, &loose("")).await;
    assert!(success, "{said}");
    let (success, said) = run_with(&flags, &loose(&decorated())).await;
    assert!(
        !success && said.contains("http_filters[3]: not carried out here"),
        "{said}"
    );
    let (success, said) = run_with(VALIDATE, &loose(&decorated())).await;
    assert!(success, "{said}");
}

#[tokio::test]
async fn filters_that_decide_who_is_served_are_refused_by_name() {
    for filter in [
        "ext_authz.v3.ExtAuthz",
        "rbac.v3.RBAC",
        "jwt_authn.v3.JwtAuthentication",
        "lua.v3.Lua",
        "wasm.v3.Wasm",
        "local_ratelimit.v3.LocalRateLimit",
        "ratelimit.v3.RateLimit",
        "fault.v3.HTTPFault, abort: { http_status: 503, percentage: { numerator: 100 } }",
    ] {
        let line = format!(
            "          - {{ name: f, typed_config: {{ '@type': {TYPES}.http.{filter} }} }}\n"
        );
        let (success, said) = run_with(VALIDATE, &loose(&line)).await;
        assert!(
            !success && said.contains("http_filters[0].typed_config"),
            "{filter}: {said}"
        );
    }
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused_with_its_line() {
    let twice = loose("").replacen("codec_type", "stat_prefix: again\n          codec_type", 1);
    let (success, said) = run_with(VALIDATE, &twice).await;
    assert!(
        !success && said.contains("duplicate key `stat_prefix`"),
        "{said}"
    );
    assert!(said.contains("line "), "{said}");
    // A tag hides no line.
    let unknown = loose("").replace("codec_type: auto", "codec_type: !own circus");
    let (success, said) = run_with(VALIDATE, &unknown).await;
    assert!(
        !success && said.contains("codec_type: unknown value `circus`") && said.contains("line "),
        "{said}"
    );
    let (success, said) = run_with(VALIDATE, "{ \"admin\": {}, \"admin\": {} }").await;
    assert!(!success && said.contains("duplicate key `admin`"), "{said}");
}
