//! What was tried.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Add, AddAssign},
};

/// What was tried on one level: the engine's, or the log's alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Worlds that were lived to their end.
    pub worlds: u64,
    /// Moments at which the power went, in recoveries too.
    pub points: u64,
    /// Of those, all whose writes that were not synced were kept and lost in every combination.
    pub all_subsets: u64,
    /// Of those, all whose writes were torn between sectors in every combination, too.
    pub all_tears: u64,
    /// Outcomes of crashes.
    pub reached: u64,
    /// Of those, the ones that differ in bytes or in what was acknowledged; each was judged.
    pub judged: u64,
    /// Of those, crashes in the recovery from a crash.
    pub nested: u64,
    /// Of those, crashes in the recovery from a crash in a recovery.
    pub deeper: u64,
}

impl AddAssign for Level {
    fn add_assign(&mut self, other: Level) {
        self.worlds += other.worlds;
        self.points += other.points;
        self.all_subsets += other.all_subsets;
        self.all_tears += other.all_tears;
        self.reached += other.reached;
        self.judged += other.judged;
        self.nested += other.nested;
        self.deeper += other.deeper;
    }
}

impl Add for Level {
    type Output = Level;

    fn add(mut self, other: Level) -> Level {
        self += other;
        self
    }
}

/// What was tried, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// With whole engines.
    pub engines: Level,
    /// With the log alone.
    pub logs: Level,
    /// Lives in which an operation failed, by what failed.
    pub failures: BTreeMap<String, u64>,
    /// Looks at damaged directories, by what was done to them and what came of it.
    pub damage: BTreeMap<(String, &'static str), u64>,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

/// Something wrong, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What `--replay` takes.
    pub place: String,
    /// What it is about.
    pub title: String,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {}", self.place, self.title, self.why)
    }
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Tally) {
        self.engines += other.engines;
        self.logs += other.logs;
        for (what, count) in other.failures {
            *self.failures.entry(what).or_default() += count;
        }
        for (what, count) in other.damage {
            *self.damage.entry(what).or_default() += count;
        }
        self.violations.extend(other.violations);
    }

    /// Adds one look at a damaged directory.
    pub fn looked(&mut self, what: &str, outcome: &'static str) {
        *self.damage.entry((what.to_owned(), outcome)).or_default() += 1;
    }

    /// One line.
    pub fn brief(&self) -> String {
        let failures: u64 = self.failures.values().sum();
        let damage: u64 = self.damage.values().sum();
        format!(
            "{} worlds, {} engine states, {} log states, {failures} failures, {damage} damaged, {} violations",
            self.engines.worlds + self.logs.worlds,
            self.engines.judged,
            self.logs.judged,
            self.violations.len()
        )
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (engines, logs) = (self.engines, self.logs);
        let rows: [(&str, fn(&Level) -> u64); 8] = [
            ("worlds", |level| level.worlds),
            ("crash points", |level| level.points),
            ("  with all subsets", |level| level.all_subsets),
            ("  with all tears", |level| level.all_tears),
            ("outcomes reached", |level| level.reached),
            ("distinct, judged", |level| level.judged),
            ("  in a recovery", |level| level.nested),
            ("  in its recovery", |level| level.deeper),
        ];
        writeln!(f, "{:<22}{:>14}{:>14}{:>14}", "", "engine", "log alone", "both")?;
        for (title, field) in rows {
            let (engine, log, both) = (field(&engines), field(&logs), field(&(engines + logs)));
            writeln!(f, "{title:<22}{engine:>14}{log:>14}{both:>14}")?;
        }
        for (what, count) in &self.failures {
            writeln!(f, "{:<50}{count:>14}", format!("failure: {what}"))?;
        }
        for ((what, outcome), count) in &self.damage {
            writeln!(f, "{:<50}{count:>14}", format!("{what}: {outcome}"))?;
        }
        write!(f, "violations: {}", self.violations.len())?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
