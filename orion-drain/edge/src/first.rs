//! The first configuration: `/ready` says INITIALIZING until it is here, whole, or nothing has come
//! for long enough.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orion_drain::admin::Startup;
use orion_drain::listener::{Applied, Refused};
use orion_drain::listener_versions::{Change, UpdateReport};

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
    /// Nothing has come from where listeners come from.
    update: bool,
    /// An update could not be read, or a listener of it has no name: it is not known which one is
    /// not here.
    something: bool,
    /// Listeners that were asked for, are refused, and of which no version serves.
    listeners: BTreeSet<String>,
    /// Listeners that wait for their routes, and of which no version serves.
    warming: BTreeSet<String>,
}

impl First {
    pub(crate) fn new(startup: Startup, any_answer: bool) -> Self {
        Self(Arc::new(Inner {
            startup,
            any_answer,
            lacks: Mutex::new(Lacks {
                update: true,
                ..Lacks::default()
            }),
        }))
    }

    /// Listeners come from nowhere else than the bootstrap.
    pub(crate) fn for_nothing_more(&self) {
        self.settle(|lacks| lacks.update = false);
    }

    /// Of these listeners some wait for their routes.
    pub(crate) fn report(&self, report: &UpdateReport, serves: impl Fn(&str) -> bool) {
        self.settle(|lacks| lacks.warming(report, serves));
    }

    /// A version of this listener does not wait for its routes any more; another one may.
    pub(crate) fn warm(&self, name: &str, waits: bool) {
        self.settle(|lacks| {
            if !waits {
                lacks.warming.remove(name);
            }
        });
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
            () = over => self.for_nothing_more(),
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
                None => {
                    lacks.something = false;
                    lacks.listeners.clear();
                }
            }
            lacks.update = false;
            lacks.warming(&applied.report, &serves);
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
        self.settle(|lacks| {
            lacks.update = false;
            lacks.something = true;
        });
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
        let is_whole = !lacks.something && lacks.listeners.is_empty();
        if !lacks.update && lacks.warming.is_empty() && (*any_answer || is_whole) {
            startup.finish();
        }
    }

    fn lacks(&self) -> MutexGuard<'_, Lacks> {
        // Changed in whole steps.
        self.0.lacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lacks {
    fn warming(&mut self, report: &UpdateReport, serves: impl Fn(&str) -> bool) {
        for (name, outcome) in &report.listeners {
            let name = &**name;
            match outcome {
                Ok(Change::Warming { .. }) if !serves(name) => {
                    self.warming.insert(name.to_owned());
                }
                // The one that is warming goes on.
                Ok(Change::Unchanged) | Err(_) => {}
                Ok(_) => _ = self.warming.remove(name),
            }
        }
    }
}
