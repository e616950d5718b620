//! LDS from a control plane: every update is answered with what was refused of it.

use orion_drain::config::{Bootstrap, ListenerUpdate};
use orion_drain::listener::Refused;
use orion_drain::xds::{XdsClient, XdsUpdate};
use tokio::sync::oneshot;

use super::{Lds, tell};

/// Takes updates, and tells whether all of the first one was taken; ends only with the process.
pub(super) async fn run(lds: Lds, bootstrap: &Bootstrap, first: oneshot::Sender<bool>) {
    let Some(client) = XdsClient::of(bootstrap, lds.maker.stats.clone()) else {
        return;
    };
    let client = client.with_observer(|ended| {
        complain!(
            "lds: control plane: cluster {:?}: {}; again in {:?}",
            ended.cluster,
            ended.reason,
            ended.wait
        );
    });
    let (lds, mut first) = (&lds, Some(first));
    client
        .run(|update| {
            let first = first.take();
            async move {
                let refused = match update {
                    XdsUpdate::Listeners(update) => apply(lds, update).await,
                    _ => Vec::new(),
                };
                // Not everybody wants to know.
                first.map(|first| first.send(refused.is_empty()).ok());
                lds.reload.applied.notify_one();
                refused
            }
        })
        .await;
}

/// What is refused.
async fn apply(lds: &Lds, update: ListenerUpdate) -> Vec<Refused> {
    match lds.apply(update, "control plane").await {
        Ok(applied) => {
            tell(&applied);
            applied.refused
        }
        Err(error) => {
            complain!("lds: control plane: {error}");
            vec![Refused::new(None, error.to_string())]
        }
    }
}
