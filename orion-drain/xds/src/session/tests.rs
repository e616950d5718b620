//! What is said for what was heard, without a stream.

mod routes;

use envoy_types::pb::envoy::config::listener::v3::Listener;

use super::*;

fn asker() -> Asker {
    let mut node = config::Node::default();
    node.id = "me".to_owned();
    Asker::new(Some(&node), false)
}

fn whole(version: &str, nonce: &str) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.to_owned(),
        nonce: nonce.to_owned(),
        type_url: Kind::Listeners.type_url().to_owned(),
        ..DiscoveryResponse::default()
    }
}

fn delta(nonce: &str, changed: &[(&str, &str)], removed: &[&str]) -> DeltaDiscoveryResponse {
    let resource = |&(name, version): &(&str, &str)| Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        ..Resource::default()
    };
    DeltaDiscoveryResponse {
        nonce: nonce.to_owned(),
        type_url: Kind::Listeners.type_url().to_owned(),
        resources: changed.iter().map(resource).collect(),
        removed_resources: removed.iter().map(|&name| name.to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn answer<S: Session>(session: &mut S, response: &S::Response, refused: &[Refused]) -> S::Request {
    session.answer(response, refused).expect("it was asked for")
}

fn listeners(update: Option<XdsUpdate>) -> ListenerUpdate {
    match update {
        Some(XdsUpdate::Listeners(update)) => update,
        other => panic!("{other:?}"),
    }
}

/// A stream on which only listeners are wanted.
fn opened<S: Session>(session: &mut S) -> S::Request {
    let mut first = session.open();
    assert_eq!(first.len(), 1);
    first.remove(0)
}

fn refused(name: &str) -> [Refused; 1] {
    [Refused::new(Some(name.to_owned()), "address: is taken")]
}

fn there(session: &mut Delta) -> Vec<(String, String)> {
    let mut there: Vec<_> = opened(session)
        .initial_resource_versions
        .into_iter()
        .collect();
    there.sort();
    there
}

#[test]
fn an_ack_has_the_version_of_its_response_and_a_nack_the_one_before() {
    let mut session = StateOfTheWorld::new(asker());
    let first = opened(&mut session);
    assert_eq!((&*first.version_info, &*first.response_nonce), ("", ""));
    assert_eq!(first.node.expect("a node").id, "me");

    let ack = answer(&mut session, &whole("1", "a"), &[]);
    assert_eq!((&*ack.version_info, &*ack.response_nonce), ("1", "a"));
    assert_eq!(ack.error_detail, None);

    let nack = answer(&mut session, &whole("2", "b"), &refused("in"));
    assert_eq!((&*nack.version_info, &*nack.response_nonce), ("1", "b"));
    let detail = nack.error_detail.expect("what is wrong");
    assert_eq!(detail.code, 13);
    assert_eq!(
        detail.message,
        "Error adding/updating listener(s) in: address: is taken\n"
    );

    let ack = answer(&mut session, &whole("3", "c"), &[]);
    assert_eq!((&*ack.version_info, &*ack.response_nonce), ("3", "c"));
    // Another stream begins without a nonce, with what is there.
    let first = opened(&mut session);
    assert_eq!((&*first.version_info, &*first.response_nonce), ("3", ""));
}

#[test]
fn another_stream_of_a_delta_begins_with_the_versions_of_what_is_there() {
    let mut session = Delta::new(asker());
    assert_eq!(there(&mut session), []);
    let ack = answer(
        &mut session,
        &delta("a", &[("x", "1"), ("y", "1"), ("z", "1")], &[]),
        &[],
    );
    assert_eq!(ack.response_nonce, "a");
    // Only the first request of a stream says so.
    assert!(ack.initial_resource_versions.is_empty());

    // `x` is refused and stays as it was, `y` is taken, `z` is gone, `new` never came.
    let response = delta("b", &[("x", "2"), ("y", "2")], &["z"]);
    let nack = answer(&mut session, &response, &refused("x"));
    assert_eq!(nack.response_nonce, "b");
    assert!(nack.error_detail.is_some());
    answer(
        &mut session,
        &delta("c", &[("new", "1")], &[]),
        &refused("new"),
    );
    let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    assert_eq!(there(&mut session), [pair("x", "1"), pair("y", "2")]);
}

#[test]
fn what_cannot_be_read_in_a_delta_is_refused_by_its_name() {
    let mut session = Delta::new(asker());
    session.open();
    let update = listeners(session.read(&delta("a", &[("x", "1")], &["y"])));
    assert_eq!(update.rejected[0].name.as_deref(), Some("x"));
    assert_eq!(update.removed, Some(vec!["y".to_owned()]));
    // Whatever it calls itself: its version is kept by the name that the response gives it.
    let mut inside = delta("b", &[("x", "2")], &[]);
    let listener = Listener {
        name: "inside".to_owned(),
        ..Listener::default()
    };
    inside.resources[0].resource = Some(Any {
        type_url: Kind::Listeners.type_url().to_owned(),
        value: listener.encode_to_vec(),
    });
    let update = listeners(session.read(&inside));
    assert_eq!(update.rejected[0].name.as_deref(), Some("x"));
}

#[test]
fn a_response_of_another_type_was_not_asked_for() {
    let (mut sotw, mut changes) = (StateOfTheWorld::new(asker()), Delta::new(asker()));
    sotw.open();
    changes.open();
    let mut other = whole("1", "a");
    // No routes are wanted.
    for kind in [
        "envoy.config.cluster.v3.Cluster",
        "envoy.config.route.v3.RouteConfiguration",
    ] {
        other.type_url = format!("type.googleapis.com/{kind}");
        assert_eq!(sotw.read(&other), None);
        assert_eq!(sotw.answer(&other, &[]), None);
    }
    let mut other = delta("a", &[], &[]);
    other.type_url.clear();
    assert_eq!(changes.read(&other), None);
    assert_eq!(changes.answer(&other, &[]), None);
}

#[test]
fn wanted_names_are_in_every_request_of_a_state_of_the_world_and_in_the_first_of_a_delta() {
    let mut asker = asker();
    let first = opened(&mut StateOfTheWorld::new(asker.clone()));
    assert!(first.resource_names.is_empty());
    asker.want(Some(BTreeSet::from(["x".to_owned()])));
    let mut session = StateOfTheWorld::new(asker.clone());
    assert_eq!(opened(&mut session).resource_names, ["x"]);
    let ack = answer(&mut session, &whole("1", "a"), &[]);
    assert_eq!(ack.resource_names, ["x"]);
    let mut session = Delta::new(asker);
    assert_eq!(opened(&mut session).resource_names_subscribe, ["x"]);
    let ack = answer(&mut session, &delta("a", &[], &[]), &[]);
    assert!(ack.resource_names_subscribe.is_empty());
}

#[test]
fn the_control_plane_hears_all_that_the_bootstrap_says_of_its_node() {
    let text = r#"{ "node": { "id": "me", "cluster": "shops", "clientFeatures": ["a.b"],
        "locality": { "region": "north", "zone": "harbour", "subZone": "pier" },
        "metadata": { "ISTIO_VERSION": "1.2", "clusterId": 7, "deep": { "list": [true, null, "x"] } } } }"#;
    let bootstrap = config::Bootstrap::from_json(text)
        .expect("a good bootstrap")
        .value;
    let mut session = StateOfTheWorld::new(Asker::new(bootstrap.node.as_ref(), false));
    let node = opened(&mut session).node.expect("a node");
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("me", "shops"));
    assert_eq!(node.client_features, ["a.b"]);
    let place = node.locality.expect("a place");
    assert_eq!(
        (
            place.region.as_str(),
            place.zone.as_str(),
            place.sub_zone.as_str()
        ),
        ("north", "harbour", "pier")
    );
    let fields = node.metadata.expect("metadata").fields;
    let text = |value: &str| Some(JsonKind::StringValue(value.to_owned()));
    assert_eq!(fields["ISTIO_VERSION"].kind, text("1.2"));
    assert_eq!(fields["clusterId"].kind, Some(JsonKind::NumberValue(7.0)));
    let Some(JsonKind::StructValue(deep)) = &fields["deep"].kind else {
        panic!("{fields:?}")
    };
    let Some(JsonKind::ListValue(list)) = &deep.fields["list"].kind else {
        panic!("{deep:?}")
    };
    let kinds: Vec<_> = list.values.iter().map(|value| value.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            Some(JsonKind::BoolValue(true)),
            Some(JsonKind::NullValue(0)),
            text("x")
        ]
    );
}

#[test]
fn the_node_may_come_with_the_first_request_of_a_stream_only() {
    let mut session = StateOfTheWorld::new(Asker::new(None, true));
    session.want_routes(&BTreeSet::from(["r".to_owned()]));
    for _ in 0..2 {
        let [listeners, routes] = &session.open()[..] else {
            panic!("two types")
        };
        assert!(listeners.node.is_some() && routes.node.is_none());
        assert!(answer(&mut session, &whole("1", "a"), &[]).node.is_none());
    }
}

#[test]
fn the_text_of_a_nack_is_bounded() {
    let long = Refused::new(None, "ä".repeat(LONGEST));
    let message = detail(Kind::Listeners, &[long])
        .expect("what is wrong")
        .message;
    assert!(message.len() <= LONGEST && message.len() > LONGEST - 4);
}
