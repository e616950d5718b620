//! Sockets that come from another process, and go to one.

use std::collections::HashSet;
#[cfg(unix)]
use std::io;
#[cfg(unix)]
use std::sync::Arc;

#[cfg(unix)]
use crate::SharedSocket;
#[cfg(unix)]
use crate::carry::State;
#[cfg(unix)]
use crate::net::Slot;
use crate::shell::Shell;
use crate::{Inherited, ListenAddress, ListenerConfig};

/// Descriptors for another process, and what was shared before, by slot and lane.
#[cfg(unix)]
pub(crate) type SharedSockets<C> = (Vec<SharedSocket>, Vec<(Arc<Slot<C>>, Vec<bool>)>);

impl<C: ListenerConfig> Shell<C> {
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
    pub(crate) fn inherited_among(&self, addresses: &HashSet<ListenAddress>) -> HashSet<ListenAddress> {
        let state = self.lock();
        let slots = state.slots.values().filter(|slot| slot.is_shared());
        let locals = slots.map(|slot| slot.local().clone());
        locals.filter(|local| addresses.contains(local)).collect()
    }

    pub(crate) fn unclaimed(&self) -> Vec<ListenAddress> {
        self.lock().inherited.addresses().cloned().collect()
    }

    pub(crate) fn drop_unclaimed(&self) {
        drop(std::mem::take(&mut self.lock().inherited));
    }

    /// A descriptor of each socket, and what of it was shared before. Nothing is marked unless every descriptor could be had.
    #[cfg(unix)]
    pub(crate) fn share_sockets(&self) -> io::Result<SharedSockets<C>> {
        let state = self.lock();
        let slots = Self::slots_to_share(&state);
        let sockets = Self::descriptors(&slots)?;
        let shared = slots.into_iter().map(|slot| {
            let before = slot.set_shared(true);
            (slot, before)
        });
        Ok((sockets, shared.collect()))
    }

    /// A descriptor of each socket, with nothing marked.
    #[cfg(unix)]
    pub(crate) fn copy_sockets(&self) -> io::Result<Vec<SharedSocket>> {
        let state = self.lock();
        Self::descriptors(&Self::slots_to_share(&state))
    }

    /// Nobody can ask for a port that the kernel chose, and what warms does not listen.
    #[cfg(unix)]
    fn slots_to_share(state: &State<C>) -> Vec<Arc<Slot<C>>> {
        let slots = state
            .slots
            .iter()
            .filter(|(key, slot)| !key.address().is_ephemeral() && slot.current().is_some());
        slots.map(|(_, slot)| Arc::clone(slot)).collect()
    }

    /// By address, then by lane.
    #[cfg(unix)]
    fn descriptors(slots: &[Arc<Slot<C>>]) -> io::Result<Vec<SharedSocket>> {
        let mut sockets = Vec::new();
        for slot in slots {
            for (lane, (socket, is_kept)) in slot.descriptors()?.into_iter().enumerate() {
                sockets.push(SharedSocket {
                    address: slot.local().clone(),
                    lane,
                    socket,
                    is_kept,
                });
            }
        }
        sockets.sort_by(|a, b| (&a.address, a.lane).cmp(&(&b.address, b.lane)));
        Ok(sockets)
    }

    /// All but those at addresses where somebody else keeps them.
    pub(crate) fn own_sockets(&self, kept: &HashSet<ListenAddress>) {
        let mut state = self.lock();
        state.inherited = Inherited::new();
        for slot in state.slots.values() {
            slot.set_shared(kept.contains(slot.local()));
        }
        state.release();
    }
}
