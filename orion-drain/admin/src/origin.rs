//! Whether a request may come from a page of another site in a browser.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, uri::Authority};

use super::{AdminHost, Denied};

/// A browser says which page a POST is of; other clients say nothing.
pub(super) fn check_site(request: &Parts) -> Result<(), Denied> {
    let Some(origin) = request.headers.get(ORIGIN) else {
        return Ok(());
    };
    let host = request.headers.get(HOST).map(HeaderValue::as_bytes);
    let site = origin.as_bytes();
    let site = site
        .strip_prefix(b"http://")
        .or_else(|| site.strip_prefix(b"https://"));
    match site.is_some() && site == host {
        true => Ok(()),
        false => Err(Denied::new("a page of another site asked")),
    }
}

/// A name of any site can be made to lead here (DNS rebinding), and a browser then takes that
/// site's page for one of ours. So the host must be an IP address, `localhost`, or a name that the
/// process [says is its own](AdminHost::is_own_name). A client that names no host is no browser.
pub(super) fn check_host<H: AdminHost + ?Sized>(host: &H, request: &Parts) -> Result<(), Denied> {
    let named = request.uri.authority().cloned();
    let named = named.or_else(|| {
        let header = request.headers.get(HOST)?;
        // What is no authority is no name of ours either.
        Some(Authority::try_from(header.as_bytes()).unwrap_or(Authority::from_static("unreadable")))
    });
    let Some(named) = named else { return Ok(()) };
    let name = named.host();
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if address.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || host.is_own_name(name)
    {
        return Ok(());
    }
    Err(Denied::new(format!(
        "host {name:?} is not an IP address, localhost or a name of this admin interface"
    )))
}
