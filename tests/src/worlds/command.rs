//! `lineal-tests worlds`: the library first, then drawn worlds until time is over, on all processors.

use std::{
    num::NonZeroUsize,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    explore::{Effort, Explorer, Trail},
    failures, library,
    logged::Logged,
    odometer::Budget,
    rot,
    story::Story,
    tally::Tally,
};
use crate::draw::Draw;

/// The first number of the worlds of each kind.
const ARCHIVED: u64 = 100;
const QUERIED: u64 = 150;
const LOGS: u64 = 200;
const DRAWN: u64 = 1_000;

/// The world of a number: those of the library have fixed ones, and from 1,000 on the number draws it.
pub fn story(world: u64) -> Option<Box<dyn Story>> {
    fn nth<S: Story + 'static>(worlds: Vec<S>, at: u64) -> Option<Box<dyn Story>> {
        worlds.into_iter().nth(usize::try_from(at).ok()?).map(|story| Box::new(story) as Box<dyn Story>)
    }
    match world {
        0..ARCHIVED => nth(library::keyed(), world),
        ARCHIVED..QUERIED => nth(library::archived(), world - ARCHIVED),
        QUERIED..LOGS => nth(library::queried(), world - QUERIED),
        LOGS..DRAWN => nth(library::logged(), world - LOGS),
        _ if world.is_multiple_of(2) => Some(Box::new(library::drawn(world))),
        _ => Some(Box::new(Logged::drawn(world))),
    }
}

/// Whether a world is of the log alone.
fn is_log(world: u64) -> bool {
    matches!(world, LOGS..DRAWN) || (world >= DRAWN && world % 2 == 1)
}

fn effort(world: u64) -> Effort {
    let budget = |whole, torn, ragged| Budget { whole, torn, ragged };
    match world {
        ARCHIVED..QUERIED => {
            Effort { budget: budget(8, 0, 2), nested_budget: budget(2, 0, 0), nested: 0, deeper: 0 }
        }
        _ if is_log(world) => Effort {
            budget: budget(4_096, 4_000, 60),
            nested_budget: budget(1_024, 200, 10),
            nested: 1,
            deeper: 60,
        },
        _ => Effort {
            budget: budget(4_096, 1_000, 40),
            nested_budget: budget(256, 40, 4),
            nested: 4,
            deeper: 2_000,
        },
    }
}

/// A piece of work for one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// Crashes of a world.
    World(u64),
    /// Operations that fail, in a world.
    Failures(u64),
    /// One of `SLICES` of what may happen to a directory.
    Damage(usize, usize),
    /// Writes that get lost, in a world.
    Astray(u64),
    /// Sectors that cannot be read.
    Latent,
}

/// Into so many jobs the damage to one directory is cut.
const SLICES: usize = 16;

/// Which part of the library is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Crashes of engines.
    Engines,
    /// Crashes of the log alone.
    Logs,
    /// Operations that fail.
    Failures,
    /// Damaged directories.
    Damage,
}

fn jobs(part: Option<Part>) -> Vec<Job> {
    let wants = |of: Part| part.is_none_or(|part| part == of);
    let mut jobs = Vec::new();
    let of = |first: u64, count: usize| first..first + count as u64;
    let worlds = of(0, library::keyed().len())
        .chain(of(ARCHIVED, library::archived().len()))
        .chain(of(QUERIED, library::queried().len()))
        .chain(of(LOGS, library::logged().len()));
    for world in worlds {
        if wants(if is_log(world) { Part::Logs } else { Part::Engines }) {
            jobs.push(Job::World(world));
        }
    }
    let stepped = library::keyed().into_iter().enumerate().filter(|(_, world)| world.steps().is_some());
    let stepped: Vec<u64> = stepped.map(|(at, _)| at as u64).collect();
    if wants(Part::Failures) {
        jobs.extend(stepped.iter().map(|world| Job::Failures(*world)));
    }
    if wants(Part::Damage) {
        jobs.push(Job::Latent);
        jobs.extend(stepped.iter().map(|world| Job::Astray(*world)));
        jobs.extend((0..3).flat_map(|dir| (0..SLICES).map(move |slice| Job::Damage(dir, slice))));
    }
    jobs
}

