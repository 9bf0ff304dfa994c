//! What a day costs: requests of a busy engine with the default settings.

use std::{thread, time::Duration};

use lineal::{Options, Result};

use super::{Place, objects, wire::Kind};
use crate::{
    figures::steady::Run,
    report::{Figure, Target, number},
};

const OBJECTS: usize = 100_000;
/// 1,000,000 commits in ten minutes.
const COMMITS_PER_SECOND: f64 = 1_000_000.0 / 600.0;

pub(super) fn measure(place: &Place) -> Result<Vec<Figure>> {
    let (archive, wire) = place.watched("puts")?;
    let engine = Options::new().archive(archive).open(place.folder("archive-puts")?)?;
    let objects = objects(&engine, OBJECTS)?;
    engine.archive_now()?;
    let mark = wire.mark();
    let limit = 10 * place.minute;
    let run = Run::go(&objects, limit, Some(COMMITS_PER_SECOND), &|| false)?;
    while engine.archive_status().is_some_and(|status| status.lag_records > 0) {
        thread::sleep(Duration::from_millis(10));
    }
    let requests = wire.since(mark);
    let puts = requests.of(Kind::Put);
    let checkpoints = engine.stats().checkpoints;
    let mark = wire.mark();
    drop(objects);
    engine.close()?;
    let closing = wire.since(mark).of(Kind::Put);
    let scale = 600.0 / limit.as_secs_f64();
    let scaled =
        if scale > 1.0 { format!("scaled from {} s: {puts} PUTs; ", limit.as_secs()) } else { String::new() };
    Ok(vec![Figure {
        what: "PUTs for 1,000,000 commits over 100,000 objects in 10 minutes, default settings".into(),
        value: puts as f64 * scale,
        unit: "PUTs",
        target: Target::AtMost(700.0),
        beside: format!(
            "{scaled}{} commits, {checkpoints} checkpoints; all requests: {} (parts of an upload each count); closing took {closing} PUTs more",
            number(run.commits as f64),
            requests.by_key(),
        ),
    }])
}
