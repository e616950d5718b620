//! Registries that no tracker uses. They stay for the next trackers; there are never more than
//! trackers lived at once.

use super::registry::Registry;

pub(crate) fn pool<R>(with: impl FnOnce(&mut Vec<&'static Registry>) -> R) -> R {
    #[cfg(not(loom))]
    {
        static POOL: std::sync::Mutex<Vec<&'static Registry>> = std::sync::Mutex::new(Vec::new());
        with(
            &mut POOL
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
    #[cfg(loom)]
    {
        loom::lazy_static! {
            static ref POOL: super::sync::Mutex<Vec<&'static Registry>> = super::sync::Mutex::new(Vec::new());
        }
        with(&mut POOL.lock())
    }
}
