//! Worlds of objects with keys and values, with or without an archive.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
};

use lineal::{Engine, Migration, Options};
use lineal_snapshot::archive::sim::SimStore;
use lineal_wal::sim::{Beside, LookBeside, SimDisk};

use super::story::{Story, Told};
use crate::{
    archive::hurried,
    damage::{caught, put},
    liar::{Liar, Lie},
    model::{self, State, Step},
    world::{self, NAMESPACE, World},
};

/// What is done in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// One step, which is waited for.
    Step(Step),
    /// Several commits before any is waited for.
    Together(Vec<Step>),
    /// Give a version of an object a name.
    Pin(usize, u64, &'static str),
    /// Take it away again.
    Unpin(usize, &'static str),
    /// Register so many migrations, of which each is a commit, and use an object.
    Forward(usize, usize),
    /// Make everything so far be in the archive.
    Archive,
}

/// An object's name, a pin's, and the commit that it is of.
type Pins = Vec<(String, String, u64)>;

/// What there is after some of the acts.
#[derive(Clone, Debug, Default)]
struct Moment {
    state: State,
    visible: State,
    pins: Pins,
}

impl Moment {
    fn after(&self, act: &Act, step: Option<&Step>) -> Moment {
        let mut next = self.clone();
        match (act, step) {
            (Act::Pin(object, seq, pin), _) => {
                next.pins.push((model::name(*object), (*pin).to_owned(), *seq));
            }
            (Act::Unpin(object, pin), _) => {
                next.pins.retain(|(of, name, _)| *of != model::name(*object) || name != pin);
            }
            (_, Some(step)) => model::apply(&mut next.state, step),
            _ => {}
        }
        next.pins.sort();
        next.visible = model::visible(&next.state);
        next
    }
}

/// See the head of this file.
pub struct Keyed {
    title: String,
    acts: Vec<Act>,
    seed: u64,
    moments: Vec<Moment>,
    /// The store of the life that is being filmed.
    store: Option<Mutex<Arc<SimStore>>>,
    /// What the disk lies about while the world is lived; for controls, which have to be found.
    lie: Option<Lie>,
}

impl Keyed {
    /// A world of this seed, in which this is done.
    pub fn new(title: &str, seed: u64, acts: Vec<Act>) -> Keyed {
        let mut moments = vec![Moment::default()];
        for act in &acts {
            let steps: Vec<Option<Step>> = match act {
                Act::Together(steps) => steps.iter().cloned().map(Some).collect(),
                Act::Step(step) => vec![Some(step.clone())],
                Act::Forward(object, count) => {
                    let trace = |number| put(&format!("trace {number}"), "left");
                    (0..*count).map(|number| Some(Step::Commit(*object, vec![trace(number)]))).collect()
                }
                _ => vec![None],
            };
            for step in steps {
                moments.extend(moments.last().map(|last| last.after(act, step.as_ref())));
            }
        }
        Keyed { title: title.to_owned(), acts, seed, moments, store: None, lie: None }
    }

    /// The same with an archive.
    #[must_use]
    pub fn archived(mut self) -> Keyed {
        self.store = Some(Mutex::new(SimStore::new()));
        self
    }

    /// The same on a disk that lies.
    #[must_use]
    pub fn lying(mut self, lie: Lie) -> Keyed {
        self.lie = Some(lie);
        self
    }

    /// Its steps, where it has only such.
    pub fn steps(&self) -> Option<Vec<Step>> {
        let step = |act: &Act| if let Act::Step(step) = act { Some(step.clone()) } else { None };
        self.acts.iter().map(step).collect()
    }

    fn options(&self, disk: &SimDisk, seed: u64, store: Option<&Arc<SimStore>>) -> Options {
        let options = world::options(disk, seed);
        match store {
            Some(store) => options.archive(hurried(store)),
            None => options,
        }
    }

    fn find(&self, engine: &Engine, told: Told) -> Result<usize, String> {
        let found = world::dump(engine).map_err(|error| format!("reading: {error}"))?;
        let pins = pins(engine, &found).map_err(|error| format!("reading pins: {error}"))?;
        let moments = self.moments.iter().enumerate().take(told.asked + 1).skip(told.certain);
        let mut why =
            format!("it is none of the states {} to {}: {found:?}, {pins:?}", told.certain, told.asked);
        for (at, moment) in moments {
            if moment.visible != found || moment.pins != pins {
                continue;
            }
            // Two may look alike of which one has forgotten its past.
            match caught(|| world::check_history(engine, &moment.state)) {
                Ok(Ok(())) => return Ok(at),
                Ok(Err(error)) => why = format!("the past of state {at}: {error}"),
                Err(panic) => why = format!("the past of state {at}: {panic}"),
            }
        }
        Err(why)
    }
}

fn pins(engine: &Engine, state: &State) -> lineal::Result<Pins> {
    let mut pins = Pins::new();
    for name in state.keys() {
        for (pin, mark) in engine.namespace(NAMESPACE)?.object(name)?.pins()? {
            pins.push((name.clone(), pin, mark.seq()));
        }
    }
    pins.sort();
    Ok(pins)
}

/// The store that a moment shows, for one use.
fn store_of(beside: Option<&Beside>) -> Option<Arc<SimStore>> {
    beside.and_then(|beside| beside.downcast_ref::<Arc<SimStore>>()).map(|store| store.copy())
}

impl Story for Keyed {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn look(&self) -> Option<LookBeside> {
        let store = SimStore::new();
        *self.store.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&store);
        Some(Arc::new(move || Arc::new(store.copy()) as Beside))
    }

    fn live(&self, disk: &SimDisk) -> Result<Vec<Told>, String> {
        let store = self
            .store
            .as_ref()
            .map(|store| Arc::clone(&store.lock().unwrap_or_else(PoisonError::into_inner)));
        let options = self.options(disk, self.seed, store.as_ref());
        let opened = World::open_with(match self.lie {
            Some(lie) => options.disk(Liar::disk(disk, lie)),
            None => options,
        });
        let mut world = opened.map_err(|error| format!("opening: {error}"))?;
        let mut told = vec![Told::default()];
        let mut state = 0;
        let tell = |told: &mut Vec<Told>, certain: usize, asked: usize| {
            told.push(Told { ops: disk.ops(), certain, asked, released: 0 });
        };
        for act in &self.acts {
            let failed = |error: lineal::Error| format!("{act:?}: {error}");
            let new = match act {
                Act::Together(steps) => steps.len(),
                Act::Forward(_, count) => *count,
                _ => 1,
            };
            tell(&mut told, state, state + new);
            match act {
                Act::Step(step) => world.step(step).map_err(failed)?,
                Act::Together(steps) => {
                    let submit = |step: &Step| world.submit(step).map_err(failed);
                    let gates = steps.iter().map(submit).collect::<Result<Vec<_>, _>>()?;
                    for (at, gate) in gates.into_iter().enumerate() {
                        gate.wait().map_err(failed)?;
                        tell(&mut told, state + at + 1, state + new);
                    }
                }
                Act::Pin(object, seq, name) => {
                    let object = world.object(*object).map_err(failed)?;
                    let mark = object.bookmark_of(*seq).map_err(failed)?;
                    object.pin(&mark, name).wait().map_err(failed)?;
                }
                Act::Unpin(object, name) => {
                    world.object(*object).and_then(|object| object.unpin(name).wait()).map_err(failed)?;
                }
                Act::Forward(object, count) => {
                    let leave = |number| {
                        Migration::run(&format!("step {number}"), move |tx| {
                            tx.put(format!("trace {number}"), "left")
                        })
                    };
                    let namespace = world.engine().namespace(NAMESPACE).map_err(failed)?;
                    namespace.migrations((0..*count).map(leave).collect::<Vec<_>>()).map_err(failed)?;
                    world
                        .object(*object)
                        .and_then(|object| object.read(|_| Ok(())).wait())
                        .map_err(failed)?;
                }
                Act::Archive => drop(world.engine().archive_now().map_err(failed)?),
            }
            state += new;
            tell(&mut told, state, state);
        }
        Ok(told)
    }

    fn wake(&self, disk: &SimDisk, beside: Option<&Beside>, _: Told) -> Result<Box<dyn Any>, String> {
        let options = self.options(disk, 7, store_of(beside).as_ref());
        Ok(Box::new(options.open("simulated").map_err(|error| format!("opening: {error}"))?))
    }

    fn judge(
        &self,
        disk: &SimDisk,
        beside: Option<&Beside>,
        told: Told,
        variety: u64,
    ) -> Result<usize, String> {
        let failed = |what: &'static str| move |error: lineal::Error| format!("{what}: {error}");
        let store = store_of(beside);
        let again = self.options(disk, 7, store.as_ref());
        let mut world = World::open_with(again.clone()).map_err(failed("opening"))?;
        let state = self.find(world.engine(), told)?;
        world.engine().verify(&mut |_| ()).map_err(failed("verifying"))?;
        let before = world.dump().map_err(failed("reading"))?;
        let writes = variety % 4 != 3;
        if writes {
            let commit = Step::Commit(9, vec![put("new", "life")]);
            world.step(&commit).map_err(failed("writing"))?;
        }
        if (variety / 4).is_multiple_of(8) {
            // A clean end: what is not packed yet is packed, and the log is given up.
            world.step(&Step::Reopen).map_err(failed("closing and opening"))?;
        } else {
            drop(world);
            world = World::open_with(again).map_err(failed("opening again"))?;
        }
        let mut after = world.dump().map_err(failed("reading again"))?;
        if after.remove(&model::name(9)).is_some() != writes {
            return Err("what was written after the recovery is not there".into());
        }
        if after != before {
            return Err(format!("recovery does not settle what was unknown: {before:?}, then {after:?}"));
        }
        if let Some(store) = store {
            world.engine().archive_now().map_err(failed("archiving"))?;
            let before = world.dump().map_err(failed("reading"))?;
            // The machine is lost with all that it had.
            drop(world);
            let attached = self.options(&SimDisk::new(), 9, Some(&store)).attach("simulated");
            let engine = attached.map_err(failed("attaching"))?;
            if world::dump(&engine).map_err(failed("reading the archive"))? != before {
                return Err("the archive holds something else".into());
            }
            world::check_history(&engine, &self.moments[state].state)
                .map_err(failed("the archive's past"))?;
            engine.verify(&mut |_| ()).map_err(failed("verifying the archive"))?;
        }
        Ok(state)
    }
}
