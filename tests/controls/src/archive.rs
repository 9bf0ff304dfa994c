//! Archives: lost machines, stores that keep halves, two writers, outages.

use std::{sync::OnceLock, time::Duration};

use lineal::{Durability, Engine, Error, Gated, archive::Patience};
use lineal_snapshot::archive::{
    ArchiveError, Claim, Client, Lease,
    sim::{Fault, Op, SimPace, SimStore},
};
use lineal_tests::{
    archive::hurried,
    lost::{attached, count, lose_at, requests},
    world::options,
};
use lineal_wal::{EngineId, Epoch, Micros, sim::SimDisk};

use crate::Harness;

/// Machines that are lost when the store goes dark, at each request.
pub(crate) const LOST_MACHINES: Harness = Harness {
    name: "lost machines",
    states: 40,
    look: |state| {
        static REQUESTS: OnceLock<u64> = OnceLock::new();
        lose_at(state * 7 % REQUESTS.get_or_init(requests));
        Ok(())
    },
};

/// A store that keeps half of a chunk, and of a pack, and says that it has all.
pub(crate) const HALVES: Harness = Harness {
    name: "a store that keeps halves",
    states: 2,
    look: |state| halves(["/log/", "/packs/"][state as usize]),
};

/// An engine that was taken over.
pub(crate) const TAKEOVERS: Harness = Harness { name: "a takeover", states: 1, look: takeover };

/// Two who want one lease: one after the other, and one by force.
pub(crate) const LEASES: Harness = Harness { name: "two holders of a lease", states: 2, look: leases };

/// A store that is dark while the log goes on.
pub(crate) const OUTAGES: Harness = Harness { name: "an outage", states: 1, look: outage };

/// How long anything waits for what must not come.
const WAIT: Duration = Duration::from_secs(2);

fn archived(engine: &Engine, number: u64) -> Gated<()> {
    let log = engine.namespace("log").unwrap().object("log").unwrap();
    log.transact(|tx| {
        tx.durability(Durability::Archived)?;
        tx.put(format!("{number:04}"), vec![number as u8; 900])
    })
}

fn halves(part: &str) -> Result<(), String> {
    let store = SimStore::new();
    let engine = options(&SimDisk::new(), 1).archive(hurried(&store)).open("simulated").unwrap();
    archived(&engine, 1).wait().unwrap();
    store.plan(Op::Put, part, Fault::HalfStored);
    archived(&engine, 2).wait().unwrap();
    if part == "/packs/" {
        engine.checkpoint().unwrap();
        engine.archive_now().unwrap();
    }
    drop(engine);
    let engine = attached(&store, 9).map_err(|error| format!("attaching: {error}"))?;
    match count(&engine, "after a half") {
        2 => Ok(()),
        found => Err(format!("{found} of 2 commits")),
    }
}

fn takeover(_: u64) -> Result<(), String> {
    let store = SimStore::new();
    let open = |seed| options(&SimDisk::new(), seed).archive(hurried(&store));
    let engine = open(1).open("simulated").unwrap();
    archived(&engine, 1).wait().unwrap();
    let other = open(2).attach("simulated").unwrap();
    match archived(&engine, 2).wait_timeout(WAIT) {
        Ok(Err(Error::Fenced { .. })) => {}
        Ok(other) => return Err(format!("who was taken over was told {other:?}")),
        Err(_) => return Err("who was taken over is not told".to_owned()),
    }
    archived(&other, 2).wait().unwrap();
    Ok(())
}

fn leases(state: u64) -> Result<(), String> {
    let client = Client::new(SimStore::new(), SimPace::new(1), Patience::default());
    let claim = |holder: &str, force| Claim {
        engine: EngineId([7; 16]),
        above: Epoch(0),
        holder: holder.to_owned(),
        now: Micros(0),
        lasts: Micros(1_000_000),
        force,
    };
    let by_force = state == 1;
    let mut first = pollster::block_on(Lease::take(&client, &claim("first", false))).unwrap();
    match pollster::block_on(Lease::take(&client, &claim("second", by_force))) {
        Err(ArchiveError::Held { .. }) if !by_force => return Ok(()),
        Ok(_) if by_force => {}
        other => return Err(format!("a lease that somebody holds was asked for: {other:?}")),
    }
    match pollster::block_on(first.renew(&client, Micros(2_000_000))) {
        Err(ArchiveError::Fenced { .. }) => Ok(()),
        other => Err(format!("who lost the lease renews it: {other:?}")),
    }
}

fn outage(_: u64) -> Result<(), String> {
    const COMMITS: u64 = 40;
    const BYTES: u64 = 9_000;
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = options(&disk, 1).archive(hurried(&store)).open("simulated").unwrap();
    store.dark(true);
    let log = engine.namespace("log").unwrap().object("log").unwrap();
    for number in 1..=COMMITS {
        log.transact(|tx| tx.put(format!("{number:04}"), vec![number as u8; BYTES as usize])).wait().unwrap();
        if number % 8 == 0 {
            engine.checkpoint().unwrap();
        }
    }
    let kept = engine.stats().log_bytes;
    if kept < COMMITS * BYTES {
        return Err(format!("{kept} bytes of log are here, and none in the store"));
    }
    store.clear();
    engine.archive_now().unwrap();
    drop((log, engine));
    match count(&attached(&store, 9).unwrap(), "after an outage") {
        COMMITS => Ok(()),
        found => Err(format!("{found} of {COMMITS} commits")),
    }
}
