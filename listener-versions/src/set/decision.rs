//! What a plan decides: for each listener a step or a refusal, and which sockets change their
//! owner.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::record::{Asked, VersionRecord};
use crate::live::Life;
use crate::{Change, FieldError, ListenerConfig, SocketKey, UpdateError};

/// A configuration, and all that it says of itself.
pub(crate) struct Candidate<C> {
    pub(crate) config: Arc<C>,
    pub(crate) asked: Arc<Asked>,
    pub(crate) life: Arc<Life>,
    pub(crate) is_built: bool,
}

impl<C: ListenerConfig> Candidate<C> {
    /// The configuration of a version that warms.
    pub(super) fn of(record: &VersionRecord<C>) -> Self {
        Self {
            config: Arc::clone(&record.config),
            asked: Arc::clone(&record.asked),
            life: Arc::clone(&record.life),
            is_built: true,
        }
    }

    /// The configuration's own code, once: its panic refuses the listener, and concerns no other.
    pub(super) fn build(&mut self) -> Result<(), FieldError> {
        if self.is_built {
            return Ok(());
        }
        let build = || self.config.build(&self.life.token());
        catch_unwind(AssertUnwindSafe(build))
            .unwrap_or_else(|_| Err(FieldError::new("build", "the configuration panicked")))?;
        self.is_built = true;
        Ok(())
    }
}

/// What is to be done for one listener that is not refused.
pub(crate) enum Step<C> {
    /// Nothing, and why.
    Leave(Change),
    /// Its warming version, this one, goes; the active one stays.
    DropWarming(u64),
    /// The active version goes on; only filter chains differ.
    ///
    /// For each chain of the new configuration, whether it is unchanged.
    InPlace(Candidate<C>, Vec<bool>),
    /// A new version, on sockets that are open by now.
    Take(Candidate<C>),
}

pub(crate) type Outcome<C> = Result<Step<C>, UpdateError>;

/// What is asked of a listener's socket while an update is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// It is bound, and does not listen yet.
    Bind(&'a SocketKey),
    /// It listens from now on.
    Listen(&'a SocketKey),
    /// It was bound in this update, and is not needed after all.
    Close(&'a SocketKey),
}

/// A decided update.
pub(crate) struct Decided<C> {
    pub(crate) steps: Vec<(Arc<str>, Outcome<C>)>,
    /// Sockets that a listener gives up.
    pub(crate) released: HashSet<SocketKey>,
    /// Sockets that belong to these listeners from now on.
    pub(crate) claimed: HashMap<SocketKey, Arc<str>>,
}
