//! A whole engine on a simulated disk, with whatever can go wrong, judged by a model outside of it. One number decides
//! everything: what is done, what fails when, what a crash keeps.
//!
//! A run is a few *lives* of an engine, each on what the one before has left. In a life the engine does steps, several of them
//! before it waits for any, until it is closed, killed, or its power goes; a disk may fail or be full meanwhile. After each life
//! what is read has to be the model's state after all steps that were acknowledged, and possibly some of those behind them, in their
//! order (I1 to I4); a state that was once read stays (I2). In the end nothing fails any more: the engine has to do all it
//! is asked for, every version that the model remembers has to be there (I9 to I11), everything verifies (I8, I18), and bits
//! that flip are noticed or do no harm.
//!
//! A third of the runs have an archive in a store that fails, forgets, and is dark; its uploader moves when the run moves it. There
//! the machine may be lost between two lives, and another one goes on from the archive: with everything that was said to be
//! archived, while the lost one, if it does not know that it is, has to be told before it says so again (I6).

mod cloud;
mod shape;

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use lineal::{Error, Gated, Micros, Options};
use lineal_wal::{
    Disk, Lsn,
    sim::{Fault, OpKind, SimDisk},
};

use self::{
    cloud::{Cloud, Moved},
    shape::Shape,
};
use crate::{
    chooser::chooser,
    damage::{Outcome, caught, look},
    draw::Draw,
    liar::{Liar, Lie},
    model::{self, State, Step},
    world::{self, World},
};

/// What a run has tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps that were asked for.
    pub steps: u64,
    /// Lives.
    pub lives: u64,
    /// Power cuts, those in a recovery among them.
    pub cuts: u64,
    /// Of those, in a recovery.
    pub nested: u64,
    /// Steps that failed because the disk did.
    pub failed: u64,
    /// Times that a disk was full.
    pub full: u64,
    /// Bits flipped.
    pub flips: u64,
    /// Of those, noticed; the others did no harm.
    pub noticed: u64,
    /// Runs with an archive.
    pub archives: u64,
    /// Times that the store was known to hold everything.
    pub archived: u64,
    /// What failed because the store did.
    pub refused: u64,
    /// Machines that were lost, with another one going on from the archive.
    pub lost: u64,
    /// Of those, that did not know it.
    pub fenced: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        self.lives += other.lives;
        self.cuts += other.cuts;
        self.nested += other.nested;
        self.failed += other.failed;
        self.full += other.full;
        self.flips += other.flips;
        self.noticed += other.noticed;
        self.archives += other.archives;
        self.archived += other.archived;
        self.refused += other.refused;
        self.lost += other.lost;
        self.fenced += other.fenced;
    }
}

/// How a run ended that found nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// BLAKE3 of everything that happened, in its order.
    pub hash: [u8; 32],
    /// What was tried.
    pub tally: Tally,
}

/// What the disk does in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fair,
    /// The power goes at this operation.
    Cut(u64),
    /// Operations fail, from this one on or only it, of a kind or any.
    Failing {
        at: u64,
        kind: Option<OpKind>,
        sticky: bool,
    },
    /// There is room for so many bytes more.
    Full(u64),
}

struct Run {
    draw: Draw,
    shape: Shape,
    /// What the disk lies about; for controls, which have to be found.
    lie: Option<Lie>,
    disk: SimDisk,
    cloud: Option<Cloud>,
    time: Arc<AtomicU64>,
    /// What is certain.
    base: State,
    /// The states after the steps that were asked for since, and may or may not have happened.
    open: Vec<State>,
    log: blake3::Hasher,
    tally: Tally,
}

/// Runs a seed. A panic is something wrong, too.
///
/// # Errors
/// What was wrong, with what it was about.
pub fn run(seed: u64) -> Result<Report, String> {
    run_on(seed, None)
}

