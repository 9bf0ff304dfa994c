//! `lineal archive scrub`: reads everything and compares it with its hashes.

use lineal::archive::{Damage, ScrubReport};

use super::place;
use crate::{
    amounts::{count, size},
    args,
    exit::{Code, Failure, Outcome},
    json::{self, Line},
    progress::Progress,
    stdout::Output,
};

pub(super) fn run(args: &args::Scrub) -> Outcome {
    let archive = place::of(&args.from);
    let rate = args.rate.map(|mib| mib << 20);
    let mut progress = None;
    let report = lineal::archive::scrub(&archive, args.from.engine, rate, &mut |bytes, of| {
        progress.get_or_insert_with(|| Progress::bytes("archive read", of)).at(bytes);
    })?;
    if let Some(progress) = progress {
        progress.end();
    }
    let mut out = Output::new();
    out.line(&if args.json { json(&report) } else { plain(&report) })?;
    out.flush()?;
    if report.damage.is_empty() { Ok(()) } else { Err(Failure::Silent(Code::Corrupt)) }
}

fn json(report: &ScrubReport) -> String {
    let mut line = Line::new();
    line.flag("ok", report.damage.is_empty()).text("engine", &report.engine.to_string());
    line.number("packs", report.packs).number("chunks", report.chunks).number("bytes", report.bytes);
    line.json("damage", &json::list(report.damage.iter().map(damage_json))).end()
}

fn damage_json(damage: &Damage) -> String {
    let objects = damage.objects.iter().map(|object| serde_json::Value::from(object.as_str()).to_string());
    let mut line = Line::new();
    line.text("key", &damage.key);
    match &damage.range {
        Some(range) => line.number("from", range.start).number("to", range.end),
        None => line.null("from").null("to"),
    };
    line.text("reason", &damage.reason).json("objects", &json::list(objects)).end()
}

fn plain(report: &ScrubReport) -> String {
    let read = format!(
        "engine {}: {} packs and {} chunks of the log, {}, are as they were written",
        report.engine,
        count(report.packs),
        count(report.chunks),
        size(report.bytes)
    );
    if report.damage.is_empty() {
        return format!("{read}; nothing is damaged");
    }
    let mut text = format!("{read}; damaged:");
    for damage in &report.damage {
        let range = damage
            .range
            .as_ref()
            .map_or_else(String::new, |range| format!(", bytes {} to {}", range.start, range.end));
        text += &format!("\n  {}{range}: {}", damage.key, damage.reason);
        for object in &damage.objects {
            text += &format!("\n    {object}");
        }
    }
    text
}
