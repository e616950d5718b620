//! The rows of `docs/envoy-compat.md` that a deviation may be excused with, by how their first cell
//! begins.

pub(crate) const SCHEDULE: &str = "Signals spread within the first 25 % of the drain time";
pub(crate) const RARELY: &str =
    "An HTTP/1.1 connection that speaks rarely waits for its turn like a busy one";
pub(crate) const IDLE: &str = "Idle connections closed in the proactive window";
pub(crate) const SILENT: &str = "Connections that never spoke are closed at their slot";
pub(crate) const TUNNELS: &str = "Tunnels and TCP live to their version's deadline and end in FIN";
pub(crate) const DEADLINE: &str =
    "Connections left at the deadline are closed at once, requests in flight lost";
pub(crate) const AFTER_CLOSE: &str =
    "After `connection: close` the connection goes on serving for `drain_timeout`";
pub(crate) const SIGTERM: &str = "SIGTERM exits at once";
pub(crate) const UNREADABLE: &str = "A listener that cannot be read refuses the whole file";
pub(crate) const IMMEDIATE: &str =
    "Strategy immediate notifies by the next response, and idle connections in the window";
pub(crate) const FILTERS: &str = "Fields of Envoy that change who is served";
pub(crate) const DURATIONS: &str = "Durations are `600s` or `0.25s`";
pub(crate) const IDLE_TIMEOUT: &str =
    "`idle_timeout` drains a connection that long after its last stream";
pub(crate) const PREFIX: &str =
    "A source prefix that is longer than the address is taken, and matches no client";
pub(crate) const TWINS: &str = "Two listeners of the bootstrap with one name: the later one counts";
pub(crate) const NAMELESS: &str = "A listener without a name gets another one with every update";
pub(crate) const WEBSOCKETS: &str = "WebSockets are cut in the window of idle connections";
pub(crate) const RESTART: &str =
    "Hot restart: the new process gets the listening sockets, then the old one drains";
pub(crate) const HOSTS: &str = "A request without `host` is answered with 400";
pub(crate) const BOTH_LENGTHS: &str =
    "`content-length` beside `transfer-encoding` is answered with 400";
pub(crate) const TWO_WAYS: &str = "A request whose host has characters that no host has";
pub(crate) const FRAGMENT: &str = "A fragment in a path is answered with 400";
pub(crate) const METHOD: &str = "A method that is not registered is answered with 400 over HTTP/1";
pub(crate) const LENGTH: &str = "A drain lasts the full drain time even with no connections";

#[cfg(test)]
mod tests {
    #[test]
    fn every_row_that_excuses_a_deviation_is_in_the_ledger() {
        let ledger = std::fs::read_to_string(rig::root().join("docs/envoy-compat.md")).unwrap();
        let code = include_str!("rows.rs")
            .split("#[cfg(test)]")
            .next()
            .unwrap();
        let rows = code.split("&str").skip(1);
        let rows: Vec<&str> = rows.filter_map(|row| row.split('"').nth(1)).collect();
        let missing: Vec<&str> = rows
            .iter()
            .filter(|row| !ledger.contains(&format!("\n| {row}")))
            .copied()
            .collect();
        assert!(
            rows.len() > 5 && missing.is_empty(),
            "not in the ledger: {missing:?}"
        );
    }
}