/// Runs one seed after the other on all processors, for as long as `next` has one. `told` hears how each ended.
pub fn run_all(
    next: impl Fn() -> Option<u64> + Sync,
    told: impl Fn(u64, &Result<Report, String>) + Sync,
) -> Tally {
    let one = || {
        let mut tally = Tally::default();
        while let Some(seed) = next() {
            let ended = run(seed);
            told(seed, &ended);
            ended.iter().for_each(|report| tally.add(&report.tally));
        }
        tally
    };
    let mut all = Tally::default();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        for thread in threads {
            match thread.join() {
                Ok(tally) => all.add(&tally),
                // What was told has failed.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all
}

/// As [`run`], on a disk that may lie.
///
/// # Errors
/// As [`run`].
pub fn run_on(seed: u64, lie: Option<Lie>) -> Result<Report, String> {
    caught(|| run_inside(seed, lie))?
}

fn run_inside(seed: u64, lie: Option<Lie>) -> Result<Report, String> {
    let mut draw = Draw::new(seed);
    let shape = Shape::draw(&mut draw);
    let cloud = (lie.is_none() && draw.percent(35)).then(|| Cloud::draw(&mut draw));
    let tally = Tally { archives: u64::from(cloud.is_some()), ..Tally::default() };
    let mut run = Run {
        shape,
        lie,
        cloud,
        disk: SimDisk::new(),
        time: Arc::new(AtomicU64::new(1_700_000_000_000_000)),
        base: State::new(),
        open: Vec::new(),
        log: blake3::Hasher::new(),
        tally,
        draw,
    };
    let lives = 1 + run.draw.below(5);
    for life in 0..lives {
        run.live().map_err(|why| format!("life {life}: {why}"))?;
    }
    run.end().map_err(|why| format!("the end: {why}"))?;
    Ok(Report { hash: *run.log.finalize().as_bytes(), tally: run.tally })
}

impl Run {
    fn note(&mut self, what: &str) {
        self.log.update(what.as_bytes());
        self.log.update(&self.disk.ops().to_le_bytes());
    }

    fn options(&mut self) -> Options {
        // Clocks jump, also back.
        let hours = self.draw.one_of(&[0, 0, 0, 1, 24, -1, -3_i64]);
        let time = self.time.load(Ordering::Relaxed).saturating_add_signed(hours * 3_600_000_000);
        self.time.store(time, Ordering::Relaxed);
        let options = self.options_of(&self.disk.clone());
        match &self.cloud {
            Some(cloud) => cloud.options(options, &mut self.draw, None),
            None => options,
        }
    }

    /// The options of an engine on this disk, without an archive.
    fn options_of(&mut self, disk: &SimDisk) -> Options {
        let clock = Arc::clone(&self.time);
        // In some runs it jumps at any time, by up to a day.
        let jumps = self.draw.one_of(&[0, 0, 3_600_000_000, 86_400_000_000_u64]);
        let seed = AtomicU64::new(self.draw.number());
        let clock = move || {
            let now = clock.fetch_add(1_000, Ordering::Relaxed);
            let number = Draw::new(seed.fetch_add(1, Ordering::Relaxed)).number();
            Micros(now.saturating_add(number % (jumps + 1)))
        };
        world::options(disk, self.draw.number())
            .disk(
                self.lie.map_or_else(|| Arc::new(disk.clone()) as Arc<dyn Disk>, |lie| Liar::disk(disk, lie)),
            )
            .clock(Arc::new(clock))
            .checkpoint_bytes(self.draw.one_of(&[64 << 10, 1 << 20]))
            .ballast_bytes(self.draw.one_of(&[0, 64 << 10]))
    }

    fn weather(&mut self) -> Weather {
        let soon = 1 + self.draw.below(self.draw.clone().one_of(&[20, 150, 600]));
        let at = self.disk.ops() + soon;
        match self.draw.below(100) {
            0..25 => Weather::Fair,
            25..70 => Weather::Cut(at),
            70..90 => {
                let kinds =
                    [None, Some(OpKind::Write), Some(OpKind::Sync), Some(OpKind::Sync), Some(OpKind::Read)];
                let kinds =
                    [&kinds[..], &[Some(OpKind::SyncDir), Some(OpKind::Rename), Some(OpKind::Open)]].concat();
                let kind = self.draw.one_of(&kinds);
                Weather::Failing { at, kind, sticky: self.draw.percent(30) }
            }
            _ => Weather::Full(self.draw.below(300_000)),
        }
    }

    /// Opens what is there. The power may go meanwhile, up to three times, and then it opens.
    fn wake(&mut self) -> Result<World, String> {
        for _ in 0..3 {
            if !self.draw.percent(20) {
                break;
            }
            self.disk.power_off_at(self.disk.ops() + self.draw.below(60));
            let options = self.options();
            let outcome = World::open_with(options);
            self.note(if outcome.is_ok() { "opened before a cut" } else { "cut while it opened" });
            drop(outcome);
            self.tally.nested += 1;
            self.crash();
        }
        if let Some(cloud) = self.cloud.as_mut().filter(|_| self.draw.percent(20)) {
            cloud.change_weather(&mut self.draw);
            let options = self.options();
            match World::open_with(options) {
                Ok(world) => drop(world),
                Err(error) if self.may_say(&error) => {}
                Err(error) => return Err(format!("opening beside a store that fails: {error}")),
            }
            self.disk = self.disk.kill();
        }
        self.cloud.iter_mut().for_each(Cloud::calm);
        let options = self.options();
        let opened = match &mut self.cloud {
            Some(cloud) => cloud.open(&mut self.draw, options, World::open_with),
            None => World::open_with(options),
        };
        let world = opened.map_err(|error| format!("opening: {error}"))?;
        self.settle(&world)?;
        Ok(world)
    }

    /// Whether the store is to blame for an error; counts it.
    fn may_say(&mut self, error: &Error) -> bool {
        let may_say = self.cloud.as_ref().is_some_and(|cloud| cloud.may_say(error));
        self.tally.refused += u64::from(may_say);
        may_say
    }

    fn crash(&mut self) {
        let seed = self.draw.one_of(&[0, 1, 2, 2, 2]);
        let seed = if seed == 2 { self.draw.number() | 2 } else { seed };
        self.disk = self.disk.crash(&mut chooser(seed));
        self.tally.cuts += 1;
    }

    /// Reads everything, and finds what it is the state of.
    fn settle(&mut self, world: &World) -> Result<(), String> {
        self.cloud.iter_mut().for_each(Cloud::calm);
        let state = cloud::settled(world, std::iter::once(&self.base).chain(&self.open))?;
        self.go_on_from(state);
        Ok(())
    }

    /// This is certain, and what was open is not any more.
    fn go_on_from(&mut self, state: State) {
        self.cloud.iter_mut().for_each(|cloud| cloud.push(&state));
        self.base = state;
        self.open.clear();
        let digest = format!("{:?}", model::visible(&self.base));
        self.note(&digest);
    }

    /// The newest state that was asked for.
    fn newest(&self) -> &State {
        self.open.last().unwrap_or(&self.base)
    }

    /// From here on the step may have happened.
    fn expect(&mut self, step: &Step) {
        let mut state = self.newest().clone();
        model::apply(&mut state, step);
        self.open.push(state);
    }

    fn ask(&mut self, step: &Step) {
        self.expect(step);
        self.tally.steps += 1;
        self.log.update(format!("{step:?}").as_bytes());
    }

    fn live(&mut self) -> Result<(), String> {
        self.tally.lives += 1;
        let mut world = self.wake()?;
        self.cloud.iter_mut().for_each(|cloud| cloud.change_weather(&mut self.draw));
        let weather = self.weather();
        match weather {
            Weather::Fair => {}
            Weather::Cut(at) => self.disk.power_off_at(at),
            Weather::Failing { at, kind, sticky } => {
                let fault =
                    Fault { at_op: Some(at), kind, path: None, sticky, error: std::io::ErrorKind::Other };
                self.disk.fail(fault);
            }
            Weather::Full(room) => {
                let used: usize = self.disk.image().values().map(Vec::len).sum();
                self.disk.set_capacity(Some(used as u64 + room));
                self.tally.full += 1;
            }
        }
        let mut failed = false;
        for _ in 0..5 + self.draw.below(60) {
            let outcome = match self.draw.below(100) {
                0..12 if self.cloud.is_some() => self.upload(&world),
                12..40 => self.burst(&world),
                _ => self.single(&mut world),
            };
            if let Some(cloud) = &self.cloud {
                cloud.turn(&mut self.draw);
            }
            if let Err(error) = outcome {
                self.note(&format!("{:?}", error.kind()));
                failed = true;
                break;
            }
        }
        self.tally.failed += u64::from(failed);
        if self.cloud.is_some() && self.draw.percent(20) {
            return self.lose(world, weather == Weather::Fair && !failed);
        }
        match (weather, failed) {
            (Weather::Cut(_), true) => {
                drop(world);
                self.crash();
                self.note("power cut");
            }
            (_, true) if world.is_open() && !world.engine().stats().poisoned && self.draw.percent(60) => {
                // What failed passes, and the engine goes on as it is.
                self.disk.heal();
                self.disk.set_capacity(None);
                self.settle(&world)?;
                let step = self.shape.commit(&mut self.draw);
                self.ask(&step);
                world.step(&step).map_err(|error| format!("after a failure that has passed: {error}"))?;
                self.settle(&world)?;
                drop(world);
                self.disk = self.disk.kill();
            }
            (_, true) => {
                drop(world);
                self.disk = self.disk.kill();
                self.disk.set_capacity(None);
            }
            (_, false) => {
                // Whatever was to come does not.
                self.disk.power_off_at(u64::MAX);
                self.disk.heal();
                self.disk.set_capacity(None);
                self.settle(&world)?;
                if self.draw.percent(50) {
                    let closed = world.engine().clone().close();
                    drop(world);
                    if closed.is_err() {
                        self.crash();
                        return Ok(());
                    }
                }
                self.disk = self.disk.kill();
            }
        }
        Ok(())
    }

    /// One step, which is certain when it returns.
    fn single(&mut self, world: &mut World) -> Result<(), Error> {
        let step = self.shape.step(&mut self.draw);
        self.ask(&step);
        // Whether it happened is not known, if it fails.
        world.step(&step)?;
        self.certain(self.open.len());
        Ok(())
    }

    /// Something that has to do with the archive.
    fn upload(&mut self, world: &World) -> Result<(), Error> {
        let outcome = match self.draw.below(3) {
            0 => world.engine().archive_now().map(|()| true),
            1 => world.engine().spill().map(|_| false),
            _ => {
                let step = self.shape.commit(&mut self.draw);
                self.ask(&step);
                let appended = Lsn(world.engine().stats().appended_lsn);
                let gate = cloud::archived(world, &step)?;
                let wrote = gate.lsn() > appended;
                match self.cloud.as_ref().and_then(|cloud| cloud.wait(gate)) {
                    Some(Ok(())) => Ok(wrote),
                    Some(Err(error)) => {
                        if !wrote {
                            self.open.pop();
                        }
                        Err(error)
                    }
                    // It is as certain as one that nobody waits for.
                    None => Ok(false),
                }
            }
        };
        match outcome {
            Ok(true) => {
                self.certain(self.open.len());
                let base = self.base.clone();
                self.cloud.iter_mut().for_each(|cloud| cloud.holds(&base));
                self.tally.archived += 1;
                self.note("archived");
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) if self.may_say(&error) => {
                self.note("the store refuses");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The machine is lost, and another one goes on with what the archive has.
    fn lose(&mut self, world: World, is_sound: bool) -> Result<(), String> {
        let Some(mut cloud) = self.cloud.take() else { return Ok(()) };
        let old = (is_sound && self.draw.percent(50)).then_some(&world);
        self.tally.lost += 1;
        self.tally.fenced += u64::from(old.is_some());
        self.open.iter().for_each(|state| cloud.push(state));
        let mut draw = self.draw.clone();
        let moved = cloud.move_on(&mut draw, |disk| self.options_of(disk), old)?;
        self.draw = draw;
        drop(world);
        match moved {
            Moved::Nothing => {
                self.disk = SimDisk::new();
                self.cloud = Some(Cloud::draw(&mut self.draw));
                self.go_on_from(State::new());
            }
            Moved::To(moved) => {
                let (disk, world, state) = *moved;
                drop(world);
                self.disk = disk.kill();
                self.cloud = Some(cloud);
                self.go_on_from(state);
            }
        }
        Ok(())
    }

    /// Several commits before any is waited for, as of several callers.
    fn burst(&mut self, world: &World) -> Result<(), Error> {
        let mut asked: Vec<(Step, Gated<()>, bool)> = Vec::new();
        let mut outcome = Ok(());
        for _ in 0..2 + self.draw.below(6) {
            let step = self.shape.commit(&mut self.draw);
            self.tally.steps += 1;
            self.log.update(format!("{step:?}").as_bytes());
            let appended = Lsn(world.engine().stats().appended_lsn);
            match world.submit(&step) {
                Ok(gate) => {
                    // Else it waits for what it has seen, with what it was told.
                    let wrote = gate.lsn() > appended;
                    asked.push((step, gate, wrote));
                }
                // Not even the object could be named.
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let mut certain = 0;
        for (step, gate, wrote) in asked {
            let waited = gate.wait();
            let before = self.newest().clone();
            // One that failed before it was in the log did not happen, and what comes behind it may have. One that the log
            // failed with may be in it.
            let may_be = match &waited {
                Ok(()) => wrote || outcome.is_ok(),
                Err(error) => wrote && matches!(error, Error::Poisoned { .. } | Error::Closed),
            };
            if may_be {
                self.expect(&step);
            }
            match waited {
                Err(error) => outcome = Err(error),
                // One that wrote nothing says nothing of those before it.
                Ok(()) if *self.newest() != before => certain = self.open.len(),
                Ok(()) => {}
            }
        }
        self.certain(certain);
        outcome
    }

    /// The first so many of the open states are behind us.
    fn certain(&mut self, states: usize) {
        for state in self.open.drain(..states) {
            self.cloud.iter_mut().for_each(|cloud| cloud.push(&state));
            self.base = state;
        }
    }

    /// Nothing fails any more: the engine does everything, and has everything.
    fn end(&mut self) -> Result<(), String> {
        let failed = |what: &'static str| move |error: Error| format!("{what}: {error}");
        let mut world = self.wake()?;
        for step in [self.shape.commit(&mut self.draw), Step::Checkpoint, Step::Compact, Step::Reopen] {
            self.ask(&step);
            world.step(&step).map_err(failed("a step where nothing fails"))?;
            self.certain(1);
        }
        self.settle(&world)?;
        world.engine().verify(&mut |_| ()).map_err(failed("verifying"))?;
        if self.cloud.is_some() {
            world.engine().archive_now().map_err(failed("archiving"))?;
        }
        world.engine().clone().close().map_err(failed("closing"))?;
        drop(world);
        self.rot()
    }

    /// Bits that flip where everything is closed, here or in the archive.
    fn rot(&mut self) -> Result<(), String> {
        if let Some(mut cloud) = self.cloud.take() {
            let (mut draw, state) = (self.draw.clone(), self.base.clone());
            let (flips, noticed) = cloud.end(&mut draw, |disk| self.options_of(disk), &state)?;
            self.tally.flips += flips;
            self.tally.noticed += noticed;
            return Ok(());
        }
        let (image, visible) = (self.disk.image(), model::visible(&self.base));
        let files: Vec<(String, usize)> = image
            .iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(path, bytes)| (path.clone(), bytes.len()))
            .collect();
        for _ in 0..3 {
            let (path, bytes) = &files[self.draw.below(files.len() as u64) as usize];
            let bit = self.draw.below(*bytes as u64 * 8);
            let rotten = SimDisk::from_image(&image);
            rotten.flip_bit(path, bit);
            self.tally.flips += 1;
            match look(&rotten, false, &visible) {
                Outcome::Exact => {}
                Outcome::Typed(_) => self.tally.noticed += 1,
                Outcome::Bad(why) => return Err(format!("bit {bit} of {path} flipped: {why}")),
            }
        }
        Ok(())
    }
}
