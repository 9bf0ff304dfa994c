//! A million objects in the archive: uploaded, idle, spilled, lost with their machine, brought back.

use std::{
    thread,
    time::{Duration, Instant},
};

use lineal::{
    Engine, Object, ObjectId, Options, Result, Selector,
    archive::{RestoreOptions, restore},
};

use super::{
    Place,
    bare::Bare,
    child, mib,
    wire::{Kind, Wire},
};
use crate::{
    figures::{Numbers, resident::median, steady},
    report::{Figure, Target, number},
};

/// Objects whose first get is measured.
const LOOKS: usize = 32;
/// Restores of one object.
const RESTORES: usize = 5;
/// The smallest part of a pack that is fetched.
const PIECE_BYTES: usize = 64 << 10;
/// What a restore fetches at once.
const STEP_BYTES: usize = 8 << 20;
/// What an engine may keep of packs in memory, by default.
const CACHES: f64 = (36 << 20) as f64;

const PREFIX: &str = "million";

pub(super) fn measure(place: &Place) -> Result<Vec<Figure>> {
    let folder = place.folder("archive-million")?;
    steady::prepare(&folder, place.objects)?;
    let bare = place.bare()?;
    let mut figures = vec![uploaded(&child::run(place, child::UPLOAD, &folder, PREFIX)?)];
    let wanted: Vec<ObjectId> = {
        let (archive, wire) = place.watched(PREFIX)?;
        let engine = Options::new().archive(archive).open(&folder)?;
        engine.archive_now()?;
        figures.extend(idle(place, &wire));
        figures.push(first_get(place, &engine, &wire, &bare)?);
        let wanted = some(&engine, place.objects, RESTORES)?.iter().map(Object::id).collect();
        engine.close()?;
        wanted
    };
    child::run(place, child::TAIL, &folder, PREFIX)?;
    // Its machine is gone.
    place.folder("archive-million")?;
    figures.extend(one_restored(place, &wanted, &bare)?);
    let to = place.folder("archive-restored")?;
    figures.push(restored(&child::run(place, child::RESTORE, &to, PREFIX)?, bare.get(STEP_BYTES)?));
    place.folder("archive-restored")?;
    figures.extend(attached(place)?);
    Ok(figures)
}

fn uploaded(told: &child::Told) -> Figure {
    let of = |name| told.get(name).copied().unwrap_or_default();
    Figure {
        what: "memory of an upload, beyond the caches".into(),
        value: mib((of("peak") - of("caches")).max(0.0) as u64),
        unit: "MiB",
        target: Target::AtMost(64.0),
        beside: format!(
            "peak, opening included; {:.0} MiB of packs in {:.1} s; caches {:.1} MiB",
            mib(of("bytes") as u64),
            of("seconds"),
            mib(of("caches") as u64)
        ),
    }
}

fn restored(told: &child::Told, get_ms: f64) -> Figure {
    let of = |name| told.get(name).copied().unwrap_or_default();
    // Fetching has no caches; verifying opens an engine.
    let beyond = of("fetching").max(of("all") - CACHES);
    Figure {
        what: "memory of a restore, beyond the caches".into(),
        value: mib(beyond as u64),
        unit: "MiB",
        target: Target::AtMost(64.0),
        beside: format!(
            "peak {:.1} MiB while fetching, {:.1} MiB with verification and its caches; {:.0} MiB of packs fetched in {:.1} s, bare GETs of 8 MiB {:.1} s; {} objects verified, all in {:.1} s",
            mib(of("fetching") as u64),
            mib(of("all") as u64),
            mib(of("bytes") as u64),
            of("seconds"),
            of("bytes") / STEP_BYTES as f64 * get_ms / 1e3,
            number(of("objects")),
            of("all-seconds"),
        ),
    }
}

/// Two minutes of nothing, or more until the lease was renewed three times.
fn idle(place: &Place, wire: &Wire) -> Vec<Figure> {
    let (mark, started) = (wire.mark(), Instant::now());
    let renewals = || wire.since(mark).with("/lease").0;
    while started.elapsed() < 2 * place.minute || started.elapsed() < 4 * place.minute && renewals().len() < 3
    {
        thread::sleep(Duration::from_millis(100));
    }
    let (requests, window) = (wire.since(mark), started.elapsed().as_secs_f64());
    let renewals = renewals();
    let others = requests.0.len() - renewals.len();
    let mut figures = vec![Figure {
        what: format!(
            "requests per hour with {} idle objects, beside the lease",
            number(place.objects as f64)
        ),
        value: others as f64 * 3_600.0 / window,
        unit: "requests",
        target: Target::AtMost(0.0),
        beside: format!("scaled from {window:.0} s with {others}"),
    }];
    let gaps = renewals.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64());
    if let Some(shortest) = gaps.min_by(f64::total_cmp) {
        figures.push(Figure {
            what: "lease renewals per hour".into(),
            value: 3_600.0 / shortest,
            unit: "requests",
            target: Target::AtMost(60.0),
            beside: format!("from the shortest gap between {}", renewals.len()),
        });
    }
    figures
}

/// So many of the objects, from everywhere.
fn some(engine: &Engine, objects: usize, count: usize) -> Result<Vec<Object>> {
    let namespace = engine.existing_namespace("objects")?;
    let mut numbers = Numbers::new(count as u64);
    (0..count).map(|_| namespace.object(&format!("object {}", numbers.below(objects)))).collect()
}

