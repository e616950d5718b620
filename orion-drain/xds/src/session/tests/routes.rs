//! Routes beside listeners: names that come and go, streams that end, responses that are refused.

use super::*;

const ROUTES: &str = Kind::Routes.type_url();

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn of_routes(version: &str, nonce: &str) -> DiscoveryResponse {
    DiscoveryResponse {
        type_url: ROUTES.to_owned(),
        ..whole(version, nonce)
    }
}

#[test]
fn routes_are_asked_for_by_name_after_listeners_and_each_type_has_its_versions_and_nonces() {
    let mut session = StateOfTheWorld::new(asker());
    assert_eq!(opened(&mut session).type_url, Kind::Listeners.type_url());
    answer(&mut session, &whole("7", "l1"), &[]);
    let first = session
        .want_routes(&names(&["b", "a"]))
        .expect("to be said");
    assert_eq!((&*first.version_info, &*first.response_nonce), ("", ""));
    assert_eq!(
        (&*first.type_url, &first.resource_names[..]),
        (ROUTES, &["a".to_owned(), "b".to_owned()][..])
    );
    assert_eq!(session.want_routes(&names(&["a", "b"])), None);

    let ack = answer(&mut session, &of_routes("1", "r1"), &[]);
    assert_eq!((&*ack.version_info, &*ack.response_nonce), ("1", "r1"));
    let nack = answer(&mut session, &of_routes("2", "r2"), &refused("a"));
    assert_eq!((&*nack.version_info, &*nack.response_nonce), ("1", "r2"));
    let detail = nack.error_detail.expect("what is wrong");
    assert_eq!(detail.message, "a: address: is taken\n");
    // Another name, with what was last said of it.
    let more = session.want_routes(&names(&["a"])).expect("to be said");
    assert_eq!((&*more.version_info, &*more.response_nonce), ("1", "r2"));
    assert_eq!(
        (more.error_detail, &more.resource_names[..]),
        (None, &["a".to_owned()][..])
    );
    let ack = answer(&mut session, &whole("8", "l2"), &[]);
    assert_eq!((&*ack.version_info, &*ack.response_nonce), ("8", "l2"));

    let [listeners, routes] = &session.open()[..] else {
        panic!("two types")
    };
    assert_eq!(
        (&*listeners.version_info, &*listeners.response_nonce),
        ("8", "")
    );
    assert_eq!((&*routes.version_info, &*routes.response_nonce), ("1", ""));
    // The last name goes: that is said, and nothing is asked for on the next stream.
    let none = session.want_routes(&names(&[])).expect("to be said");
    assert_eq!((&*none.type_url, none.resource_names.len()), (ROUTES, 0));
    assert_eq!(session.open().len(), 1);
}

#[test]
fn a_name_that_is_not_wanted_any_more_is_not_there_on_the_next_stream() {
    let mut session = Delta::new(asker());
    session.open();
    let first = session
        .want_routes(&names(&["a", "b"]))
        .expect("to be said");
    assert_eq!(first.resource_names_subscribe, ["a", "b"]);
    let mut response = delta("r1", &[("a", "1"), ("b", "1"), ("other", "1")], &[]);
    response.type_url = ROUTES.to_owned();
    answer(&mut session, &response, &[]);
    let change = session
        .want_routes(&names(&["b", "c"]))
        .expect("to be said");
    assert_eq!(
        (&change.resource_names_subscribe, &*change.response_nonce),
        (&vec!["c".to_owned()], "")
    );
    assert_eq!(change.resource_names_unsubscribe, ["a"]);
    assert!(change.initial_resource_versions.is_empty());
    let [_, routes] = &session.open()[..] else {
        panic!("two types")
    };
    assert_eq!(routes.resource_names_subscribe, ["b", "c"]);
    assert_eq!(
        routes.initial_resource_versions,
        [("b".to_owned(), "1".to_owned())].into()
    );
}

#[test]
fn without_listeners_only_routes_are_asked_for() {
    let mut asker = asker();
    asker.want(None);
    let mut session = StateOfTheWorld::new(asker);
    session.want_routes(&names(&["a"]));
    assert_eq!(opened(&mut session).type_url, ROUTES);
    assert_eq!(session.read(&whole("1", "a")), None);
}

/// What a control plane knows of one stream, by the requests on it alone.
#[derive(Default)]
struct Heard {
    names: BTreeSet<String>,
    asked: bool,
}

/// Names, responses, refusals and streams in any order: the control plane always knows exactly the
/// names that are wanted, and each request has the last nonce of its stream and type and the last
/// version that was taken whole.
#[test]
fn whatever_happens_the_control_plane_knows_the_names_that_are_wanted() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut sotw, mut changes) = (StateOfTheWorld::new(asker()), Delta::new(asker()));
        let (mut by_sotw, mut by_changes) = (Heard::default(), Heard::default());
        let (mut nonce, mut taken, mut wanted) = (String::new(), String::new(), BTreeSet::new());
        sotw.open();
        changes.open();
        for step in 0..60 {
            let (mut said, mut said_change) = (Vec::new(), Vec::new());
            match random.u8(..10) {
                0 => {
                    (by_sotw, by_changes) = (Heard::default(), Heard::default());
                    nonce.clear();
                    said = sotw.open();
                    said_change = changes.open();
                }
                1..=5 => {
                    let some = ["a", "b", "c", "d"].into_iter().filter(|_| random.bool());
                    wanted = some.map(str::to_owned).collect();
                    said.extend(sotw.want_routes(&wanted));
                    said_change.extend(changes.want_routes(&wanted));
                }
                _ => {
                    let version = step.to_string();
                    let refused = random.bool().then(|| refused("a"));
                    let refused = refused.as_ref().map_or(&[][..], |refused| &refused[..]);
                    let answered = sotw.answer(&of_routes(&version, &version), refused);
                    assert_eq!(answered.is_some(), by_sotw.asked, "seed {seed}");
                    if answered.is_some() {
                        nonce.clone_from(&version);
                        if refused.is_empty() {
                            taken = version;
                        }
                    }
                    said.extend(answered);
                }
            }
            for request in said.into_iter().filter(|one| one.type_url == ROUTES) {
                by_sotw.asked = true;
                by_sotw.names = request.resource_names.into_iter().collect();
                assert_eq!(request.response_nonce, nonce, "seed {seed}");
                assert_eq!(request.version_info, taken, "seed {seed}");
            }
            for request in said_change.into_iter().filter(|one| one.type_url == ROUTES) {
                by_changes.names.extend(request.resource_names_subscribe);
                for name in &request.resource_names_unsubscribe {
                    assert!(by_changes.names.remove(name), "seed {seed}");
                }
            }
            assert_eq!(by_sotw.names, wanted, "seed {seed}");
            assert_eq!(by_changes.names, wanted, "seed {seed}");
        }
    }
}
