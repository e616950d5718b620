//! One line of the result.

use std::fmt;

/// A target, and how a value is held against it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At most so many times the floor.
    Ratio(f64),
    /// For information.
    None,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) row: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) floor_name: &'static str,
    pub(crate) floor: f64,
    pub(crate) ratio: f64,
    pub(crate) target: Target,
    /// Name and median of each peer.
    pub(crate) peers: Vec<(&'static str, f64)>,
}

impl Row {
    pub(crate) fn holds(&self) -> Option<bool> {
        match self.target {
            Target::Ratio(most) => Some(self.ratio <= most),
            Target::None => None,
        }
    }

    fn best_peer(&self) -> Option<&(&'static str, f64)> {
        self.peers.iter().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn target(&self) -> String {
        match self.target {
            Target::Ratio(most) => format!("<= {most}x"),
            Target::None => String::new(),
        }
    }

    /// One JSON object. Names are plain words, so nothing needs escaping.
    pub(crate) fn to_json(&self) -> String {
        let peers: Vec<String> = self
            .peers
            .iter()
            .map(|(name, value)| format!("\"{name}\": {value:.3}"))
            .collect();
        let best = self.best_peer().map_or("null".to_owned(), |(name, value)| {
            format!(
                "{{\"name\": \"{name}\", \"value\": {value:.3}, \"times_ours\": {:.2}}}",
                value / self.value
            )
        });
        let holds = self.holds().map_or("null".to_owned(), |holds| holds.to_string());
        format!(
            "{{\"row\": \"{}\", \"value\": {:.3}, \"unit\": \"{}\", \"floor\": {:.3}, \"floor_name\": \"{}\", \"ratio\": {:.3}, \
             \"best_peer\": {best}, \"peers\": {{{}}}, \"target\": \"{}\", \"holds\": {holds}}}",
            self.row,
            self.value,
            self.unit,
            self.floor,
            self.floor_name,
            self.ratio,
            peers.join(", "),
            self.target(),
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.holds() {
            Some(true) => "holds",
            Some(false) => "DOES NOT HOLD",
            None => "",
        };
        write!(
            f,
            "{}: {:.2} {}, {:.2}x {} ({:.2}); target {} {verdict}",
            self.row,
            self.value,
            self.unit,
            self.ratio,
            self.floor_name,
            self.floor,
            self.target()
        )?;
        for (name, value) in &self.peers {
            write!(
                f,
                "\n    {name}: {value:.2} {} ({:.1}x ours)",
                self.unit,
                value / self.value
            )?;
        }
        Ok(())
    }
}
