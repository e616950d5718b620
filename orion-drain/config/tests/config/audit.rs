//! Settings that contradict each other are told at load, with their path.

use std::time::Duration;

use drain_signal::{DrainSchedule, DrainStrategy};
use drain_tree::DrainSettings;
use orion_drain_config::{Bootstrap, FieldError, Listener};

use super::http_listener;

fn texts(found: &[FieldError]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

fn settings(seconds: u64) -> DrainSettings {
    DrainSettings::default()
        .with_drain_time(Duration::from_secs(seconds))
        .with_shutdown_minimum(Duration::ZERO)
}

fn listener(extra: &str, settings: &DrainSettings) -> Vec<String> {
    let listener = Listener::from_yaml(&http_listener(extra))
        .expect("a listener")
        .value;
    texts(&listener.audit(settings))
}

#[test]
fn the_defaults_contradict_nothing() {
    assert_eq!(
        listener("", &DrainSettings::default()),
        Vec::<String>::new()
    );
    assert_eq!(
        texts(&Bootstrap::default().audit(&DrainSettings::default())),
        Vec::<String>::new()
    );
}

#[test]
fn a_drain_timeout_that_does_not_fit_behind_the_last_slot_is_told() {
    let path = "filter_chains[0].filters[0].typed_config.drain_timeout: ";
    // 5 s and 1 s: three quarters of 8 s are just enough.
    assert_eq!(listener("", &settings(8)), Vec::<String>::new());
    let told = listener("", &settings(7));
    assert!(
        told[0].starts_with(path) && told[0].contains("6s") && told[0].contains("5.25s"),
        "{told:?}"
    );
    // Told at once, there is more time.
    let at_once = settings(7).with_strategy(DrainStrategy::Immediate);
    assert_eq!(listener("", &at_once), Vec::<String>::new());
    assert_eq!(listener("drain_timeout: 7s", &at_once).len(), 1);
    assert_eq!(
        listener("drain_timeout_jitter: { value: 100 }", &settings(8)).len(),
        1
    );
    assert_eq!(listener("delayed_close_timeout: 2s", &settings(8)).len(), 1);
}

#[test]
fn envoys_schedule_never_tells_idle_connections_if_the_drain_timeout_takes_a_third() {
    let settings = settings(14).with_schedule(DrainSchedule::Envoy140);
    let told = listener("", &settings);
    assert!(
        told[0].ends_with("idle connections are never told"),
        "{told:?}"
    );
    assert_eq!(
        listener("drain_timeout: 4s", &settings),
        Vec::<String>::new()
    );
}

#[test]
fn a_process_that_ends_before_its_drain_is_told() {
    let settings = DrainSettings::default()
        .with_drain_time(Duration::from_secs(5))
        .with_parent_shutdown_time(Duration::from_secs(5));
    assert_eq!(
        texts(&Bootstrap::default().audit(&settings)),
        [
            "parent_shutdown_time: 5s ends a replaced process before its drain time of 5s is over",
            "shutdown_minimum: 10s is longer than the drain time of 5s, which ends the process",
        ]
    );
    let told = texts(&Bootstrap::default().audit(&self::settings(0)));
    assert_eq!(
        told,
        ["drain_time: 0 closes every connection of an old version at once"]
    );
}

#[test]
fn a_block_that_contradicts_itself_or_the_command_line_is_told() {
    let yaml = "listener_manager: { max_versions_per_listener: 3, cleanup_policy: { count_based_only: 2 }, drain_config: \
                { drain_time: 60s, drain_strategy: immediate, protocol_handling: { tcp: { force_close_after: 60s } } } }";
    let bootstrap = Bootstrap::from_yaml(yaml).expect("a block").value;
    let block = bootstrap.listener_manager.as_ref().expect("a block");
    assert_eq!(
        texts(&bootstrap.audit(&block.drain_settings())),
        [
            "listener_manager.cleanup_policy: `count_based_only: 2` and `max_versions_per_listener: 3`: the smaller one counts",
            "listener_manager.drain_config.protocol_handling.tcp.force_close_after: 60s is never reached: the drain time of 60s \
             ends before",
        ]
    );
    // What nobody wrote contradicts nothing.
    let silent = Bootstrap::from_yaml("listener_manager: { max_versions_per_listener: 2 }")
        .expect("a block");
    let immediate = settings(90).with_strategy(DrainStrategy::Immediate);
    assert_eq!(texts(&silent.value.audit(&immediate)), Vec::<String>::new());
    let told = texts(&bootstrap.audit(&settings(90)));
    assert_eq!(
        told[1..],
        [
            "listener_manager.drain_config.drain_time: `60s` stands here, but `90s` was given elsewhere, and counts",
            "listener_manager.drain_config.drain_strategy: `immediate` stands here, but `gradual` was given elsewhere, and counts",
        ]
    );
}

#[test]
fn static_listeners_are_audited_with_their_path() {
    let listener = http_listener("drain_timeout: 10m").replace('\n', "\n    ");
    let yaml = format!(
        "static_resources:\n  listeners:\n  - {}",
        listener.trim_start()
    );
    let bootstrap = Bootstrap::from_yaml(&yaml).expect("a bootstrap").value;
    let told = texts(&bootstrap.audit(&DrainSettings::default()));
    assert!(
        told[0].starts_with("static_resources.listeners[0].filter_chains[0].filters[0]."),
        "{told:?}"
    );
}
