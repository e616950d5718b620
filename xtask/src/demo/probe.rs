//! New connections, one after the other, each with one request: none may be refused, reset or left unanswered.

use std::time::Duration;

use super::ask::Ask;
use super::crowd::Crowd;
use super::h1::Wire;
use super::record::{Class, Saw};

/// Connects again and again until it is time to go home. Which version answers is judged from the record.
pub(crate) async fn client(crowd: &Crowd) {
    while !crowd.stopping() {
        let Some((stream, entry)) = crowd.connect(Class::Connect, crowd.http).await else {
            continue;
        };
        let mut wire = Wire::new(stream);
        if wire.ask(&Ask::version(), &entry).await.is_some() {
            entry.saw(Saw::Left);
        }
        drop((wire, entry));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
