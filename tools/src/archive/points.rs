//! `lineal points`: what an archive can bring back.

use lineal::archive::{Point, Points};

use super::place;
use crate::{
    amounts::{count, size},
    args,
    exit::Outcome,
    json::Line,
    stdout::Output,
    when,
};

pub(crate) fn run(args: &args::Points) -> Outcome {
    let points = lineal::archive::points(&place::of(&args.from), args.from.engine)?;
    let mut out = Output::new();
    out.line(&if args.json { fields(&points, &mut Line::new()).end() } else { plain(&points) })?;
    out.flush()
}

/// What can be brought back, as fields of a JSON object.
pub(super) fn fields<'l>(points: &Points, line: &'l mut Line) -> &'l mut Line {
    line.text("engine", &points.engine.to_string()).number("epoch", points.epoch);
    line.json("packed", &point(points.packed)).json("newest", &point(points.newest));
    line.number("packs", points.packs).number("pack_bytes", points.pack_bytes);
    line.number("chunks", points.chunks).number("chunk_bytes", points.chunk_bytes)
}

pub(super) fn point(point: Point) -> String {
    let mut line = Line::new();
    line.number("lsn", point.lsn.0).number("time_us", point.time.0);
    line.text("time", &when::show(point.time)).end()
}

fn plain(points: &Points) -> String {
    format!(
        "{}\nEvery moment up to the newest can be restored, as far as the retention of each namespace reaches.",
        facts(points)
    )
}

/// What can be brought back, for people.
pub(super) fn facts(points: &Points) -> String {
    format!(
        "engine   {}\nnewest   {}\npacked   {}\npacks    {} ({})\nlog      {} chunks behind them ({})",
        points.engine,
        shown(points.newest),
        shown(points.packed),
        count(points.packs),
        size(points.pack_bytes),
        count(points.chunks),
        size(points.chunk_bytes)
    )
}

/// A moment for people.
pub(super) fn shown(point: Point) -> String {
    if point.lsn.0 == 0 {
        "nothing".to_owned()
    } else {
        format!("{} (lsn {})", when::show(point.time), point.lsn.0)
    }
}