/// Does a job.
fn work(job: Job, seed: u64, stop: &dyn Fn() -> bool, judged: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let steps = |world: u64| {
        let world = library::keyed().into_iter().nth(world as usize)?;
        Some((world.title(), world.steps()?))
    };
    match job {
        Job::World(world) => {
            let Some(story) = story(world) else { return tally };
            let mut explorer = Explorer::new(&*story, world, effort(world), stop, judged);
            explorer.explore();
            *if is_log(world) { &mut tally.logs } else { &mut tally.engines } = explorer.level;
            tally.violations = explorer.violations;
        }
        Job::Failures(world) => {
            if let Some((title, steps)) = steps(world) {
                failures::sweep(&title, &steps, stop, &mut tally);
            }
        }
        Job::Astray(world) => {
            if let Some((title, steps)) = steps(world) {
                rot::astray(&title, &steps, &mut Draw::new(seed ^ world), stop, &mut tally);
            }
        }
        Job::Damage(dir, slice) => {
            let dirs = rot::dirs();
            // The third one is large: its flips are drawn.
            let (every_bit, flips) = if dir < 2 { (true, 2_000) } else { (false, 4_000) };
            let damages = dirs[dir].damages(every_bit, flips, &mut Draw::new(seed));
            for damage in damages.iter().skip(slice).step_by(SLICES) {
                if stop() {
                    break;
                }
                dirs[dir].look(damage, &mut tally);
            }
        }
        Job::Latent => rot::latent(stop, &mut tally),
    }
    tally
}

/// Runs for so many minutes.
pub fn run(minutes: u64, seed: u64, part: Option<Part>) -> ExitCode {
    // What is wrong is told; a panic that was caught need not be told twice.
    std::panic::set_hook(Box::new(|_| ()));
    let began = Instant::now();
    let end = began + Duration::from_secs(60 * minutes);
    let jobs = jobs(part);
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let working = AtomicBool::new(true);
    let judged = AtomicU64::new(0);
    let stop = || Instant::now() >= end;
    let one = || {
        while !stop() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let drawn = || {
                let mut number = DRAWN + seed % (u64::MAX / 4) + (at - jobs.len()) as u64;
                match part {
                    Some(Part::Engines) => number *= 2,
                    Some(Part::Logs) => number = 2 * number + 1,
                    _ => {}
                }
                Job::World(number)
            };
            let job = jobs.get(at).copied().unwrap_or_else(drawn);
            let found = work(job, seed, &stop, &judged);
            found.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
            if at < jobs.len() && !stop() {
                finished.fetch_add(1, Ordering::Relaxed);
                println!("{job:?}: {}", found.brief());
            }
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(found);
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        scope.spawn(|| {
            let mut told = Instant::now();
            while working.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(200));
                if told.elapsed() >= Duration::from_secs(10) {
                    told = Instant::now();
                    let brief = tally.lock().unwrap_or_else(PoisonError::into_inner).brief();
                    let (seconds, judged) = (began.elapsed().as_secs(), judged.load(Ordering::Relaxed));
                    println!("{seconds} s: {judged} states judged; of what is done: {brief}");
                }
            }
        });
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        working.store(false, Ordering::Relaxed);
        if let Some(panic) = ended.into_iter().find_map(Result::err) {
            std::panic::resume_unwind(panic);
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} of {} parts of the library done, then drawn worlds; seed {seed}",
        finished.into_inner(),
        jobs.len()
    );
    println!("{tally}");
    if tally.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Looks at one place again.
pub fn replay(place: &str) -> ExitCode {
    let Some((story, world, trail)) =
        Trail::parse(place).and_then(|(world, trail)| Some((story(world)?, world, trail)))
    else {
        eprintln!("no such place: {place:?}; one is \"world 3, operation 31, outcome torn 0 2 1\"");
        return ExitCode::FAILURE;
    };
    println!("{}", story.title());
    match Explorer::new(&*story, world, effort(world), &|| false, &AtomicU64::new(0)).replay(&trail) {
        Ok(state) => {
            println!("nothing found; it is state {state}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}
