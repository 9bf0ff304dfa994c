//! `lineal restore --from`: a data directory out of an archive.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lineal::{
    Lsn,
    archive::{RestoreOptions, RestorePlan, RestoreReport, RestoreStep},
};

use super::{place, points};
use crate::{
    amounts::{count, duration, size},
    args::RestoreFrom,
    exit::{Code, Failure, Outcome},
    json::{self, Line},
    progress::{Progress, say},
    stdout::Output,
    when::When,
};

/// What the estimate takes for granted of the way to the store.
///
/// Source: a guess, which is told with the estimate; a gigabit a second.
const BYTES_PER_SECOND: u64 = 100 << 20;

/// Packs that are fetched at a time where nobody says how many, as the engine has it.
const PARALLEL: u8 = 4;

pub(crate) fn run(args: &RestoreFrom) -> Outcome {
    let options = options(args)?;
    if args.to.is_none() && !args.dry_run && !args.verify_only {
        return Err(Failure::usage("name the directory to make with --to"));
    }
    let archive = place::of(&args.from);
    if args.dry_run || args.only.is_none() {
        let began = Instant::now();
        let plan = lineal::archive::plan(&archive, &options)?;
        let estimate = Estimate::of(&plan, began.elapsed(), args.parallel.unwrap_or(PARALLEL));
        if args.dry_run {
            let mut out = Output::new();
            out.line(&if args.json {
                plan_json(&plan, &estimate)
            } else {
                plan_plain(&plan, &estimate, args)
            })?;
            return out.flush();
        }
        if !args.json {
            say(&plan_plain(&plan, &estimate, args));
        }
    }
    let mut steps = Steps::default();
    let mut told = |step| steps.show(step);
    let report = match &args.to {
        Some(to) if !args.verify_only => lineal::archive::restore(&archive, to, &options, &mut told),
        place => {
            let scratch = Scratch::at(place.as_deref())?;
            lineal::archive::verify_only(&archive, &scratch.path, &options, &mut told)
        }
    };
    steps.end();
    let report = report?;
    let mut out = Output::new();
    out.line(&if args.json { report_json(&report, args) } else { report_plain(&report, args) })?;
    out.flush()?;
    if report.failed.is_empty() { Ok(()) } else { Err(Failure::Silent(Code::Other)) }
}

fn options(args: &RestoreFrom) -> Outcome<RestoreOptions> {
    let mut options = RestoreOptions::new().parallel(usize::from(args.parallel.unwrap_or(PARALLEL)));
    if let Some(engine) = args.from.engine {
        options = options.engine(engine);
    }
    if let Some((ns, selector)) = &args.only {
        options = options.only(ns, selector.clone());
    }
    Ok(match args.at {
        None => options,
        Some(When::Time(time)) => options.at(time),
        Some(When::Seq(lsn)) => options.at(Lsn(lsn)),
        Some(When::Mark(_)) => {
            let reason =
                "an archive goes back to a time or a position of the log, and a bookmark is of one object";
            return Err(Failure::usage(reason));
        }
    })
}

/// Where an archive is restored to be verified only.
struct Scratch {
    path: PathBuf,
    /// Removed with what is in it, if nobody named a place.
    _made: Option<tempfile::TempDir>,
}

impl Scratch {
    fn at(given: Option<&Path>) -> Outcome<Scratch> {
        if let Some(path) = given {
            return Ok(Scratch { path: path.to_path_buf(), _made: None });
        }
        let made = tempfile::Builder::new().prefix("lineal-verify-").tempdir();
        let made = made.map_err(|error| Failure::io("a temporary directory could not be made", &error))?;
        Ok(Scratch { path: made.path().join("restored"), _made: Some(made) })
    }
}

/// How long a restore will take, about.
struct Estimate {
    request: Duration,
    seconds: f64,
}

impl Estimate {
    /// `took` is what the plan's own requests took.
    fn of(plan: &RestorePlan, took: Duration, parallel: u8) -> Estimate {
        // One for the list of engines, one for the manifest, one for each chunk and for the end behind them.
        let asked = u32::try_from(plan.chunks.saturating_add(3)).unwrap_or(u32::MAX);
        let request = took / asked;
        let waiting = request.as_secs_f64() * plan.requests as f64 / f64::from(parallel);
        let reading = (plan.pack_bytes + plan.chunk_bytes) as f64 / BYTES_PER_SECOND as f64;
        Estimate { request, seconds: waiting + reading }
    }
}

