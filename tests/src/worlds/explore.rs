//! Crashes a world at every operation, in every way that the budget reaches, and its recoveries too.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lineal_wal::sim::{Beside, Frame, SimDisk};

use super::{
    odometer::{Budget, Outcome, outcomes},
    print::{Prints, mix},
    story::{Story, Told},
    tally::{Level, Violation},
};
use crate::{damage::caught, draw::Draw};

/// How thoroughly a world is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// For crashes of the workload.
    pub budget: Budget,
    /// For crashes of recoveries.
    pub nested_budget: Budget,
    /// One of so many distinct states has its recovery crashed at every operation; 0: none.
    pub nested: u64,
    /// The same, of the distinct states that such crashes leave.
    pub deeper: u64,
}

/// Where in a world something was looked at, and how one gets there again: operation and outcome, in turn.
#[derive(Clone, Debug, Default)]
pub struct Trail(Vec<(u64, Outcome)>);

impl Trail {
    /// As `--replay` takes it.
    pub fn of_world(&self, world: u64) -> String {
        let steps = self.0.iter().map(|(op, outcome)| format!(", operation {op}, outcome {outcome}"));
        std::iter::once(format!("world {world}")).chain(steps).collect()
    }

    /// The world and the trail of such a text.
    pub fn parse(text: &str) -> Option<(u64, Trail)> {
        let mut parts = text.split(", ");
        let world = parts.next()?.trim().strip_prefix("world ")?.parse().ok()?;
        let mut trail = Trail::default();
        while let Some(part) = parts.next() {
            let op = part.strip_prefix("operation ")?.parse().ok()?;
            trail.0.push((op, Outcome::parse(parts.next()?.strip_prefix("outcome ")?)?));
        }
        Some((world, trail))
    }
}

/// Violations of one world after which no more are looked for.
const VIOLATIONS_MAX: usize = 3;

/// One world being looked at.
pub struct Explorer<'a> {
    story: &'a dyn Story,
    world: u64,
    effort: Effort,
    /// Whether time is over.
    stop: &'a dyn Fn() -> bool,
    draw: Draw,
    prints: Prints,
    seen: HashSet<u64>,
    trail: Trail,
    /// Counts the states that were judged while it goes on.
    judged: &'a AtomicU64,
    /// What was tried so far.
    pub level: Level,
    /// What was found so far.
    pub violations: Vec<Violation>,
}

impl<'a> Explorer<'a> {
    /// Of the world of this number.
    pub fn new(
        story: &'a dyn Story,
        world: u64,
        effort: Effort,
        stop: &'a dyn Fn() -> bool,
        judged: &'a AtomicU64,
    ) -> Explorer<'a> {
        Explorer {
            story,
            world,
            effort,
            stop,
            draw: Draw::new(world ^ 0xC4A5),
            prints: Prints::default(),
            seen: HashSet::new(),
            trail: Trail::default(),
            judged,
            level: Level::default(),
            violations: Vec::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.violations.len() >= VIOLATIONS_MAX || (self.stop)()
    }

    fn violation(&mut self, why: String) {
        let place = self.trail.of_world(self.world);
        self.violations.push(Violation { place, title: self.story.title(), why });
    }

    /// Lives the world and returns its frames and what was told.
    fn live(&mut self) -> Option<(Vec<Frame>, Vec<Told>)> {
        let disk = SimDisk::new();
        disk.film(self.story.look());
        match caught(|| self.story.live(&disk)).unwrap_or_else(Err) {
            Ok(told) => Some((disk.take_film(), told)),
            Err(why) => {
                self.violation(format!("without a crash: {why}"));
                None
            }
        }
    }

    /// Looks at all of it.
    pub fn explore(&mut self) {
        let Some((frames, told)) = self.live() else { return };
        for frame in &frames {
            if self.is_over() {
                return;
            }
            self.crash(frame, Told::at(&told, frame.op), self.effort.budget, 0);
        }
        self.level.worlds += 1;
    }

