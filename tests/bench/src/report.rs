//! Figures beside their limits, for people and as JSON.

/// What was measured, in the order in which it was.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<(String, f64, &'static str)>,
}

impl Report {
    /// Adds a figure and shows it at once.
    pub(crate) fn add(&mut self, what: &str, value: f64, unit: &'static str) {
        lab::say(&format!("  {what:<62} {} {unit}", short(value)));
        self.rows.push((what.to_owned(), value, unit));
    }

    /// A heading for people only.
    pub(crate) fn heading(&self, text: &str) {
        lab::say(&format!("\n{text}"));
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let rows =
            self.rows.iter().map(|(what, value, unit)| serde_json::json!({"what": what, "value": value, "unit": unit}));
        serde_json::Value::Array(rows.collect())
    }
}

/// Three significant digits are all that a run repeats.
fn short(value: f64) -> String {
    if value >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which the share lies.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "few samples")]
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(place).copied().unwrap_or(f64::NAN)
}
