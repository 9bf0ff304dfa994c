//! Bringing the objects of a namespace forward that nobody uses.

use std::collections::VecDeque;

use lineal_wal::ObjectId;

use super::forward::{Use, bring_forward};
use crate::{
    Error, Gated, Namespace, Object, ObjectInfo, Result, View,
    object::turns::{Held, Turn},
    transaction::commit,
};

/// Objects whose migrations wait for the disk together.
///
/// Source: chosen; enough for one flush to serve many, few enough to hold in memory.
const IN_FLIGHT: usize = 256;

/// What [`Namespace::migrate_all`] tells of one object.
#[derive(Debug)]
#[non_exhaustive]
pub struct MigratedObject {
    /// Its id.
    pub id: ObjectId,
    /// Its name, if it was made by name.
    pub name: Option<String>,
    /// The versions it was at and is at, durably; or why it is not at the newest. The steps before the one that failed
    /// stay.
    pub outcome: Result<(u32, u32)>,
}

/// How many objects came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationReport {
    /// Brought forward.
    pub migrated: u64,
    /// Not behind.
    pub unchanged: u64,
    /// Not brought forward all the way, because of an error of their own.
    pub failed: u64,
}

impl Namespace {
    /// Brings every object of the namespace that exists forward to the newest step of
    /// [`migrations`](Namespace::migrations). `told` hears of each, by id, once that is durable. An object whose step fails
    /// is told of, and the others go on. Others may use the objects meanwhile.
    ///
    /// Each object keeps its own version, so after an interruption it goes on where it was when it is called again.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Poisoned`], [`Error::NoSpace`], [`Error::Io`], [`Error::Closed`] and
    /// [`Error::Dropped`] end it.
    pub fn migrate_all(&self, told: &mut dyn FnMut(MigratedObject)) -> Result<MigrationReport> {
        self.engine.check_writable()?;
        let mut report = MigrationReport::default();
        let mut waiting: VecDeque<Pending> = VecDeque::new();
        for info in self.objects()? {
            let ObjectInfo { id, name, .. } = info?;
            waiting.push_back(Pending { id, name, gate: forward(&self.at(id)) });
            if waiting.len() == IN_FLIGHT {
                waiting.pop_front().map_or(Ok(()), |first| first.end(&mut report, told))?;
            }
        }
        waiting.into_iter().try_for_each(|pending| pending.end(&mut report, told))?;
        Ok(report)
    }

    /// Tells `told` at which version each object of the namespace is that exists, by id. Changes nothing; works on an
    /// engine that is open for reading only.
    ///
    /// # Errors
    /// As [`Objects`](crate::Objects) and [`Object::schema_version`]: the first that is met ends it.
    pub fn schema_versions(&self, told: &mut dyn FnMut(&ObjectInfo, u32)) -> Result<()> {
        for info in self.objects()? {
            let info = info?;
            let version = self.at(info.id).schema_version()?;
            told(&info, version);
        }
        Ok(())
    }
}

/// One object's migration on its way.
struct Pending {
    id: ObjectId,
    name: Option<String>,
    gate: Gated<(u32, u32)>,
}

impl Pending {
    fn end(self, report: &mut MigrationReport, told: &mut dyn FnMut(MigratedObject)) -> Result<()> {
        let Pending { id, name, gate } = self;
        let outcome = gate.wait();
        match &outcome {
            Ok((from, to)) if from == to => report.unchanged += 1,
            Ok(_) => report.migrated += 1,
            Err(error) if ends_all(error) => return Err(error.clone()),
            Err(_) => report.failed += 1,
        }
        told(MigratedObject { id, name, outcome });
        Ok(())
    }
}

fn forward(object: &Object) -> Gated<(u32, u32)> {
    match Turn::take(&object.engine, &object.namespace, &object.cell) {
        Ok(mut turn) => turn.run(forward_held),
        Err(error) => Gated::open(Err(error)),
    }
}

fn forward_held(mut held: Held<'_>) -> Gated<(u32, u32)> {
    let migrate = |held: &mut Held<'_>| {
        let from = View::new(held.engine, held.cell.key, held.resident).schema_version()?;
        // It may have been deleted since it was listed: then there is nothing to bring forward.
        bring_forward(held, Use::Read)?;
        let to = View::new(held.engine, held.cell.key, held.resident).schema_version()?;
        Ok((from, to))
    };
    let outcome = migrate(&mut held);
    commit::hold(held.engine, held.seen(), outcome)
}

/// Whether no object can be brought forward any more.
fn ends_all(error: &Error) -> bool {
    match error {
        Error::Migration { source, .. } => ends_all(source),
        Error::Poisoned { .. } | Error::Closed | Error::NoSpace { .. } | Error::Io { .. } => true,
        Error::ReadOnly | Error::InsideTurn | Error::Dropped { .. } => true,
        _ => false,
    }
}
