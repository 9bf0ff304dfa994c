//! Worlds of objects with databases.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use lineal_wal::sim::{Beside, SimDisk};

use super::story::{Story, Told};
use crate::sql::{Action, Content, Deed, Oracle, SqlWorld, Step, content_of};

/// What there is after some of the steps.
#[derive(Clone, Default)]
struct Moment {
    now: BTreeMap<String, Content>,
    past: Vec<(usize, u64, Content)>,
}

/// See the head of this file.
pub struct Queried {
    title: String,
    steps: Vec<Step>,
    moments: Vec<Moment>,
}

impl Queried {
    /// A world in which this is done. Each transaction changes something.
    ///
    /// # Panics
    /// If a statement of it fails, by the oracle's word.
    pub fn new(title: &str, steps: Vec<Step>) -> Queried {
        let mut oracle = Oracle::default();
        let mut moments = vec![Moment::default()];
        for step in &steps {
            let told =
                if let Step::Transact(_, deed) = step { vec![true; statements(deed)] } else { Vec::new() };
            oracle.step(step, &told, |object| next_seq(&moments, object));
            let past = oracle.past().map(|(object, seq, content)| (object, seq, content.clone())).collect();
            moments.push(Moment { now: oracle.contents(), past });
        }
        Queried { title: title.to_owned(), steps, moments }
    }

    fn find(&self, world: &SqlWorld, told: Told) -> Result<usize, String> {
        let found = world.contents().map_err(|error| format!("reading: {error}"))?;
        let mut moments = self.moments.iter().enumerate().take(told.asked + 1).skip(told.certain);
        let (at, moment) = moments.rfind(|(_, moment)| moment.now == found).ok_or_else(|| {
            format!("it is none of the states {} to {}: {found:?}", told.certain, told.asked)
        })?;
        for (object, seq, content) in &moment.past {
            let past = || {
                let object = world.object(*object)?;
                content_of(&object.at(&object.bookmark_of(*seq)?)?)
            };
            let then = past().map_err(|error| format!("object {object} at commit {seq}: {error}"))?;
            if then != *content {
                return Err(format!("object {object} at commit {seq} was {content:?} and is {then:?}"));
            }
        }
        Ok(at)
    }
}

/// Statements whose success is told.
fn statements(deed: &Deed) -> usize {
    let of = |action: &Action| match action {
        Action::Sql(_) | Action::Batch(_) => 1,
        Action::Savepoint(inner) => statements(inner),
        _ => 0,
    };
    deed.actions.iter().map(of).sum()
}

fn next_seq(moments: &[Moment], object: usize) -> u64 {
    let newest = moments.last().into_iter().flat_map(|moment| &moment.past);
    1 + newest.filter(|(of, ..)| *of == object).map(|(_, seq, _)| *seq).max().unwrap_or_default()
}

fn open(disk: &SimDisk) -> Result<SqlWorld, String> {
    SqlWorld::open(disk).map_err(|error| format!("opening: {error}"))
}

impl Story for Queried {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn live(&self, disk: &SimDisk) -> Result<Vec<Told>, String> {
        let mut world = open(disk)?;
        let mut told = vec![Told::default()];
        for (at, step) in self.steps.iter().enumerate() {
            told.push(Told { ops: disk.ops(), certain: at, asked: at + 1, released: 0 });
            let came_to = world.step(step).map_err(|error| format!("{step:?}: {error}"))?;
            if came_to.contains(&false) {
                return Err(format!("a statement of {step:?} failed"));
            }
            told.push(Told { ops: disk.ops(), certain: at + 1, asked: at + 1, released: 0 });
        }
        Ok(told)
    }

    fn wake(&self, disk: &SimDisk, _: Option<&Beside>, _: Told) -> Result<Box<dyn Any>, String> {
        Ok(Box::new(open(disk)?))
    }

    fn judge(&self, disk: &SimDisk, _: Option<&Beside>, told: Told, variety: u64) -> Result<usize, String> {
        let failed = |what: &'static str| move |error: lineal::Error| format!("{what}: {error}");
        let mut world = open(disk)?;
        let state = self.find(&world, told)?;
        world.engine().verify(&mut |_| ()).map_err(failed("verifying"))?;
        if variety % 4 != 3 {
            let life =
                ["CREATE TABLE life (x)", "INSERT INTO life VALUES (1)"].map(|sql| Action::Sql(sql.into()));
            let deed = Arc::new(Deed { actions: life.into(), fails: false });
            world.step(&Step::Transact(0, deed)).map_err(failed("writing"))?;
        }
        let before = world.contents().map_err(failed("reading"))?;
        if (variety / 4).is_multiple_of(8) {
            world.step(&Step::Reopen).map_err(failed("closing and opening"))?;
        } else {
            drop(world);
            world = open(disk)?;
        }
        let after = world.contents().map_err(failed("reading again"))?;
        if after != before {
            return Err(format!("recovery does not settle what was unknown: {before:?}, then {after:?}"));
        }
        Ok(state)
    }
}
