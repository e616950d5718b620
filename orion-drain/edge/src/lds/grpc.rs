//! LDS and RDS from a control plane: every update is answered with what was refused of it.

use std::sync::{Mutex, PoisonError};

use futures_util::future::join_all;
use orion_drain::config::{Bootstrap, ListenerUpdate, RouteUpdate};
use orion_drain::listener::Refused;
use orion_drain::xds::{XdsClient, XdsUpdate};
use tokio::sync::{oneshot, watch};

use super::{Lds, changes, tell};
use crate::cli::UnsupportedFields;
use crate::log::Budget;

/// Bounds what is said of streams that end and of updates that change nothing: a control plane that
/// sends again what was refused does so as often as it likes.
static IDLE: Budget = Budget::new(30, 10);

/// Takes updates, and tells whether all of the first listeners were taken, if they come from here;
/// ends only with the process.
pub(super) async fn run(lds: &Lds, bootstrap: &Bootstrap, first: Option<oneshot::Sender<bool>>) {
    let rds = &lds.maker.rds;
    let (names, wanted) = watch::channel(rds.names());
    let first = &Mutex::new(first);
    let clients = XdsClient::all(bootstrap, &lds.maker.stats, &wanted).into_iter();
    let clients = clients.map(|client| {
        let what = match client.takes_listeners() {
            true => "lds",
            false => "rds",
        };
        let client = client.with_observer(move |ended| {
            if IDLE.has_room() {
                complain!(
                    "{what}: control plane: cluster {:?}: {}; again in {:?}",
                    ended.cluster,
                    ended.reason,
                    ended.wait
                );
            }
        });
        client.run(move |update| async move {
            match update {
                XdsUpdate::Listeners(update) => {
                    let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
                    apply(lds, update, first).await
                }
                XdsUpdate::Routes(update) => apply_routes(lds, update),
                _ => Vec::new(),
            }
        })
    });
    tokio::join!(join_all(clients), rds.follow(&names));
}

/// What is refused.
async fn apply(
    lds: &Lds,
    update: ListenerUpdate,
    first: Option<oneshot::Sender<bool>>,
) -> Vec<Refused> {
    match lds.apply(update, "control plane").await {
        Ok(applied) => {
            if changes(&applied).next().is_some() || IDLE.has_room() {
                tell(&applied, "control plane");
            }
            lds.done(first, applied.refused.is_empty(), lds.warming(&applied));
            applied.refused
        }
        Err(error) => {
            if IDLE.has_room() {
                complain!("lds: control plane: {error}");
            }
            lds.done(first, false, async {});
            vec![Refused::new(None, error.to_string())]
        }
    }
}

/// What is refused. Routes that are refused leave those that are there.
fn apply_routes(lds: &Lds, update: RouteUpdate) -> Vec<Refused> {
    let strict = match lds.reject_unknown_fields {
        true => update.refuse_foreign_fields(),
        false => Ok(update),
    };
    let strict = strict.and_then(|update| match lds.unsupported_fields {
        UnsupportedFields::Refuse => update.refuse_unsupported_fields(),
        UnsupportedFields::Warn => Ok(update),
    });
    let mut update = match strict {
        Ok(update) => update,
        Err(error) => {
            if IDLE.has_room() {
                complain!("rds: control plane: {error}");
            }
            lds.maker.rds.refused();
            return vec![Refused::new(None, error.to_string())];
        }
    };
    for field in &update.unknown_fields {
        if lds.first_time(field) {
            complain!("warning: control plane: {field}: not carried out here");
        }
    }
    update.reject_unknown_clusters(&lds.maker.clusters.names());
    update.reject_runtime_values(&lds.runtime);
    let version = update.version_info.clone();
    let (refused, changed) = lds.maker.rds.apply(update);
    if changed.is_empty() && !IDLE.has_room() {
        return refused;
    }
    for one in &refused {
        let name = one.name.as_deref().unwrap_or("?");
        complain!("rds: control plane: {name}: {}", one.message);
    }
    let changed = match &changed[..] {
        [] => "nothing changed".to_owned(),
        names => format!("{} changed", names.join(", ")),
    };
    say!("rds: version {version:?}: {changed}");
    refused
}
