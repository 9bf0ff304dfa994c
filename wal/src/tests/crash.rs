//! Power cuts at every operation of a workload, and at every operation of the recoveries after them.
//!
//! The oracle: every recovery succeeds; what it finds is a prefix of what was appended; it holds every record that was
//! acknowledged, with the content that was acknowledged; and once a start has succeeded, what it served stays.

use crate::sim::{SimDisk, Tears};
use crate::tests::support::{Dice, disk, options, record};
use crate::{Class, Log, LogError, Lsn, Micros, Recovery};
use std::collections::BTreeMap;

/// Walks all fates of a crash, as an odometer of the choices that were asked for.
#[derive(Debug, Default)]
struct Fates {
    /// Each choice so far, and among how many.
    digits: Vec<(usize, usize)>,
}

impl Fates {
    fn crash(&mut self, disk: &SimDisk) -> SimDisk {
        let mut at = 0;
        disk.crash(&mut |choices| {
            if at == self.digits.len() {
                self.digits.push((0, choices));
            }
            let (digit, known) = self.digits[at];
            assert_eq!(known, choices, "a crash is deterministic");
            at += 1;
            digit
        })
    }

    /// Goes to the next fate; `false` after the last.
    fn advance(&mut self) -> bool {
        while let Some((digit, choices)) = self.digits.pop() {
            if digit + 1 < choices {
                self.digits.push((digit + 1, choices));
                return true;
            }
        }
        false
    }
}

/// Every fate if there are few, else the first ones and as many by dice.
pub(crate) fn crashes(
    disk: &SimDisk,
    few: usize,
    dice: &mut Dice,
    check: &mut dyn FnMut(SimDisk, &mut Dice),
) {
    let mut fates = Fates::default();
    for _ in 0..few {
        check(fates.crash(disk), dice);
        if !fates.advance() {
            return;
        }
    }
    for _ in 0..few {
        let mut rolled = dice.clone();
        dice.roll(2);
        check(disk.crash(&mut |choices| rolled.roll(choices)), dice);
    }
}

/// What is known about the log from outside.
#[derive(Clone, Debug, Default)]
struct Model {
    /// What each record that must be there was appended with: its size, which tells the epochs apart.
    certain: BTreeMap<u64, usize>,
    /// The last record that was ever appended.
    appended: u64,
    /// Records up to here were given up.
    released: u64,
    /// Sizes of the records of the running epoch.
    running: BTreeMap<u64, usize>,
}

impl Model {
    /// A log was closed or cut off; what it had told to be durable is certain.
    fn acknowledge(&mut self, durable: Lsn) {
        let known = self.running.range(..=durable.0);
        self.certain.extend(known.map(|(lsn, bytes)| (*lsn, *bytes)));
    }

    /// Recovers, strictly, and compares.
    fn check(&self, sim: &SimDisk) -> Result<(crate::Recovered, BTreeMap<u64, usize>), LogError> {
        let mut seen = BTreeMap::new();
        let mut next = self.released + 1;
        let recovered =
            Log::recover(disk(sim), &options(), Lsn(self.released), Recovery::Strict, &mut |record, _| {
                assert_eq!(record.lsn.0, next, "records are dense");
                next += 1;
                crate::tests::support::check(record);
                seen.insert(record.lsn.0, record.parts().next().unwrap().body.len());
                Ok(())
            });
        let recovered = match recovered {
            // The power may be off again.
            Err(error @ LogError::Io { .. }) => return Err(error),
            other => other.unwrap_or_else(|error| panic!("{error} after {self:?}")),
        };
        assert!(recovered.last_lsn.0 <= self.appended.max(self.released), "nothing is made up");
        for (lsn, bytes) in self.certain.range(self.released + 1..) {
            assert_eq!(seen.get(lsn), Some(bytes), "record {lsn} was certain: {self:?}");
        }
        Ok((recovered, seen))
    }

