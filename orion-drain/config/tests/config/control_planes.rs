//! A bootstrap that names a control plane which cannot be asked is refused, with the field.

use orion_drain_config::{ApiType, Bootstrap};
use serde_json::{Value, json};

fn source() -> Value {
    json!({
        "api_type": "DELTA_GRPC", "transport_api_version": "V3",
        "grpc_services": [{ "envoy_grpc": { "cluster_name": "plane" } }],
    })
}

fn bootstrap(dynamic: &Value) -> Value {
    json!({
        "dynamic_resources": dynamic,
        "static_resources": { "clusters": [
            { "name": "plane", "http2_protocol_options": {}, "load_assignment": {
                "cluster_name": "plane",
                "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                    "address": { "pipe": { "path": "/run/plane" } }
                } }] }],
            } },
            { "name": "http1" },
            { "name": "empty", "http2_protocol_options": {} },
        ] },
    })
}

#[test]
fn a_control_plane_is_found_for_listeners_alone_and_behind_ads() {
    for (dynamic, aggregated) in [
        (
            json!({ "ads_config": source(), "lds_config": { "ads": {} } }),
            true,
        ),
        (
            json!({ "lds_config": { "api_config_source": source() } }),
            false,
        ),
    ] {
        let bootstrap =
            Bootstrap::from_json(&bootstrap(&dynamic).to_string()).expect("a good bootstrap");
        let (api, ads) = bootstrap
            .value
            .lds_control_plane()
            .expect("a control plane");
        assert_eq!((api.api_type, ads), (ApiType::DeltaGrpc, aggregated));
        assert_eq!(bootstrap.unknown_fields, [""; 0]);
        let written = serde_json::to_value(&bootstrap.value).expect("JSON");
        assert_eq!(written["dynamic_resources"], dynamic);
    }
}

#[test]
fn a_control_plane_that_cannot_be_asked_is_refused_with_its_field() {
    let service = |service: Value| {
        let mut source = source();
        source["grpc_services"] = service;
        json!({ "lds_config": { "api_config_source": source } })
    };
    let with = |key: &str, value: &str| {
        let mut source = source();
        source[key] = value.into();
        json!({ "lds_config": { "api_config_source": source } })
    };
    let cluster = |name: &str| service(json!([{ "envoy_grpc": { "cluster_name": name } }]));
    let at = "dynamic_resources.lds_config.api_config_source";
    let named = format!("{at}.grpc_services[0].envoy_grpc.cluster_name");
    for (dynamic, wrong) in [
        (
            json!({ "lds_config": { "ads": {} } }),
            "dynamic_resources.lds_config.ads: `dynamic_resources.ads_config` is missing".to_owned(),
        ),
        (
            json!({ "ads_config": source(), "lds_config": { "ads": {}, "path": "/lds.yaml" } }),
            "dynamic_resources.lds_config: expected one of `path`, `ads`, not both".to_owned(),
        ),
        (
            with("api_type", "REST"),
            format!("{at}.api_type: unknown value `REST`, expected one of `GRPC`, `DELTA_GRPC`"),
        ),
        (
            with("transport_api_version", "V2"),
            format!("{at}.transport_api_version: unknown value `V2`, expected only `V3`"),
        ),
        (
            service(json!([])),
            format!("{at}.grpc_services: exactly one is supported, found 0"),
        ),
        (
            service(json!([{ "google_grpc": { "target_uri": "plane" } }])),
            format!(
                "{at}.grpc_services[0]: missing field `envoy_grpc`; {at}.grpc_services[0].google_grpc: \
                 not supported, and ignoring it would change what is served"
            ),
        ),
        (
            service(json!([{
                "envoy_grpc": { "cluster_name": "plane" }, "initial_metadata": [{ "key": "a b", "value": "c" }]
            }])),
            format!("{at}.grpc_services[0].initial_metadata[0]: not a header that HTTP allows"),
        ),
        (
            service(json!([{ "envoy_grpc": { "cluster_name": "plane", "authority": "a b" } }])),
            format!("{at}.grpc_services[0].envoy_grpc.authority: not an authority that HTTP allows"),
        ),
        (
            json!({ "ads_config": source(), "lds_config": { "resource_api_version": "V3" } }),
            "dynamic_resources.lds_config: expected one of `path_config_source`, `api_config_source`, `ads`".to_owned(),
        ),
        (cluster("other"), format!("{named}: unknown cluster `other`")),
        (
            cluster("http1"),
            format!("{named}: cluster `http1` does not speak HTTP/2, and gRPC needs it"),
        ),
        (cluster("empty"), format!("{named}: cluster `empty` has no endpoint")),
        (
            json!({ "lds_resources_locator": "xdstp://a/b" }),
            "dynamic_resources.lds_resources_locator: not supported, and ignoring it would change what is served"
                .to_owned(),
        ),
    ] {
        let error = Bootstrap::from_json(&bootstrap(&dynamic).to_string()).expect_err("refused");
        assert_eq!(error.to_string(), wrong);
    }
}
