//! Envoy's configuration as files have it: read, refused, compared, written.
#![cfg(feature = "yaml")]

mod audit;
mod bootstraps;
mod chains;
#[cfg(feature = "xds")]
mod control_planes;
#[cfg(all(feature = "tls", feature = "xds"))]
mod corpus;
mod equality;
mod every_error;
mod rds;
mod reference;
mod refused;
mod roundtrip;
mod routes;
mod seed;
mod sockets;
mod update;

#[cfg(feature = "xds")]
#[path = "../protobuf/messages.rs"]
#[allow(dead_code, reason = "it has more for other tests")]
mod messages;

use orion_drain_config::{HttpConnectionManager, Listener, NetworkFilter};

/// A listener with one HTTP chain; `{extra}` lines stand in the connection manager.
fn http_listener(extra: &str) -> String {
    let mut yaml = String::from(
        r#"
name: ingress
address: { socket_address: { address: 127.0.0.1, port_value: 10000 } }
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: ing
      route_config:
        virtual_hosts:
        - name: all
          domains: ["*"]
          routes:
          - match: { prefix: "/" }
            direct_response: { status: 200, body: { inline_string: "v1" } }
"#,
    );
    for line in extra.lines() {
        yaml.push_str("      ");
        yaml.push_str(line);
        yaml.push('\n');
    }
    yaml
}

fn read(yaml: &str) -> Listener {
    Listener::from_yaml(yaml).expect("a good listener").value
}

fn manager(listener: &Listener) -> &HttpConnectionManager {
    match listener.filter_chains[0].terminal() {
        Some(NetworkFilter::HttpConnectionManager(manager)) => manager,
        other => panic!("{other:?}"),
    }
}
