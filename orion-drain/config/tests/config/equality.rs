//! What counts as a change of a listener.

use super::{http_listener, read};

#[test]
fn the_same_text_is_no_change() {
    assert_eq!(read(&http_listener("")), read(&http_listener("")));
}

#[test]
fn other_spelling_of_the_same_is_no_change() {
    let plain = read(&http_listener("drain_timeout: 600s"));
    assert_eq!(plain, read(&http_listener("drainTimeout: 10m")));
    assert_eq!(
        plain,
        read(&format!(
            "drain_type: DEFAULT\ntraffic_direction: 0\n{}",
            http_listener("drain_timeout: 600s")
        ))
    );
    assert_eq!(
        plain,
        read(&http_listener("drain_timeout: 600s\nrequest_timeout: null"))
    );
}

#[test]
fn a_changed_body_is_a_change_of_its_chain_alone() {
    let old = read(&http_listener(""));
    let new = read(&http_listener("").replace("v1", "v2"));
    assert!(!old.same_content(&new));
    assert!(old.differs_only_in_chains(&new));
}

#[test]
fn a_changed_buffer_limit_is_a_change_of_the_listener() {
    let old = read(&http_listener(""));
    let new = read(&format!(
        "per_connection_buffer_limit_bytes: 1024\n{}",
        http_listener("")
    ));
    assert!(!old.same_content(&new));
    assert!(!old.differs_only_in_chains(&new));
}

#[test]
fn a_change_in_an_unknown_field_is_a_change() {
    let one = read(&format!("socket_backlog: 1\n{}", http_listener("")));
    let two = read(&format!("socket_backlog: 2\n{}", http_listener("")));
    assert!(!one.same_content(&two));
    assert!(!one.differs_only_in_chains(&two));

    let one = read(&http_listener("server_name: a"));
    let two = read(&http_listener("server_name: b"));
    assert_ne!(one.filter_chains, two.filter_chains);
    assert!(one.differs_only_in_chains(&two));
}

#[test]
fn the_label_of_a_version_is_no_content() {
    let one = read(&format!("version_info: a\n{}", http_listener("")));
    let two = read(&format!("version_info: b\n{}", http_listener("")));
    assert!(one.same_content(&two));
}

#[test]
fn a_chain_that_moves_keeps_the_content_of_its_unknown_fields() {
    let chains = |order: [&str; 2]| {
        let chain = |name: &str| {
            format!(
                r#"
- name: c{name}
  metadata: {{ of: {name} }}
  filter_chain_match: {{ source_prefix_ranges: [{{ address_prefix: 10.0.0.{name}, prefix_len: 32 }}] }}
  filters:
  - name: tcp
    typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c }}"#
            )
        };
        read(&format!(
            "name: a\naddress: {{ pipe: {{ path: /run/a }} }}\nfilter_chains:{}{}",
            chain(order[0]),
            chain(order[1])
        ))
    };
    let (one, two) = (chains(["1", "2"]), chains(["2", "1"]));
    assert_eq!(one.filter_chains[0], two.filter_chains[1]);
    assert_eq!(one.filter_chains[1], two.filter_chains[0]);
}