    /// Looks at one place again. Returns what was found there.
    ///
    /// # Errors
    /// That there is no such place, or what is wrong with it.
    pub fn replay(&mut self, trail: &Trail) -> Result<usize, String> {
        let Some((mut frames, told)) = self.live() else {
            return Err(self.violations.remove(0).why);
        };
        let (last, before) = trail.0.split_last().ok_or("a place names an operation and an outcome")?;
        let find = |frames: &[Frame], op: u64| {
            frames.iter().find(|frame| frame.op == op).cloned().ok_or(format!("there is no operation {op}"))
        };
        let mut known = Told::at(&told, trail.0[0].0);
        for (op, outcome) in before {
            let frame = find(&frames, *op)?;
            let disk = outcome.of(&frame.disk);
            let state = self.story.judge(&disk.kill(), frame.beside.as_ref(), known, 0)?;
            if *outcome != Outcome::Kill {
                known = known.settled(state);
            }
            let (nested, _) = self.recovery(&disk, frame.beside.as_ref(), known)?;
            frames = nested;
        }
        let frame = find(&frames, last.0)?;
        (0..4)
            .map(|variety| {
                caught(|| self.story.judge(&last.1.of(&frame.disk), frame.beside.as_ref(), known, variety))
                    .unwrap_or_else(Err)
            })
            .next_back()
            .unwrap_or_else(|| Err("there is no variety".into()))
    }

    /// The frames of a recovery, and the last operation of it.
    fn recovery(
        &self,
        disk: &SimDisk,
        beside: Option<&Beside>,
        told: Told,
    ) -> Result<(Vec<Frame>, u64), String> {
        let disk = disk.kill();
        disk.film(beside.map(|beside| {
            let beside = Beside::clone(beside);
            Arc::new(move || Beside::clone(&beside)) as lineal_wal::sim::LookBeside
        }));
        let awake = caught(|| self.story.wake(&disk, beside, told)).unwrap_or_else(Err)?;
        let frames = disk.take_film();
        drop(awake);
        let end = frames.last().map_or(0, |frame| frame.op);
        Ok((frames, end))
    }

    /// Looks at what a crash before this frame's operation may leave.
    fn crash(&mut self, frame: &Frame, told: Told, budget: Budget, depth: u64) {
        self.level.points += 1;
        self.trail.0.push((frame.op, Outcome::Kill));
        self.state(frame.disk.kill(), frame.beside.as_ref(), told, depth, false);
        let mut draw = Draw::new(self.draw.number());
        let covered = outcomes(&frame.disk, &budget, &mut draw, &mut |after, outcome| {
            if let Some(last) = self.trail.0.last_mut() {
                last.1 = outcome;
            }
            self.state(after, frame.beside.as_ref(), told, depth, true);
            !self.is_over()
        });
        self.level.all_subsets += u64::from(covered.whole);
        self.level.all_tears += u64::from(covered.torn);
        self.trail.0.pop();
    }

    /// Looks at one state, if it is new.
    fn state(&mut self, disk: SimDisk, beside: Option<&Beside>, told: Told, depth: u64, power_went: bool) {
        self.level.reached += 1;
        let unsynced = if power_went { 0 } else { disk.unsynced_count() as u64 };
        let known = [self.prints.of(&disk), told.certain as u64, told.asked as u64, told.released, unsynced];
        let key = mix(&known.map(u64::to_le_bytes).concat());
        if !self.seen.insert(key) {
            return;
        }
        self.level.judged += 1;
        self.judged.fetch_add(1, Ordering::Relaxed);
        self.level.nested += u64::from(depth == 1);
        self.level.deeper += u64::from(depth == 2);
        let before = disk.kill();
        match caught(|| self.story.judge(&disk, beside, told, key)).unwrap_or_else(Err) {
            Err(why) => self.violation(why),
            Ok(state) => {
                let every = match depth {
                    0 => self.effort.nested,
                    1 => self.effort.deeper,
                    _ => 0,
                };
                if every > 0 && key.is_multiple_of(every) {
                    self.crash_recovery(&before, beside, told, state, depth + 1, power_went);
                }
            }
        }
    }

    fn crash_recovery(
        &mut self,
        before: &SimDisk,
        beside: Option<&Beside>,
        told: Told,
        state: usize,
        depth: u64,
        power_went: bool,
    ) {
        let (frames, end) = match self.recovery(before, beside, told) {
            Ok(recovery) => recovery,
            Err(why) => return self.violation(format!("opening once more: {why}")),
        };
        for frame in &frames {
            if self.is_over() {
                return;
            }
            // What is on the disk decides the state. After a kill that is so only when the recovery has made it durable.
            let settled = power_went || frame.op == end;
            let told = if settled { told.settled(state) } else { told };
            self.crash(frame, told, self.effort.nested_budget, depth);
        }
    }
}
