//! Which other listener has a socket that a listener wants, and what can be done about it.

use std::sync::Arc;

use super::Plan;
use crate::set::decision::Step;
use crate::set::record::Asked;
use crate::{ListenerConfig, SocketKey, UpdateError};

/// Another listener has a socket that is wanted.
pub(super) struct Taken<'a> {
    pub(super) by: &'a Arc<str>,
    /// The other listener is not decided yet, and does not want the socket any more.
    pub(super) leaves: bool,
}

/// What can be done about an address that another listener has, by what the update makes of that
/// one.
mod way_out {
    pub(super) const IT_STAYS: &str =
        ": give one of the two another address, or remove the other one in the same update";
    pub(super) const IT_WAS_REFUSED: &str =
        ", which is refused in this update and stays as it was: correct that one first";
    pub(super) const IT_WARMS: &str =
        ", which leaves it as soon as its new version is warm: send this listener again then";
    pub(super) const EXCHANGE_WARMS: &str = ", which leaves it only when its new version is warm: exchange the two addresses by way of a free one, each listener in an update of its own, when the one before is warm";
}

impl<C: ListenerConfig> Plan<'_, C> {
    /// The other listener that has this socket, and whether it may leave it yet in this update.
    pub(super) fn taken_by(&self, name: &Arc<str>, socket: &SocketKey) -> Option<Taken<'_>> {
        if let Some(by) = self.claimed.get(socket).filter(|other| *other != name) {
            return Some(Taken { by, leaves: false });
        }
        let owner = self.set.sockets.get(socket).map(|owned| &owned.name);
        let by = owner.filter(|other| *other != name && !self.released.contains(socket))?;
        let wanted = self.waiting.get(by);
        let leaves = wanted.is_some_and(|wanted| !wanted.sockets.contains(socket));
        Some(Taken { by, leaves })
    }

    /// The listener cannot have the socket, since `held_by` has it.
    pub(super) fn conflict(
        &self,
        name: &Arc<str>,
        asked: &Asked,
        socket: &SocketKey,
        held_by: &Arc<str>,
    ) -> UpdateError {
        UpdateError::AddressConflict {
            listener: Arc::clone(name),
            field: asked.field_of(socket),
            address: socket.address().clone(),
            held_by: Arc::clone(held_by),
            way_out: self.way_out(name, held_by, socket),
        }
    }

    fn way_out(&self, name: &Arc<str>, held_by: &Arc<str>, socket: &SocketKey) -> &'static str {
        if self.claimed.get(socket) == Some(held_by) {
            return way_out::IT_STAYS;
        }
        let step = self.by_name.get(held_by).map(|index| &self.steps[*index].1);
        let warms_elsewhere = |asked: &Asked| asked.warms && !asked.sockets.contains(socket);
        match step {
            // The other one of the two that exchange.
            Some(Some(Err(UpdateError::AddressConflict {
                held_by: other,
                way_out: way_out::EXCHANGE_WARMS,
                ..
            }))) if other == name => way_out::EXCHANGE_WARMS,
            Some(Some(Err(_))) => way_out::IT_WAS_REFUSED,
            Some(Some(Ok(Step::Take(candidate)))) if warms_elsewhere(&candidate.asked) => {
                way_out::IT_WARMS
            }
            Some(None)
                if (self.waiting.get(held_by)).is_some_and(|asked| warms_elsewhere(asked)) =>
            {
                way_out::EXCHANGE_WARMS
            }
            // As it was.
            None | Some(Some(Ok(Step::Leave(_)))) => {
                let named = self.set.names.get(held_by);
                let warming = named.and_then(|named| self.set.get(named.warming?));
                match warming.is_some_and(|warming| warms_elsewhere(&warming.asked)) {
                    true => way_out::IT_WARMS,
                    false => way_out::IT_STAYS,
                }
            }
            Some(_) => way_out::IT_STAYS,
        }
    }
}
