//! The first configuration: `/ready` says INITIALIZING until it is here, whole, or nothing has come
//! for long enough.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orion_drain::admin::Startup;
use orion_drain::listener::{Applied, Refused};

/// What the first configuration still lacks. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct First(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    startup: Startup,
    /// As in Envoy 1.40, an answer is enough, whatever is refused of it.
    any_answer: bool,
    lacks: Mutex<Lacks>,
}

#[derive(Debug, Default)]
struct Lacks {
    /// An update could not be read, or a listener of it has no name: it is not known which one is
    /// not here.
    something: bool,
    /// Listeners that were asked for, are refused, and of which no version serves.
    listeners: BTreeSet<String>,
}

impl First {
    pub(crate) fn new(startup: Startup, any_answer: bool) -> Self {
        Self(Arc::new(Inner {
            startup,
            any_answer,
            lacks: Mutex::default(),
        }))
    }

    /// Nothing is waited for longer than this; `None`: for ever. It returns when it is over.
    pub(crate) async fn within(&self, limit: Option<Duration>) {
        let over = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.0.startup.finished() => {}
            () = over => self.settle(|_| {}),
        }
    }

    /// An update was applied, with the names that it removed; without a list of those it had all
    /// listeners.
    pub(crate) fn applied(
        &self,
        removed: Option<&[String]>,
        applied: &Applied,
        serves: impl Fn(&str) -> bool,
    ) {
        self.settle(|lacks| {
            match removed {
                Some(removed) => lacks.listeners.retain(|name| !removed.contains(name)),
                None => *lacks = Lacks::default(),
            }
            for (name, outcome) in &applied.report.listeners {
                if outcome.is_ok() {
                    lacks.listeners.remove(&**name);
                }
            }
            for Refused { name, .. } in &applied.refused {
                match name {
                    Some(name) if serves(name) => {}
                    Some(name) => drop(lacks.listeners.insert(name.clone())),
                    None => lacks.something = true,
                }
            }
        });
    }

    /// An update came that cannot be used at all.
    pub(crate) fn unusable(&self) {
        self.settle(|lacks| lacks.something = true);
    }

    fn settle(&self, change: impl FnOnce(&mut Lacks)) {
        let Inner {
            startup,
            any_answer,
            ..
        } = &*self.0;
        if startup.is_finished() {
            return;
        }
        let mut lacks = self.lacks();
        change(&mut lacks);
        if *any_answer || (!lacks.something && lacks.listeners.is_empty()) {
            startup.finish();
        }
    }

    fn lacks(&self) -> MutexGuard<'_, Lacks> {
        // Changed in whole steps.
        self.0.lacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
