//! New connections, one after the other, each with one request: none may be refused, reset or left
//! unanswered.

use std::time::Duration;

use super::ask::Ask;
use super::crowd::Crowd;
use super::h1::Wire;
use super::record::{Class, Saw};
use super::tcp;

/// Connects again and again until it is time to go home. Which version answers is judged from the
/// record.
pub(crate) async fn client(crowd: &Crowd, to: Listener) {
    while !crowd.stopping() {
        match to {
            Listener::Http => http(crowd).await,
            Listener::Tcp => {
                if let Some((_stream, _, entry)) = tcp::open(crowd, Class::Connect).await {
                    entry.saw(Saw::Left);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Which listener is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    Http,
    Tcp,
}

async fn http(crowd: &Crowd) {
    let Some((stream, entry)) = crowd.connect(Class::Connect, crowd.http).await else {
        return;
    };
    if Wire::new(stream)
        .ask(&Ask::version(), &entry)
        .await
        .is_some()
    {
        entry.saw(Saw::Left);
    }
}
