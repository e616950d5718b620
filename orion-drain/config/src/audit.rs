//! Settings that can each be taken and that contradict each other: reported at load, not refused.
//!
//! How the timeouts go together is in `docs/timeouts.md`. Whatever does not fit into the drain time
//! is cut to fit.

use std::time::Duration;

use drain_tree::{DrainSchedule, DrainSettings, DrainStrategy};

use super::{
    Bootstrap, CleanupPolicy, FieldError, FilterChain, HttpConnectionManager, Listener,
    ListenerDrainConfig, ListenerManagerConfig, NetworkFilter, ProtocolDrainBehavior,
    format_duration, path::FieldPath,
};

impl Bootstrap {
    /// What contradicts itself, if connections drain by `settings`: those of the bootstrap's own
    /// block, with whatever a command line puts in its place. Empty: nothing. Nothing of it is an
    /// error.
    pub fn audit(&self, settings: &DrainSettings) -> Vec<FieldError> {
        let root = FieldPath::root();
        let mut found = Vec::new();
        process(settings, &mut found);
        if let Some(manager) = &self.listener_manager {
            block(manager, settings, &root.key("listener_manager"), &mut found);
        }
        let listeners = root.key("static_resources").key("listeners");
        for (index, listener) in self.listeners().iter().enumerate() {
            self::listener(listener, settings, &listeners.index(index), &mut found);
        }
        found
    }
}

impl Listener {
    /// What contradicts itself, if connections drain by `settings`; paths begin at the listener.
    /// Empty: nothing.
    pub fn audit(&self, settings: &DrainSettings) -> Vec<FieldError> {
        let mut found = Vec::new();
        listener(self, settings, &FieldPath::root(), &mut found);
        found
    }
}

fn process(settings: &DrainSettings, found: &mut Vec<FieldError>) {
    let root = FieldPath::root();
    let (drain, parent) = (settings.drain_time, settings.parent_shutdown_time);
    if drain.is_zero() {
        let message = "0 closes every connection of an old version at once";
        found.push(FieldError::new(&root.key("drain_time"), message));
    }
    if parent <= drain {
        let message = format!(
            "{} ends a replaced process before its drain time of {} is over",
            format_duration(parent),
            format_duration(drain)
        );
        found.push(FieldError::new(&root.key("parent_shutdown_time"), message));
    }
    if settings.shutdown_minimum > drain {
        let message = format!(
            "{} is longer than the drain time of {}, which ends the process",
            format_duration(settings.shutdown_minimum),
            format_duration(drain)
        );
        found.push(FieldError::new(&root.key("shutdown_minimum"), message));
    }
}

fn block(
    manager: &ListenerManagerConfig,
    settings: &DrainSettings,
    at: &FieldPath,
    found: &mut Vec<FieldError>,
) {
    let CleanupPolicy::CountBasedOnly(count) = manager.cleanup_policy;
    if count != manager.max_versions_per_listener {
        let message = format!(
            "`count_based_only: {count}` and `max_versions_per_listener: {}`: the smaller one counts",
            manager.max_versions_per_listener
        );
        found.push(FieldError::new(&at.key("cleanup_policy"), message));
    }
    let at = at.key("drain_config");
    let config = &manager.drain_config;
    let default = ListenerDrainConfig::default();
    // What is as the default may not have been written at all.
    let mut other = |field, here: String, there: String, default: String| {
        if here != there && here != default {
            let message =
                format!("`{here}` stands here, but `{there}` was given elsewhere, and counts");
            found.push(FieldError::new(&at.key(field), message));
        }
    };
    let duration = format_duration;
    other(
        "drain_time",
        duration(config.drain_time),
        duration(settings.drain_time),
        duration(default.drain_time),
    );
    let strategy = |strategy| match strategy {
        DrainStrategy::Gradual => "gradual".to_owned(),
        DrainStrategy::Immediate => "immediate".to_owned(),
    };
    other(
        "drain_strategy",
        strategy(config.drain_strategy),
        strategy(settings.strategy),
        strategy(default.drain_strategy),
    );
    if let ProtocolDrainBehavior::Tcp { force_close_after } = config.protocol_handling {
        if force_close_after >= settings.drain_time {
            let message = format!(
                "{} is never reached: the drain time of {} ends before",
                duration(force_close_after),
                duration(settings.drain_time)
            );
            let at = at
                .key("protocol_handling")
                .key("tcp")
                .key("force_close_after");
            found.push(FieldError::new(&at, message));
        }
    }
}

fn listener(
    listener: &Listener,
    settings: &DrainSettings,
    at: &FieldPath,
    found: &mut Vec<FieldError>,
) {
    for (index, chain) in listener.filter_chains.iter().enumerate() {
        filters(
            chain,
            settings,
            &at.key("filter_chains").index(index),
            found,
        );
    }
    if let Some(chain) = &listener.default_filter_chain {
        filters(chain, settings, &at.key("default_filter_chain"), found);
    }
}

fn filters(
    chain: &FilterChain,
    settings: &DrainSettings,
    at: &FieldPath,
    found: &mut Vec<FieldError>,
) {
    for (index, filter) in chain.filters.iter().enumerate() {
        if let NetworkFilter::HttpConnectionManager(manager) = &filter.typed_config {
            let at = at.key("filters").index(index).key("typed_config");
            http(manager, settings, &at, found);
        }
    }
}

fn http(
    manager: &HttpConnectionManager,
    settings: &DrainSettings,
    at: &FieldPath,
    found: &mut Vec<FieldError>,
) {
    let timeouts = manager.timeouts();
    let drain = timeouts.drain + timeouts.drain_jitter;
    let total = settings.drain_time;
    let at = at.key("drain_timeout");
    if settings.strategy == DrainStrategy::Gradual && settings.schedule == DrainSchedule::Envoy140 {
        if drain > total / 3 {
            let message = format!(
                "{} is over a third of the drain time of {}: idle connections are never told",
                format_duration(drain),
                format_duration(total)
            );
            found.push(FieldError::new(&at, message));
        }
        return;
    }
    let told_within = match settings.strategy {
        DrainStrategy::Gradual => total / 4,
        DrainStrategy::Immediate => Duration::ZERO,
    };
    let (needed, left) = (drain + timeouts.delayed_close, total - told_within);
    if needed > left {
        let message = format!(
            "{} with its jitter and `delayed_close_timeout` do not fit into the {} that a drain time of {} leaves to those who \
             are told last: they are cut short",
            format_duration(needed),
            format_duration(left),
            format_duration(total)
        );
        found.push(FieldError::new(&at, message));
    }
}
