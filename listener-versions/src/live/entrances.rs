//! The way of connections that the program hands in to the listeners that have no socket.

use std::sync::Arc;

use conn_tracker::Peer;

use super::{Inner, State};
use crate::net::enter;
use crate::{Admission, ListenerConfig, Refusal};

impl<C: ListenerConfig> Inner<C> {
    /// A connection that the program hands in, for the listener `name`.
    pub(crate) fn enter(&self, name: &str, peer: Peer) -> Result<Admission<C>, Refusal>
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

    /// From now on connections for listeners with an internal address find these.
    pub(crate) fn set_entrances(&self, state: &State<C>) {
        let internal = state.listening.iter().filter(|(key, _)| key.is_internal());
        let open = internal.filter_map(|(_, listening)| {
            let version = listening.current()?;
            Some((Arc::from(version.name()), Arc::clone(listening)))
        });
        self.entrances.store(Arc::new(open.collect()));
    }
}
