//! The example of Orion's proposal "Connection Draining for Multiple Listener Versions", as it
//! stands there.

use std::time::Duration;

use drain_signal::DrainStrategy;
use drain_tree::DrainType;
use orion_drain_config::{Bootstrap, CleanupPolicy, ProtocolDrainBehavior};

const EXAMPLE: &str = r#"
static_resources:
  listeners:
  - name: "listener_0"
    address:
      socket_address:
        address: "0.0.0.0"
        port_value: 10000
    drain_type: DEFAULT  # or MODIFY_ONLY
    filter_chains:
    - filters:
      - name: "http_connection_manager"
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
          stat_prefix: "ingress_http"
          drain_timeout: "5s"  # HTTP drain timeout
          route_config:
            name: "local_route"
            virtual_hosts:
            - name: "backend"
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: "backend_service" }

# Listener manager configuration (applied at startup)
listener_manager:
  max_versions_per_listener: 2
  cleanup_policy: 
    count_based_only: 2
  cleanup_interval: "60s"
  drain_config:
    drain_time: "600s"    # Global drain timeout (equivalent to --drain-time-s)
    drain_strategy: "gradual"  # or "immediate"
    protocol_handling: "auto"  # auto-detect protocol behavior
"#;

#[test]
fn the_example_loads_as_it_stands() {
    let loaded = Bootstrap::from_yaml(EXAMPLE).expect("the example");
    assert_eq!(loaded.unknown_fields, Vec::<String>::new());

    let listener = &loaded.value.listeners()[0];
    assert_eq!(listener.drain_type, DrainType::Default);
    assert_eq!(
        super::manager(listener).drain_timeout,
        Some(Duration::from_secs(5))
    );

    let manager = loaded.value.listener_manager.expect("the block");
    assert_eq!(manager.max_versions_per_listener, 2);
    assert_eq!(manager.cleanup_policy, CleanupPolicy::CountBasedOnly(2));
    assert_eq!(manager.cleanup_interval, Duration::from_secs(60));
    assert_eq!(manager.drain_config.drain_time, Duration::from_secs(600));
    assert_eq!(manager.drain_config.drain_strategy, DrainStrategy::Gradual);
    assert_eq!(
        manager.drain_config.protocol_handling,
        ProtocolDrainBehavior::Auto
    );
}

#[test]
fn its_cluster_is_missing_which_is_a_warning_of_its_own() {
    let bootstrap = Bootstrap::from_yaml(EXAMPLE).expect("the example").value;
    let warnings: Vec<_> = bootstrap
        .check_clusters()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        warnings,
        [
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0]\
          .routes[0].route.cluster: unknown cluster `backend_service`"
        ]
    );
}

#[test]
fn other_values_of_the_block_are_read() {
    let yaml = r#"
listener_manager:
  cleanup_policy: { count_based_only: 1 }
  drain_config: { drain_time: 10m, drain_strategy: immediate, protocol_handling: { tcp: { force_close_after: 3s } } }
"#;
    let manager = Bootstrap::from_yaml(yaml)
        .expect("the block")
        .value
        .listener_manager
        .expect("the block");
    assert_eq!(manager.versions_limit(), 1);
    assert_eq!(manager.drain_config.drain_time, Duration::from_secs(600));
    assert_eq!(
        manager.drain_config.drain_strategy,
        DrainStrategy::Immediate
    );
    let expected = ProtocolDrainBehavior::Tcp {
        force_close_after: Duration::from_secs(3),
    };
    assert_eq!(manager.drain_config.protocol_handling, expected);
}

#[test]
fn a_bootstrap_without_the_block_has_no_limit() {
    assert_eq!(
        Bootstrap::from_yaml("node: { id: a, cluster: b }")
            .expect("a node")
            .value
            .listener_manager,
        None
    );
    assert_eq!(
        Bootstrap::from_yaml("{}").expect("nothing").value,
        Bootstrap::default()
    );
}

#[test]
fn envoys_own_field_of_that_name_is_never_taken_for_the_block() {
    let envoys = r#"
listener_manager:
  name: envoy.listener_manager_impl.default
  typed_config: { "@type": type.googleapis.com/envoy.config.listener.v3.ListenerManager }
"#;
    assert_eq!(
        Bootstrap::from_yaml(envoys)
            .expect("the default extension")
            .value
            .listener_manager,
        None
    );

    let api = envoys.replace("v3.ListenerManager", "v3.ApiListenerManager");
    let error = Bootstrap::from_yaml(&api)
        .expect_err("an extension")
        .to_string();
    assert!(
        error.starts_with("listener_manager: Envoy's listener manager extension"),
        "{error}"
    );

    let mixed = format!("{envoys}  max_versions_per_listener: 2\n");
    let error = Bootstrap::from_yaml(&mixed)
        .expect_err("a mixture")
        .to_string();
    assert!(error.starts_with("listener_manager: mixes"), "{error}");
}

#[test]
fn wrong_values_of_the_block_are_refused_with_their_path() {
    for (block, expected) in [
        (
            "{ drain_config: { drain_strategy: slowly } }",
            "listener_manager.drain_config.drain_strategy: unknown value `slowly`, expected one of `gradual`, `immediate`",
        ),
        (
            "{ drain_config: { drain_time: -1s } }",
            "listener_manager.drain_config.drain_time: `-1s` is not a duration",
        ),
        (
            "{ max_versions_per_listener: 0 }",
            "listener_manager: at least one version",
        ),
    ] {
        let error = Bootstrap::from_yaml(&format!("listener_manager: {block}"))
            .expect_err(block)
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
