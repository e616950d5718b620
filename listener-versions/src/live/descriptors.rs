//! Sockets that come from another process, and go to one.

use std::collections::HashSet;
#[cfg(unix)]
use std::io;
#[cfg(unix)]
use std::sync::Arc;

use super::Inner;
#[cfg(unix)]
use super::State;
#[cfg(unix)]
use crate::SharedSocket;
#[cfg(unix)]
use crate::net::Listening;
use crate::{Inherited, ListenAddress, ListenerConfig};

/// Descriptors for another process, and what was shared before, by listening and index.
#[cfg(unix)]
pub(crate) type SharedSockets<C> = (Vec<SharedSocket>, Vec<(Arc<Listening<C>>, Vec<bool>)>);

impl<C: ListenerConfig> Inner<C> {
    pub(crate) fn inherit(&self, inherited: Inherited) {
        let mut state = self.lock();
        #[cfg(all(unix, feature = "handover"))]
        if inherited.is_undecided() {
            state.held_back.get_or_insert_default();
        }
        state.inherited.append(inherited);
    }

    /// At which of these addresses a listener has inherited sockets.
    #[cfg(all(unix, feature = "handover"))]
    pub(crate) fn inherited_among(
        &self,
        addresses: &HashSet<ListenAddress>,
    ) -> HashSet<ListenAddress> {
        let state = self.lock();
        let listening = state
            .listening
            .values()
            .filter(|listening| listening.is_shared());
        let locals = listening.map(|listening| listening.local().clone());
        locals.filter(|local| addresses.contains(local)).collect()
    }

    pub(crate) fn unclaimed(&self) -> Vec<ListenAddress> {
        self.lock().inherited.addresses().cloned().collect()
    }

    pub(crate) fn drop_unclaimed(&self) {
        drop(std::mem::take(&mut self.lock().inherited));
    }

    /// A descriptor of each socket, and what of it was shared before. Nothing is marked unless
    /// every descriptor could be had.
    #[cfg(unix)]
    pub(crate) fn share_sockets(&self) -> io::Result<SharedSockets<C>> {
        let state = self.lock();
        let listening = Self::to_share(&state);
        let sockets = Self::descriptors(&listening)?;
        let shared = listening.into_iter().map(|listening| {
            let before = listening.set_shared(true);
            (listening, before)
        });
        Ok((sockets, shared.collect()))
    }

    /// A descriptor of each socket, with nothing marked.
    #[cfg(unix)]
    pub(crate) fn copy_sockets(&self) -> io::Result<Vec<SharedSocket>> {
        let state = self.lock();
        Self::descriptors(&Self::to_share(&state))
    }

    /// No other process can ask for a port that the kernel chose, and what warms does not listen.
    #[cfg(unix)]
    fn to_share(state: &State<C>) -> Vec<Arc<Listening<C>>> {
        let listening = state
            .listening
            .iter()
            .filter(|(key, listening)| !key.is_of_listener() && listening.current().is_some());
        listening
            .map(|(_, listening)| Arc::clone(listening))
            .collect()
    }

    /// By address, then by index.
    #[cfg(unix)]
    fn descriptors(listening: &[Arc<Listening<C>>]) -> io::Result<Vec<SharedSocket>> {
        let mut sockets = Vec::new();
        for listening in listening {
            for (index, (socket, is_kept)) in listening.descriptors()?.into_iter().enumerate() {
                sockets.push(SharedSocket {
                    address: listening.local().clone(),
                    index,
                    socket,
                    #[cfg(feature = "handover")]
                    part: 0,
                    is_kept,
                });
            }
        }
        sockets.sort_by(|a, b| (&a.address, a.index).cmp(&(&b.address, b.index)));
        Ok(sockets)
    }

    /// All but those at addresses where another process keeps them.
    pub(crate) fn own_sockets(&self, kept: &HashSet<ListenAddress>) {
        let mut state = self.lock();
        state.inherited = Inherited::new();
        for listening in state.listening.values() {
            listening.set_shared(kept.contains(listening.local()));
        }
        state.release();
        self.report(state);
    }
}
