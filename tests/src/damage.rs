//! What the tests of damage share: small data directories whose content is known, and the judgement of what an
//! engine makes of them once their bytes have changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use lineal::{Engine, Error, Namespace};
use lineal_wal::{Disk, sim::SimDisk};

use crate::{
    model::{self, ObjectState, State, Step, Write},
    world::{self, NAMESPACE, World},
};

/// The files of a data directory, by path.
pub type Image = BTreeMap<String, Vec<u8>>;

/// A data directory and what it holds.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Its files.
    pub image: Image,
    /// What a reader sees of it.
    pub state: State,
}

/// How the process that wrote a fixture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It closed the engine.
    Closed,
    /// It was killed.
    Killed,
}

impl Fixture {
    /// Does the steps on a new disk.
    ///
    /// # Panics
    /// If the engine does not do them.
    pub fn make(steps: &[Step], end: End) -> Fixture {
        let disk = SimDisk::new();
        let mut world = World::open(&disk, 11).expect("a new engine opens");
        let mut state = State::new();
        for step in steps {
            world.step(step).expect("an engine on a sound disk does its work");
            model::apply(&mut state, step);
        }
        let image = match end {
            End::Closed => {
                world.engine().clone().close().expect("an engine on a sound disk closes");
                disk.image()
            }
            End::Killed => disk.kill().image(),
        };
        Fixture { image, state: model::visible(&state) }
    }
}

/// A put of a short value.
pub fn put(key: &str, value: &str) -> Write {
    Write::Put(key.into(), value.into())
}

/// A put of bytes that do not compress.
pub fn filler(key: &str, bytes: usize) -> Write {
    let mut number = bytes as u64 | 1;
    let mut next = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 56) as u8
    };
    Write::Put(key.into(), (0..bytes).map(|_| next()).collect())
}

/// A few small objects in two packs, with a deleted one and one that was purged.
pub fn small_steps() -> Vec<Step> {
    vec![
        Step::Commit(0, vec![put("a", "value a of object 0"), put("b", "value b of object 0")]),
        Step::Many([1, 2], vec![put("shared", "value of objects 1 and 2")]),
        Step::Commit(3, vec![put("gone", "value of object 3")]),
        Step::Commit(4, vec![put("purged", "value of object 4")]),
        Step::Checkpoint,
        Step::Commit(1, vec![put("own", "value of object 1"), Write::Delete("shared".into())]),
        Step::Delete(3),
        Step::Purge(4),
        Step::Checkpoint,
    ]
}

/// As [`small_steps`], and commits that only the log holds.
pub fn small_steps_and_log() -> Vec<Step> {
    let mut steps = small_steps();
    steps.extend([
        Step::Commit(0, vec![put("a", "newer value a of object 0")]),
        Step::Many([2, 5], vec![put("late", "late value of objects 2 and 5")]),
        Step::Delete(1),
        Step::Commit(6, vec![put("last", "value of object 6")]),
    ]);
    steps
}

/// Objects with leaves, several packs and a compaction.
pub fn large_steps() -> Vec<Step> {
    let mut steps = small_steps();
    steps.extend([
        Step::Commit(7, (0..9).map(|at| filler(&format!("key {at}"), 9_000 + at)).collect()),
        Step::Checkpoint,
        Step::Commit(7, vec![Write::DeleteRange("key 2".into(), "key 4".into()), put("key 9", "tiny")]),
        Step::Commit(8, vec![filler("large", 30_000)]),
        Step::Checkpoint,
        Step::Compact,
        Step::Commit(7, vec![filler("key 5", 100), filler("key 6", 3_000)]),
        Step::Commit(0, vec![put("c", "value c of object 0")]),
        Step::Checkpoint,
    ]);
    steps
}

/// What an engine made of a directory.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Everything that was ever acknowledged was read as it was written, and verified.
    Exact,
    /// At least one typed error; what was read beside it is as it was written.
    Typed(Box<Told>),
    /// Anything else.
    Bad(String),
}

/// The errors of one look.
#[derive(Clone, Debug)]
pub struct Told {
    /// The first error.
    pub first: Error,
    /// Whether the engine opened.
    pub opened: bool,
    /// The objects that could not be read.
    pub unreadable: BTreeSet<String>,
    /// Whether verification said that something is wrong.
    pub verify: Option<Error>,
}

