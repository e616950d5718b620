//! From an admin request to its response.

use std::{iter, sync::Arc};

use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
    request::Parts,
};
use orion_drain_config::normal_path;
use orion_drain_stats::{StatTypes, StatsSnapshot};
use regex_lite::Regex;
use serde_json::{Value, json};

use super::{
    AdminBody, AdminHost, ClusterView, Denied, DrainListenerError, ListenerView, Operation,
    ServerState, logging,
    operation::{PATHS, listener_of},
    origin::{check_host, check_site},
    page, partial, process,
    query::{Query, decoded},
    rows::{Rows, USAGE, Wanted, number},
};

/// Answers an admin request. The body of a request is never needed; [`answer`](super::answer)
/// bounds it.
pub fn handle<H>(host: &Arc<H>, request: &Parts) -> Response<AdminBody>
where
    H: AdminHost + Send + Sync + 'static,
{
    let (path, query) = (normal_path(request.uri.path()), Query::of(&request.uri));
    let asked = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.clone(),
    };
    if !host.allows_path(&asked) {
        let text = format!("request to path {asked} not allowed\n");
        return plain(StatusCode::FORBIDDEN, text);
    }
    let Some(operation) = Operation::of(&path, &query) else {
        let text = format!("invalid path. admin commands are:\n{}", paths());
        return plain(StatusCode::NOT_FOUND, text);
    };
    if let Some(refusal) = wrong_method(operation, &request.method) {
        return refusal;
    }
    let allowed = match operation.changes() {
        true => check_site(request).and_then(|()| check_host(&**host, request)),
        false if operation.reveals() => check_host(&**host, request),
        false => Ok(()),
    };
    match allowed.and_then(|()| host.authorize(request, operation)) {
        Ok(()) => perform(host, operation, request, &path, &query),
        Err(reason) => denied(&reason),
    }
}

fn denied(denied: &Denied) -> Response<AdminBody> {
    let status = match denied.challenge {
        true => StatusCode::UNAUTHORIZED,
        false => StatusCode::FORBIDDEN,
    };
    let mut response = plain(status, format!("{denied}\n"));
    if denied.challenge {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    response
}

fn wrong_method(operation: Operation, method: &Method) -> Option<Response<AdminBody>> {
    let (allowed, needed) = if operation.changes() {
        (method == Method::POST, "POST")
    } else {
        (
            matches!(*method, Method::GET | Method::HEAD | Method::POST),
            "GET",
        )
    };
    if allowed {
        return None;
    }
    let mut refusal = plain(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("Method {method} not allowed, {needed} required.\n"),
    );
    refusal
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(needed));
    Some(refusal)
}

