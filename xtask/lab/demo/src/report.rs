//! The report: one HTML page without anything from elsewhere, for a light and a dark screen.

use super::table::{by_kind, bytes, grouped, spread};
use super::timeline::{self, symbol};
use super::verdict::ClassVerdict;
use super::{Options, Outcome};

const STYLE: &str = include_str!("report.css");

/// The whole page.
pub(crate) fn render(outcome: &Outcome, options: &Options) -> String {
    let updates = outcome.updates.at.len();
    let lost: usize = outcome.classes.iter().map(|class| class.lost.len()).sum();
    let verdict = match (outcome.good(), lost) {
        (true, _) => "nothing lost".to_owned(),
        (false, 0) => "nothing lost, but not well".to_owned(),
        (false, lost) => format!("{} lost", grouped(lost as u64)),
    };
    let title = match options.hot_restart {
        true => format!("{updates} hot restarts, {verdict}"),
        false => format!("{updates} listener updates, {verdict}"),
    };
    let what = match options.hot_restart {
        true => "the proxy is replaced by a new process that takes its sockets, every",
        false => "their configuration is replaced every",
    };
    let class = if outcome.good() { "good" } else { "bad" };
    let drain_time = options.drain_time().as_secs_f64();
    let flags = escaped(&options.proxy_flags().join(" "));
    let interval = options.interval().as_secs_f64();
    let (tiles, legend, timeline) = (tiles(outcome, lost), legend(), timeline::render(outcome));
    let (table, troubles) = (table(&outcome.classes), troubles(outcome));
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<header>
<h1 class="{class}">{title}</h1>
<p>A crowd of HTTP/1.1, HTTP/2, WebSocket and TCP clients uses two listeners while {what}
{interval} s. What is replaced has {drain_time} s to drain. <code>edge {flags}</code></p>
</header>
{tiles}
{troubles}
<section>
<h2>Every connection, from its connect to its end</h2>
{legend}
<div class="scroll">
{timeline}</div>
</section>
<section>
<h2>What each class did, lost and heard</h2>
<p>Times: smallest, median and largest, after the connection's version was replaced.</p>
<div class="scroll">
{table}</div>
</section>
</main>
</body>
</html>
"#
    )
}

fn tiles(outcome: &Outcome, lost: usize) -> String {
    let sum = |of: fn(&ClassVerdict) -> u64| outcome.classes.iter().map(of).sum::<u64>();
    let tiles = [
        (
            grouped(outcome.updates.at.len() as u64),
            if outcome.event == "update" {
                "updates"
            } else {
                "hot restarts"
            },
        ),
        (
            grouped(sum(|class| class.connections as u64)),
            "connections",
        ),
        (grouped(sum(|class| class.ok)), "exchanges right"),
        (bytes(sum(|class| class.bytes)), "of streams verified"),
        (grouped(lost as u64), "lost"),
    ];
    let tiles =
        tiles.map(|(number, what)| format!("<div><b>{number}</b><span>{what}</span></div>\n"));
    format!("<div class=\"tiles\">\n{}</div>", tiles.concat())
}

fn legend() -> String {
    let words = [
        ("close", "connection: close"),
        ("first", "first GOAWAY (2³¹−1)"),
        ("final", "final GOAWAY"),
        ("fin", "FIN"),
        ("rst", "RST"),
        ("loss", "lost"),
    ];
    let words = words.map(|(class, word)| {
        format!(
            "<span><svg viewBox=\"-6 -6 12 12\" width=\"14\" height=\"14\">{}</svg>{word}</span>\n",
            symbol(class)
        )
    });
    let colour = "<span><i class=\"c1\"></i><i class=\"c1 told\"></i>colour: listener version; pale once told to leave\
                  </span>\n<span><svg viewBox=\"-6 -6 12 12\" width=\"14\" height=\"14\"><line class=\"update\" \
                  y1=\"-6\" y2=\"6\"/></svg>next version</span>\n";
    format!("<p class=\"legend\">\n{colour}{}</p>", words.concat())
}

fn troubles(outcome: &Outcome) -> String {
    let mut items = Vec::new();
    for class in &outcome.classes {
        let name = class.class.name();
        if let Some(first) = class.lost.first() {
            let kinds = by_kind(&class.lost);
            let at = first.at.as_secs_f64();
            items.push(format!(
                "{name}: lost {kinds}. The first, at {at:.3} s: {}",
                first.detail
            ));
        }
        items.extend(
            class
                .complaints
                .iter()
                .map(|complaint| format!("{name}: {complaint}")),
        );
    }
    items.extend(outcome.complaints.iter().cloned());
    if items.is_empty() {
        return String::new();
    }
    let items: String = items
        .iter()
        .map(|item| format!("<li>{}</li>\n", escaped(item)))
        .collect();
    format!("<ul class=\"troubles\">\n{items}</ul>")
}

fn table(classes: &[ClassVerdict]) -> String {
    let head = [
        "class",
        "connections",
        "ok",
        "bytes",
        "lost",
        "close header",
        "first GOAWAY",
        "to final GOAWAY",
        "FIN",
    ];
    let head: String = head
        .iter()
        .map(|name| format!("<th scope=\"col\">{name}</th>"))
        .collect();
    let rows: String = classes.iter().map(row).collect();
    format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n")
}

fn row(class: &ClassVerdict) -> String {
    let cells = [
        grouped(class.connections as u64),
        grouped(class.ok),
        bytes(class.bytes),
        class.lost.len().to_string(),
        spread(class.close_header),
        spread(class.first_goaway),
        spread(class.goaway_gap),
        spread(class.fin),
    ];
    let cells: String = cells
        .iter()
        .map(|cell| format!("<td>{cell}</td>"))
        .collect();
    let bad = if class.good() { "" } else { " class=\"bad\"" };
    format!(
        "<tr{bad}><th scope=\"row\">{}</th>{cells}</tr>\n",
        class.class.name()
    )
}

/// Text that may stand in HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escaped(r#"<a href="&">"#),
            "&lt;a href=&quot;&amp;&quot;&gt;"
        );
    }
}
