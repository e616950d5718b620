//! HAProxy in master-worker mode: a reload is a new worker that gets the listening sockets over the
//! old one's socket.

use anyhow::Context;
use tokio::process::Command;

use super::Place;

pub(crate) fn write(place: &Place, version: u32) -> anyhow::Result<()> {
    let (folder, seconds) = (place.folder.display(), place.drain_time.as_secs());
    let header = rig::VERSION_HEADER;
    let (http1, tls, tcp) = (place.http1, place.tls, place.tcp);
    let (behind_http, behind_tcp) = (place.behind.http, place.behind.tcp);
    let answer = rig::version_text(version);
    let text = format!(
        r#"global
    maxconn 8000
    nbthread 2
    stats socket {folder}/haproxy.sock mode 600 level admin expose-fd listeners
    hard-stop-after {seconds}s
    ssl-default-bind-options ssl-min-ver TLSv1.2
    tune.ssl.default-dh-param 2048

defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    timeout tunnel 120s
    timeout http-keep-alive 120s
    http-reuse always

frontend web
    bind {http1} backlog 4096
    bind {tls} ssl crt {folder}/both.pem alpn h2,http/1.1
    http-after-response set-header {header} {version}
    http-request return status 200 content-type text/plain string "{answer}" if {{ path /version }}
    default_backend behind

backend behind
    server one {behind_http} pool-max-conn 1000

listen bytes
    mode tcp
    bind {tcp}
    server one {behind_tcp}
"#
    );
    std::fs::write(place.folder.join("haproxy.cfg"), text).context("writing haproxy.cfg")
}

pub(crate) fn flags(command: &mut Command, place: &Place) {
    command
        .arg("-W")
        .arg("-f")
        .arg(place.folder.join("haproxy.cfg"));
}