fn perform<H>(
    host: &Arc<H>,
    operation: Operation,
    request: &Parts,
    path: &str,
    query: &Query,
) -> Response<AdminBody>
where
    H: AdminHost + Send + Sync + 'static,
{
    match operation {
        Operation::Home if page::is_asked_for(request) => return page::response(),
        Operation::Home | Operation::Help => {
            return plain(StatusCode::OK, format!("admin commands are:\n{}", paths()));
        }
        Operation::Ready => {
            let state = host.state();
            let status = if state == ServerState::Live {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            return plain(status, format!("{}\n", state.as_str()));
        }
        Operation::ServerInfo => return json_of(serde_json::to_value(host.server_info())),
        Operation::Stats => return stats(&**host, query, query.get("format")),
        Operation::Prometheus => return stats(&**host, query, Some("prometheus")),
        Operation::Listeners => return listeners(&**host, query),
        Operation::Connections => {
            return match (query.has("summary"), Wanted::of(query)) {
                (true, _) => summary(&**host, query),
                (false, Some(wanted)) => {
                    let content_type = wanted.content_type();
                    let rows = AdminBody::pieces(Rows::new(Arc::clone(host), wanted));
                    respond(StatusCode::OK, content_type, rows)
                }
                (false, None) => plain(StatusCode::BAD_REQUEST, USAGE.to_owned()),
            };
        }
        Operation::ConfigDump => {
            return match host.config_dump().chosen(query) {
                Ok(dump) => json_of(Ok(dump)),
                Err((status, wrong)) => plain(status, wrong),
            };
        }
        Operation::DrainListener => {
            if let Err(wrong) = partial::check(query) {
                return plain(StatusCode::BAD_REQUEST, wrong);
            }
            let name = listener_of(path).and_then(decoded);
            let drained = name.map_or(Err(DrainListenerError::NotFound), |name| {
                host.drain_listener(&name)
            });
            if let Err(error) = drained {
                return not_drained(error);
            }
        }
        Operation::DrainPartially => {
            let start = match partial::wanted(query) {
                Ok(start) => start,
                Err(wrong) => return plain(StatusCode::BAD_REQUEST, wrong),
            };
            let name = listener_of(path).and_then(decoded);
            let asked = name.map_or(Err(DrainListenerError::NotFound), |name| {
                host.drain_partially(&name, start)
            });
            return match asked {
                Ok(asked) => plain(StatusCode::OK, format!("{asked} connections are asked\n")),
                Err(error) => not_drained(error),
            };
        }
        Operation::Drains => return drains(&**host, query),
        Operation::DrainListeners(form) => host.drain_listeners(form),
        Operation::Clusters => return clusters(&**host, query),
        Operation::Certs => return json_of(Ok(process::certificates(&host.certificates()))),
        Operation::Memory => return json_of(Ok(process::memory())),
        Operation::Runtime => return json_of(Ok(process::runtime())),
        Operation::HotRestartVersion => return plain(StatusCode::OK, host.hot_restart_version()),
        Operation::Logging => return logging::answer(&**host, query),
        Operation::ResetCounters => host.reset_counters(),
        Operation::FailHealth => host.fail_health(),
        Operation::RestoreHealth => host.restore_health(),
        Operation::Quit => host.quit(),
    }
    plain(StatusCode::OK, "OK\n".to_owned())
}

fn not_drained(error: DrainListenerError) -> Response<AdminBody> {
    let status = match error {
        DrainListenerError::NotFound => StatusCode::NOT_FOUND,
        DrainListenerError::Static => StatusCode::CONFLICT,
    };
    plain(status, format!("{error}\n"))
}

/// How many rows a list for the page has, unless a request says something else.
const SUMMARY: usize = 100;

/// The versions that are not gone, those that drain first: what the page shows, and how many more
/// there are.
fn summary<H: AdminHost + ?Sized>(host: &H, query: &Query) -> Response<AdminBody> {
    let Some(limit) = number(query, "limit", SUMMARY) else {
        return plain(StatusCode::BAD_REQUEST, USAGE.to_owned());
    };
    let mut versions = host.versions();
    versions.sort_by_key(|version| version.state == "active");
    let more = versions.len().saturating_sub(limit);
    versions.truncate(limit);
    json_of(serde_json::to_value(versions).map(
        |versions| json!({ "total": host.connection_count(), "versions": versions, "more": more }),
    ))
}

/// `/drain`: how far each drain is, and the end of the process.
fn drains<H: AdminHost + ?Sized>(host: &H, query: &Query) -> Response<AdminBody> {
    let Some(limit) = number(query, "limit", usize::MAX) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "usage: /drain?limit=N\n".to_owned(),
        );
    };
    let mut drains = host.drains();
    let more = drains.len().saturating_sub(limit);
    drains.truncate(limit);
    let shutdown = host.shutdown().map(serde_json::to_value).transpose();
    json_of(serde_json::to_value(drains).and_then(|drains| {
        let mut answer = json!({ "drains": drains });
        if more > 0 {
            answer["more"] = more.into();
        }
        if let Some(shutdown) = shutdown? {
            answer["shutdown"] = shutdown;
        }
        Ok(answer)
    }))
}

fn stats<H: AdminHost + ?Sized>(
    host: &H,
    query: &Query,
    format: Option<&str>,
) -> Response<AdminBody> {
    let mut snapshot = host.stats();
    let state = host.state();
    let uptime = host.server_info().uptime_current_epoch.as_secs();
    for (name, value) in [
        ("server.state", state.number()),
        ("server.live", u64::from(state == ServerState::Live)),
        ("server.uptime", uptime),
    ] {
        snapshot.set_gauge(name, value, true);
    }
    if query.has("usedonly") {
        snapshot.retain_used();
    }
    if let Some(types) = query.get("type").filter(|types| !types.is_empty()) {
        let Some(types) = StatTypes::named(types) else {
            return plain(StatusCode::BAD_REQUEST, "invalid &type= param".to_owned());
        };
        snapshot.retain_types(types);
    }
    match regex(query, "filter") {
        Ok(Some(filter)) => snapshot.retain(|name| filter.is_match(name)),
        Ok(None) => {}
        Err(wrong) => return plain(StatusCode::BAD_REQUEST, wrong),
    }
    let buckets = match format {
        Some("prometheus") => "cumulative",
        _ => "summary",
    };
    // Others are not kept, and these would be taken for them.
    let asked = query.get("histogram_buckets");
    if asked.is_some_and(|asked| !["", "none", buckets].contains(&asked)) {
        let usage = format!("usage: /stats?histogram_buckets={buckets}\n");
        return plain(StatusCode::BAD_REQUEST, usage);
    }
    match format {
        None | Some("" | "text") => plain(StatusCode::OK, snapshot.to_string()),
        Some("json") => {
            let values = snapshot
                .iter()
                .map(|(name, value)| json!({ "name": name, "value": value }));
            let texts = snapshot
                .texts()
                .map(|(name, text)| json!({ "name": name, "value": text }));
            let mut list: Vec<_> = texts.chain(values).collect();
            list.extend(histograms(&snapshot));
            // To the letter as Envoy writes it: there are scripts that look for `"value":0`.
            let text = json!({ "stats": list }).to_string();
            respond(StatusCode::OK, "application/json", text)
        }
        Some("prometheus") => respond(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=UTF-8",
            match query.has("text_readouts") {
                true => snapshot.to_prometheus_with_texts(),
                false => snapshot.to_prometheus(),
            },
        ),
        Some(_) => plain(
            StatusCode::BAD_REQUEST,
            "usage: /stats?format=(text|json|prometheus)\n".to_owned(),
        ),
    }
}

