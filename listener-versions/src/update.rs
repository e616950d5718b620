//! An update of the listeners as it comes in, and what became of each listener in it.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::{FieldError, ListenAddress, ListenerConfig};

/// Listeners to add, modify or remove, with the xDS `version_info` that they came with.
///
/// Every listener is taken or refused by itself, as in Envoy; [`atomic`](Self::atomic) makes it all
/// or nothing.
#[must_use = "an update does nothing until it is applied"]
pub struct Update<C> {
    pub(crate) version_info: Arc<str>,
    pub(crate) scope: Scope,
    pub(crate) atomic: bool,
    pub(crate) resources: Vec<Resource<C>>,
}

/// What an update says about the listeners that it does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// From the bootstrap: says nothing about others, and what it brings cannot be changed through
    /// LDS.
    Static,
    /// LDS state of the world: a listener that came through LDS and is absent is removed.
    StateOfTheWorld,
    /// Incremental LDS: these names are removed, the others stay.
    Delta { removed: Vec<String> },
}

impl<C> fmt::Debug for Update<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("version_info", &self.version_info)
            .field("scope", &self.scope)
            .field("atomic", &self.atomic)
            .field("listeners", &self.resources.len())
            .finish()
    }
}

/// One listener of an update: a configuration, or the reason why there is none.
pub(crate) enum Resource<C> {
    Config(Arc<C>),
    Refused { name: String, error: FieldError },
}

impl<C: ListenerConfig> Resource<C> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Config(config) => config.name(),
            Self::Refused { name, .. } => name,
        }
    }
}

impl<C> Update<C> {
    fn new<R: Into<Arc<C>>>(
        version_info: &str,
        scope: Scope,
        configs: impl IntoIterator<Item = R>,
    ) -> Self {
        let resources = configs
            .into_iter()
            .map(|config| Resource::Config(config.into()))
            .collect();
        Self {
            version_info: version_info.into(),
            scope,
            atomic: false,
            resources,
        }
    }

    /// All listeners that LDS has: a listener that came through LDS earlier and is absent here is
    /// removed.
    pub fn lds<R: Into<Arc<C>>>(version_info: &str, configs: impl IntoIterator<Item = R>) -> Self {
        Self::new(version_info, Scope::StateOfTheWorld, configs)
    }

    /// Incremental LDS: `configs` are added or modified, the names in `removed` are removed, all
    /// others stay.
    pub fn delta<R: Into<Arc<C>>>(
        version_info: &str,
        configs: impl IntoIterator<Item = R>,
        removed: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let removed = removed.into_iter().map(Into::into).collect();
        Self::new(version_info, Scope::Delta { removed }, configs)
    }

    /// One listener is added or modified, all others stay. The same as [`delta`](Self::delta) with
    /// it alone.
    pub fn put(config: impl Into<Arc<C>>) -> Self {
        let removed = Vec::new();
        Self::new("", Scope::Delta { removed }, [config])
    }

    /// One listener is removed, all others stay. The same as [`delta`](Self::delta) with its name
    /// alone.
    pub fn remove(name: impl Into<String>) -> Self {
        let removed = vec![name.into()];
        Self::new("", Scope::Delta { removed }, None::<Arc<C>>)
    }

    /// Sets the xDS `version_info` of its versions.
    pub fn with_version_info(mut self, version_info: &str) -> Self {
        self.version_info = version_info.into();
        self
    }

    /// Listeners of the bootstrap. LDS can neither modify nor remove them.
    pub fn bootstrap<R: Into<Arc<C>>>(configs: impl IntoIterator<Item = R>) -> Self {
        Self::new("", Scope::Static, configs)
    }

    /// All or nothing (the setting `atomic_updates`): if one listener is refused, none is touched.
    /// Envoy, and the default here, takes them one by one.
    pub fn atomic(self) -> Self {
        Self {
            atomic: true,
            ..self
        }
    }

    /// The configurations in it.
    pub(crate) fn configs(&self) -> Vec<Arc<C>> {
        let resources = self.resources.iter();
        let configs = resources.filter_map(|resource| match resource {
            Resource::Config(config) => Some(Arc::clone(config)),
            Resource::Refused { .. } => None,
        });
        configs.collect()
    }

    /// Names a listener whose configuration could not even be read: it is reported as refused, and
    /// not taken for absent.
    pub fn with_refused(mut self, name: impl Into<String>, error: FieldError) -> Self {
        self.resources.push(Resource::Refused {
            name: name.into(),
            error,
        });
        self
    }
}

/// What an update did to one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The content is the same: nothing happened, and the version keeps the `version_info` that it
    /// came with.
    Unchanged,
    /// The name is new: this version accepts.
    Added {
        /// The new version.
        version: u64,
    },
    /// This version accepts in place of the one that it replaced, which drains: now, or, if another
    /// listener's version that is still warming takes the address that it leaves, when that one
    /// accepts there.
    Modified {
        /// The new version.
        version: u64,
        /// The version that it replaced.
        replaced: u64,
    },
    /// Only filter chains differ: the version goes on with the new configuration, and only chains
    /// that changed drain.
    UpdatedInPlace {
        /// The version, which keeps its number.
        version: u64,
        /// How many chains are the same: their connections see nothing of the update.
        kept: usize,
        /// How many chains are new or changed: they take new connections only.
        added: usize,
        /// How many chains drain now, because they are changed or gone.
        draining: usize,
    },
    /// This version waits until it is warm; an active one goes on meanwhile. If only filter chains
    /// differ from that one, it then takes them [in place](Self::UpdatedInPlace), and this version
    /// is dropped.
    Warming {
        /// The new version.
        version: u64,
    },
    /// The content is that of the active version again: the version that was warming is dropped.
    WarmingDropped {
        /// The version that is no more.
        version: u64,
    },
    /// The name is gone, and the version that was active drains: now, or, if another listener's
    /// version that is still warming takes its address, when that one accepts there.
    Removed {
        /// The version that was active, unless the listener was still warming.
        version: Option<u64>,
    },
    /// Nothing happened, because listeners of this direction have been stopped (as in Envoy).
    Stopped,
}

