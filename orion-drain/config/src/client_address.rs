//! Whom a request comes from: the address that its connection comes from, or the one that trusted
//! proxies in front have written down.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use super::HttpConnectionManager;

impl HttpConnectionManager {
    /// The address of a request's client, before anything is added to `x-forwarded-for`, as in
    /// [Envoy](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-for):
    /// the last one there, behind those of `xff_num_trusted_hops` proxies; with
    /// `use_remote_address` the one that the connection comes from is the last. Its port is then
    /// 0. Where there is no such address, that of the connection, `peer`.
    pub fn client(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<SocketAddr> {
        let skipped = match (self.use_remote_address, self.xff_num_trusted_hops) {
            (true, 0) => return peer,
            (true, hops) => hops - 1,
            (false, hops) => hops,
        };
        let written = written(headers, skipped).map(|ip| SocketAddr::new(ip, 0));
        written.or(peer)
    }
}

/// The last address of `x-forwarded-for` but `skipped`.
fn written(headers: &HeaderMap, skipped: u32) -> Option<IpAddr> {
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let mut values = values.filter(|value| !value.is_empty());
    let mut skipped = usize::try_from(skipped).ok()?;
    loop {
        let value = values.next()?.as_bytes();
        let mut all = value.rsplit(|byte| *byte == b',');
        if let Some(address) = all.nth(skipped) {
            return std::str::from_utf8(address).ok()?.trim().parse().ok();
        }
        skipped -= value.split(|byte| *byte == b',').count();
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_client_is_who_the_trusted_proxies_say() {
        let peer = Some(SocketAddr::from(([192, 0, 2, 9], 7)));
        for (use_remote_address, hops, sent, expected) in [
            (false, 0, &[][..], "192.0.2.9:7"),
            (false, 0, &["192.0.2.1, 192.0.2.2"], "192.0.2.2:0"),
            (false, 0, &["192.0.2.1", " 2001:db8::1 "], "[2001:db8::1]:0"),
            (false, 0, &["192.0.2.1, unknown"], "192.0.2.9:7"),
            (false, 0, &["192.0.2.1:80"], "192.0.2.9:7"),
            (false, 1, &["192.0.2.1, 192.0.2.2"], "192.0.2.1:0"),
            (false, 1, &["192.0.2.1", "192.0.2.2"], "192.0.2.1:0"),
            (false, 2, &["192.0.2.1", "192.0.2.2"], "192.0.2.9:7"),
            (false, 0, &["192.0.2.1", ""], "192.0.2.1:0"),
            (false, 1, &["192.0.2.1", "", "192.0.2.2"], "192.0.2.1:0"),
            (true, 0, &["192.0.2.1, 192.0.2.2"], "192.0.2.9:7"),
            (true, 1, &["192.0.2.1, 192.0.2.2"], "192.0.2.2:0"),
            (true, 2, &["192.0.2.1, 192.0.2.2"], "192.0.2.1:0"),
            (true, 3, &["192.0.2.1, 192.0.2.2"], "192.0.2.9:7"),
        ] {
            let manager = HttpConnectionManager {
                use_remote_address,
                xff_num_trusted_hops: hops,
                ..HttpConnectionManager::default()
            };
            let sent = sent.iter().map(|value| HeaderValue::from_static(value));
            let mut headers = HeaderMap::new();
            sent.for_each(|value| _ = headers.append("x-forwarded-for", value));
            let client = manager.client(&headers, peer).map(|it| it.to_string());
            let client = client.expect("a client");
            assert_eq!(client, expected, "{use_remote_address} {hops} {headers:?}");
        }
    }
}
