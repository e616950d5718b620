//! What the programs print, and what would be wrong with it.

use super::super::player::Line;
use super::*;

fn heard(lines: &[(f64, &str)]) -> Heard {
    let line = |(at, text): &(f64, &str)| Line {
        at: *at,
        text: (*text).to_owned(),
    };
    Heard {
        lines: lines.iter().map(line).collect(),
        started: -0.5,
        success: true,
    }
}

const CURL: &[(f64, &str)] = &[
    (-1.0, "200 connects 1 version 1 []"),
    (0.9, "200 connects 0 version 1 []"),
    (1.0, "200 connects 0 version 1 [close]"),
    (1.1, "200 connects 1 version 2 []"),
    (1.2, "200 connects 0 version 2 []"),
];

#[test]
fn curl_is_told_in_the_first_quarter_and_moves_once() {
    assert!(curl(&heard(CURL), 8.0).is_ok());
    let mut late = CURL.to_vec();
    late[2].0 = 3.6;
    assert!(curl(&heard(&late), 8.0).is_err());
    let mut untold = CURL.to_vec();
    untold[2].1 = "200 connects 0 version 1 []";
    assert!(curl(&heard(&untold), 8.0).is_err());
    let mut lost = CURL.to_vec();
    lost[3].1 = "000 connects 1 version  []";
    assert!(curl(&heard(&lost), 8.0).is_err());
}

fn nghttp_lines(gap: &'static str, answered: usize) -> Vec<(f64, &'static str)> {
    let mut lines = vec![
        (
            6.0,
            "[  2.378] recv GOAWAY frame <length=8, flags=0x00, stream_id=0>",
        ),
        (
            6.0,
            "(last_stream_id=2147483647, error_code=NO_ERROR(0x00), opaque_data(0)=[])",
        ),
        (6.0, gap),
        (
            6.0,
            "(last_stream_id=17, error_code=NO_ERROR(0x00), opaque_data(0)=[])",
        ),
        (
            6.0,
            "[  5.705] send GOAWAY frame <length=8, flags=0x00, stream_id=0>",
        ),
        (
            6.0,
            "(last_stream_id=0, error_code=NO_ERROR(0x00), opaque_data(0)=[])",
        ),
    ];
    lines.extend(
        [(
            6.0,
            " 15      +3.00s       +143us    3.00s  200   22 /slow?ms=3000",
        )]
        .repeat(answered),
    );
    lines
}

#[test]
fn nghttp_shows_two_goaways_and_their_distance() {
    let good = "[  4.379] recv GOAWAY frame <length=8, flags=0x00, stream_id=0>";
    let seen = nghttp(&heard(&nghttp_lines(good, 6)), 8.0).expect("all is well");
    assert!(seen.contains("GOAWAY(17) 2.001 s later"), "{seen}");
    assert!(nghttp(&heard(&nghttp_lines(good, 5)), 8.0).is_err());
    let soon = "[  2.379] recv GOAWAY frame <length=8, flags=0x00, stream_id=0>";
    assert!(nghttp(&heard(&nghttp_lines(soon, 6)), 8.0).is_err());
}

#[test]
fn h2load_may_fail_only_what_it_never_began() {
    let lines = |requests, status| {
        heard(&[
            (1.4, "finished in 5.90s, 90.20 req/s"),
            (1.4, requests),
            (1.4, status),
        ])
    };
    let good = "requests: 1200 total, 532 started, 532 done, 532 succeeded, 668 failed, 668 errored, 0 timeout";
    let codes = "status codes: 532 2xx, 0 3xx, 0 4xx, 0 5xx";
    assert!(h2load(&lines(good, codes), 8.0).is_ok());
    assert!(
        h2load(
            &lines(good, "status codes: 531 2xx, 0 3xx, 0 4xx, 1 5xx"),
            8.0
        )
        .is_err()
    );
    let queued = "requests: 1200 total, 532 started, 532 done, 531 succeeded, 669 failed, 669 errored, 0 timeout";
    assert!(
        h2load(
            &lines(queued, "status codes: 531 2xx, 0 3xx, 0 4xx, 0 5xx"),
            8.0
        )
        .is_ok()
    );
    assert!(h2load(&lines(queued, codes), 8.0).is_err());
    let lost = "requests: 1200 total, 532 started, 532 done, 527 succeeded, 673 failed, 673 errored, 0 timeout";
    assert!(
        h2load(
            &lines(lost, "status codes: 527 2xx, 0 3xx, 0 4xx, 0 5xx"),
            8.0
        )
        .is_err()
    );
    let untold = "requests: 1200 total, 1200 started, 1200 done, 1200 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(
        h2load(
            &lines(untold, "status codes: 1200 2xx, 0 3xx, 0 4xx, 0 5xx"),
            8.0
        )
        .is_err()
    );
}

#[test]
fn openssl_must_hear_the_close_notify_behind_the_last_response() {
    let all = [
        (0.4, "HTTP/1.1 200 OK"),
        (0.4, "connection: close"),
        (0.4, ""),
        (0.4, "hello"),
        (
            0.4,
            "<<< TLS 1.3, Alert [length 0002], warning close_notify",
        ),
        (0.4, "closed"),
    ];
    assert!(openssl(&heard(&all), 8.0).is_ok());
    assert!(openssl(&heard(&all[..4]), 8.0).is_err());
    let mut cut = all;
    cut.swap(3, 4);
    assert!(openssl(&heard(&cut), 8.0).is_err());
}

#[test]
fn a_script_that_breaks_off_has_failed() {
    let mut said = heard(&[(8.0, "ok: all is well")]);
    assert_eq!(script(&said, 8.0).ok().as_deref(), Some("all is well"));
    said.success = false;
    assert!(script(&said, 8.0).is_err());
}
