//! `lineal compact`: merges packs and gives up history beyond the retention; and `lineal retention`.

use std::time::Duration;

use lineal::{Engine, Lineage, Namespace, Retention, Stats};

use crate::{
    args,
    exit::{Failure, Outcome},
    json::Line,
    open,
    stdout::Output,
};

pub(crate) fn run(args: &args::Compact) -> Outcome {
    let engine = if args.dry_run { open::read_only_at(&args.data)? } else { open::writable(&args.data)? };
    let before = engine.stats();
    let mut out = Output::new();
    if args.dry_run {
        for namespace in engine.namespaces()? {
            out.line(&retention_line(&namespace, args.json)?)?;
        }
        out.line(&line(&before, None, args.json))?;
        return out.flush();
    }
    if args.trust_clock {
        engine.trust_clock()?;
    }
    engine.compact()?;
    out.line(&line(&before, Some(&engine.stats()), args.json))?;
    out.flush()?;
    Ok(engine.close()?)
}

fn line(before: &Stats, after: Option<&Stats>, json: bool) -> String {
    if json {
        let mut line = Line::new();
        line.flag("dry_run", after.is_none())
            .number("packs_before", before.packs)
            .number("bytes_before", before.pack_bytes);
        if let Some(after) = after {
            line.number("packs", after.packs).number("bytes", after.pack_bytes);
        }
        return line.end();
    }
    match after {
        Some(after) => format!(
            "{} packs of {} bytes are {} of {} bytes",
            before.packs, before.pack_bytes, after.packs, after.pack_bytes
        ),
        None => format!(
            "{} packs of {} bytes would be merged into one; nothing was done",
            before.packs, before.pack_bytes
        ),
    }
}

pub(crate) fn retention(args: &args::Keep) -> Outcome {
    let mut out = Output::new();
    let limits = args.days.is_some() || args.bytes.is_some() || args.forever;
    if !limits && args.lineage.is_none() {
        let engine = open::read_only_at(&args.data)?;
        out.line(&retention_line(&engine.existing_namespace(&args.ns)?, args.json)?)?;
        return out.flush();
    }
    let wanted = limits.then(|| wanted(args)).transpose()?;
    let lineage = args.lineage.map(|lineage| match lineage {
        args::Lineage::Anchor => Lineage::Anchor,
        args::Lineage::Forever => Lineage::Forever,
    });
    if args.dry_run {
        let engine = open::read_only_at(&args.data)?;
        let namespace = engine.existing_namespace(&args.ns)?;
        let wanted = wanted.map_or_else(|| namespace.retention(), Ok)?;
        let lineage = lineage.map_or_else(|| namespace.lineage(), Ok)?;
        out.line(&shown(&args.ns, &wanted, lineage, args.json))?;
        return out.flush();
    }
    let engine: Engine = open::writable(&args.data)?;
    let namespace = engine.existing_namespace(&args.ns)?;
    if let Some(wanted) = wanted {
        namespace.set_retention(wanted)?;
    }
    if let Some(lineage) = lineage {
        namespace.set_lineage(lineage)?;
    }
    out.line(&retention_line(&namespace, args.json)?)?;
    out.flush()?;
    Ok(engine.close()?)
}

fn wanted(args: &args::Keep) -> Outcome<Retention> {
    if args.forever {
        return Ok(Retention::FOREVER);
    }
    let too_long = || Failure::usage("so many days are too many");
    let seconds = args.days.map(|days| days.checked_mul(86_400).ok_or_else(too_long)).transpose()?;
    Ok(Retention { time: seconds.map(Duration::from_secs), bytes: args.bytes })
}

fn retention_line(namespace: &Namespace, json: bool) -> Outcome<String> {
    Ok(shown(namespace.name(), &namespace.retention()?, namespace.lineage()?, json))
}

fn shown(ns: &str, retention: &Retention, lineage: Lineage, json: bool) -> String {
    let forever = lineage == Lineage::Forever;
    if json {
        let mut line = Line::new();
        line.text("ns", ns);
        match retention.time {
            Some(time) => line.number("seconds", time.as_secs()),
            None => line.null("seconds"),
        };
        match retention.bytes {
            Some(bytes) => line.number("bytes", bytes),
            None => line.null("bytes"),
        };
        return line.text("lineage", if forever { "forever" } else { "anchor" }).end();
    }
    let kept = match (retention.time, retention.bytes) {
        (None, None) => "for ever".to_owned(),
        (Some(time), None) => format!("for {}", span(time)),
        (None, Some(bytes)) => format!("up to {bytes} bytes of each object"),
        (Some(time), Some(bytes)) => format!("for {}, and up to {bytes} bytes of each object", span(time)),
    };
    let headers = if forever { ", and the headers of all older commits" } else { "" };
    format!("namespace {ns:?} keeps history {kept}{headers}")
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 86_400 == 0 => format!("{} days", seconds / 86_400),
        seconds => format!("{seconds} seconds"),
    }
}
