//! `/connections`: the connections that are wanted, a piece at a time.

use std::sync::Arc;

use bytes::Bytes;
use conn_tracker::{ConnId, ConnState};

use super::query::Query;
use super::text::Table;
use super::{AdminHost, ConnectionView};

/// How many connections are looked at for one piece of the answer.
const PIECE: usize = 1000;

/// What a request for connections asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    limit: usize,
    offset: usize,
    state: Option<String>,
    listener: Option<String>,
    is_text: bool,
}

pub(super) const USAGE: &str = "usage: /connections?limit=N&offset=N&state=(active|draining|closing)&\
    listener=NAME&format=(json|text) or /connections?summary&limit=N\n";

impl Wanted {
    /// What a query asks for; `None` if it cannot be meant.
    pub(super) fn of(query: &Query) -> Option<Self> {
        let is_text = match query.get("format") {
            None | Some("" | "json") => false,
            Some("text") => true,
            Some(_) => return None,
        };
        let states = [ConnState::Active, ConnState::Draining, ConnState::Closing];
        let state = query.get("state").map(ToOwned::to_owned);
        if let Some(state) = &state {
            if !states.iter().any(|known| known.as_str() == state) {
                return None;
            }
        }
        Some(Self {
            limit: number(query, "limit", usize::MAX)?,
            offset: number(query, "offset", 0)?,
            state,
            listener: query.get("listener").map(ToOwned::to_owned),
            is_text,
        })
    }

    pub(super) const fn content_type(&self) -> &'static str {
        match self.is_text {
            true => "text/plain; charset=UTF-8",
            false => "application/json",
        }
    }

    fn takes(&self, connection: &ConnectionView) -> bool {
        let is =
            |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|wanted| wanted == it);
        is(&self.state, &connection.state) && is(&self.listener, &connection.listener)
    }
}

/// A number of a query, or what it is without one; `None` if it is not a number.
pub(super) fn number(query: &Query, name: &str, default: usize) -> Option<usize> {
    match query.get(name) {
        None | Some("") => Some(default),
        Some(number) => number.parse().ok(),
    }
}

/// The pieces of the answer.
pub(super) struct Rows<H: ?Sized> {
    wanted: Wanted,
    table: Option<Table>,
    /// How many of those that are wanted are before the first one that is listed.
    passed: usize,
    listed: usize,
    begun: bool,
    after: Option<ConnId>,
    is_over: bool,
    host: Arc<H>,
}

impl<H: AdminHost + ?Sized> Rows<H> {
    pub(super) fn new(host: Arc<H>, wanted: Wanted) -> Self {
        Self {
            table: wanted.is_text.then(Table::default),
            wanted,
            passed: 0,
            listed: 0,
            begun: false,
            after: None,
            is_over: false,
            host,
        }
    }

    /// Those of the next page that are listed, and whether there are more of them after the last
    /// one.
    fn page(&mut self) -> (Vec<ConnectionView>, bool) {
        let wanted = &self.wanted;
        // One more than is listed, to see whether there is one.
        let left = wanted.limit - self.listed;
        let left = left.saturating_add(wanted.offset - self.passed);
        let page = match wanted.state.is_some() || wanted.listener.is_some() {
            true => PIECE,
            false => PIECE.min(left.saturating_add(1)),
        };
        let page = self.host.connections(self.after, page);
        self.after = page.next;
        self.is_over = page.next.is_none();
        let mut listed = Vec::new();
        for connection in page.connections {
            if !wanted.takes(&connection) {
            } else if self.passed < wanted.offset {
                self.passed += 1;
            } else if self.listed == wanted.limit {
                self.is_over = true;
                return (listed, true);
            } else {
                self.listed += 1;
                listed.push(connection);
            }
        }
        (listed, false)
    }

    fn json(&mut self) -> String {
        let mut text = String::new();
        if !self.begun {
            text.push_str("{\n  \"connections\": [");
        }
        let before = self.listed;
        let (connections, has_more) = self.page();
        for (at, connection) in connections.iter().enumerate() {
            text.push_str(if before + at == 0 {
                "\n    "
            } else {
                ",\n    "
            });
            // Strings and numbers: that does not fail.
            text.push_str(&serde_json::to_string(connection).unwrap_or_default());
        }
        if self.is_over {
            text.push_str(if self.listed == 0 { "]" } else { "\n  ]" });
            if has_more {
                let next = self.wanted.offset.saturating_add(self.listed);
                text.push_str(&format!(",\n  \"next_offset\": {next}"));
            }
            let total = self.host.connection_count();
            text.push_str(&format!(",\n  \"total\": {total}\n}}\n"));
        }
        text
    }

    fn text(&mut self, mut table: Table) -> String {
        let (connections, has_more) = self.page();
        let mut text = table.rows(&connections);
        self.table = Some(table);
        if has_more {
            let next = self.wanted.offset.saturating_add(self.listed);
            text.push_str(&format!("more: offset={next}\n"));
        }
        text
    }
}

impl<H: AdminHost + ?Sized> Iterator for Rows<H> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let piece = match self.table.take() {
            Some(table) => self.text(table),
            None => self.json(),
        };
        self.begun = true;
        Some(piece.into())
    }
}
