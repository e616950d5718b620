//! Registries that no tracker uses. They stay for the next trackers; there are never more than
//! trackers lived at once.

use super::registry::Registry;
use drain_sync::{Mutex, lock};

pub(crate) fn pool<R>(with: impl FnOnce(&mut Vec<&'static Registry>) -> R) -> R {
    #[cfg(not(loom))]
    static POOL: Mutex<Vec<&'static Registry>> = Mutex::new(Vec::new());
    #[cfg(loom)]
    loom::lazy_static! {
        static ref POOL: Mutex<Vec<&'static Registry>> = Mutex::new(Vec::new());
    }
    with(&mut lock(&POOL))
}
