//! Configurations in Envoy's words: parts of text, which a test puts together.

use std::net::SocketAddr;
use std::path::Path;

/// An address.
pub fn socket_address(at: SocketAddr) -> String {
    format!(
        "{{ socket_address: {{ address: {}, port_value: {} }} }}",
        at.ip(),
        at.port()
    )
}

/// A listener, as an item of a list: its own fields and its chains, each field in a line.
pub fn listener(name: &str, address: &str, fields: &[String], chains: &[String]) -> String {
    let mut out = format!("- name: {name}\n  address: {address}\n");
    for field in fields {
        out += &format!("  {field}\n");
    }
    if !chains.is_empty() {
        out += "  filter_chains:\n";
    }
    for chain in chains {
        out += chain;
    }
    out
}

/// The same with its type, as a resource.
pub fn resource(listener: &str) -> String {
    listener.replacen(
        "- ",
        "- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  ",
        1,
    )
}

/// A filter chain of a listener.
pub fn chain(fields: &[String], filter: &str) -> String {
    let mut out = String::new();
    for field in fields {
        let begin = if out.is_empty() { "- " } else { "  " };
        out += &format!("  {begin}{field}\n");
    }
    let begin = if out.is_empty() { "- " } else { "  " };
    out + &format!("  {begin}filters:\n    - {filter}\n")
}

/// The filter that speaks HTTP.
pub fn manager(stat_prefix: &str, fields: &[String], routes: &[String]) -> String {
    let fields: String = fields.iter().map(|field| format!(", {field}")).collect();
    let routes = routes.join(",\n        ");
    format!(
        r#"{{ name: envoy.filters.network.http_connection_manager, typed_config: {{
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: {stat_prefix}, codec_type: AUTO{fields},
      upgrade_configs: [ {{ upgrade_type: websocket }} ],
      http_filters: [ {{ name: envoy.filters.http.router, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }} ],
      route_config: {{ name: r, virtual_hosts: [ {{ name: all, domains: ['*'], routes: [
        {routes} ] }} ] }} }} }}"#
    )
}

/// A route that answers by itself. `more` are further fields.
pub fn answer(path: &str, more: &str, body: &str) -> String {
    format!(
        "{{ match: {{ path: {path} }}, {more}direct_response: {{ status: 200, body: {{ inline_string: '{body}' }} }} }}"
    )
}

/// A route of all that is left to a cluster.
pub fn forward(cluster: &str, more: &str) -> String {
    format!("{{ match: {{ prefix: / }}, {more}route: {{ cluster: {cluster}, timeout: 0s }} }}")
}

/// The field of a route by which its responses have this header.
pub fn response_header(name: &str, value: &str) -> String {
    format!("response_headers_to_add: [ {{ header: {{ key: {name}, value: '{value}' }} }} ], ")
}

/// The filter that relays bytes. `more` are further fields.
pub fn tcp_proxy(stat_prefix: &str, cluster: &str, more: &str) -> String {
    format!(
        r#"{{ name: envoy.filters.network.tcp_proxy, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: {stat_prefix}, cluster: {cluster}{more} }} }}"#
    )
}

/// The field of a chain for TLS with `cert.pem` and `key.pem` of this folder.
pub fn transport_socket(folder: &Path) -> String {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    format!(
        "transport_socket: {{ name: tls, typed_config: {{ \"@type\": \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: \
         {{ alpn_protocols: [h2, http/1.1], tls_certificates: [ {{ certificate_chain: {{ filename: {certificate:?} }}, \
         private_key: {{ filename: {key:?} }} }} ] }} }} }}"
    )
}

/// What the file of listeners holds.
pub fn discovery(version: Option<&str>, listeners: &[String]) -> String {
    let version = version.map(|version| format!("version_info: '{version}'\n"));
    let empty = if listeners.is_empty() { " []" } else { "" };
    format!(
        "{}resources:{empty}\n{}",
        version.unwrap_or_default(),
        listeners.concat()
    )
}

/// A cluster with these endpoints. `more` are further fields.
pub fn cluster(name: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let endpoint =
        |at: &SocketAddr| format!("{{ endpoint: {{ address: {} }} }}", socket_address(*at));
    let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    format!(
        "  - {{ name: {name}, type: STATIC, connect_timeout: 5s, {more}load_assignment: {{ cluster_name: {name}, endpoints: [ {{ lb_endpoints: [ {} ] }} ] }} }}\n",
        endpoints.join(", ")
    )
}

/// A bootstrap whose listeners come from a file, with clusters; more can follow.
pub fn bootstrap(node: &str, admin: SocketAddr, lds: &Path, clusters: &[String]) -> String {
    format!(
        "node: {{ id: {node}, cluster: {node} }}\nadmin:\n  address: {}\ndynamic_resources:\n  lds_config:\n    \
         path_config_source: {{ path: {lds:?} }}\nstatic_resources:\n  clusters:\n{}",
        socket_address(admin),
        clusters.concat()
    )
}
