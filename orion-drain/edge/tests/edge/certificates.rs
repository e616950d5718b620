//! TLS on both sides: whom clients are asked to be, which certificate they get, which chain; and
//! endpoints over TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::tls::Secured;
use crate::support::{Edge, H1, Http, discovery, within};

pub(crate) const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";
pub(crate) const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

pub(crate) fn downstream(common: &str, more: &str) -> String {
    format!(
        "transport_socket: {{ name: tls, typed_config: {{ \"@type\": {TLS}.DownstreamTlsContext, \
         common_tls_context: {{ {common} }}{more} }} }}"
    )
}

/// A client of a listener over TLS.
pub(crate) struct Client<'c> {
    pub(crate) trusts: &'c [&'c Secured],
    pub(crate) is: Option<&'c Secured>,
    pub(crate) versions: &'c [&'static tokio_rustls::rustls::SupportedProtocolVersion],
}

impl Client<'_> {
    pub(crate) async fn connect(
        &self,
        at: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for trusted in self.trusts {
            roots.extend(trusted.trusted().roots);
        }
        let builder = ClientConfig::builder_with_protocol_versions(self.versions)
            .with_root_certificates(roots);
        let config = match self.is {
            None => builder.with_no_client_auth(),
            Some(secured) => {
                let (chain, key) = secured.identity();
                builder
                    .with_client_auth_cert(chain, key)
                    .expect("an identity")
            }
        };
        let tcp = within("a connection", TcpStream::connect(at)).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        within("a handshake", connector.connect(name, tcp)).await
    }

    /// Whether it is served.
    pub(crate) async fn is_served(&self, at: SocketAddr, name: &str) -> bool {
        let Ok(stream) = self.connect(at, name).await else {
            return false;
        };
        let mut client = H1::over(stream);
        client.ask("/version").await;
        client
            .try_response()
            .await
            .is_ok_and(|response| response.status == 200)
    }
}

pub(crate) const ALL: &[&tokio_rustls::rustls::SupportedProtocolVersion] =
    tokio_rustls::rustls::ALL_VERSIONS;

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let (first, second) = (Secured::of("first.test"), Secured::of("*.second.test"));
    let common = format!("tls_certificates: [{}, {}]", first.pair(), second.pair());
    let listener = Http::new("https", 1)
        .with_chain(&downstream(&common, ""))
        .yaml();
    let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    let address = edge.address("https").await;
    for (name, trusted, served) in [
        ("first.test", &first, true),
        ("a.second.test", &second, true),
        ("a.second.test", &first, false),
        // The first one is for all others, who do not take it.
        ("third.test", &first, false),
    ] {
        let client = Client {
            trusts: &[trusted],
            is: None,
            versions: ALL,
        };
        assert_eq!(client.is_served(address, name).await, served, "{name}");
    }
}

#[tokio::test]
async fn a_client_without_a_good_certificate_is_not_served_where_one_is_required() {
    let (server, known, stranger) = (
        Secured::new(),
        Secured::of("known.test"),
        Secured::of("other.test"),
    );
    let validation = |more: &str| {
        format!(
            "tls_certificates: [{}], validation_context: {{ trusted_ca: {{ filename: {:?} }}{more} }}",
            server.pair(),
            known.certificate()
        )
    };
    let by_name = |name: &str| {
        format!(
            ", match_typed_subject_alt_names: [{{ san_type: DNS, matcher: {{ exact: {name} }} }}]"
        )
    };
    let listener = |name, common: &str, more: &str| {
        Http::new(name, 1)
            .with_chain(&downstream(common, more))
            .yaml()
    };
    let required = ", require_client_certificate: true";
    let edge = Edge::start(
        FLAGS,
        &discovery(
            "1",
            &[
                listener("required", &validation(""), required),
                listener("asked", &validation(""), ""),
                listener("named", &validation(&by_name("known.test")), required),
                listener("misnamed", &validation(&by_name("else.test")), required),
            ],
        ),
    )
    .await;
    for (name, is, served) in [
        ("required", None, false),
        ("required", Some(&known), true),
        ("required", Some(&stranger), false),
        ("asked", None, true),
        ("asked", Some(&known), true),
        ("asked", Some(&stranger), false),
        ("named", Some(&known), true),
        ("misnamed", Some(&known), false),
    ] {
        let client = Client {
            trusts: &[&server],
            is,
            versions: ALL,
        };
        let address = edge.address(name).await;
        assert_eq!(
            client.is_served(address, "localhost").await,
            served,
            "{name}"
        );
    }
}

