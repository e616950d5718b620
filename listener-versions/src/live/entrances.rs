//! The way of connections that the program hands in to the listeners that have no socket.

use std::collections::HashMap;
use std::sync::Arc;

use conn_tracker::Peer;

use super::{Inner, State};
use crate::net::enter;
use crate::{Accepted, ListenerConfig, Refusal, SocketKey};

impl<C: ListenerConfig> Inner<C> {
    /// A connection that the program hands in, for the listener `name`.
    pub(crate) fn enter(&self, name: &str, peer: Peer) -> Result<Accepted<C, ()>, Refusal>
    where
        C: ListenerConfig,
    {
        let entrances = self.entrances.load();
        let open = entrances
            .get(name)
            .filter(|listening| !listening.is_closed());
        let listening = open.ok_or(Refusal::NoListener)?;
        enter(listening, &self.shared, peer)
    }

    /// From now on connections for listeners with an internal address find what has been opened,
    /// and no more what has been closed. A listener that only gets a new version changes nothing
    /// here.
    pub(crate) fn set_entrances(&self, state: &State<C>, changed: &[SocketKey]) {
        if changed.is_empty() {
            return;
        }
        let mut entrances = HashMap::clone(&self.entrances.load());
        for socket in changed {
            let Some(listener) = socket.listener() else {
                continue;
            };
            match state.listening.get(socket) {
                Some(open) => entrances.insert(Arc::clone(listener), Arc::clone(open)),
                None => entrances.remove(listener),
            };
        }
        self.entrances.store(Arc::new(entrances));
    }
}
