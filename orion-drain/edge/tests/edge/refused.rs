//! Updates that are wrong: what is said, what is counted, and that nothing else happens.

use std::net::TcpListener;

use crate::support::{Edge, H1, Http, discovery, tcp};

/// edge with one listener, and a client that is connected to it.
struct Served {
    edge: Edge,
    client: H1,
}

const COUNTERS: [&str; 4] = [
    "listener_manager.lds.update_success",
    "listener_manager.lds.update_rejected",
    "listener_manager.lds.update_failure",
    "listener_manager.listener_create_failure",
];

impl Served {
    async fn start() -> Self {
        let flags = "--drain-time-s 20 --drain-strategy immediate";
        let edge = Edge::start(flags, &discovery("1", &[Http::new("http", 1).yaml()])).await;
        let client = H1::connect(edge.address("http").await).await;
        Self { edge, client }
    }

    /// Puts a wrong file in place: what edge says, until a line with `last`, has `says` in it,
    /// exactly the counter `counted` moves, and the listener goes on as it was.
    async fn refuses(
        &mut self,
        what: &str,
        content: &str,
        last: &str,
        says: &str,
        counted: &[&str],
    ) {
        let before = self.edge.stats().await;
        self.edge.replace(content);
        let said = self.edge.until(last).await;
        assert!(
            said.iter().any(|line| line.contains(says)),
            "{what}: {said:#?}"
        );
        let after = self.edge.stats().await;
        for name in COUNTERS {
            let moved = counted.iter().any(|counted| name.ends_with(counted));
            assert_eq!(
                after[name] - before[name],
                u64::from(moved),
                "{what}: {name}"
            );
        }
        let modified = "listener_manager.listener_modified";
        assert_eq!(after[modified], before[modified], "{what}");
        self.goes_on(what).await;
    }