#[tokio::test]
async fn only_the_versions_that_are_asked_for_are_spoken() {
    use tokio_rustls::rustls::version::{TLS12, TLS13};
    let server = Secured::new();
    let common = format!(
        "tls_certificates: [{}], tls_params: {{ tls_minimum_protocol_version: TLSv1_3 }}",
        server.pair()
    );
    let listener = Http::new("https", 1)
        .with_chain(&downstream(&common, ""))
        .yaml();
    let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    let address = edge.address("https").await;
    for (versions, served) in [(&[&TLS12][..], false), (&[&TLS13], true)] {
        let client = Client {
            trusts: &[&server],
            is: None,
            versions,
        };
        assert_eq!(client.is_served(address, "localhost").await, served);
    }
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_chooses_its_chain_and_a_drain_does_not_wait_for_it() {
    let (shop, other) = (Secured::of("shop.test"), Secured::of("other.test"));
    let chains = |version: u32| {
        let chain = |secured: &Secured, name: &str, body: &str| {
            let socket = downstream(&format!("tls_certificates: [{}]", secured.pair()), "");
            let chain = format!("filter_chain_match: {{ server_names: [{name}] }}\n    {socket}");
            let listener = Http::new("https", version).with_chain(&chain).yaml();
            let at = listener.find("  filter_chains:\n").expect("chains");
            listener[at..]
                .replace("  filter_chains:\n", "")
                .replace(&format!("'v{version}'"), body)
        };
        let head = Http::new("https", version).with("listener_filters: [{ name: i, typed_config: { '@type': \
            type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector } }]").yaml();
        let at = head.find("  filter_chains:\n").expect("chains") + "  filter_chains:\n".len();
        head[..at].to_owned()
            + &chain(&shop, "shop.test", "shop")
            + &chain(&other, "'*.test'", "any")
    };
    let mut edge = Edge::start(FLAGS, &discovery("1", &[chains(1)])).await;
    let address = edge.address("https").await;
    let client = Client {
        trusts: &[&shop, &other],
        is: None,
        versions: ALL,
    };
    for (name, body) in [("shop.test", "shop"), ("other.test", "any")] {
        let stream = client.connect(address, name).await.expect("a handshake");
        assert_eq!(H1::over(stream).get("/version").await.ok(), body);
    }
    assert!(!client.is_served(address, "none.example").await);
    // One that says nothing, or half of a hello, does not keep the version from being drained.
    let mut silent = H1::connect(address).await;
    let mut half = H1::connect(address).await;
    half.send("\u{16}\u{3}\u{1}").await;
    edge.until_connections(|connections| connections.len() == 2)
        .await;
    edge.update("2", &[chains(2)]).await;
    silent.end().await;
    half.end().await;
    let stream = client
        .connect(address, "shop.test")
        .await
        .expect("a handshake");
    assert_eq!(H1::over(stream).get("/version").await.ok(), "shop");
}

#[tokio::test]
async fn a_certificate_comes_from_a_secret_in_a_file() {
    let server = Secured::new();
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("sds.yaml");
    let secret = format!(
        "resources:\n- \"@type\": {TLS}.Secret\n  name: own\n  tls_certificate: {}\n",
        server.pair()
    );
    std::fs::write(&file, secret).expect("a file");
    let common = |name: &str| {
        format!(
            "tls_certificate_sds_secret_configs: [{{ name: {name}, sds_config: {{ path_config_source: {{ path: {file:?} }} }} }}]"
        )
    };
    let listener = |version, name: &str| {
        Http::new("https", version)
            .with_chain(&downstream(&common(name), ""))
            .yaml()
    };
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1, "own")])).await;
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
    let lines = edge.update("2", &[listener(2, "none")]).await;
    let told = "tls_certificate_sds_secret_configs[0].name: no secret `none` in ";
    assert!(lines.iter().any(|line| line.contains(told)), "{lines:?}");
    assert!(
        client
            .is_served(edge.address("https").await, "localhost")
            .await
    );
}

