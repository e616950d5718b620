//! A discovery response: each listener for itself.

use orion_drain_config::{Bootstrap, ListenerUpdate, UpdateOutcome};

use super::http_listener;

fn response(listeners: &[String]) -> String {
    let mut yaml = String::from("version_info: '7'\nresources:\n");
    for listener in listeners {
        yaml.push_str("- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n");
        for line in listener.lines().filter(|line| !line.is_empty()) {
            yaml.push_str("  ");
            yaml.push_str(line);
            yaml.push('\n');
        }
    }
    yaml
}

fn named(name: &str) -> String {
    http_listener("").replace("name: ingress", &format!("name: {name}"))
}

#[test]
fn a_bad_listener_is_refused_and_the_others_are_taken() {
    let bad = named("bad").replace(
        "stat_prefix: ing",
        "stat_prefix: ing\n      drain_timeout: never",
    );
    let update = ListenerUpdate::from_yaml(&response(&[named("one"), bad, named("two")]))
        .expect("a response");
    assert_eq!(update.version_info, "7");
    let names: Vec<_> = update
        .listeners
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(update.rejected.len(), 1);
    assert_eq!(update.rejected[0].name.as_deref(), Some("bad"));
    assert_eq!(update.rejected[0].index, 1);
    assert_eq!(
        update.rejected[0].error.to_string(),
        "resources[1].filter_chains[0].filters[0].typed_config.drain_timeout: \
         `never` is not a duration such as `600s`, `0.25s` or `10m`"
    );
    assert_eq!(update.outcome(), UpdateOutcome::Failure);
}

#[test]
fn one_value_is_a_list_of_one_here_and_in_the_overload_manager() {
    let listed = response(&[named("one")]);
    let alone = listed.replace("\n- \"@type\"", "\n  \"@type\"");
    assert_ne!(alone, listed);
    let update = ListenerUpdate::from_yaml(&alone).expect("a response");
    assert_eq!(
        update,
        ListenerUpdate::from_yaml(&listed).expect("a response")
    );
    let monitors = |open, close| {
        let kind = "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";
        let config = format!("{{ '@type': {kind}, max_active_downstream_connections: 7 }}");
        let monitor = format!("{{ name: m, typed_config: {config} }}");
        let bootstrap =
            format!("overload_manager: {{ resource_monitors: {open}{monitor}{close} }}");
        Bootstrap::from_yaml(&bootstrap).expect("a bootstrap").value
    };
    assert_eq!(monitors("", ""), monitors("[", "]"));
}

#[test]
fn a_broken_rule_is_counted_as_a_rejection() {
    let update = ListenerUpdate::from_yaml(&response(&[
        named("one"),
        "name: none\naddress: { pipe: { path: /run/none } }".to_owned(),
    ]))
    .expect("a response");
    assert_eq!(update.listeners.len(), 1);
    assert_eq!(
        update.rejected[0].error.to_string(),
        "resources[1].filter_chains: no filter chains specified"
    );
    assert_eq!(update.outcome(), UpdateOutcome::Rejected);
}

#[test]
fn the_second_listener_of_a_name_is_refused() {
    let update =
        ListenerUpdate::from_yaml(&response(&[named("one"), named("one").replace("v1", "v2")]))
            .expect("a response");
    assert_eq!(update.listeners.len(), 1);
    let error = update.rejected[0].error.to_string();
    assert_eq!(
        error,
        "resources[1].name: duplicate, resources[0] has it already"
    );
    assert_eq!(update.outcome(), UpdateOutcome::Rejected);
    // What is wrong with it otherwise is said too.
    let bad = named("one").replace("stat_prefix: ing", "stat_prefix: [7]");
    let update = ListenerUpdate::from_yaml(&response(&[named("one"), bad])).expect("a response");
    let fields = update.rejected[0].error.fields().iter();
    let paths: Vec<_> = fields.map(|field| &*field.path).collect();
    let manager = "resources[1].filter_chains[0].filters[0].typed_config.stat_prefix";
    assert_eq!(paths, ["resources[1].name", manager]);
}

#[test]
fn a_strict_reader_says_what_is_wrong_with_refused_listeners_too() {
    let bad = named("bad").replace("stat_prefix: ing", "stat_prefix: [7]");
    let odd = format!("bogus: 1\n{}", named("odd"));
    let update = ListenerUpdate::from_yaml(&response(&[bad, odd])).expect("a response");
    let error = update.refuse_foreign_fields().expect_err("`bogus`");
    let paths: Vec<_> = error.fields().iter().map(|field| &*field.path).collect();
    let manager = "resources[0].filter_chains[0].filters[0].typed_config.stat_prefix";
    assert_eq!(paths, ["resources[1].bogus", manager]);
}

