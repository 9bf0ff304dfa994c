//! `lineal verify`: checks everything and says what it checked; or proves that nothing of purged objects is left.

use lineal::{PurgeReport, VerifyReport};

use crate::{
    args,
    exit::{Code, Failure, Outcome},
    json::{self, Line},
    open,
    progress::Progress,
    stdout::Output,
};

pub(crate) fn run(args: &args::Verify) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    if args.purged {
        let report = engine.verify_purged()?;
        let mut out = Output::new();
        out.line(&if args.json { purged_json(&report) } else { purged_plain(&report) })?;
        out.flush()?;
        return if report.is_clean() { Ok(()) } else { Err(Failure::Silent(Code::Other)) };
    }
    let objects = engine.stats().objects;
    let mut progress = Progress::new("objects verified", objects);
    let report = engine.verify(&mut |checked| progress.at(checked))?;
    progress.end();
    let mut out = Output::new();
    out.line(&if args.json { json(&report) } else { plain(&report) })?;
    out.flush()
}

/// The report as JSON.
pub(crate) fn json(report: &VerifyReport) -> String {
    let mut line = Line::new();
    line.flag("ok", true);
    fields(report, &mut line);
    line.end()
}

/// What was checked, as fields of a JSON object.
pub(crate) fn fields(report: &VerifyReport, line: &mut Line) {
    line.number("packs", report.packs)
        .number("pack_bytes", report.pack_bytes)
        .number("catalog_rows", report.catalog_rows)
        .number("root_hashes", report.root_hashes)
        .number("log_records", report.log_records)
        .number("objects", report.objects)
        .number("commits", report.commits)
        .number("leaves", report.leaves);
}

/// The report for people.
pub(crate) fn plain(report: &VerifyReport) -> String {
    format!(
        "everything is as it was written:\n  packs         {} ({} bytes, every checksum)\n  \
         catalog rows  {}\n  root hashes   {}\n  log records   {}\n  objects       {} (every chain)\n  commits       {}\n  leaves        {}",
        report.packs,
        report.pack_bytes,
        report.catalog_rows,
        report.root_hashes,
        report.log_records,
        report.objects,
        report.commits,
        report.leaves
    )
}

fn purged_json(report: &PurgeReport) -> String {
    let found = report
        .found
        .iter()
        .map(|trace| Line::new().text("file", &trace.file).text("reason", &trace.reason).end());
    let mut line = Line::new();
    line.flag("ok", report.is_clean())
        .number("objects", report.objects)
        .number("packs", report.packs)
        .number("catalog_bytes", report.catalog_bytes)
        .number("log_bytes", report.log_bytes)
        .json("found", &json::list(found));
    line.end()
}

fn purged_plain(report: &PurgeReport) -> String {
    if report.objects == 0 {
        return "no object was purged".to_owned();
    }
    let searched = format!(
        "  purged objects {}\n  packs          {} (every entry)\n  catalog        {} bytes\n  log            {} bytes",
        report.objects, report.packs, report.catalog_bytes, report.log_bytes
    );
    if report.is_clean() {
        return format!("nothing is left of purged objects:\n{searched}");
    }
    let found: String =
        report.found.iter().map(|trace| format!("  {}: {}\n", trace.file, trace.reason)).collect();
    format!(
        "something of purged objects is left, or may be:\n{found}lineal compact takes it away. Searched:\n{searched}"
    )
}