/// An endpoint over TLS that says what it was asked: by which name, in which version, by whom.
pub(crate) async fn endpoint(
    secured: &Secured,
    clients: Option<&Secured>,
    protocols: &[&str],
) -> SocketAddr {
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(clients.trusted())).build();
            builder.with_client_cert_verifier(verifier.expect("authorities"))
        }
    };
    let (chain, key) = secured.identity();
    let mut config = builder.with_single_cert(chain, key).expect("an identity");
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let session = stream.get_ref().1;
                let name = session.server_name().unwrap_or("-").to_owned();
                let is_http2 = session.alpn_protocol() == Some(b"h2");
                let service = service_fn(move |request: Request<Incoming>| {
                    let version = match request.version() {
                        Version::HTTP_2 => "h2",
                        _ => "h1",
                    };
                    let authority = request.uri().authority().map(ToString::to_string);
                    let host = request.headers().get("host").cloned();
                    let host = host.and_then(|host| host.to_str().ok().map(str::to_owned));
                    let host = authority.or(host).unwrap_or_default();
                    let said = format!("{name} {version} {host}");
                    async move { Ok::<_, Infallible>(Response::new(said)) }
                });
                let io = TokioIo::new(stream);
                if is_http2 {
                    let server = http2::Builder::new(TokioExecutor::new());
                    server.serve_connection(io, service).await.ok();
                } else {
                    http1::Builder::new()
                        .serve_connection(io, service)
                        .await
                        .ok();
                }
            });
        }
    });
    address
}

const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

#[tokio::test]
async fn endpoints_over_tls_are_asked_by_name_in_the_right_version_and_trusted_as_configured() {
    let (server, own) = (Secured::of("up.test"), Secured::of("edge.test"));
    let plain = endpoint(&server, None, &["h2", "http/1.1"]).await;
    let mutual = endpoint(&server, Some(&own), &["http/1.1"]).await;
    let upstream = |common: &str, sni: &str| {
        format!(
            "transport_socket: {{ name: tls, typed_config: {{ \"@type\": {TLS}.UpstreamTlsContext{sni}, \
             common_tls_context: {{ {common} }} }} }}"
        )
    };
    let options = |content: &str| {
        format!(
            ", typed_extension_protocol_options: {{ {HTTP}: {{ \"@type\": type.googleapis.com/{HTTP}, {content} }} }}"
        )
    };
    let trusting = |secured: &Secured, more: &str| {
        format!(
            "validation_context: {{ trusted_ca: {{ filename: {:?} }}{more} }}",
            secured.certificate()
        )
    };
    let named = |name: &str| {
        format!(
            ", match_typed_subject_alt_names: {{ san_type: DNS, matcher: {{ exact: {name} }} }}"
        )
    };
    let sni = ", sni: up.test";
    let identity = format!("tls_certificates: [{}]", own.pair());
    let h2 = options("explicit_http_config: { http2_protocol_options: {} }");
    let alpn = options("auto_config: {}");
    let cases = [
        ("open", plain, upstream("", ""), "- h1 shop.test"),
        (
            "trusted",
            plain,
            upstream(&trusting(&server, ""), sni),
            "up.test h1 shop.test",
        ),
        (
            "http2",
            plain,
            upstream("", sni) + &h2,
            "up.test h2 shop.test",
        ),
        (
            "alpn",
            plain,
            upstream("", sni) + &alpn,
            "up.test h2 shop.test",
        ),
        (
            "named",
            plain,
            upstream(&trusting(&server, &named("up.test")), sni),
            "up.test h1 shop.test",
        ),
        (
            "misnamed",
            plain,
            upstream(&trusting(&server, &named("x.test")), sni),
            "503",
        ),
        (
            "distrusted",
            plain,
            upstream(&trusting(&own, ""), sni),
            "503",
        ),
        (
            "mutual",
            mutual,
            upstream(&identity, sni) + &alpn,
            "up.test h1 shop.test",
        ),
        ("nobody", mutual, upstream("", sni), "503"),
    ];
    let clusters: String = cases
        .iter()
        .map(|(name, at, fields, _)| crate::support::cluster(name, &[*at], fields))
        .collect();
    let routes: Vec<_> = cases
        .iter()
        .map(|(name, ..)| format!("{{ match: {{ path: /{name} }}, route: {{ cluster: {name} }} }}"))
        .collect();
    let listener = Http::new("http", 1).yaml().replace(
        "{ match: { prefix: / }, route: { cluster: http, timeout: 0s } }",
        &routes.join(", "),
    );
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[listener]), &clusters, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    for (name, _, _, expected) in &cases {
        // Twice: the second request goes over the connection of the first.
        for _ in 0..2 {
            let request = format!("GET /{name} HTTP/1.1\r\nhost: shop.test\r\n\r\n");
            client.send(&request).await;
            let response = client.response().await;
            match *expected {
                "503" => assert_eq!(response.status, 503, "{name}"),
                said => assert_eq!(response.ok(), said, "{name}"),
            }
        }
    }
}