impl Told {
    /// Of work that ended with this.
    pub fn of(first: Error) -> Told {
        Told { first, opened: true, unreadable: BTreeSet::new(), verify: None }
    }
}

impl Outcome {
    /// Its name in a histogram.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Exact => "exact",
            Outcome::Typed(_) => "typed error",
            Outcome::Bad(_) => "bad",
        }
    }
}

/// Counts outcomes and keeps the first few bad ones.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: BTreeMap<&'static str, u64>,
    bad: Vec<String>,
}

impl Histogram {
    /// Adds an outcome.
    pub fn add(&mut self, context: impl Fn() -> String, outcome: &Outcome) {
        *self.counts.entry(outcome.name()).or_default() += 1;
        if let Outcome::Bad(why) = outcome {
            self.add_bad(format!("{}: {why}", context()));
        }
    }

    /// Adds what breaks a rule of the test's own.
    pub fn add_bad(&mut self, what: String) {
        if self.bad.len() < 12 {
            self.bad.push(what);
        }
    }

    /// How often there was this outcome.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Fails unless every outcome was exact data or a typed error, and prints how many there were of each.
    ///
    /// # Panics
    /// If there was a bad one.
    pub fn assert_good(&self, title: &str) {
        println!("{title}: {:?}", self.counts);
        let names: BTreeSet<&str> = self.counts.keys().copied().collect();
        assert!(
            self.bad.is_empty() && names.is_subset(&["exact", "typed error"].into()),
            "{title}: {:?}\n{}",
            self.counts,
            self.bad.join("\n")
        );
    }
}

/// Does something that may panic, and then says so.
///
/// # Errors
/// The text of the panic.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        format!("it panicked: {text}")
    })
}

/// Opens the disk and reads everything in every way there is; never panics.
pub fn look(disk: &SimDisk, read_only: bool, state: &State) -> Outcome {
    caught(|| look_inside(disk, read_only, state)).unwrap_or_else(Outcome::Bad)
}

fn look_inside(disk: &SimDisk, read_only: bool, state: &State) -> Outcome {
    let options = world::options(disk, 23);
    let opened = if read_only { options.open_read_only("simulated") } else { options.open("simulated") };
    let engine = match opened {
        Ok(engine) => engine,
        Err(error) => return told(error, false, BTreeSet::new(), None),
    };
    read_engine(&engine, state)
}

/// Looks at a damaged image for reading and for writing, and once more where it did not open or is not whole. What breaks a
/// rule is told to `bad`. The outcome is the writable one's.
pub fn look_twice(image: &Image, state: &State, bad: &mut dyn FnMut(String)) -> Outcome {
    let read_only = SimDisk::from_image(image);
    if let Outcome::Bad(why) = look(&read_only, true, state) {
        bad(format!("read-only: {why}"));
    }
    if read_only.image() != *image {
        bad("a read-only open changed bytes".into());
    }
    let writable = SimDisk::from_image(image);
    let outcome = look(&writable, false, state);
    match &outcome {
        Outcome::Bad(why) => bad(why.clone()),
        Outcome::Exact => {}
        // What a failed open leaves does not make the next one forget the damage.
        Outcome::Typed(_) => {
            if let Outcome::Bad(why) = look(&writable.kill(), false, state) {
                bad(format!("opened again: {why}"));
            }
        }
    }
    outcome
}

/// Lets an engine that finds nothing wrong go on as if nothing had happened.
pub fn go_on(image: &Image, state: &State, bad: &mut dyn FnMut(String)) {
    let disk = SimDisk::from_image(image);
    let mut state = state.clone();
    let outcome: Result<Result<(), Error>, String> = caught(|| {
        let mut world = World::open(&disk, 41)?;
        for step in [Step::Commit(50, vec![put("new", "life")]), Step::Checkpoint, Step::Reopen] {
            world.step(&step)?;
            model::apply(&mut state, &step);
        }
        Ok(())
    });
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return bad(format!("going on: {error}")),
        Err(panic) => return bad(format!("going on: {panic}")),
    }
    match look(&disk, false, &state) {
        Outcome::Exact => {}
        other => bad(format!("having gone on: {other:?}")),
    }
}

