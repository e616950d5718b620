//! The rule: which response heads are changed, how, and what becomes of the connection.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use proptest::prelude::*;
use proto_drain_http1::{AfterResponse, Leaving, RequestFacts, after_response, apply};

fn request(method: &str, version: Version, connection: Option<&str>) -> RequestFacts {
    let mut request = Request::builder().method(method).version(version);
    if let Some(value) = connection {
        request = request.header("connection", value);
    }
    RequestFacts::of(&request.body(()).unwrap())
}

fn headers(connection: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in connection {
        headers.append("connection", HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_connection_field_ends_up_as_one_value_that_ends_in_close() {
    for (before, after) in [
        (&[][..], "close"),
        (&["close"], "close"),
        (&["keep-alive"], "close"),
        (&["Keep-Alive, CLOSE"], "close"),
        (&["x-hop"], "x-hop, close"),
        (
            &["upgrade", "keep-alive", "x-a,x-b"],
            "upgrade, x-a, x-b, close",
        ),
        (&[" , ,"], "close"),
        (&["closed, keep-alive-x"], "closed, keep-alive-x, close"),
    ] {
        let mut headers = headers(before);
        headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
        let get = request("GET", Version::HTTP_11, None);
        assert_eq!(
            apply(Leaving::Yes, &get, StatusCode::OK, &mut headers),
            AfterResponse::Closes
        );
        let values: Vec<_> = headers.get_all("connection").iter().collect();
        assert_eq!(values, [after], "from {before:?}");
        assert!(!headers.contains_key("keep-alive"));
    }
}

#[test]
fn what_becomes_of_the_connection() {
    use AfterResponse::{Closes, Interim, KeepsOpen, Switches};
    use Leaving::{No, Yes};
    const V10: Version = Version::HTTP_10;
    const V11: Version = Version::HTTP_11;
    const V2: Version = Version::HTTP_2;
    for (leaving, method, version, asked, status, said, after) in [
        (No, "GET", V11, None, 200, None, KeepsOpen),
        (No, "GET", V11, Some("close"), 200, None, Closes),
        (No, "GET", V11, None, 200, Some("x, Close"), Closes),
        (No, "GET", V10, None, 200, None, Closes),
        (No, "GET", V10, Some("keep-alive"), 200, None, Closes),
        (
            No,
            "GET",
            V10,
            Some("keep-alive"),
            200,
            Some("keep-alive"),
            KeepsOpen,
        ),
        (
            No,
            "GET",
            V10,
            Some("keep-alive, close"),
            200,
            Some("keep-alive"),
            Closes,
        ),
        (No, "GET", Version::HTTP_09, None, 200, None, Closes),
        (No, "GET", V11, None, 101, Some("upgrade"), Switches),
        (No, "GET", V11, None, 103, None, Interim),
        (Yes, "GET", V11, None, 200, None, Closes),
        (Yes, "HEAD", V11, None, 200, None, Closes),
        (Yes, "GET", V11, None, 204, None, Closes),
        (Yes, "GET", V11, None, 304, None, Closes),
        (Yes, "GET", V11, None, 500, None, Closes),
        (Yes, "GET", V10, Some("keep-alive"), 200, None, Closes),
        (Yes, "GET", V11, None, 100, None, Interim),
        (Yes, "GET", V11, None, 103, None, Interim),
        (Yes, "GET", V11, None, 101, Some("upgrade"), Switches),
        (Yes, "CONNECT", V11, None, 200, None, Switches),
        (Yes, "CONNECT", V11, None, 407, None, Closes),
        (Yes, "GET", V2, None, 200, None, KeepsOpen),
        (Yes, "CONNECT", V2, None, 200, None, KeepsOpen),
        (Yes, "GET", Version::HTTP_3, None, 200, None, KeepsOpen),
    ] {
        let facts = request(method, version, asked);
        let mut head = headers(said.as_slice());
        let untouched = head.clone();
        let case = format!("{leaving:?} {method} {version:?} {asked:?} {status} {said:?}");
        assert_eq!(
            apply(
                leaving,
                &facts,
                StatusCode::from_u16(status).unwrap(),
                &mut head
            ),
            after,
            "{case}"
        );
        if leaving == Yes && after == Closes {
            assert_eq!(head["connection"], "close", "{case}");
        } else {
            assert_eq!(head, untouched, "{case}");
        }
    }
}

#[test]
fn a_response_without_length_is_framed_by_the_close() {
    let framed = |method: &str, status: u16, header: Option<(&'static str, &'static str)>| {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        request(method, Version::HTTP_11, None).framed_by_close(status, &headers)
    };
    assert!(framed("GET", 200, None));
    assert!(framed("CONNECT", 407, None));
    assert!(!framed("GET", 200, Some(("content-length", "0"))));
    assert!(!framed("GET", 200, Some(("transfer-encoding", "chunked"))));
    assert!(!framed("HEAD", 200, None));
    assert!(!framed("CONNECT", 200, None));
    assert!(
        ![100, 101, 204, 304]
            .into_iter()
            .any(|status| framed("GET", status, None))
    );
    assert!(
        !request("GET", Version::HTTP_2, None).framed_by_close(StatusCode::OK, &HeaderMap::new())
    );
}

#[test]
fn a_request_has_a_body_if_a_field_says_so() {
    let body = |name: &'static str, value: &'static str| {
        let request = Request::builder().header(name, value).body(()).unwrap();
        RequestFacts::of(&request).has_body()
    };
    assert!(body("content-length", "1") && body("transfer-encoding", "chunked"));
    assert!(!body("content-length", "0") && !body("x-length", "1"));
    let two = Request::builder()
        .header("content-length", "0")
        .header("content-length", "36");
    assert!(RequestFacts::of(&two.body(()).unwrap()).has_body());
}

#[test]
fn a_connection_does_not_outlive_an_unread_body() {
    use AfterResponse::{Closes, Interim, KeepsOpen, Switches};
    let upload = |method: &str| {
        let request = Request::builder()
            .method(method)
            .header("content-length", "36");
        RequestFacts::of(&request.body(()).unwrap())
    };
    for (method, status, unread, read) in [
        ("POST", 200, Closes, KeepsOpen),
        ("POST", 413, Closes, KeepsOpen),
        ("POST", 100, Interim, Interim),
        ("GET", 101, Closes, Switches),
        // What lies behind a CONNECT is the tunnel's.
        ("CONNECT", 200, Switches, Switches),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        for (facts, after) in [
            (upload(method), unread),
            (upload(method).with_body_read(), read),
        ] {
            let mut head = HeaderMap::new();
            assert_eq!(
                apply(Leaving::No, &facts, status, &mut head),
                after,
                "{method} {status}"
            );
            let says_close = after == Closes && !status.is_informational();
            assert_eq!(
                head.contains_key("connection"),
                says_close,
                "{method} {status}"
            );
        }
    }
    let none = request("GET", Version::HTTP_11, None).with_body_read();
    assert!(!none.has_body());
}

fn options() -> impl Strategy<Value = Vec<Vec<String>>> {
    let option = prop_oneof![
        "[A-Za-z][A-Za-z0-9-]{0,8}",
        "[kK]eep-[aA]live",
        "[cC]lose|CLOSE",
        "[ \t]{0,2}"
    ];
    prop::collection::vec(prop::collection::vec(option, 0..4), 0..4)
}

fn methods() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::GET),
        Just(Method::HEAD),
        Just(Method::POST),
        Just(Method::CONNECT)
    ]
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![
        Just(Version::HTTP_10),
        Just(Version::HTTP_11),
        Just(Version::HTTP_2),
        Just(Version::HTTP_3)
    ]
}