fn first_get(place: &Place, engine: &Engine, wire: &Wire, bare: &Bare) -> Result<Figure> {
    let namespace = engine.namespace("objects")?;
    // The newest pack keeps its local copy: let it be a small one.
    namespace.object("another")?.transact(|tx| tx.put("v", "newest")).wait()?;
    let spilled = engine.spill()?;
    let (mut times, mut gets, mut all) = (Vec::new(), 0, 0);
    let mut received = 0;
    for object in some(engine, place.objects, LOOKS)? {
        let (mark, started) = (wire.mark(), Instant::now());
        let found = object.read(|view| view.get("v")).wait()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        assert!(found.is_some_and(|value| value.len() == 100), "every object has its value");
        let requests = wire.since(mark);
        gets = gets.max(requests.of(Kind::Get));
        all += requests.of(Kind::Get);
        received = received.max(requests.received());
    }
    Ok(Figure {
        what: "first get of a spilled small object, most of a few".into(),
        value: gets as f64,
        unit: "ranged GETs",
        target: Target::AtMost(2.0),
        beside: format!(
            "{LOOKS} objects, {all} GETs, at most {} KiB; median {:.1} ms, bare GET of 64 KiB {:.1} ms; {} packs of {:.0} MiB spilled",
            received >> 10,
            median(times),
            bare.get(PIECE_BYTES)?,
            spilled.packs,
            mib(spilled.bytes),
        ),
    })
}

fn one_restored(place: &Place, wanted: &[ObjectId], bare: &Bare) -> Result<Vec<Figure>> {
    let (archive, wire) = place.watched(PREFIX)?;
    let (mut times, mut most) = (Vec::new(), 0);
    let mut words = String::new();
    for id in wanted {
        let to = place.folder("archive-one")?;
        let only = RestoreOptions::new().only("objects", Selector::Objects(vec![*id]));
        let (mark, started) = (wire.mark(), Instant::now());
        restore(&archive, &to, &only, &mut |_| ())?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        let requests = wire.since(mark);
        if requests.0.len() > most {
            most = requests.0.len();
            words = format!(
                "{}, {} listed; {:.1} MiB",
                requests.by_key(),
                requests.of(Kind::List),
                mib(requests.received())
            );
        }
        let engine = Engine::open(&to)?;
        let found = engine.existing_namespace("objects")?.by_id(*id)?.read(|view| view.get("v")).wait()?;
        assert!(found.is_some_and(|value| value.len() == 100), "the object is there with its value");
        engine.close()?;
    }
    place.folder("archive-one")?;
    let what = format!(
        "restore of one small object out of {}, {} chunks of tail",
        number(place.objects as f64),
        child::TAIL_CHUNKS
    );
    Ok(vec![
        Figure {
            what: format!("{what}, requests"),
            value: most as f64,
            unit: "requests",
            target: Target::AtMost(12.0),
            beside: format!("most of {}: {words}", wanted.len()),
        },
        Figure {
            what: format!("{what}, time"),
            value: median(times),
            unit: "ms",
            target: Target::AtMost(300.0),
            beside: format!(
                "until it is verified and in place; bare GET of 64 KiB {:.1} ms",
                bare.get(PIECE_BYTES)?
            ),
        },
    ])
}

fn attached(place: &Place) -> Result<Vec<Figure>> {
    let to = place.folder("archive-attached")?;
    let (archive, wire) = place.watched(PREFIX)?;
    let started = Instant::now();
    let engine = Options::new().archive(archive).attach(&to)?;
    let opened = started.elapsed().as_secs_f64();
    let namespace = engine.existing_namespace("objects")?;
    let found = some(&engine, place.objects, 1)?[0].read(|view| view.get("v")).wait()?;
    let seconds = started.elapsed().as_secs_f64();
    let requests = wire.since(0);
    assert!(found.is_some_and(|value| value.len() == 100), "every object has its value");
    let mut lost = 0;
    for at in 0..child::TAIL_CHUNKS {
        let found = namespace.object(&child::tail_name(at))?.read(|view| view.get("v")).wait()?;
        lost += usize::from(found.is_none());
    }
    engine.close()?;
    place.folder("archive-attached")?;
    let what = format!("`attach` of {} objects to the first answer", number(place.objects as f64));
    Ok(vec![
        Figure {
            what: format!("{what}, time"),
            value: seconds,
            unit: "s",
            target: Target::AtMost(5.0),
            beside: format!("open after {opened:.2} s"),
        },
        Figure {
            what: format!("{what}, requests"),
            value: requests.0.len() as f64,
            unit: "requests",
            target: Target::AtMost(50.0),
            beside: requests.by_key(),
        },
        Figure {
            what: format!("{what}, read"),
            value: mib(requests.received()),
            unit: "MiB",
            target: Target::AtMost(32.0),
            beside: String::new(),
        },
        Figure {
            what: "commits that were archived and are lost with the machine".into(),
            value: lost as f64,
            unit: "commits",
            target: Target::AtMost(0.0),
            beside: format!("of {}: killed, its directory removed", child::TAIL_CHUNKS),
        },
    ])
}
