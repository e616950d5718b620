//! One line of the result.

use std::fmt;

/// A target, and how a value is held against it.
#[expect(clippy::exhaustive_enums, reason = "a bench makes them")]
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At most so many times the floor.
    Ratio(f64),
    /// At most so many units.
    Value(f64),
    /// For information.
    None,
}

/// One line.
#[expect(clippy::exhaustive_structs, reason = "a bench makes them")]
#[derive(Debug)]
pub struct Row {
    /// What is measured.
    pub row: String,
    /// The unit of `value` and `floor`.
    pub unit: &'static str,
    /// Ours.
    pub value: f64,
    /// The least that could do it.
    pub floor_name: &'static str,
    /// What the floor takes.
    pub floor: f64,
    /// Ours to the floor: the median over the rounds.
    pub ratio: f64,
    /// What ratio or value is wanted.
    pub target: Target,
    /// Name and median of each peer.
    pub peers: Vec<(&'static str, f64)>,
}

impl Row {
    /// Whether the target holds; `None`: there is none, or it was not measured.
    pub fn holds(&self) -> Option<bool> {
        match self.target {
            // What a busy machine has left unmeasured holds nothing and breaks nothing.
            Target::Ratio(most) => (!self.ratio.is_nan()).then_some(self.ratio <= most),
            Target::Value(most) => (!self.value.is_nan()).then_some(self.value <= most),
            Target::None => None,
        }
    }

    fn best_peer(&self) -> Option<&(&'static str, f64)> {
        self.peers.iter().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn target(&self) -> String {
        match self.target {
            Target::Ratio(most) => format!("<= {most}x"),
            Target::Value(most) => format!("<= {most} {}", self.unit),
            Target::None => String::new(),
        }
    }

    /// One JSON object. Names are plain words, so nothing needs escaping.
    pub fn to_json(&self) -> String {
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
        let holds = self
            .holds()
            .map_or("null".to_owned(), |holds| holds.to_string());
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
            "{}: {:.2} {}, {:.3}x {} ({:.2}); target {} {verdict}",
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
