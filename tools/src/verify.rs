//! `lineal verify`: checks everything and says what it checked.

use lineal::VerifyReport;

use crate::{args, exit::Outcome, json::Line, open, progress::Progress, stdout::Output};

pub(crate) fn run(args: &args::Verify) -> Outcome {
    let engine = open::read_only(&args.dir)?;
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

fn plain(report: &VerifyReport) -> String {
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