    fn start(&mut self, sim: &SimDisk) -> Result<Log, LogError> {
        let (recovered, seen) = self.check(sim)?;
        let log = Log::start(disk(sim), options(), recovered)?;
        self.certain.extend(seen);
        self.running.clear();
        Ok(log)
    }

    fn append(&mut self, log: &Log, bytes: usize) -> Result<(), LogError> {
        let lsn = log.appended().0 + 1;
        // The epoch shows in the size, so that a record of an earlier one is told from its successor.
        let bytes = bytes + usize::try_from(log.epoch().0).unwrap();
        log.append(&record(lsn, bytes), Micros(lsn), Class::User)?;
        self.appended = self.appended.max(lsn);
        self.running.insert(lsn, bytes);
        Ok(())
    }
}

/// Opens, appends, rotates, releases, is killed, opens again, closes. `Err` is the power cut.
fn workload(sim: &SimDisk, model: &mut Model) -> Result<(), LogError> {
    let sizes = [100, 3000, 60, 9000, 500, 7000, 6000];
    let log = model.start(sim)?;
    let outcome = commits(&log, model, &sizes);
    model.acknowledge(log.durable());
    outcome?;
    model.append(&log, 200)?;
    drop(log);
    let log = model.start(&sim.clone())?;
    let outcome = commits(&log, model, &sizes).and_then(|()| log.close());
    model.acknowledge(log.durable());
    outcome
}

fn commits(log: &Log, model: &mut Model, sizes: &[usize]) -> Result<(), LogError> {
    for (n, bytes) in sizes.iter().cycle().take(18).enumerate() {
        model.append(log, *bytes)?;
        if n % 3 != 1 {
            log.sync()?;
            model.acknowledge(log.durable());
        }
        if n % 6 == 5 {
            let release = log.durable().0.saturating_sub(2).max(model.released);
            model.released = release;
            log.release(Lsn(release))?;
        }
    }
    Ok(())
}

fn workload_ops() -> u64 {
    let sim = SimDisk::new();
    let mut model = Model::default();
    workload(&sim, &mut model).unwrap();
    assert!(model.appended > 30);
    sim.ops()
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let ops = workload_ops();
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for op in 0..ops {
        let sim = SimDisk::new();
        sim.power_off_at(op);
        let mut model = Model::default();
        // Not every operation that fails is the caller's business, but all that follow it fail.
        let _ = workload(&sim, &mut model);
        crashes(&sim, 32, &mut dice, &mut |after, _| {
            let mut model = model.clone();
            let log = model.start(&after).unwrap();
            model.append(&log, 300).unwrap();
            log.sync().unwrap();
            model.acknowledge(log.durable());
            drop(log);
            model.check(&after).unwrap();
        });
    }
}

#[test]
fn power_cuts_during_recovery_from_a_power_cut_lose_nothing_acknowledged() {
    let ops = workload_ops();
    let mut dice = Dice(0xfeed_5678_9abc_def1);
    for op in (0..ops).step_by(2) {
        let sim = SimDisk::new();
        sim.power_off_at(op);
        let mut model = Model::default();
        let _ = workload(&sim, &mut model);
        // A kill keeps the page cache: what recovery reads then may still be lost by the next power cut.
        cut_recovery(&sim.kill(), &model, 2, &mut dice);
        crashes(&sim, 2, &mut dice, &mut |after, dice| cut_recovery(&after, &model, 1, dice));
    }
}

/// Cuts the power at every operation of the next start, and `depth - 1` more times in the starts after it.
fn cut_recovery(before: &SimDisk, model: &Model, depth: usize, dice: &mut Dice) {
    for op in 0.. {
        let sim = before.kill();
        sim.power_off_at(op);
        let mut model = model.clone();
        let started = model.start(&sim).and_then(|log| {
            let outcome = model.append(&log, 700).and_then(|()| log.sync());
            model.acknowledge(log.durable());
            outcome
        });
        if started.is_ok() {
            return;
        }
        crashes(&sim, 3, dice, &mut |after, dice| {
            let mut model = model.clone();
            if depth > 1 && dice.roll(4) == 0 {
                cut_recovery(&after, &model, depth - 1, dice);
            }
            let log = model.start(&after).unwrap();
            model.append(&log, 300).unwrap();
            log.sync().unwrap();
            model.acknowledge(log.durable());
            drop(log);
            model.check(&after).unwrap();
        });
    }
}

