//! One large object that is in the store only.

use std::time::Instant;

use lineal::{Engine, Options, Result};

use super::{Place, mib, wire::Kind};
use crate::{
    figures::Numbers,
    report::{Figure, Target},
};

const VALUE_BYTES: usize = 4 << 10;
/// Values of one commit.
const VALUES: usize = 256;

pub(super) fn measure(place: &Place) -> Result<Vec<Figure>> {
    let folder = place.folder("archive-large")?;
    let count = (place.large_bytes / VALUE_BYTES).max(1);
    // Without an archive, so that it goes up once: in packs.
    let engine = Engine::open(&folder)?;
    let object = engine.namespace("large")?.object("the one")?;
    let mut numbers = Numbers::new(51);
    for first in (0..count).step_by(VALUES) {
        let commit = object.transact(|tx| {
            for at in first..count.min(first + VALUES) {
                tx.put(key(at), numbers.bytes::<VALUE_BYTES>())?;
            }
            Ok(())
        });
        commit.wait()?;
    }
    drop(object);
    engine.close()?;

    let (archive, wire) = place.watched("large")?;
    let engine = Options::new().archive(archive).open(&folder)?;
    let namespace = engine.namespace("large")?;
    // The newest pack keeps its local copy: let it be a small one.
    namespace.object("another")?.transact(|tx| tx.put("v", "newest")).wait()?;
    let spilled = engine.spill()?;
    let object = namespace.object("the one")?;
    let (mark, started) = (wire.mark(), Instant::now());
    let found = object.read(|view| view.get(key(numbers.below(count)))).wait()?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let requests = wire.since(mark);
    assert!(found.is_some_and(|value| value.len() == VALUE_BYTES), "every key has its value");
    drop(object);
    engine.close()?;
    place.folder("archive-large")?;
    let what = format!("first get of a spilled object of {} MiB", place.large_bytes >> 20);
    Ok(vec![
        Figure {
            what: format!("{what}, requests"),
            value: requests.of(Kind::Get) as f64,
            unit: "GETs",
            target: Target::AtMost(4.0),
            beside: format!(
                "values of 4 KiB; {ms:.1} ms; {} packs of {:.0} MiB spilled",
                spilled.packs,
                mib(spilled.bytes)
            ),
        },
        Figure {
            what: format!("{what}, read"),
            value: requests.received() as f64 / 1024.0,
            unit: "KiB",
            target: Target::AtMost(256.0),
            beside: String::new(),
        },
    ])
}

fn key(at: usize) -> String {
    format!("value {at:08}")
}