#[test]
fn a_listener_without_a_name_is_the_same_one_in_the_next_update() {
    let nameless = |version| named("''").replace("v1", version);
    let read =
        |listeners: &[String]| ListenerUpdate::from_yaml(&response(listeners)).expect("a response");
    let (first, next) = (read(&[nameless("v1")]), read(&[nameless("v2")]));
    assert_eq!(first.listeners[0].name, "127.0.0.1:10000");
    assert_eq!(next.listeners[0].name, "127.0.0.1:10000");
    // A refused one is not taken for absent.
    let bad = nameless("v3").replace("stat_prefix: ing", "stat_prefix: 7");
    let bad = read(&[bad.replace("name: ''\n", "")]);
    assert_eq!(bad.rejected[0].name.as_deref(), Some("127.0.0.1:10000"));
    let twice = read(&[nameless("v1"), nameless("v2")]);
    assert_eq!((twice.listeners.len(), twice.rejected.len()), (1, 1));
}

#[test]
fn unknown_fields_are_ignored_and_their_paths_returned() {
    let update = ListenerUpdate::from_yaml(&format!(
        "control_plane: {{ identifier: a }}\n{}",
        response(&[
            named("one"),
            format!(
                "bogus: 1\n{}",
                http_listener("server_name: x\ncommon_http_protocol_options: { bogus: {} }")
            ),
        ])
    ))
    .expect("a response");
    assert_eq!(update.outcome(), UpdateOutcome::Success);
    let mut paths = update.unknown_fields;
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "control_plane",
            "resources[1].bogus",
            "resources[1].filter_chains[0].filters[0].typed_config.common_http_protocol_options.bogus",
            "resources[1].filter_chains[0].filters[0].typed_config.server_name",
        ]
    );
}

#[test]
fn fields_that_not_even_envoy_has_are_told_apart() {
    let update = ListenerUpdate::from_yaml(&format!(
        "canary: true\nversion: 7\n{}",
        response(&[format!(
            "metadata: {{}}\nmetdata: {{}}\n{}",
            http_listener("server_name: x\nserver_nam: x\ncommon_http_protocol_options: { max_headers_count: 7, max: 7 }")
                .replace("- filters:", "- filter: []\n  metadata: {}\n  filters:")
        )])
    ))
    .expect("a response");
    assert_eq!(update.unknown_fields.len(), 10);
    let foreign = [
        "resources[0].filter_chains[0].filter",
        "resources[0].filter_chains[0].filters[0].typed_config.common_http_protocol_options.max",
        "resources[0].filter_chains[0].filters[0].typed_config.server_nam",
        "resources[0].metdata",
        "version",
    ];
    let mut found = update.foreign_fields.clone();
    found.sort_unstable();
    assert_eq!(found, foreign);
    let error = update.refuse_foreign_fields().expect_err("there are some");
    assert_eq!(error.fields().len(), foreign.len());
    assert_eq!(error.fields()[0].message, "no such field");
}

#[test]
fn what_is_no_listener_is_refused() {
    for (resource, expected) in [
        ("{ name: a }", "resources[0]: missing field `@type`"),
        ("7", "resources[0]: expected a message of type"),
        (
            "{ '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a }",
            "resources[0].@type: unknown resource type `envoy.config.cluster.v3.Cluster`",
        ),
    ] {
        let update =
            ListenerUpdate::from_yaml(&format!("resources: [{resource}]")).expect("a response");
        assert!(
            update.rejected[0].error.to_string().starts_with(expected),
            "{:?}",
            update.rejected
        );
        assert_eq!(update.outcome(), UpdateOutcome::Failure);
    }
}

#[test]
fn a_listener_in_a_resource_wrapper_is_read() {
    let yaml = r#"
resources:
- "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
  name: a
  resource:
    "@type": type.googleapis.com/envoy.config.listener.v3.Listener
    name: a
    address: { pipe: { path: /run/a, mode: 384 } }
    default_filter_chain: { filters: [] }
"#;
    let update = ListenerUpdate::from_yaml(yaml).expect("a response");
    assert_eq!(update.rejected, []);
    assert_eq!(update.listeners[0].address.to_string(), "/run/a");
}

#[test]
fn no_response_at_all_is_a_failure_of_the_whole() {
    for text in ["", "null", "[]", "resources: ["] {
        ListenerUpdate::from_yaml(text).expect_err(text);
    }
    // One resource that is none, and has no name: nothing may count as absent.
    for text in ["resources: 7", "resources: {}"] {
        let update = ListenerUpdate::from_yaml(text).expect(text);
        assert!(update.hides_a_listener(), "{text}");
        assert_eq!(update.outcome(), UpdateOutcome::Failure, "{text}");
    }
    assert_eq!(
        ListenerUpdate::from_yaml("version_info: a")
            .expect("nothing")
            .listeners,
        []
    );
}

#[test]
fn an_unknown_cluster_refuses_its_listener_alone() {
    let routed = named("routed").replace(
        r#"direct_response: { status: 200, body: { inline_string: "v1" } }"#,
        "route: { cluster: gone }",
    );
    let mut update =
        ListenerUpdate::from_yaml(&response(&[routed, named("one")])).expect("a response");
    update.reject_unknown_clusters(&[].into());
    assert_eq!(update.listeners.len(), 1);
    assert_eq!(update.listeners[0].name, "one");
    let error = update.rejected[0].error.to_string();
    assert!(
        error.starts_with("resources[0].") && error.ends_with("unknown cluster `gone`"),
        "{error}"
    );
    assert_eq!(update.outcome(), UpdateOutcome::Rejected);
}