/// What became of an update, listener by listener.
#[derive(Debug)]
#[non_exhaustive]
pub struct UpdateReport {
    /// The label that the update came with.
    pub version_info: Arc<str>,
    /// The listeners of the update by name in their order, then those that were removed: what was
    /// done, or why the listener was not taken. After an error its previous version goes on as it
    /// was. A name comes twice if the update named it twice.
    pub listeners: Vec<(Arc<str>, Result<Change, UpdateError>)>,
}

impl UpdateReport {
    /// Whether every listener was taken (Envoy's `lds.update_success`; otherwise
    /// `lds.update_rejected`).
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.errors().next().is_none()
    }

    /// The report of an update of which every listener was taken.
    ///
    /// # Errors
    ///
    /// Why a listener was refused; of several, the first. [`errors`](Self::errors) has them all.
    pub fn into_result(self) -> Result<Self, UpdateError> {
        let refused = self.errors().next().cloned();
        refused.map_or(Ok(self), Err)
    }

    /// Why listeners were refused.
    pub fn errors(&self) -> impl Iterator<Item = &UpdateError> {
        self.listeners
            .iter()
            .filter_map(|(_, outcome)| outcome.as_ref().err())
    }

    /// What was done, by listener.
    pub fn changes(&self) -> impl Iterator<Item = (&str, Change)> {
        self.listeners
            .iter()
            .filter_map(|(name, outcome)| Some((&**name, *outcome.as_ref().ok()?)))
    }

    /// What became of the listener `name`; of the first one, if the update named it twice.
    #[must_use]
    pub fn outcome(&self, name: &str) -> Option<&Result<Change, UpdateError>> {
        self.listeners
            .iter()
            .find(|(listener, _)| &**listener == name)
            .map(|(_, outcome)| outcome)
    }
}

/// Why a listener of an update was not taken. It names the listener and the field; the previous
/// version goes on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The same name was in the update before.
    #[error("listener {listener:?}: name: is in this update twice")]
    #[non_exhaustive]
    DuplicateName {
        /// The listener's name.
        listener: Arc<str>,
    },
    /// Another listener has this address, and keeps it in this update. Listeners may exchange their
    /// addresses in one update, unless one of them warms: that one has its address until it is
    /// warm.
    #[error("listener {listener:?}: {field}: {address} belongs to listener {held_by:?}{way_out}")]
    #[non_exhaustive]
    AddressConflict {
        /// The listener's name.
        listener: Arc<str>,
        /// `address` or `additional_addresses`.
        field: &'static str,
        /// The address that both want.
        address: ListenAddress,
        /// The listener that has it.
        held_by: Arc<str>,
        /// What can be done about it, as the end of the message.
        way_out: &'static str,
    },
    /// The address could not be bound, for example because another process has it.
    #[error("listener {listener:?}: {field}: cannot listen on {address}: {source}")]
    #[non_exhaustive]
    Bind {
        /// The listener's name.
        listener: Arc<str>,
        /// `address` or `additional_addresses`.
        field: &'static str,
        /// The address that it wants.
        address: ListenAddress,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The listener is part of the bootstrap and cannot be changed through LDS.
    #[error("listener {listener:?}: name: is a static listener, which LDS cannot change")]
    #[non_exhaustive]
    Static {
        /// The listener's name.
        listener: Arc<str>,
    },
    /// A field has a value that cannot be taken.
    #[error("listener {listener:?}: {source}")]
    #[non_exhaustive]
    Invalid {
        /// The listener's name.
        listener: Arc<str>,
        /// The field and what is wrong with it.
        source: FieldError,
    },
    /// Nothing is wrong with this listener, but with another one of an atomic update.
    #[error(
        "listener {listener:?}: atomic_updates: not taken, because another listener of this update was refused"
    )]
    #[non_exhaustive]
    NotApplied {
        /// The listener's name.
        listener: Arc<str>,
    },
}

impl UpdateError {
    /// The name of the listener that was refused.
    #[must_use]
    pub fn listener(&self) -> &str {
        match self {
            Self::DuplicateName { listener }
            | Self::AddressConflict { listener, .. }
            | Self::Bind { listener, .. }
            | Self::Static { listener }
            | Self::Invalid { listener, .. }
            | Self::NotApplied { listener } => listener,
        }
    }

    /// The path of the field that is to blame.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::DuplicateName { .. } | Self::Static { .. } => "name",
            Self::AddressConflict { field, .. } | Self::Bind { field, .. } => field,
            Self::Invalid { source, .. } => &source.path,
            Self::NotApplied { .. } => "atomic_updates",
        }
    }
}
