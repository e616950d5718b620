//! The figures that matter most, each for all proxies: on README's first screen, and as a picture.

use crate::figure::Figure;
use crate::proxies::Kind;

/// One figure of each proxy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Headline {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// By proxy, those that were played.
    pub(crate) values: Vec<(&'static str, f64)>,
}

/// Those of which the figures say anything.
pub(crate) fn of(figures: &[&Figure]) -> Vec<Headline> {
    // The storm with the most changes comes last.
    let mut storms = figures
        .iter()
        .filter(|figure| figure.table.starts_with("Lost with "));
    let storm = storms.next_back().map_or("", |figure| &figure.table);
    let many = storm.trim_start_matches("Lost with ");
    let processor = "Processor time per request, in µs";
    let asked = [
        (format!("HTTP requests lost with {many}"), "", storm, None),
        (
            "HTTP requests lost by a restart".to_owned(),
            "",
            "Lost by a restart",
            None,
        ),
        (
            "processor time of a proxied HTTP/1.1 request".to_owned(),
            " µs",
            processor,
            Some("HTTP/1.1, proxied"),
        ),
    ];
    let lines = asked.into_iter().map(|(name, unit, table, row)| Headline {
        name,
        unit,
        values: Kind::COMPARED
            .iter()
            .filter_map(|kind| Some((kind.name(), sum(figures, table, row, kind.name())?)))
            .collect(),
    });
    lines.filter(|line| !line.values.is_empty()).collect()
}

/// The middle value of a row, or the sum of those of all HTTP classes.
fn sum(figures: &[&Figure], table: &str, row: Option<&str>, column: &str) -> Option<f64> {
    let counts = |figure: &&&Figure| {
        let tunnel = figure.row.starts_with("TCP") || figure.row.starts_with("WebSocket");
        let row = row.map_or(figure.unit == "lost" && !tunnel, |row| figure.row == row);
        figure.table == table && figure.column == column && row
    };
    let of = figures.iter().filter(counts);
    of.filter_map(|figure| Some(figure.spread()?.median))
        .reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figures;

    #[test]
    fn the_losses_of_all_http_classes_are_added_and_tunnels_left_out() {
        let mut figures = Figures::default();
        let table = "Lost with 100 changes in 20 s";
        figures
            .at(table, "keep-alive", "Envoy", "lost")
            .add(2.0, 0.0);
        figures
            .at(table, "HTTP/2, small", "Envoy", "lost")
            .add(3.0, 0.0);
        figures
            .at(table, "TCP, endless", "Envoy", "lost")
            .add(9.0, 0.0);
        figures
            .at(table, "*answered*", "Envoy", "requests")
            .add(1e6, 0.0);
        let lines = of(&figures.0.iter().collect::<Vec<_>>());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0].name, "HTTP requests lost with 100 changes in 20 s");
        assert_eq!(lines[0].values, [("Envoy", 5.0)]);
    }
}
