//! The timeline as inline SVG: each connection a bar in the colour of its listener version, with
//! what it heard on it.

use std::time::Duration;

use super::Outcome;
use super::record::{Class, Record, Saw, Updates};
use super::report::escaped;
use super::verdict::{ClassVerdict, Loss};

/// Colours for versions; they repeat, neighbours differ.
pub(crate) const COLOURS: u32 = 6;

const LABELS: f64 = 150.0;
const PLOT: f64 = 1010.0;
const RIGHT: f64 = 20.0;
const ROW: f64 = 8.0;
const BAR: f64 = 5.0;
const GAP: f64 = 22.0;

/// The height of a version's row with and without room for words in it, and from how many updates
/// on there is none.
const VERSION_ROW: f64 = 15.0;
const THIN_ROW: f64 = 3.0;
const MANY: usize = 40;

const RATE: f64 = 36.0;

/// Rows of a class beyond this are left out, and said to be.
const MOST_ROWS: usize = 60;

/// One bar of the rate of new connections stands for this long.
const BIN: Duration = Duration::from_millis(250);

/// The whole picture.
pub(crate) fn render(outcome: &Outcome) -> String {
    let end = outcome
        .records
        .iter()
        .filter_map(|record| record.ended)
        .max()
        .unwrap_or(outcome.end);
    let scale = Scale {
        end: end.max(outcome.end),
    };
    let mut y = 26.0;
    let mut body = versions(&outcome.updates, scale, &mut y);
    for class in &outcome.classes {
        y += GAP;
        let of_class: Vec<&Record> = outcome
            .records
            .iter()
            .filter(|record| record.class == class.class)
            .collect();
        body += &text(0.0, y + 7.0, "name", class.class.name());
        let top = y;
        body += &match class.class {
            Class::Connect => rate(&of_class, &outcome.updates, scale, &mut y),
            _ => bars(&of_class, &outcome.updates, scale, &mut y),
        };
        body += &losses(class, scale, top, y);
    }
    let height = y + 20.0;
    let grid = grid(&outcome.updates, scale, height);
    let width = LABELS + PLOT + RIGHT;
    format!(
        "<svg viewBox=\"0 0 {width} {height:.0}\" role=\"img\" aria-label=\"Timeline of all connections\">\n{grid}{body}</svg>\n"
    )
}

/// Time to the right.
#[derive(Debug, Clone, Copy)]
struct Scale {
    end: Duration,
}

impl Scale {
    fn x(self, time: Duration) -> f64 {
        LABELS + PLOT * time.as_secs_f64() / self.end.as_secs_f64().max(0.001)
    }
}

/// Seconds, and a line for each new version.
fn grid(updates: &Updates, scale: Scale, height: f64) -> String {
    let seconds = scale.end.as_secs();
    let step = [1, 2, 5, 10, 30, 60, 300]
        .into_iter()
        .find(|step| seconds / step <= 16)
        .unwrap_or(600);
    let mut out = String::new();
    for second in (0..=seconds).step_by(step as usize) {
        let x = scale.x(Duration::from_secs(second));
        out += &format!(
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"18\" y2=\"{height:.0}\"/>"
        );
        out += &format!("<text class=\"second\" x=\"{x:.1}\" y=\"11\">{second} s</text>\n");
    }
    let height = if updates.at.len() < MANY {
        height
    } else {
        26.0
    };
    for (version, at) in (2..).zip(&updates.at) {
        let x = scale.x(*at);
        out += &format!(
            "<line class=\"update\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"18\" y2=\"{height:.0}\"><title>version {version} \
             from {:.3} s on</title></line>\n",
            at.as_secs_f64()
        );
    }
    out
}

