//! What stands in a dump, and what does not.

use std::time::SystemTime;

use orion_drain_config::RouteConfiguration;

use super::*;

#[test]
fn secrets_are_not_dumped_but_the_names_of_their_files_are() {
    let certificates = json!([{
        "certificate_chain": { "filename": "chain.pem" },
        "private_key": { "inline_string": "-----BEGIN" },
        "password": { "inline_bytes": "c2VjcmV0" },
    }, { "private_key": { "filename": "key.pem" } }]);
    let socket = json!({ "common_tls_context": { "tls_certificates": certificates } });
    let dump = ConfigDump {
        bootstrap: Some(json!({ "transport_socket": socket })),
        ..ConfigDump::default()
    };
    let json = dump.to_json(None, None).expect("the whole dump");
    let certificates = &json["configs"][0]["bootstrap"]["transport_socket"]["common_tls_context"];
    assert_eq!(
        certificates["tls_certificates"],
        json!([{
            "certificate_chain": { "filename": "chain.pem" },
            "private_key": { "inline_string": "[redacted]" },
            "password": { "inline_bytes": "[redacted]" },
        }, { "private_key": { "filename": "key.pem" } }])
    );
}

#[test]
fn every_draining_version_is_dumped_the_newest_beside_the_active_one() {
    let version = |version: u64, state| ListenerConfigView {
        name: "in".to_owned(),
        version,
        version_info: version.to_string(),
        state,
        is_static: false,
        listener: json!({}),
        effective: None,
        last_updated: SystemTime::UNIX_EPOCH,
    };
    let dump = ConfigDump {
        listeners: vec![
            version(1, VersionState::Draining),
            version(2, VersionState::Draining),
            version(3, VersionState::Active),
            version(4, VersionState::Warming),
        ],
        ..ConfigDump::default()
    };
    let json = dump
        .to_json(Some("dynamic_listeners"), None)
        .expect("a field");
    let info = |at: usize, state: &str| json["configs"][at][state]["version_info"].as_str();
    assert_eq!(
        (info(0, "active_state"), info(0, "warming_state")),
        (Some("3"), Some("4"))
    );
    assert_eq!(
        (info(0, "draining_state"), info(1, "draining_state")),
        (Some("2"), Some("1"))
    );
    assert_eq!(json["configs"].as_array().map(Vec::len), Some(2));
    let since = &json["configs"][0]["active_state"]["last_updated"];
    assert_eq!(since, "1970-01-01T00:00:00.000Z");
}

#[test]
fn what_the_bootstrap_brought_is_dumped_under_envoys_names() {
    let manager = json!({ "typed_config": { "route_config": { "name": "shop" } } });
    let listener = ListenerConfigView {
        name: "in".to_owned(),
        version: 1,
        version_info: String::new(),
        state: VersionState::Active,
        is_static: true,
        listener: json!({ "filter_chains": [{ "filters": [manager] }] }),
        effective: None,
        last_updated: SystemTime::UNIX_EPOCH,
    };
    let key = json!({ "private_key": { "inline_string": "-----BEGIN" } });
    let fixed = json!({
        "clusters": [{ "name": "up" }, { "name": "down" }],
        "secrets": [{ "name": "own", "tls_certificate": key }],
    });
    let dump = ConfigDump {
        bootstrap: Some(json!({ "static_resources": fixed })),
        listeners: vec![listener],
        ..ConfigDump::default()
    };
    let chosen = |query: &str| {
        let uri = format!("/config_dump?{query}").parse().expect("a path");
        dump.clone().chosen(&Query::of(&uri))
    };
    let kind = |name: &str| format!("type.googleapis.com/envoy.{name}");
    let cluster = json!({ "@type": kind("config.cluster.v3.Cluster"), "name": "up" });
    assert_eq!(
        chosen("resource=static_clusters&name_regex=up").expect("a field"),
        json!({ "configs": [
            { "@type": kind("admin.v3.ClustersConfigDump.StaticCluster"), "cluster": cluster },
        ] })
    );
    let table = json!({ "@type": kind("config.route.v3.RouteConfiguration"), "name": "shop" });
    assert_eq!(
        chosen("resource=static_route_configs").expect("a field"),
        json!({ "configs": [
            { "@type": kind("admin.v3.RoutesConfigDump.StaticRouteConfig"), "route_config": table },
        ] })
    );
    // Each list by the names of its own entries.
    let shop = chosen("resource=static_route_configs&name_regex=shop").expect("a field");
    assert_eq!(shop["configs"][0]["route_config"]["name"], "shop");
    let listener = chosen("resource=static_route_configs&name_regex=^in$");
    assert_eq!(listener.expect("a field"), json!({}));
    let up = chosen("name_regex=^up$").expect("all")["configs"].to_string();
    let (_, behind_bootstrap) = up.split_once("ListenersConfigDump").expect("a list");
    assert!(behind_bootstrap.contains("\"up\""), "{up}");
    for other in ["\"down\"", "\"own\"", "\"shop\""] {
        assert!(!behind_bootstrap.contains(other), "{other} in {up}");
    }
    let secrets = chosen("resource=static_secrets").expect("a field");
    let secret = &secrets["configs"][0]["secret"];
    assert_eq!(secrets["configs"][0]["name"], "own");
    assert_eq!(
        secret["tls_certificate"]["private_key"]["inline_string"],
        "[redacted]"
    );
    let whole = chosen("").expect("all").to_string();
    for part in [
        "ClustersConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ] {
        assert!(whole.contains(&format!("admin.v3.{part}\"")), "{whole}");
    }
    for never in ["dynamic_active_clusters", "dynamic_endpoint_configs"] {
        let none = chosen(&format!("resource={never}"));
        assert_eq!(none.expect("a field"), json!({}));
    }
    let wrong = |query: &str| chosen(query).expect_err("no such list").0;
    assert_eq!(wrong("resource=bootstrap"), StatusCode::BAD_REQUEST);
    assert_eq!(wrong("resource=clusters"), StatusCode::NOT_FOUND);
}

#[test]
fn tables_that_came_by_themselves_are_dumped_under_envoys_names() {
    let mut table = RouteConfiguration::default();
    table.name = "shop".to_owned();
    let dump = ConfigDump {
        routes: vec![RouteConfigView::new(&table, "7", SystemTime::UNIX_EPOCH)],
        ..ConfigDump::default()
    };
    let state = json!({
        "version_info": "7", "last_updated": "1970-01-01T00:00:00.000Z", "route_config": {
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "shop",
        },
    });
    let json = dump.to_json(None, None).expect("the whole dump");
    let routes = json!({
        "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [state],
    });
    assert!(
        json["configs"]
            .as_array()
            .is_some_and(|all| all.contains(&routes)),
        "{json}"
    );
    let one = dump
        .to_json(Some("dynamic_route_configs"), None)
        .expect("a field");
    assert_eq!(one["configs"][0]["route_config"]["name"], "shop");
}
