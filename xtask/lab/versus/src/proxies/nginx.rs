//! nginx: a reload is a new set of workers; an upgrade is a new master with the sockets, which then
//! ends the one before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;
use tokio::time::sleep;

use super::{PATIENCE, Place, signal};

/// Debian has it in a package of its own (`libnginx-mod-stream`).
pub(crate) fn stream_module() -> Option<PathBuf> {
    let folders = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"];
    let mut paths = folders
        .iter()
        .map(|folder| Path::new(folder).join("ngx_stream_module.so"));
    paths.find(|path| path.exists())
}

pub(crate) fn write(place: &Place, version: u32) -> anyhow::Result<()> {
    let folder = place.folder.display();
    let seconds = place.drain_time.as_secs();
    let header = rig::VERSION_HEADER;
    let (http1, http2, tls) = (place.http1, place.http2, place.tls);
    let (behind_http, behind_tcp) = (place.behind.http, place.behind.tcp);
    let answer = rig::version_text(version);
    let (load, stream) = match stream_module() {
        Some(module) => (
            format!("load_module {};", module.display()),
            format!(
                "stream {{ server {{ listen {} backlog=4096; proxy_pass {behind_tcp}; proxy_timeout 120s; }} }}",
                place.tcp
            ),
        ),
        None => Default::default(),
    };
    // As root its workers would be another user's, who may not write here.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let locations = format!(
        r#"
        add_header {header} {version} always;
        location = /version {{ default_type text/plain; return 200 "{answer}"; }}
        location = /ws {{
            proxy_pass http://{behind_http};
            proxy_http_version 1.1;
            proxy_read_timeout 120s;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection Upgrade;
        }}
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_read_timeout 120s;
            proxy_set_header Connection "";
        }}"#
    );
    let text = format!(
        r#"{load}
{user}
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes 2;
worker_rlimit_nofile 20000;
worker_shutdown_timeout {seconds}s;
events {{ worker_connections 8192; }}
{stream}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_timeout 120s;
    keepalive_requests 100000000;
    upstream behind {{ server {behind_http}; keepalive 256; keepalive_requests 100000000; }}
    server {{ listen {http1} backlog=4096; {locations} }}
    server {{ listen {http2} http2 backlog=4096; {locations} }}
    server {{
        listen {tls} ssl http2;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        {locations}
    }}
}}
"#
    );
    std::fs::write(place.folder.join("nginx.conf"), text).context("writing nginx.conf")
}

pub(crate) fn flags(command: &mut Command, place: &Place) {
    command
        .arg("-p")
        .arg(&place.folder)
        .arg("-c")
        .arg(place.folder.join("nginx.conf"))
        .args(["-e", "stderr"]);
}

/// The master that serves. Only one that has become a daemon can be upgraded, so it is known by its
/// file.
pub(crate) fn master(place: &Place) -> Option<u32> {
    let text = std::fs::read_to_string(place.folder.join("nginx.pid"));
    text.ok()?.trim().parse().ok()
}

/// USR2 to the master, and QUIT once its successor has written its number.
pub(crate) async fn upgrade(place: &Place) -> anyhow::Result<()> {
    let before = master(place);
    signal(before, "USR2")?;
    for _ in 0..PATIENCE.as_millis() / 10 {
        sleep(Duration::from_millis(10)).await;
        let now = master(place);
        if now.is_some() && now != before {
            // Its workers are started right after the file is written.
            sleep(Duration::from_millis(100)).await;
            return signal(before, "QUIT");
        }
    }
    bail!("no new master within {PATIENCE:?}")
}