    async fn goes_on(&mut self, what: &str) {
        let kept = self.client.get("/version").await;
        assert_eq!(
            (kept.ok().as_str(), kept.says_close()),
            ("v1", false),
            "{what}"
        );
        let new = H1::connect(self.edge.address("http").await)
            .await
            .get("/version")
            .await;
        assert_eq!(
            (new.ok().as_str(), new.says_close()),
            ("v1", false),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_a_failure_and_changes_nothing() {
    let mut served = Served::start().await;
    for (what, content, says) in [
        (
            "broken YAML",
            "version_info: '2'\nresources: [\n",
            "not YAML",
        ),
        ("an empty file", "", "expected a message"),
        (
            "resources that are no list",
            "resources: many",
            "resources[0]: ",
        ),
    ] {
        served
            .refuses(what, content, "lds: ", says, &["update_failure"])
            .await;
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_a_failure_that_names_its_line_and_field() {
    let mut served = Served::start().await;
    let manager = "resources[0].filter_chains[0].filters[0].typed_config";
    let good = Http::new("http", 2).yaml();
    let cases = [
        (
            "an unknown enum value",
            "codec_type: AUTO",
            "codec_type: HTTP9",
            format!("{manager}.codec_type: "),
        ),
        (
            "a wrong duration",
            "drain_timeout: 2s",
            "drain_timeout: soon",
            format!("{manager}.drain_timeout: "),
        ),
        (
            "a wrong type",
            "per_connection_buffer_limit_bytes: 1048578",
            "per_connection_buffer_limit_bytes: [much]",
            "resources[0].per_connection_buffer_limit_bytes: ".to_owned(),
        ),
        (
            "an unknown extension type",
            "network.http_connection_manager.v3.HttpConnectionManager",
            "network.teapot.v3.Teapot",
            format!("{manager}.@type: unknown extension type"),
        ),
    ];
    for (number, (what, from, to, says)) in cases.into_iter().enumerate() {
        let listener = good.replace(from, to);
        assert_ne!(listener, good, "{what}");
        let content = discovery(&format!("bad {number}"), &[listener]);
        let before = content.find(to).expect("what is wrong");
        let says = format!("line {}: {says}", content[..before].lines().count());
        let last = format!("lds: version \"bad {number}\": http refused");
        served
            .refuses(what, &content, &last, &says, &["update_failure"])
            .await;
    }
}

#[tokio::test]
async fn a_listener_that_breaks_a_rule_is_rejected_with_its_fields_name() {
    let mut served = Served::start().await;
    let good = Http::new("http", 2).yaml();
    let chains = good.find("  filter_chains:").expect("filter chains");
    let route = "resources[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[1].route";
    for (number, (what, listener, says)) in [
        (
            "no filter chains",
            good[..chains].to_owned(),
            "resources[0].filter_chains: no filter chains".to_owned(),
        ),
        (
            "an unknown cluster",
            good.replace("cluster: http", "cluster: nowhere"),
            format!("{route}.cluster: unknown cluster `nowhere`"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let last = format!("lds: version \"bad {number}\": ");
        let content = discovery(&format!("bad {number}"), &[listener]);
        served
            .refuses(what, &content, &last, &says, &["update_rejected"])
            .await;
    }
}

#[tokio::test]
async fn an_address_of_another_process_is_rejected_until_it_is_free() {
    let mut served = Served::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let moved = Http::new("http", 2).at("127.0.0.1", port).yaml();

    let content = discovery("2", std::slice::from_ref(&moved));
    let says = format!("listener \"http\": address: cannot listen on 127.0.0.1:{port}: ");
    let counted = ["update_rejected", "listener_create_failure"];
    served
        .refuses(
            "a taken address",
            &content,
            "lds: version \"2\": http refused",
            &says,
            &counted,
        )
        .await;

    drop(taken);
    served.edge.update("3", &[moved]).await;
    assert_eq!(served.edge.address("http").await.port(), port);
    assert!(served.client.get("/version").await.says_close());
}

#[tokio::test]
async fn of_two_with_one_name_the_address_of_the_first_is_told_beside_the_second() {
    let mut served = Served::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let first = Http::new("http", 2).at("127.0.0.1", port).yaml();
    let content = discovery("2", &[first, Http::new("http", 3).yaml()]);
    let counted = ["update_rejected", "listener_create_failure"];
    let last = "lds: version \"2\": http refused, http refused";
    let says = format!("listener \"http\": address: cannot listen on 127.0.0.1:{port}: ");
    served
        .refuses("a name twice", &content, last, &says, &counted)
        .await;
    let said = served.edge.said();
    let duplicate = "resources[1].name: duplicate, resources[0] has it already";
    assert!(
        said.iter().any(|line| line.contains(duplicate)),
        "{said:#?}"
    );
}

#[tokio::test]
async fn an_address_of_another_listener_is_rejected_and_the_other_one_is_served() {
    let mut served = Served::start().await;
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let [first, second] =
        ["first", "second"].map(|name| Http::new(name, 2).at("127.0.0.1", port).yaml());
    let content = discovery("2", &[Http::new("http", 1).yaml(), first, second]);
    let says = format!(
        "listener \"second\": address: 127.0.0.1:{port} belongs to listener \"first\": give one of the two another address"
    );
    let last = "lds: version \"2\": first added (v2), second refused";
    served
        .refuses(
            "a duplicate address",
            &content,
            last,
            &says,
            &["update_rejected"],
        )
        .await;
    let response = H1::connect(served.edge.address("first").await)
        .await
        .get("/version")
        .await;
    assert_eq!(response.ok(), "v2");
}

#[tokio::test]
async fn a_file_with_a_listener_that_has_no_name_is_refused_whole() {
    let mut served = Served::start().await;
    let content = discovery(
        "2",
        &[
            tcp("tcp", 1),
            Http::new("http", 2)
                .yaml()
                .replacen("name: http", "name: [http]", 1),
        ],
    );
    let last = "lds: version \"2\": nothing changed";
    served
        .refuses(
            "a list as a name",
            &content,
            last,
            "resources[1].name: ",
            &["update_failure"],
        )
        .await;
    assert_eq!(served.edge.stat("listener_added").await, 1);
}

#[tokio::test]
async fn a_good_listener_beside_a_bad_one_is_taken() {
    let mut served = Served::start().await;
    let bad = Http::new("http", 2)
        .yaml()
        .replace("cluster: http", "cluster: nowhere");
    let content = discovery("2", &[tcp("tcp", 1), bad]);
    let last = "lds: version \"2\": tcp added (v2), http refused";
    let says = "resources[1].filter_chains[0]";
    served
        .refuses("a bad listener", &content, last, says, &["update_rejected"])
        .await;
    assert_eq!(served.edge.stat("listener_added").await, 2);
    let mut stream = H1::connect(served.edge.address("tcp").await).await;
    stream.send(&"x".repeat(10)).await;
}
