//! LDS from a control plane: every update is answered with what was refused of it.

use orion_drain::config::Bootstrap;
use orion_drain::listener::Refused;
use orion_drain::xds::LdsClient;

use super::{Lds, tell};

/// Takes updates; ends only with the process.
pub(super) async fn run(lds: Lds, bootstrap: &Bootstrap) {
    let Some(client) = LdsClient::of(bootstrap, lds.maker.stats.clone()) else {
        return;
    };
    let client = client.with_told(|ended| {
        eprintln!("lds: control plane: {}; again in {:?}", ended.reason, ended.wait);
    });
    let lds = &lds;
    client
        .run(|update| async move {
            match lds.apply(update, "control plane").await {
                Ok(applied) => {
                    tell(&applied);
                    applied.refused
                }
                Err(error) => {
                    eprintln!("lds: control plane: {error}");
                    vec![Refused::new(None, error.to_string())]
                }
            }
        })
        .await;
}
