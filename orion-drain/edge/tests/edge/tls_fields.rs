//! Each field of TLS contexts, as clients and endpoints see it: versions, suites, secrets that stand
//! elsewhere, kinds of names.

use tempfile::TempDir;
use tokio_rustls::rustls::CipherSuite;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::certificates::{ALL, Client, FLAGS, TLS, downstream, endpoint};
use crate::support::tls::Secured;
use crate::support::{Edge, H1, Http, cluster, discovery};

#[tokio::test]
async fn each_version_of_tls_is_spoken_from_the_oldest_to_the_newest_that_is_asked_for() {
    let server = Secured::new();
    // Which of TLS 1.2 and 1.3 are spoken; older ones never are.
    let cases = [
        ("none", "", true, true),
        (
            "auto",
            "tls_minimum_protocol_version: TLS_AUTO, tls_maximum_protocol_version: TLS_AUTO",
            true,
            true,
        ),
        (
            "old",
            "tls_minimum_protocol_version: TLSv1_0, tls_maximum_protocol_version: TLSv1_2",
            true,
            false,
        ),
        (
            "older",
            "tls_minimum_protocol_version: TLSv1_1, tls_maximum_protocol_version: TLSv1_3",
            true,
            true,
        ),
        (
            "second",
            "tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_2",
            true,
            false,
        ),
        (
            "third",
            "tls_minimum_protocol_version: TLSv1_3",
            false,
            true,
        ),
    ];
    let listeners = cases.map(|(name, params, ..)| {
        let common = format!(
            "tls_certificates: {}, tls_params: {{ {params} }}",
            server.pair()
        );
        Http::new(name, 1)
            .with_chain(&downstream(&common, ""))
            .yaml()
    });
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    for (name, params, second, third) in cases {
        let at = edge.address(name).await;
        for (versions, expected) in [(&[&TLS12][..], second), (&[&TLS13], third)] {
            let client = Client {
                trusts: &[&server],
                is: None,
                versions,
            };
            let is_served = client.is_served(at, "localhost").await;
            assert_eq!(is_served, expected, "{params}: {versions:?}");
        }
    }
}