fn plan_json(plan: &RestorePlan, estimate: &Estimate) -> String {
    let mut line = Line::new();
    line.flag("dry_run", true).text("engine", &plan.engine.to_string());
    line.json("newest", &points::point(plan.newest));
    line.number("packs", plan.packs).number("pack_bytes", plan.pack_bytes);
    line.number("chunks", plan.chunks).number("chunk_bytes", plan.chunk_bytes);
    line.number("requests", plan.requests).decimal("seconds", estimate.seconds).end()
}

fn plan_plain(plan: &RestorePlan, estimate: &Estimate, args: &RestoreFrom) -> String {
    let part = if args.only.is_some() { "at most " } else { "" };
    let nothing = if args.dry_run { "; nothing was done" } else { "" };
    format!(
        "engine {} up to {}: {part}{} packs ({}), {} chunks of the log ({}), about {} requests; about {} at {}/s and {:.1} ms for a request{nothing}",
        plan.engine,
        points::shown(plan.newest),
        count(plan.packs),
        size(plan.pack_bytes),
        count(plan.chunks),
        size(plan.chunk_bytes),
        count(plan.requests),
        duration(estimate.seconds),
        size(BYTES_PER_SECOND),
        estimate.request.as_secs_f64() * 1_000.0
    )
}

fn report_json(report: &RestoreReport, args: &RestoreFrom) -> String {
    let mut line = Line::new();
    line.flag("verified", true).flag("verify_only", args.verify_only);
    if let Some(to) = args.to.as_ref().filter(|_| !args.verify_only) {
        line.text("dir", &to.display().to_string());
    }
    line.text("engine", &report.engine.to_string()).number("newest_lsn", report.newest.0);
    line.number("packs", report.packs).number("pack_bytes", report.pack_bytes);
    line.number("objects", report.objects).number("requests", report.requests);
    let failed = report
        .failed
        .iter()
        .map(|(object, reason)| Line::new().text("obj", object).text("message", reason).end());
    line.decimal("seconds", report.seconds).json("failed", &json::list(failed)).end()
}

fn report_plain(report: &RestoreReport, args: &RestoreFrom) -> String {
    let what = match args.to.as_ref().filter(|_| !args.verify_only) {
        Some(to) => format!("{} is restored and verified", to.display()),
        None => "everything can be restored: it was, was verified, and is removed again".to_owned(),
    };
    let mut text = format!(
        "{what}: {} objects up to lsn {}, {} packs ({}), {} requests, {}",
        count(report.objects),
        report.newest.0,
        count(report.packs),
        size(report.pack_bytes),
        count(report.requests),
        duration(report.seconds)
    );
    for (object, reason) in &report.failed {
        text += &format!("\n{object} is as it is in the archive now: {reason}");
    }
    text
}

/// How far it is: a bar for each step.
#[derive(Default)]
struct Steps(Option<(&'static str, Progress)>);

impl Steps {
    fn show(&mut self, step: RestoreStep) {
        match step {
            RestoreStep::Fetching { bytes, of } => {
                self.begin("packs fetched", |what| Progress::bytes(what, of)).at(bytes);
            }
            RestoreStep::Verifying { objects } => {
                self.begin("objects verified", Progress::counting).at(objects)
            }
            RestoreStep::Returning { objects } => {
                self.begin("objects restored", Progress::counting).at(objects)
            }
            _ => {}
        }
    }

    /// The bar of this step; that of another one ends.
    fn begin(&mut self, what: &'static str, make: impl FnOnce(&str) -> Progress) -> &mut Progress {
        if self.0.as_ref().is_some_and(|(shown, _)| *shown != what) {
            self.end_shown();
        }
        &mut self.0.get_or_insert_with(|| (what, make(what))).1
    }

    fn end_shown(&mut self) {
        if let Some((_, shown)) = self.0.take() {
            shown.end();
        }
    }

    fn end(mut self) {
        self.end_shown();
    }
}
