//! Fields that Envoy has, that are not supported, and that must not be ignored: the listener would take connections or
//! requests that it should not, or speak in clear where it should not.

use serde_json::Value;

use super::{FieldError, any::message_name, path::FieldPath, read::Unknown};

const REASON: &str = "not supported, and ignoring it would change what is served";

/// The name of what holds them, and the fields.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "filter_chain_match",
        &[
            "prefix_ranges",
            "address_suffix",
            "suffix_len",
            "direct_source_prefix_ranges",
            "source_type",
            "source_ports",
            "server_names",
            "transport_protocol",
            "application_protocols",
        ],
    ),
    (
        "typed_config",
        &["require_sni", "session_ticket_keys_sds_secret_config"],
    ),
    (
        "common_tls_context",
        &[
            "tls_params",
            "tls_certificate_sds_secret_configs",
            "tls_certificate_provider_instance",
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "custom_handshaker",
            "custom_tls_certificate_selector",
        ],
    ),
    (
        "tls_certificates",
        &["password", "private_key_provider", "pkcs12"],
    ),
    ("dynamic_resources", &["lds_resources_locator"]),
    ("grpc_services", &["google_grpc"]),
    ("clusters", &["transport_socket", "transport_socket_matches"]),
    (
        super::upstream::HTTP,
        &["use_downstream_protocol_config", "auto_config"],
    ),
    ("explicit_http_config", &["http3_protocol_options"]),
    (
        "match",
        &[
            "safe_regex",
            "path_separated_prefix",
            "connect_matcher",
            "headers",
            "query_parameters",
            "grpc",
        ],
    ),
    (
        "route",
        &[
            "prefix_rewrite",
            "regex_rewrite",
            "host_rewrite_literal",
            "cluster_header",
            "weighted_clusters",
        ],
    ),
];

/// Listener filters that only look; any other would have to be there.
const HARMLESS: &[&str] = &[
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
];

/// Finds such fields among those that are not known.
pub(super) fn find(unknown: &[Unknown]) -> Vec<FieldError> {
    let mut found = Vec::new();
    for field in unknown {
        let (key, holder) = field.path.field_and_holder();
        let Some(key) = key else { continue };
        if FIELDS
            .iter()
            .any(|(name, fields)| Some(*name) == holder && fields.contains(&key))
        {
            found.push(FieldError::new(&field.path, REASON));
        } else if key == "listener_filters" {
            listener_filters(&field.value, &field.path, &mut found);
        }
    }
    found
}

fn listener_filters(list: &Value, at: &FieldPath, found: &mut Vec<FieldError>) {
    for (index, filter) in list.as_array().into_iter().flatten().enumerate() {
        let type_url = filter
            .get("typed_config")
            .and_then(|any| any.get("@type")?.as_str());
        if !type_url.is_some_and(|url| HARMLESS.contains(&message_name(url))) {
            found.push(FieldError::new(&at.index(index), REASON));
        }
    }
}