#[tokio::test]
async fn only_the_suites_that_are_asked_for_are_spoken() {
    let server = Secured::new();
    let listener = |name, suites: &str| {
        let common = format!(
            "tls_certificates: {}, tls_params: {{ cipher_suites: {suites} }}",
            server.pair()
        );
        Http::new(name, 1)
            .with_chain(&downstream(&common, ""))
            .yaml()
    };
    let listeners = [
        listener("large", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        listener("small", "[ECDHE-ECDSA-AES128-GCM-SHA256, AES128-SHA]"),
    ];
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    for (name, suite) in [
        (
            "large",
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            "small",
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
    ] {
        let client = Client {
            trusts: &[&server],
            is: None,
            versions: &[&TLS12],
        };
        let stream = client.connect(edge.address(name).await, "localhost").await;
        let stream = stream.expect("a handshake");
        let agreed = stream.get_ref().1.negotiated_cipher_suite();
        assert_eq!(agreed.expect("a suite").suite(), suite, "{name}");
        assert_eq!(H1::over(stream).get("/version").await.ok(), "v1");
    }
}

/// A secret as a file of its own, or as an item of `static_resources.secrets`.
fn secret(name: &str, content: &str) -> String {
    format!("{{ name: {name}, {content} }}")
}

#[tokio::test]
async fn what_a_certificate_has_to_be_stands_here_or_elsewhere_or_in_both() {
    let (server, known, other) = (
        Secured::new(),
        Secured::of("known.test"),
        Secured::of("other.test"),
    );
    let authority =
        |secured: &Secured| format!("trusted_ca: {{ filename: {:?} }}", secured.certificate());
    let names = "match_typed_subject_alt_names: { san_type: DNS, matcher: { exact: known.test } }";
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("sds.yaml");
    let content = format!("validation_context: {{ {} }}", authority(&known));
    let resource =
        secret("file", &content).replacen('{', &format!("{{ \"@type\": {TLS}.Secret,"), 1);
    std::fs::write(&file, format!("resources: [ {resource} ]\n")).expect("a file");
    let in_file =
        format!("{{ name: file, sds_config: {{ path_config_source: {{ path: {file:?} }} }} }}");
    let certificate = format!("tls_certificates: {}", server.pair());
    let cases = [
        (
            "file",
            format!("{certificate}, validation_context_sds_secret_config: {in_file}"),
        ),
        (
            "static",
            "tls_certificate_sds_secret_configs: { name: own }, validation_context_sds_secret_config: { name: known }"
                .to_owned(),
        ),
        (
            "both",
            format!(
                "{certificate}, combined_validation_context: {{ default_validation_context: {{ {names} }}, \
                 validation_context_sds_secret_config: {in_file} }}"
            ),
        ),
        (
            "over",
            format!(
                "{certificate}, combined_validation_context: {{ default_validation_context: {{ {} }}, \
                 validation_context_sds_secret_config: {{ name: known }} }}",
                authority(&other)
            ),
        ),
        (
            "misnamed",
            format!(
                "{certificate}, combined_validation_context: {{ default_validation_context: {{ {} }}, \
                 validation_context_sds_secret_config: {in_file} }}",
                names.replace("known", "else")
            ),
        ),
    ];
    let listeners: Vec<_> = cases
        .iter()
        .map(|(name, common)| {
            let required = ", require_client_certificate: true";
            Http::new(name, 1)
                .with_chain(&downstream(common, required))
                .yaml()
        })
        .collect();
    let secrets = format!(
        "  secrets: [ {}, {} ]\n",
        secret("own", &format!("tls_certificate: {}", server.pair())),
        secret("known", &content)
    );
    let edge = Edge::start_with(FLAGS, &discovery("1", &listeners), &secrets).await;
    for (name, is, expected) in [
        ("file", &known, true),
        ("file", &other, false),
        ("static", &known, true),
        ("static", &other, false),
        ("both", &known, true),
        ("both", &other, false),
        ("over", &known, true),
        ("over", &other, false),
        ("misnamed", &known, false),
    ] {
        let client = Client {
            trusts: &[&server],
            is: Some(is),
            versions: ALL,
        };
        let is_served = client
            .is_served(edge.address(name).await, "localhost")
            .await;
        assert_eq!(is_served, expected, "{name}");
    }
}

#[tokio::test]
async fn keys_and_certificates_may_stand_in_the_file_itself() {
    let server = Secured::new();
    let text = |path: String| {
        let text = std::fs::read_to_string(path).expect("PEM");
        format!("{{ inline_string: {text:?} }}")
    };
    let certificate = text(server.certificate());
    let key = text(server.certificate().replace("cert.pem", "key.pem"));
    let common =
        format!("tls_certificates: {{ certificate_chain: {certificate}, private_key: {key} }}");
    let listener = Http::new("https", 1)
        .with_chain(&downstream(&common, ""))
        .yaml();
    let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    let client = Client {
        trusts: &[&server],
        is: None,
        versions: ALL,
    };
    assert!(
        client
            .is_served(edge.address("https").await, "localhost")
            .await
    );
}

#[tokio::test]
async fn a_name_in_a_certificate_is_of_its_kind() {
    let spiffe = Secured::of_uri("spiffe://test/edge");
    let server = Secured::new();
    let named = |kind: &str, name: &str| {
        format!(
            "tls_certificates: {}, validation_context: {{ trusted_ca: {{ filename: {:?} }}, \
             match_typed_subject_alt_names: {{ san_type: {kind}, matcher: {{ prefix: {name:?} }} }} }}",
            server.pair(),
            spiffe.certificate()
        )
    };
    let cases = [
        ("uri", named("URI", "spiffe://test/"), true),
        ("else", named("URI", "spiffe://else/"), false),
        ("dns", named("DNS", "spiffe://test/"), false),
    ];
    let listeners = [0, 1, 2].map(|at| {
        let (name, common, _) = &cases[at];
        Http::new(name, 1)
            .with_chain(&downstream(common, ", require_client_certificate: true"))
            .yaml()
    });
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    for (name, _, expected) in &cases {
        let client = Client {
            trusts: &[&server],
            is: Some(&spiffe),
            versions: ALL,
        };
        let is_served = client
            .is_served(edge.address(name).await, "localhost")
            .await;
        assert_eq!(is_served, *expected, "{name}");
    }
}

#[tokio::test]
async fn an_endpoint_over_tls_is_offered_what_its_context_says() {
    let server = Secured::of("up.test");
    let at = endpoint(&server, None, &["h2", "http/1.1"]).await;
    let socket = |common: &str| {
        format!(
            "transport_socket: {{ name: tls, typed_config: {{ \"@type\": {TLS}.UpstreamTlsContext, \
             common_tls_context: {{ {common} }} }} }}"
        )
    };
    // An endpoint that speaks TLS alone does not understand what is sent in clear.
    let clear = "transport_socket: { name: clear, typed_config: { \"@type\": \
                 type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer } }";
    let clusters = [
        cluster("tls", &[at], &socket("alpn_protocols: http/1.1")),
        cluster("clear", &[at], clear),
    ]
    .concat();
    let listener = Http::new("http", 1).yaml().replace(
        "{ match: { prefix: / }, route: { cluster: http, timeout: 0s } }",
        "{ match: { path: /tls }, route: { cluster: tls } }, { match: { path: /clear }, route: { cluster: clear } }",
    );
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[listener]), &clusters, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/tls").await.ok(), "- h1 localhost");
    assert_eq!(client.get("/clear").await.status, 502);
}