/// The objects that cannot be read from this disk. What can be read is as it was.
///
/// # Errors
/// That something is otherwise than it was.
pub fn blast(disk: Arc<dyn Disk>, state: &State) -> Result<BTreeSet<String>, String> {
    let all: BTreeSet<String> = state.keys().cloned().collect();
    let io = |error: &Error| matches!(error, Error::Io { .. }) || tells_of_damage(error);
    let engine = match world::options(&SimDisk::new(), 29).disk(disk).open("simulated") {
        Ok(engine) => engine,
        Err(error) if io(&error) => return Ok(all),
        Err(error) => return Err(format!("opening: {error:?}")),
    };
    let namespace = match engine.existing_namespace(NAMESPACE) {
        Ok(namespace) => namespace,
        Err(error) if io(&error) => return Ok(all),
        Err(error) => return Err(format!("the namespace: {error:?}")),
    };
    let mut hit = BTreeSet::new();
    for (name, object) in state {
        match read_object(&namespace, name) {
            Ok(found) if found == object.seen() => {}
            Ok(found) => return Err(format!("{name} was {object:?} and is {found:?}")),
            Err(error) if io(&error) => drop(hit.insert(name.clone())),
            Err(error) => return Err(format!("{name}: {error:?}")),
        }
    }
    Ok(hit)
}

/// Reads everything of an engine in every way there is.
pub fn read_engine(engine: &Engine, state: &State) -> Outcome {
    let namespace = match engine.existing_namespace(NAMESPACE) {
        Ok(namespace) => namespace,
        // Nobody has made it.
        Err(Error::NotFound { .. }) if state.is_empty() => {
            let verify = engine.verify(&mut |_| ()).err();
            return verify
                .map_or(Outcome::Exact, |error| told(error.clone(), true, BTreeSet::new(), Some(error)));
        }
        Err(error) => return told(error, true, state.keys().cloned().collect(), None),
    };
    let mut first = None;
    let mut unreadable = BTreeSet::new();
    for (name, object) in state {
        match read_object(&namespace, name) {
            Ok(found) if found == object.seen() => {}
            Ok(found) => return Outcome::Bad(format!("{name} was {object:?} and is {found:?}")),
            Err(error) => {
                first.get_or_insert(error);
                unreadable.insert(name.clone());
            }
        }
    }
    if let Err(why) = read_listing(&namespace, state, &mut first) {
        return Outcome::Bad(why);
    }
    let verify = engine.verify(&mut |_| ()).err();
    match first.or_else(|| verify.clone()) {
        None => Outcome::Exact,
        Some(error) => told(error, true, unreadable, verify),
    }
}

fn read_object(namespace: &Namespace, name: &str) -> Result<ObjectState, Error> {
    let object = namespace.object(name)?;
    object
        .read(|view| {
            Ok(ObjectState {
                seq: view.seq(),
                exists: view.exists(),
                entries: world::contents(view)?,
                ..ObjectState::default()
            })
        })
        .wait()
}

/// Every object is in the listing, or the listing says that something is wrong.
fn read_listing(namespace: &Namespace, state: &State, first: &mut Option<Error>) -> Result<(), String> {
    let objects = match namespace.objects() {
        Ok(objects) => objects,
        Err(error) => {
            first.get_or_insert(error);
            return Ok(());
        }
    };
    let mut listed = BTreeSet::new();
    let mut failed = false;
    for info in objects {
        match info {
            Ok(info) => {
                let name = info.name.unwrap_or_default();
                if state.get(&name).is_none_or(|object| object.seq != info.seq) {
                    return Err(format!("the listing shows {name:?} at {}", info.seq));
                }
                listed.insert(name);
            }
            Err(error) => {
                failed = true;
                first.get_or_insert(error);
            }
        }
    }
    if !failed && !listed.iter().eq(state.keys()) {
        return Err(format!("the listing shows only {listed:?} and tells of no damage"));
    }
    Ok(())
}

fn told(first: Error, opened: bool, unreadable: BTreeSet<String>, verify: Option<Error>) -> Outcome {
    for error in [Some(&first), verify.as_ref()].into_iter().flatten() {
        if !tells_of_damage(error) {
            return Outcome::Bad(format!("an error that does not say what is damaged: {error:?}"));
        }
    }
    Outcome::Typed(Box::new(Told { first, opened, unreadable, verify }))
}

/// Whether this is what damage may look like: it names what is wrong with which file.
pub fn tells_of_damage(error: &Error) -> bool {
    match error {
        Error::Damaged { file, .. } => !file.is_empty(),
        Error::NewerVersion { file, .. } => !file.is_empty(),
        Error::InvalidDirectory { .. } => true,
        _ => false,
    }
}
