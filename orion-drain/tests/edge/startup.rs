//! A process that cannot start says why, and does not go on half-started.

use std::net::TcpListener;

use crate::support::edge::run;

#[tokio::test]
async fn a_bootstrap_that_cannot_be_used_ends_the_process_and_names_the_field() {
    let listener = "static_resources: { listeners: [{ name: a, address: { socket_address: { address: 127.0.0.1, port_value: 0 } }";
    for (bootstrap, says) in [
        ("admin: [".to_owned(), "not YAML"),
        (
            "admin: { address: { socket_address: { address: here, port_value: 0 } } }".to_owned(),
            "admin.address.socket_address.address: ",
        ),
        (
            "static_resources: { clusters: [{ name: a, type: EDS }] }".to_owned(),
            "static_resources.clusters[0].type: ",
        ),
        (
            format!("{listener}, drain_type: SOMETIMES }}] }}"),
            "static_resources.listeners[0].drain_type: ",
        ),
        (
            format!("{listener} }}] }}"),
            "static_resources.listeners[0].filter_chains: ",
        ),
    ] {
        let (success, said) = run(&bootstrap).await;
        assert!(!success && said.contains(says), "{bootstrap}: {said}");
    }
}

#[tokio::test]
async fn an_admin_address_of_another_process_ends_the_process() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let address = format!("{{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}");
    let (success, said) = run(&format!("admin: {{ address: {address} }}")).await;
    let says = format!("admin.address: cannot listen on 127.0.0.1:{port}");
    assert!(!success && said.contains(&says), "{said}");
}