/// The life of each listener version: newest, then draining until its deadline.
fn versions(updates: &Updates, scale: Scale, y: &mut f64) -> String {
    let mut out = text(0.0, *y + 10.0, "name", "listener versions");
    let mut free: Vec<Duration> = Vec::new();
    let many = updates.at.len() >= MANY;
    let (top, height) = (*y, if many { THIN_ROW } else { VERSION_ROW });
    for version in (1u32..).take(updates.at.len() + 1) {
        let since = version
            .checked_sub(1)
            .and_then(|before| updates.replaced(before))
            .unwrap_or_default();
        let replaced = updates.replaced(version).unwrap_or(scale.end);
        let until = updates
            .deadline(version)
            .unwrap_or(scale.end)
            .min(scale.end);
        let row = place(&mut free, since, until);
        let row_y = top + row as f64 * height;
        let bar_height = height * 0.75;
        out += &bar(version, row_y, bar_height, scale, (since, replaced), "");
        out += &bar(
            version,
            row_y,
            bar_height,
            scale,
            (replaced, until),
            " told",
        );
        if many {
            continue;
        }
        if scale.x(replaced) - scale.x(since) > 16.0 {
            out += &text(
                scale.x(since) + 4.0,
                row_y + 9.0,
                "on",
                &format!("v{version}"),
            );
        }
        if scale.x(until) - scale.x(replaced) > 60.0 {
            out += &text(scale.x(replaced) + 5.0, row_y + 9.0, "draining", "draining");
        }
    }
    *y = top + free.len() as f64 * height;
    out
}

/// The first row that is free at a time; it is taken until the other.
fn place(free: &mut Vec<Duration>, since: Duration, until: Duration) -> usize {
    let row = free
        .iter()
        .position(|free| *free <= since)
        .unwrap_or(free.len());
    if row == free.len() {
        free.push(until);
    } else {
        free[row] = until;
    }
    row
}

/// Each connection a bar, packed into as few rows as there are connections at a time.
fn bars(records: &[&Record], updates: &Updates, scale: Scale, y: &mut f64) -> String {
    let (mut out, mut marks, mut free) = (String::new(), String::new(), Vec::new());
    let mut left_out = 0;
    for record in records {
        let ended = record.ended.unwrap_or(scale.end);
        // A little room between two bars of a row.
        let row = place(&mut free, record.opened, ended + scale.end / 200);
        if row >= MOST_ROWS {
            left_out += 1;
            continue;
        }
        let row_y = *y + row as f64 * ROW;
        let (version, told) = (updates.version_of(record), record.told().unwrap_or(ended));
        out += &bar(version, row_y, BAR, scale, (record.opened, told), "");
        out += &bar(version, row_y, BAR, scale, (told, ended), " told");
        for (at, saw) in &record.saw {
            marks += &mark(*saw, scale.x(*at), row_y + BAR / 2.0, *at, version, updates);
        }
    }
    let rows = free.len().clamp(1, MOST_ROWS);
    if left_out > 0 {
        out += &text(0.0, *y + 20.0, "few", &format!("{left_out} more not drawn"));
    }
    *y += rows as f64 * ROW;
    out + &marks
}

fn bar(
    version: u32,
    y: f64,
    height: f64,
    scale: Scale,
    (from, to): (Duration, Duration),
    class: &str,
) -> String {
    let (x, width) = (scale.x(from), scale.x(to) - scale.x(from));
    if width <= 0.0 {
        return String::new();
    }
    let colour = version % COLOURS;
    format!(
        "<rect class=\"c{colour}{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         rx=\"1.5\"><title>version {version}</title></rect>\n"
    )
}