proptest! {
    #[test]
    fn only_a_final_leaving_http1_response_changes_and_only_its_connection_field(
        leaving in prop_oneof![Just(Leaving::No), Just(Leaving::Yes)],
        method in methods(),
        version in versions(),
        status in 100_u16..600,
        asked in options(),
        said in options(),
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut asking = HeaderMap::new();
        for line in &asked {
            asking.append("connection", HeaderValue::from_str(&line.join(",")).unwrap());
        }
        let mut head = HeaderMap::new();
        for line in &said {
            head.append("connection", HeaderValue::from_str(&line.join(", ")).unwrap());
        }
        head.insert("x-other", HeaderValue::from_static("stays"));
        let facts = RequestFacts::new(&method, version, &asking);
        let before = head.clone();
        let after = apply(leaving, &facts, status, &mut head);

        let http1 = version <= Version::HTTP_11;
        let switches = status == StatusCode::SWITCHING_PROTOCOLS
            || (method == Method::CONNECT && status.is_success());
        prop_assert_eq!(&head["x-other"], "stays");
        if leaving == Leaving::Yes && http1 && !switches && !status.is_informational() {
            prop_assert_eq!(after, AfterResponse::Closes);
            let values: Vec<_> = head.get_all("connection").iter().collect();
            prop_assert_eq!(values.len(), 1);
            let kept = said.iter().flatten().map(|option| option.trim()).filter(|option| {
                !option.is_empty()
                    && !option.eq_ignore_ascii_case("close")
                    && !option.eq_ignore_ascii_case("keep-alive")
            });
            let wanted: Vec<_> = kept.chain(["close"]).collect();
            prop_assert_eq!(values[0].to_str().unwrap(), wanted.join(", "));
        } else {
            prop_assert_eq!(&head, &before);
        }

        // Saying it again changes nothing more, and the answer does not depend on having been
        // applied.
        let once = head.clone();
        prop_assert_eq!(apply(leaving, &facts, status, &mut head), after);
        prop_assert_eq!(&head, &once);
        prop_assert_eq!(after_response(leaving, &facts, status, &before), after);
    }
}
