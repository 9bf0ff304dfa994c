//! What a measurement prints.

/// One figure beside what it should reach.
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The value, in `unit`.
    pub value: f64,
    /// The unit.
    pub unit: &'static str,
    /// What it should reach.
    pub target: Target,
    /// The floor or other context that belongs beside it.
    pub beside: String,
}

/// What a figure should reach.
#[derive(Clone, Copy)]
pub enum Target {
    /// At least this much.
    AtLeast(f64),
    /// At most this much.
    AtMost(f64),
}

impl Figure {
    /// Whether it is reached.
    pub fn reached(&self) -> bool {
        match self.target {
            Target::AtLeast(bound) => self.value >= bound,
            Target::AtMost(bound) => self.value <= bound,
        }
    }

    /// Prints it as one row of a Markdown table.
    pub fn print(&self) {
        let (sign, bound) = match self.target {
            Target::AtLeast(bound) => ("≥", bound),
            Target::AtMost(bound) => ("≤", bound),
        };
        let verdict = if self.reached() { "reached" } else { "MISSED" };
        println!(
            "| {} | {} {} | {sign} {} | {verdict} | {} |",
            self.what,
            number(self.value),
            self.unit,
            number(bound),
            self.beside
        );
    }
}

/// A number with about three digits that mean something.
pub fn number(value: f64) -> String {
    if value >= 100.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The value at a share of a sorted list.
pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let at = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