fn mark(saw: Saw, x: f64, y: f64, at: Duration, version: u32, updates: &Updates) -> String {
    let (class, word) = match saw {
        Saw::CloseHeader => ("close", "connection: close".to_owned()),
        Saw::FirstGoaway => ("first", "GOAWAY(2^31-1)".to_owned()),
        Saw::FinalGoaway { last_stream_id } => ("final", format!("GOAWAY({last_stream_id})")),
        Saw::Fin => ("fin", "FIN".to_owned()),
        Saw::Reset => ("rst", "RST".to_owned()),
        Saw::Left => return String::new(),
    };
    let after = updates
        .replaced(version)
        .and_then(|replaced| at.checked_sub(replaced));
    let after = after
        .map(|after| format!(", {} ms after it was replaced", after.as_millis()))
        .unwrap_or_default();
    let title = format!("{word}, version {version}{after}");
    format!(
        "<g transform=\"translate({x:.1} {y:.1})\">{}<title>{title}</title></g>\n",
        symbol(class)
    )
}

/// The shape that stands for a word; the legend shows the same.
pub(crate) fn symbol(class: &str) -> &'static str {
    match class {
        "close" => "<circle class=\"mark\" r=\"3\"/>",
        "first" => "<path class=\"mark\" d=\"M0-4 4 0 0 4-4 0Z\"/>",
        "final" => "<path class=\"mark full\" d=\"M0-4 4 0 0 4-4 0Z\"/>",
        "fin" => "<path class=\"end\" d=\"M0-4V4\"/>",
        "rst" => "<path class=\"rst\" d=\"M-3-4 0 0-3 4\"/>",
        _ => "<path class=\"loss\" d=\"M-4.5-4.5 4.5 4.5M4.5-4.5-4.5 4.5\"/>",
    }
}

/// New connections: how many were answered, by version.
fn rate(records: &[&Record], updates: &Updates, scale: Scale, y: &mut f64) -> String {
    let mut bins = std::collections::BTreeMap::<(u128, u32), u32>::new();
    for record in records.iter().filter(|record| record.ok > 0) {
        let bin = record.opened.as_millis() / BIN.as_millis();
        *bins.entry((bin, updates.version_of(record))).or_default() += 1;
    }
    let mut sums = std::collections::BTreeMap::<u128, u32>::new();
    for ((bin, _), count) in &bins {
        *sums.entry(*bin).or_default() += count;
    }
    let most = f64::from(sums.values().copied().max().unwrap_or(1));
    let (mut out, mut stacked) = (
        String::new(),
        std::collections::BTreeMap::<u128, f64>::new(),
    );
    for ((bin, version), count) in bins {
        let from = BIN * bin as u32;
        let height = RATE * f64::from(count) / most;
        let below = stacked.entry(bin).or_default();
        let top = *y + RATE - *below - height;
        *below += height;
        let (x, width) = (scale.x(from), scale.x(from + BIN) - scale.x(from) - 0.6);
        out += &format!(
            "<rect class=\"c{}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{count} \
             new connections answered by version {version}</title></rect>\n",
            version % COLOURS,
            width.max(0.4),
        );
    }
    *y += RATE;
    out
}

/// The losses of a class, across the height of its lane.
fn losses(class: &ClassVerdict, scale: Scale, top: f64, bottom: f64) -> String {
    let mark = |loss: &Loss| {
        let (x, y) = (scale.x(loss.at), (top + bottom) / 2.0);
        let title = escaped(&format!(
            "lost: {} (version {}): {}",
            loss.kind, loss.version, loss.detail
        ));
        format!(
            "<line class=\"lost\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>\
             <g transform=\"translate({x:.1} {y:.1})\">{}<title>{title}</title></g>\n",
            symbol("loss")
        )
    };
    class.lost.iter().take(500).map(mark).collect()
}

fn text(x: f64, y: f64, class: &str, text: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
        escaped(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_used_again_once_it_is_free() {
        let s = Duration::from_secs;
        let mut free = Vec::new();
        assert_eq!(place(&mut free, s(0), s(5)), 0);
        assert_eq!(place(&mut free, s(1), s(2)), 1);
        assert_eq!(place(&mut free, s(2), s(3)), 1);
        assert_eq!(place(&mut free, s(4), s(6)), 1);
        assert_eq!(free.len(), 2);
    }
}
