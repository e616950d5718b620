//! Routes by the name of a table that the control plane sends: what is accepted, and what is refused
//! with its field.

use orion_drain_config::Listener;
use serde_json::{Value, json};

use super::http_listener;

const MANAGER: &str = "filter_chains[0].filters[0].typed_config";

/// A listener in which these fields stand for its table.
fn listener(fields: Value) -> Value {
    let mut listener: Value = yaml_serde::from_str(&http_listener("")).expect("YAML");
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let manager = manager.as_object_mut().expect("fields");
    manager.remove("route_config");
    let Value::Object(fields) = fields else {
        panic!("{fields}")
    };
    manager.extend(fields);
    listener
}

fn refused(fields: Value) -> String {
    let read = Listener::from_json(&listener(fields).to_string());
    read.expect_err("it is refused").to_string()
}

fn over_ads() -> Value {
    json!({ "rds": { "config_source": { "ads": {}, "resource_api_version": "V3" }, "route_config_name": "shop" } })
}

#[test]
fn a_listener_has_one_source_of_routes() {
    let none = refused(json!({}));
    let wrong = "expected one of `route_config`, `rds`, found no source of routes";
    assert_eq!(none, format!("{MANAGER}: {wrong}"));
    let mut both = over_ads();
    both["route_config"] = json!({});
    let both = refused(both);
    assert!(
        both.contains("expected one of `route_config`, `rds`, not both"),
        "{both}"
    );
}

#[test]
fn other_sources_than_ads_are_refused_by_name() {
    let rds =
        |source: Value| json!({ "rds": { "config_source": source, "route_config_name": "shop" } });
    let plane = json!({ "api_type": "GRPC", "grpc_services": [{ "envoy_grpc": { "cluster_name": "plane" } }] });
    for (source, field) in [
        (json!({ "path": "/r.yaml" }), "path"),
        (
            json!({ "path_config_source": { "path": "/r.yaml" } }),
            "path_config_source",
        ),
        (json!({ "api_config_source": plane }), "api_config_source"),
    ] {
        assert_eq!(
            refused(rds(source)),
            format!(
                "{MANAGER}.rds.config_source.{field}: not supported, routes come over `ads` only"
            )
        );
    }
    let own = refused(rds(json!({ "self": {} })));
    assert!(
        own.contains(&format!("{MANAGER}.rds.config_source: expected `ads`")),
        "{own}"
    );
    assert!(
        own.contains(&format!("{MANAGER}.rds.config_source.self: not supported")),
        "{own}"
    );
    let nameless = refused(json!({ "rds": { "config_source": { "ads": {} } } }));
    assert!(
        nameless.contains(&format!(
            "{MANAGER}.rds.route_config_name: must not be empty"
        )),
        "{nameless}"
    );
    let sourceless = refused(json!({ "rds": { "route_config_name": "shop" } }));
    assert!(
        sourceless.contains("missing field `config_source`"),
        "{sourceless}"
    );
}

#[cfg(not(feature = "xds"))]
#[test]
fn without_the_feature_it_is_refused_with_the_features_name() {
    assert_eq!(
        refused(over_ads()),
        format!("{MANAGER}.rds.config_source.ads: needs the feature `xds`")
    );
}

#[cfg(feature = "xds")]
mod with_ads {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use envoy_types::pb::google::protobuf::Any;
    use orion_drain_config::{Bootstrap, ListenerUpdate, RouteUpdate};

    use super::*;
    use crate::messages;

    #[test]
    fn it_is_read_as_it_is_written() {
        let listener = listener(over_ads());
        let read = Listener::from_json(&listener.to_string()).expect("a good listener");
        assert_eq!(read.unknown_fields, [""; 0]);
        let rds = crate::manager(&read.value)
            .rds
            .as_ref()
            .expect("it is there");
        assert_eq!(rds.route_config_name, "shop");
        assert_eq!(rds.initial_fetch_limit(), Some(Duration::from_secs(15)));
        let written = serde_json::to_value(&read.value).expect("JSON");
        let manager = &written["filter_chains"][0]["filters"][0]["typed_config"];
        assert_eq!(manager["rds"], over_ads()["rds"]);
        for (limit, is) in [("0s", None), ("3s", Some(3))] {
            let mut fields = over_ads();
            fields["rds"]["config_source"]["initial_fetch_timeout"] = limit.into();
            let listener = super::listener(fields).to_string();
            let read = Listener::from_json(&listener)
                .expect("a good listener")
                .value;
            let rds = crate::manager(&read).rds.as_ref().expect("it is there");
            assert_eq!(rds.initial_fetch_limit(), is.map(Duration::from_secs));
        }
    }

