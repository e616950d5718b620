//! From what was read to what is served: an update of the listeners, wherever it came from.

use std::collections::BTreeMap;

use listener_versions::{ListenerConfig, Listeners, Update, UpdateReport};

use crate::config::{FieldError, Listener, ListenerUpdate, Refused, UpdateOutcome};
use crate::telemetry::in_update;

/// What became of an update.
#[non_exhaustive]
#[derive(Debug)]
pub struct Applied {
    /// Its label.
    pub version_info: String,
    /// What is wrong with it: first what cannot be read, then what cannot be made, then what cannot
    /// be applied. Empty: it was taken whole.
    pub refused: Vec<Refused>,
    /// What was done, listener by listener.
    pub report: UpdateReport,
    read: UpdateOutcome,
}

impl Applied {
    /// Which of Envoy's counters the update belongs to.
    pub fn outcome(&self) -> UpdateOutcome {
        match self.read {
            UpdateOutcome::Success if !self.refused.is_empty() => UpdateOutcome::Rejected,
            read => read,
        }
    }
}

/// Makes what serves each listener, and applies the update. A listener that cannot be made is
/// refused; the others are taken, unless the update has all listeners and one of them is refused
/// that has no name: it is unknown which listener must not count as absent, so nothing is taken.
///
/// # Cancel safety
///
/// As [`Listeners::apply`].
///
/// # Examples
///
/// ```
/// use orion_drain::config::ListenerUpdate;
/// use orion_drain::listener::{ServedListener, apply_update};
/// use orion_drain::listener_versions::Listeners;
/// # use orion_drain::stats::Stats;
///
/// # async fn example(update: ListenerUpdate, listeners: Listeners<ServedListener<()>>, stats: Stats) {
/// let applied = apply_update(update, &listeners, |listener| {
///     // In place of `()`, what serves a chain's connections.
///     Ok(ServedListener::new(listener, &stats, |_listener, _chain| ()))
/// });
/// for refused in &applied.await.refused {
///     eprintln!("{refused}");
/// }
/// # }
/// ```
pub async fn apply_update<C: ListenerConfig>(
    update: ListenerUpdate,
    listeners: &Listeners<C>,
    mut make: impl FnMut(Listener) -> Result<C, FieldError>,
) -> Applied {
    let read = update.outcome();
    let takes_nothing = update.hides_a_listener();
    let (mut made, mut refused, mut kept) = (Vec::new(), Vec::new(), BTreeMap::new());
    for rejected in update.rejected {
        for field in rejected.error.fields() {
            refused.push(Refused::new(
                rejected.name.clone(),
                field.in_full().to_string(),
            ));
            if let Some(name) = &rejected.name {
                kept.entry(name.clone()).or_insert_with(|| field.clone());
            }
        }
    }
    for listener in update.listeners {
        let name = listener.name.clone();
        match make(listener) {
            // What is wrong with the others is said all the same.
            Ok(_) if takes_nothing => {}
            Ok(listener) => made.push(listener),
            Err(field) => {
                refused.push(Refused::new(
                    Some(name.clone()),
                    field.in_full().to_string(),
                ));
                kept.insert(name, field);
            }
        }
    }
    let taken = made.len();
    let mut wanted = match update.removed {
        None if takes_nothing => Update::delta(&update.version_info, made, [""; 0]),
        None => Update::lds(&update.version_info, made),
        Some(removed) => Update::delta(&update.version_info, made, removed),
    };
    for (name, field) in kept {
        wanted = wanted.with_refused(name, field);
    }
    let report = in_update(&update.version_info, listeners.apply(wanted)).await;
    // Those that come after them are in `refused` already, with the whole path of their fields.
    // Both may have the same name: of two with one name the second is refused when it is read.
    let outcomes = report.listeners.iter().take(taken);
    for error in outcomes.filter_map(|(_, outcome)| outcome.as_ref().err()) {
        let (name, message) = (error.listener().to_owned(), error.to_string());
        let prefix = format!("listener {name:?}: ");
        let message = message.strip_prefix(&prefix).unwrap_or(&message);
        refused.push(Refused::new(Some(name), message));
    }
    Applied {
        version_info: update.version_info,
        refused,
        report,
        read,
    }
}

#[cfg(test)]
mod tests {
    use conn_tracker::ConnTracker;
    use drain_tree::{DrainManager, DrainSettings};
    use listener_versions::{ListenersOptions, UpdateError};

    use super::*;
    use crate::listener::ServedListener;

    fn listeners() -> Listeners<ServedListener<()>> {
        let root = DrainManager::root(DrainSettings::default());
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ()).0
    }

    fn read(before: &str, drain_type: &str) -> ListenerUpdate {
        let text = format!(
            r#"{{ "resources": [{before} {{
 "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "in",
 "address": {{ "socket_address": {{ "address": "127.0.0.1", "port_value": 0 }} }},
 "drain_type": "{drain_type}",
 "filter_chains": [{{}}] }}] }}"#
        );
        ListenerUpdate::from_json(&text).expect("a response")
    }

    #[tokio::test]
    async fn the_report_has_the_line_of_what_cannot_be_read() {
        let make = |_| unreachable!("it cannot be read");
        let applied = apply_update(read("", "SOMETIMES"), &listeners(), make).await;
        let outcome = applied.report.outcome("in").expect("it is reported");
        let Err(UpdateError::Invalid { source, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        let path = "resources[0].drain_type";
        assert_eq!((&*source.path, source.line), (path, Some(4)), "{source:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_said_although_nothing_can_be_taken() {
        let make = |_| Err(FieldError::new("tls", "cannot be used"));
        let applied = apply_update(read("7,", "DEFAULT"), &listeners(), make).await;
        let refused: Vec<_> = applied.refused.iter().map(ToString::to_string).collect();
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].contains("resources[0]: "), "{refused:?}");
        assert_eq!(refused[1], "listener \"in\": tls: cannot be used");
    }
}
