//! Fields that Envoy has, that are not carried out here, and that must not be ignored: the listener
//! would take connections or requests that it should not, send them elsewhere, or speak in clear
//! where it should not.
//!
//! That is every field of a message that is read which is not read itself, is not among those that
//! [only tune or observe](super::tuning), and asks for something else than Envoy's default.

use serde_json::Value;

use super::{
    FieldError,
    any::message_name,
    foreign::{self, Root},
    http_filter,
    path::FieldPath,
    read::Unknown,
    tuning,
};

const REASON: &str = "not supported, and ignoring it would change what is served";

/// Listener filters that only look; any other would have to be there.
const HARMLESS: &[&str] = &[
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
];

/// Values that say the same as nothing where `false`, `0`, an empty string and an empty list do
/// not.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("listeners", "bind_to_port", "true"),
    ("load_assignment", "policy", "{}"),
    (
        "validation_context",
        "trust_chain_verification",
        "\"VERIFY_TRUST_CHAIN\"",
    ),
    (
        "clusters",
        "protocol_selection",
        "\"USE_CONFIGURED_PROTOCOL\"",
    ),
    (
        "route",
        "internal_redirect_action",
        "\"PASS_THROUGH_INTERNAL_REDIRECT\"",
    ),
    (
        "typed_config",
        "forward_client_cert_details",
        "\"SANITIZE\"",
    ),
    ("typed_config", "ocsp_staple_policy", "\"LENIENT_STAPLING\""),
];

/// Parts, by the field of their message, that decide although the rest of it only tunes: from where
/// an endpoint is connected to, which name it is asked for and has to have, and who resolves names.
const DECIDING_PARTS: &[(&str, &str)] = &[
    ("cluster_manager", "upstream_bind_config"),
    ("dns_resolution_config", "resolvers"),
    ("typed_dns_resolver_config", "typed_config.resolvers"),
    ("upstream_http_protocol_options", "auto_san_validation"),
    ("upstream_http_protocol_options", "auto_sni"),
];

/// Socket options that only tune: the level and the name of `setsockopt(2)` on Linux. `None`: every
/// name of the level.
const TUNING_OPTIONS: &[(i64, Option<i64>)] = &[
    (SOL_SOCKET, Some(7)),  // SO_SNDBUF
    (SOL_SOCKET, Some(8)),  // SO_RCVBUF
    (SOL_SOCKET, Some(9)),  // SO_KEEPALIVE
    (SOL_SOCKET, Some(12)), // SO_PRIORITY
    (6, None),              // IPPROTO_TCP
    (0, Some(1)),           // IP_TOS
    (41, Some(67)),         // IPV6_TCLASS
];
const SOL_SOCKET: i64 = 1;

/// Finds such fields among those that were not read.
pub(super) fn find(unknown: &[Unknown], root: Root) -> Vec<FieldError> {
    let mut found = Vec::new();
    for field in unknown {
        let Some((holder, key)) = foreign::message(&field.path, root) else {
            continue;
        };
        match key {
            "listener_filters" => listener_filters(&field.value, &field.path, &mut found),
            "typed_per_filter_config" if decorates(&field.value) => {}
            "socket_options" => socket_options(&field.value, &field.path, &mut found),
            _ if DECIDING_PARTS.iter().any(|(message, _)| *message == key) => {
                deciding_parts(key, &field.value, &field.path, &mut found);
            }
            _ if foreign::has(holder, key)
                && !tuning::has(holder, key)
                && !is_default(holder, key, &field.value) =>
            {
                found.push(FieldError::new(&field.path, REASON));
            }
            _ => {}
        }
    }
    found
}

/// Whether all of a route's settings of filters are for filters that may be left out.
fn decorates(filters: &Value) -> bool {
    let type_url = |settings: &Value| -> Option<bool> {
        Some(http_filter::decorates(settings.get("@type")?.as_str()?))
    };
    filters.as_object().is_some_and(|filters| {
        filters
            .values()
            .all(|filter| type_url(filter) == Some(true))
    })
}

/// Whether Envoy does the same without the field. A message that is there counts, even an empty
/// one.
fn is_default(holder: &str, key: &str, value: &Value) -> bool {
    match value {
        // `bind_to_port: false` is the one that is not.
        Value::Bool(false) => !DEFAULTS.contains(&(holder, key, "true")),
        Value::String(text) if text.is_empty() => true,
        // No authority between the certificate and one that is trusted.
        Value::Number(number) if key == "max_verify_depth" => number.as_u64() == Some(100),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(list) => list.is_empty(),
        other => {
            let text = other.to_string();
            DEFAULTS
                .iter()
                .any(|(name, field, value)| (*name, *field) == (holder, key) && *value == text)
        }
    }
}

fn deciding_parts(message: &str, value: &Value, at: &FieldPath, found: &mut Vec<FieldError>) {
    for (_, part) in DECIDING_PARTS.iter().filter(|(of, _)| *of == message) {
        let mut keys = part.split('.');
        let part = keys.try_fold((at.clone(), value), |(at, value), key| {
            Some((at.key(key), value.get(key)?))
        });
        if let Some((at, _)) = part.filter(|(_, value)| !is_default(message, "", value)) {
            found.push(FieldError::new(&at, REASON));
        }
    }
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

fn socket_options(value: &Value, at: &FieldPath, found: &mut Vec<FieldError>) {
    // An additional address has them in a message of their own.
    let (list, at) = match value.get("socket_options") {
        Some(list) => (list, &at.key("socket_options")),
        None => (value, at),
    };
    for (index, option) in list.as_array().into_iter().flatten().enumerate() {
        // Numbers of 64 bits may be strings in protobuf's JSON.
        let number = |key: &str| match option.get(key) {
            None => Some(0),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_i64(),
        };
        let (level, name) = (number("level"), number("name"));
        let tunes = TUNING_OPTIONS
            .iter()
            .any(|&(known, names)| level == Some(known) && (names.is_none() || names == name));
        if !tunes {
            found.push(FieldError::new(&at.index(index), REASON));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_of_a_field_of_envoys() {
        for (holder, key, _) in DEFAULTS {
            assert!(foreign::has(holder, key), "{holder}.{key}");
        }
    }
}