    #[test]
    fn without_an_aggregated_stream_it_is_refused_with_what_is_missing() {
        let wrong = "rds.config_source.ads: there is no aggregated stream: the bootstrap has no \
                     `dynamic_resources.ads_config`";
        let statics = json!({ "static_resources": { "listeners": [listener(over_ads())] } });
        let error = Bootstrap::from_json(&statics.to_string())
            .expect_err("no stream")
            .to_string();
        assert_eq!(
            error,
            format!("static_resources.listeners[0].{MANAGER}.{wrong}")
        );
        let mut resource = listener(over_ads());
        resource["@type"] = messages::LISTENER.into();
        let text = json!({ "resources": [resource] }).to_string();
        let mut update = ListenerUpdate::from_json(&text).expect("a response");
        assert_eq!(update.listeners.len(), 1);
        update.reject_routes_over_ads();
        assert_eq!(update.listeners.len(), 0);
        let error = update.rejected[0].error.to_string();
        assert_eq!(error, format!("resources[0].{MANAGER}.{wrong}"));
    }

    fn table(name: &str, cluster: &str, validates: bool) -> Any {
        messages::routes(json!({
            "name": name, "validate_clusters": validates,
            "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [{
                "match": { "prefix": "/" }, "route": { "cluster": cluster },
            }] }],
        }))
    }

    #[test]
    fn tables_are_taken_one_by_one_and_only_those_that_are_wanted() {
        let mut garbage = table("b", "c", false);
        garbage.value = vec![0xff];
        let unsupported = json!({ "name": "b", "virtual_hosts": [{ "name": "all", "domains": ["*"], "matcher": {} }] });
        let resources = [
            table("a", "c", false),
            table("other", "c", false),
            messages::routes(unsupported),
            garbage,
            table("a", "d", false),
        ];
        let update = RouteUpdate::from_resources("7", &resources, |name| name != "other");
        assert_eq!(update.version_info, "7");
        let names: Vec<_> = update.routes.iter().map(|table| &*table.name).collect();
        assert_eq!(names, ["a"]);
        let rejected = update
            .rejected
            .iter()
            .map(|one| (one.name.as_deref(), one.error.to_string()));
        let rejected: Vec<_> = rejected.collect();
        let unsupported = "resources[2].virtual_hosts[0].matcher: not supported, and ignoring it would change \
                           what is served";
        assert_eq!(rejected[0], (Some("b"), unsupported.to_owned()));
        assert_eq!(rejected[1].0, None);
        assert!(
            rejected[1]
                .1
                .starts_with("resources[3]: not a `envoy.config.route.v3.RouteConfiguration`")
        );
        let duplicate = "resources[4].name: duplicate, resources[0] has it already";
        assert_eq!(rejected[2], (Some("a"), duplicate.to_owned()));
    }

    #[test]
    fn a_table_with_an_unknown_cluster_is_refused_only_if_it_says_so() {
        let resources = [
            table("a", "nowhere", false),
            table("b", "nowhere", true),
            table("c", "here", true),
        ];
        let mut update = RouteUpdate::from_resources("7", &resources, |_| true);
        update.reject_unknown_clusters(&BTreeSet::from(["here".to_owned()]));
        let names: Vec<_> = update.routes.iter().map(|table| &*table.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(
            update.rejected[0].error.to_string(),
            "resources[1].virtual_hosts[0].routes[0].route.cluster: unknown cluster `nowhere`"
        );
    }

    #[test]
    fn fields_that_are_not_known_are_listed() {
        let resource = messages::routes(json!({
            "name": "a", "virtual_hosts": [{ "name": "all", "domains": ["*"], "retry_policy": {} }],
        }));
        let update = RouteUpdate::from_resources("7", [&resource], |_| true);
        assert_eq!(
            update.unknown_fields,
            ["resources[0].virtual_hosts[0].retry_policy"]
        );
        assert_eq!(update.foreign_fields, [""; 0]);
        assert!(update.clone().refuse_foreign_fields().is_ok());
        let error = update
            .refuse_unsupported_fields()
            .expect_err("it is left out");
        assert_eq!(
            error.to_string(),
            "resources[0].virtual_hosts[0].retry_policy: not carried out here"
        );
    }
}
