//! Which requests come in, and as what: before any route looks at them.

use http::header::HeaderName;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode};
use orion_drain::config::{HeaderEdits, HttpConnectionManager, PathOutcome, Underscores, is_grpc};

use crate::addressed::host_of;
use crate::answers::{Body, redirected, status};
use crate::rewrite::{Rewritten, owned, rewrite};

/// Makes of a request what routes may look at: its path, its host, its headers. `Some`: it is
/// answered here.
pub(crate) fn admit<B>(
    manager: &HttpConnectionManager,
    local_port: Option<u16>,
    request: &mut Request<B>,
) -> Option<Response<Body>> {
    let underscored = |name: &HeaderName| name.as_str().contains('_');
    match manager.underscores() {
        Underscores::Reject if request.headers().keys().any(underscored) => {
            return Some(status(StatusCode::BAD_REQUEST));
        }
        Underscores::Drop => {
            let names = request.headers().keys().filter(|name| underscored(name));
            let names: Vec<HeaderName> = names.cloned().collect();
            for name in names {
                request.headers_mut().remove(name);
            }
        }
        _ => {}
    }
    let path = request.uri().path_and_query();
    let path = match manager.path(path.map_or("/", PathAndQuery::as_str)) {
        PathOutcome::Goes(path) => owned(path),
        PathOutcome::Redirect(_) if is_grpc(request.headers()) => {
            return Some(status(StatusCode::BAD_REQUEST));
        }
        PathOutcome::Redirect(path) => return Some(redirected(307, &path)),
        PathOutcome::Refused => return Some(status(StatusCode::BAD_REQUEST)),
    };
    let asked = host_of(request).unwrap_or_default();
    let host = manager.host(asked, local_port);
    let host = (host != asked).then(|| host.into_owned());
    if path.is_none() && host.is_none() {
        return None;
    }
    let rewritten = Rewritten {
        path,
        host,
        headers: HeaderEdits::default(),
    };
    rewrite(request, rewritten, false).err().map(status)
}