#[test]
fn every_fate_of_a_power_cut_while_copies_are_made_leaves_a_log_that_recovers() {
    let sim = SimDisk::new();
    let mut model = Model::default();
    let log = model.start(&sim).unwrap();
    model.append(&log, 100).unwrap();
    log.sync().unwrap();
    model.acknowledge(log.durable());
    // The group is written and not synced, then the process is killed: it is in the page cache only.
    model.append(&log, 200).unwrap();
    sim.power_off_at(sim.ops() + 1);
    log.sync().unwrap_err();
    let killed = sim.kill();
    let mut fates = 0;
    for op in 0.. {
        let sim = killed.kill();
        sim.power_off_at(op);
        let mut during = model.clone();
        let started = during.start(&sim).is_ok();
        // All of them: few changes are under way at any moment.
        crashes(&sim, 100_000, &mut Dice(1), &mut |after, _| {
            fates += 1;
            during.check(&after).unwrap();
        });
        if started {
            break;
        }
    }
    assert!(fates > 100, "{fates}");
}

#[test]
fn a_list_that_only_the_page_cache_has_is_durable_before_the_one_before_it_is_written_over() {
    let anywhere = Tears { bytes: 1, stale: false, terse: true };
    let mut looked = 0;
    for op in 0.. {
        let first = SimDisk::new();
        first.power_off_at(op);
        let ended = Model::default().start(&first).is_ok();
        for inner in 0.. {
            let second = first.kill();
            second.power_off_at(inner);
            let started = Model::default().start(&second).is_ok();
            for (lost, cut) in (0..512).step_by(73).flat_map(|cut| [(0, cut), (1, cut)]) {
                // What is whole or gone is either; what can be torn keeps its head.
                let after = second.crash_with(anywhere, &mut |choices| match choices {
                    5 => 2,
                    2 => lost,
                    cuts => cut.min(cuts - 1),
                });
                Model::default()
                    .check(&after)
                    .unwrap_or_else(|error| panic!("{op}, {inner}, {lost}, {cut}: {error}"));
                looked += 1;
            }
            if started {
                break;
            }
        }
        if ended {
            break;
        }
    }
    assert!(looked > 1_000, "{looked}");
}

#[test]
fn a_start_after_a_killed_start_builds_on_nothing_that_only_the_page_cache_has() {
    // The last group was torn from its seal, so that the first start copies it.
    let sim = SimDisk::new();
    let mut model = Model::default();
    let log = model.start(&sim).unwrap();
    for bytes in [60, 2_500, 10] {
        model.append(&log, bytes).unwrap();
        log.sync().unwrap();
    }
    model.acknowledge(log.durable());
    drop(log);
    let mut looked = 0;
    for (first, keeps) in (0..).flat_map(|op| [(op, 0), (op, 1)]) {
        let killed = sim.crash(&mut |choices| keeps % choices);
        killed.power_off_at(first);
        let ended = model.clone().start(&killed).is_ok();
        for second in 0.. {
            let again = killed.kill();
            again.power_off_at(second);
            let mut model = model.clone();
            let started = model.start(&again).is_ok();
            crashes(&again, 64, &mut Dice(first + 1), &mut |after, _| {
                model.check(&after).unwrap_or_else(|error| panic!("{first}, {keeps}, {second}: {error}"));
                looked += 1;
            });
            if started {
                break;
            }
        }
        if ended && keeps == 1 {
            break;
        }
    }
    assert!(looked > 500, "{looked}");
}