/// The histograms as one entry, in Envoy's shape.
fn histograms(snapshot: &StatsSnapshot) -> Option<Value> {
    let quantiles = snapshot.quantiles();
    if quantiles.computed.is_empty() {
        return None;
    }
    let computed = quantiles.computed.iter().map(|(name, values)| {
        let values = values.iter();
        let values = values.map(|value| json!({ "interval": null, "cumulative": value }));
        json!({ "name": name, "values": values.collect::<Vec<_>>() })
    });
    let computed: Vec<_> = computed.collect();
    Some(json!({ "histograms": {
        "supported_quantiles": quantiles.supported, "computed_quantiles": computed,
    } }))
}

/// A parameter that is a regular expression.
pub(super) fn regex(query: &Query, name: &str) -> Result<Option<Regex>, String> {
    let filter = query.get(name).map(Regex::new).transpose();
    filter.map_err(|error| format!("{name}: not a regular expression: {error}\n"))
}

fn clusters<H: AdminHost + ?Sized>(host: &H, query: &Query) -> Response<AdminBody> {
    let mut clusters = host.clusters();
    match regex(query, "filter") {
        Ok(Some(filter)) => clusters.retain(|cluster| filter.is_match(&cluster.name)),
        Ok(None) => {}
        Err(wrong) => return plain(StatusCode::BAD_REQUEST, wrong),
    }
    if query.get("format") == Some("json") {
        let statuses: Vec<_> = clusters.iter().map(ClusterView::json).collect();
        return json_of(Ok(json!({ "cluster_statuses": statuses })));
    }
    plain(
        StatusCode::OK,
        clusters.iter().map(ClusterView::lines).collect(),
    )
}

fn listeners<H: AdminHost + ?Sized>(host: &H, query: &Query) -> Response<AdminBody> {
    let listeners = host.listeners();
    match query.get("format") {
        Some("json") => {
            let statuses: Vec<_> = listeners.iter().map(listener_json).collect();
            json_of(Ok(json!({ "listener_statuses": statuses })))
        }
        _ => {
            let lines = listeners.iter().flat_map(|listener| {
                let addresses = iter::once(&listener.local_address);
                let addresses = addresses.chain(&listener.additional_local_addresses);
                addresses.map(|address| format!("{}::{address}\n", listener.name))
            });
            plain(StatusCode::OK, lines.collect())
        }
    }
}

/// In the shape of `admin.v3.ListenerStatus`: fields without a value are left out.
fn listener_json(listener: &ListenerView) -> Value {
    let mut status =
        json!({ "name": listener.name, "local_address": address_json(&listener.local_address) });
    let others = listener.additional_local_addresses.iter();
    let others: Vec<_> = others.map(|address| address_json(address)).collect();
    if !others.is_empty() {
        status["additional_local_addresses"] = others.into();
    }
    status
}

/// An address in the shape of `config.core.v3.Address`; `unix:/path` and `/path` are the same
/// `pipe`, and `envoy://NAME/ENDPOINT` is an internal listener's.
pub(super) fn address_json(address: &str) -> Value {
    let internal = address.strip_prefix("envoy://");
    if let Some((listener, endpoint)) = internal.and_then(|of| of.rsplit_once('/')) {
        let mut address = json!({ "server_listener_name": listener });
        if !endpoint.is_empty() {
            address["endpoint_id"] = endpoint.into();
        }
        return json!({ "envoy_internal_address": address });
    }
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => {
            json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
        }
        Err(_) => {
            let path = address.strip_prefix("unix:").unwrap_or(address);
            json!({ "pipe": { "path": path } })
        }
    }
}

fn paths() -> String {
    PATHS
        .iter()
        .map(|(path, what)| format!("  {path}: {what}\n"))
        .collect()
}

pub(super) fn plain(status: StatusCode, text: String) -> Response<AdminBody> {
    respond(status, "text/plain; charset=UTF-8", text)
}

fn json_of(value: serde_json::Result<Value>) -> Response<AdminBody> {
    match value {
        Ok(value) => respond(StatusCode::OK, "application/json", format!("{value:#}\n")),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<AdminBody>,
) -> Response<AdminBody> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, max-age=0"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
