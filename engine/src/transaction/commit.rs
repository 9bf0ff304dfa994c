//! The write path.

use std::cell::Cell as StdCell;

use lineal_wal::{Appended, Class, Lsn, PartHeader, RecordBuilder, Seq};

use super::{
    body::{BORN, Body, FIRST, First, GONE, Kind},
    tx::{Draft, Tx},
    view::View,
};
use crate::{
    Durability, Error, Gated, Object, Result,
    engine::EngineInner,
    gate::{inside::Inside, output::Need},
    migration::{Use, bring_forward},
    object::{
        fetching, id,
        resident::{Below, Resident, Under},
        turns::{Held, Turn},
    },
    sync::Arc,
};

/// Runs a closure as one transaction in a turn, and commits what it wrote.
pub(crate) fn transact<T, E: From<Error>>(
    mut held: Held<'_>,
    f: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
) -> Gated<T, E> {
    if let Err(error) = bring_forward(&mut held, Use::Write) {
        return hold(held.engine, held.seen(), Err(error.into()));
    }
    let mut scratch = Scratch::take();
    let ops = std::mem::take(&mut scratch.ops);
    let mut tx = Tx::new(held.engine, held.cell.key, held.resident, ops);
    let outcome = complete(f(&mut tx), &mut tx);
    let draft = tx.finish();
    let gated = settle(held, draft, outcome, &mut scratch);
    scratch.put_back();
    gated
}

/// A transaction of the engine on one of its own objects.
pub(crate) fn transact_system<T>(held: Held<'_>, f: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Gated<T> {
    let mut scratch = Scratch::take();
    let mut tx = Tx::new(held.engine, held.cell.key, held.resident, Vec::new()).system();
    let outcome = f(&mut tx);
    let draft = tx.finish();
    settle(held, draft, outcome, &mut scratch)
}

/// One step of a migration. `f` leaves nothing to complete.
pub(crate) fn migrate(held: Held<'_>, f: impl FnOnce(&mut Tx<'_>) -> Result<()>) -> Gated<()> {
    let mut tx = Tx::new(held.engine, held.cell.key, held.resident, Vec::new());
    tx.set_kind(Kind::Migration);
    let outcome = f(&mut tx);
    let draft = tx.finish();
    settle(held, draft, outcome, &mut Scratch::default())
}

/// Does what a closure that succeeded leaves to do.
#[inline]
fn complete<T, E: From<Error>>(outcome: Result<T, E>, tx: &mut Tx<'_>) -> Result<T, E> {
    let value = outcome?;
    tx.complete()?;
    Ok(value)
}

/// Deletes the object.
pub(crate) fn erase(held: Held<'_>, kind: Kind, cause: &str) -> Gated<()> {
    let seen = held.seen();
    match erasure(&held, kind, cause) {
        Ok(None) => hold(held.engine, seen, Ok(())),
        Ok(Some(draft)) => settle(held, draft, Ok(()), &mut Scratch::default()),
        Err(error) => hold(held.engine, seen, Err(error)),
    }
}

/// The commit that deletes or purges the object; `None` if there is nothing to do.
pub(crate) fn erasure(held: &Held<'_>, kind: Kind, cause: &str) -> Result<Option<Draft>> {
    let nothing_to_do = match kind {
        Kind::Purge => held.resident.salt.is_none(),
        _ => !held.resident.exists,
    };
    if nothing_to_do {
        return Ok(None);
    }
    let mut tx = Tx::new(held.engine, held.cell.key, held.resident, Vec::new());
    tx.cause(cause)?;
    tx.delete_all()?;
    tx.set_kind(kind);
    Ok(Some(tx.finish()))
}

/// Commits what was drafted without a closure: all of it or nothing. At most one draft of each object, ascending by
/// key.
pub(crate) fn commit_drafts(engine: &EngineInner, writes: &mut [Write<'_>]) -> Result<Lsn> {
    commit(engine, &mut RecordBuilder::new(), writes)
}

/// Runs a closure on the object as it is, once its schema is the newest.
pub(crate) fn read<T, E: From<Error>>(
    mut held: Held<'_>,
    f: impl FnOnce(&View<'_>) -> Result<T, E>,
) -> Gated<T, E> {
    match bring_forward(&mut held, Use::Read) {
        Ok(()) => read_as_it_is(held, f),
        Err(error) => hold(held.engine, held.seen(), Err(error.into())),
    }
}

/// As `read`, whatever the version of the schema.
pub(crate) fn read_as_it_is<T, E>(held: Held<'_>, f: impl FnOnce(&View<'_>) -> Result<T, E>) -> Gated<T, E> {
    let view = View::new(held.engine, held.cell.key, held.resident);
    let outcome = f(&view);
    let seen = held.seen().and(view.absorbed());
    view.end();
    hold(held.engine, seen, outcome)
}

/// As `read`, over the engine's own keys.
pub(crate) fn read_system<T, E>(held: Held<'_>, f: impl FnOnce(&View<'_>) -> Result<T, E>) -> Gated<T, E> {
    let view = View::new(held.engine, held.cell.key, held.resident).system();
    let outcome = f(&view);
    hold(held.engine, held.seen(), outcome)
}

/// Looks at the state of an object itself.
pub(crate) fn look<T>(
    held: Held<'_>,
    f: impl FnOnce(lineal_wal::ObjectKey, &mut Resident) -> Result<T>,
) -> Gated<T> {
    let outcome = f(held.cell.key, held.resident);
    hold(held.engine, held.seen(), outcome)
}

/// Commits what the closure wrote if it succeeded, and holds its outcome until all it saw is durable.
fn settle<T, E: From<Error>>(
    held: Held<'_>,
    mut draft: Draft,
    outcome: Result<T, E>,
    scratch: &mut Scratch,
) -> Gated<T, E> {
    let engine = held.engine;
    let seen = held.resident.last_lsn;
    let level = held.namespace.level().max(draft.durability);
    let absorbed = draft.absorbed;
    let (outcome, lsn) = match outcome {
        Err(error) => {
            draft.end(engine, held.resident);
            (Err(error), seen)
        }
        Ok(value) if draft.ops.is_empty() => {
            draft.end(engine, held.resident);
            (Ok(value), seen)
        }
        Ok(value) => {
            let mut write = [Write::new(held, draft)];
            let (outcome, lsn) = match commit(engine, &mut scratch.record, &mut write) {
                Ok(lsn) => (Ok(value), lsn),
                Err(error) => (Err(error.into()), seen),
            };
            let [write] = &mut write;
            scratch.ops = std::mem::take(&mut write.draft.ops);
            write.draft.end(engine, write.held.resident);
            (outcome, lsn)
        }
    };
    hold(engine, Need::new(lsn, level).and(absorbed), outcome)
}

/// Runs a closure as one transaction over several objects: all of it commits or nothing.
pub(crate) fn transact_many<T, E: From<Error>>(
    engine: &Arc<EngineInner>,
    objects: &[&Object],
    f: impl FnOnce(&mut [Tx<'_>]) -> Result<T, E>,
) -> Gated<T, E> {
    match take_turns(engine, objects) {
        Ok(mut turns) => run_many(engine, &mut turns, f),
        Err(error) => Gated::open(Err(error.into())),
    }
}

fn run_many<T, E: From<Error>>(
    engine: &Arc<EngineInner>,
    turns: &mut [(usize, Turn<'_>)],
    f: impl FnOnce(&mut [Tx<'_>]) -> Result<T, E>,
) -> Gated<T, E> {
    // In the order of the keys the turns were taken in; the closure gets them in the caller's order.
    let mut helds: Vec<(usize, Held<'_>)> = turns.iter_mut().map(|(at, turn)| (*at, turn.begin())).collect();
    helds.sort_unstable_by_key(|(at, _)| *at);
    if let Err(error) = helds.iter_mut().try_for_each(|(_, held)| bring_forward(held, Use::Write)) {
        let seen = helds.iter().fold(Need::default(), |all, (_, held)| all.and(held.seen()));
        turns.iter_mut().for_each(|(_, turn)| turn.ran());
        return hold(engine, seen, Err(error.into()));
    }
    let mut txs: Vec<Tx<'_>> =
        helds.iter().map(|(_, held)| Tx::new(engine, held.cell.key, held.resident, Vec::new())).collect();
    let mut outcome = f(&mut txs);
    for tx in &mut txs {
        outcome = complete(outcome, tx);
    }
    let mut drafts: Vec<Draft> = txs.into_iter().map(Tx::finish).collect();
    // A closure can swap what it was lent, so each draft is taken for what it says it is of.
    drafts.sort_unstable_by_key(|draft| draft.key);
    helds.sort_unstable_by_key(|(_, held)| held.cell.key);
    let seen = helds.iter().map(|(_, held)| held.resident.last_lsn).max().unwrap_or_default();
    let level = helds.iter().map(|(_, held)| held.namespace.level()).max().unwrap_or_default();
    let level = drafts.iter().map(|draft| draft.durability).fold(level, Durability::max);
    let absorbed = drafts.iter().fold(Need::default(), |all, draft| all.and(draft.absorbed));
    let mut writes: Vec<Write<'_>> =
        helds.into_iter().zip(drafts).map(|((_, held), draft)| Write::new(held, draft)).collect();
    let (mut changing, unchanged): (Vec<Write<'_>>, Vec<Write<'_>>) =
        writes.drain(..).partition(|write| !write.draft.ops.is_empty());
    let (outcome, lsn) = match outcome {
        Err(error) => (Err(error), seen),
        Ok(value) if changing.is_empty() => (Ok(value), seen),
        Ok(value) => match commit(engine, &mut RecordBuilder::new(), &mut changing) {
            Ok(lsn) => (Ok(value), lsn),
            Err(error) => (Err(error.into()), seen),
        },
    };
    changing.into_iter().chain(unchanged).for_each(|mut write| write.draft.end(engine, write.held.resident));
    turns.iter_mut().for_each(|(_, turn)| turn.ran());
    hold(engine, Need::new(lsn, level).and(absorbed), outcome)
}

/// Takes the turns of several objects in the order of their keys, which everybody does, so that no two callers
/// wait for each other. Each comes with its place in `objects`.
fn take_turns<'a>(engine: &'a Arc<EngineInner>, objects: &'a [&'a Object]) -> Result<Vec<(usize, Turn<'a>)>> {
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_unstable_by_key(|at| objects[*at].cell.key);
    if order.windows(2).any(|pair| objects[pair[0]].cell.key == objects[pair[1]].cell.key) {
        return Err(Error::Invalid { reason: "a transaction over several objects names one twice".into() });
    }
    if objects.iter().any(|object| !Arc::ptr_eq(&object.engine, engine)) {
        return Err(Error::OtherEngine);
    }
    Inside::refuse(engine.output.tag)?;
    engine.admit()?;
    let mut turns = Vec::with_capacity(objects.len());
    for at in order {
        let object = objects[at];
        turns.push((at, Turn::take_within(engine, &object.namespace, &object.cell)?));
    }
    Ok(turns)
}

/// What one object's part of a commit is made of.
pub(crate) struct Write<'a> {
    held: Held<'a>,
    draft: Draft,
    /// Drawn for the first commit of a chain.
    salt: Option<[u8; 16]>,
}

/// The write path. Read it top to bottom; nothing else appends to the log.
///
/// Before the append nothing has changed and anything may refuse; after it nothing can fail. When it returns,
/// the commit is ordered and seen inside the engine; it is seen outside when the gate for the returned position
/// opens.
fn commit(engine: &EngineInner, record: &mut RecordBuilder, writes: &mut [Write<'_>]) -> Result<Lsn> {
    engine.check_writable()?;
    fetching::check(engine)?;
    for write in writes.iter() {
        write.held.namespace.check()?;
        engine.output.check(write.held.namespace.level())?;
    }
    let class = class_of(writes);
    if class == Class::User && engine.ballast.is_owed() {
        engine.settle_ballast()?;
    }
    reserve_quotas(writes)?;
    record.clear();
    for write in writes.iter_mut() {
        write.encode(engine, record);
    }
    let appended = match engine.log.append(record, (engine.options.clock)(), class) {
        Ok(appended) => appended,
        Err(error) => {
            writes.iter().for_each(Write::release_quota);
            return Err(error.into());
        }
    };
    for write in writes.iter_mut() {
        write.apply(appended);
        write.draft.committed = true;
        if write.draft.kind == Kind::Purge {
            engine.set_purged(write.held.cell.key, write.held.resident.seq, appended.lsn);
        }
    }
    engine.appended(record.bytes() as u64, writes.len() as u64);
    Ok(appended.lsn)
}

/// What frees space may use the log's reserve.
fn class_of(writes: &[Write<'_>]) -> Class {
    let frees = |write: &Write<'_>| {
        write.draft.only_deletes || matches!(write.draft.kind, Kind::Delete | Kind::Purge | Kind::System)
    };
    if writes.iter().all(frees) { Class::System } else { Class::User }
}

fn reserve_quotas(writes: &mut [Write<'_>]) -> Result<()> {
    for at in 0..writes.len() {
        if let Err(error) = writes[at].reserve_quota() {
            writes[..at].iter().for_each(Write::release_quota);
            return Err(error);
        }
    }
    Ok(())
}

impl<'a> Write<'a> {
    pub(crate) fn new(held: Held<'a>, draft: Draft) -> Write<'a> {
        Write { held, draft, salt: None }
    }

    /// The object's state, after the commit.
    pub(crate) fn into_resident(self) -> &'a mut Resident {
        self.held.resident
    }

    fn exists_after(&self) -> bool {
        if let Some(landing) = &self.draft.landing {
            return landing.exists;
        }
        !matches!(self.draft.kind, Kind::Delete | Kind::Purge)
    }

    fn objects_delta(&self) -> i64 {
        i64::from(self.exists_after()) - i64::from(self.held.resident.exists)
    }

    fn reserve_quota(&mut self) -> Result<()> {
        let Held { namespace, cell, resident, .. } = &self.held;
        if resident.salt.is_none()
            && cell.name().is_none()
            && id::is_by_name(cell.key.id)
            && cell.key.namespace.0 != 0
        {
            return Err(Error::NotFound {
                what: format!("object {} (made by name, so create it by name)", cell.key.id),
            });
        }
        let object_bytes = resident.bytes.saturating_add_signed(self.draft.delta);
        namespace.reserve(self.draft.delta, self.objects_delta(), object_bytes)
    }

    fn release_quota(&self) {
        self.held.namespace.release(self.draft.delta, self.objects_delta());
    }

    fn encode(&mut self, engine: &EngineInner, record: &mut RecordBuilder) {
        let Held { cell, resident, .. } = &self.held;
        let mut flags = 0;
        let mut first = None;
        if resident.salt.is_none() {
            flags |= FIRST;
            let salt = *self.salt.insert(engine.draw_salt());
            first = Some(First { salt, name: cell.name().map(AsRef::as_ref) });
        }
        match self.objects_delta() {
            1 => flags |= BORN,
            -1 => flags |= GONE,
            _ => {}
        }
        let body = record.begin_part(PartHeader {
            object: cell.key,
            seq: Seq(resident.seq.0 + 1),
            prev_lsn: resident.last_lsn,
            kind: self.draft.kind as u8,
            codec: 0,
            key_id: 0,
            flags,
        });
        Body { delta: self.draft.delta, cause: &self.draft.cause, first, ops: &self.draft.ops }.encode(body);
        record.end_part();
    }

    fn apply(&mut self, appended: Appended) {
        let exists = self.exists_after();
        let Held { cell, resident, .. } = &mut self.held;
        match &self.draft.writes {
            Some(writes) => resident.overlay.absorb(writes),
            None => {
                resident.overlay.apply(&self.draft.ops).expect("a commit's own ops apply");
            }
        }
        if resident.overlay.whole_cleared() {
            resident.below = None;
        }
        let landing = self.draft.landing.take();
        if self.draft.touches_pages || landing.is_some() {
            resident.pages_seq = Seq(resident.seq.0 + 1);
        }
        if self.draft.clears || landing.is_some() {
            resident.schema_version = 0;
        }
        if let Some((base, version)) = landing.and_then(|landing| landing.under) {
            let under = Under { cut: Seq(resident.seq.0 + 1), base, version };
            resident.below = Some(Box::new(Below { key: cell.key, leaves: None, under: Some(under) }));
        }
        resident.seq = Seq(resident.seq.0 + 1);
        resident.last_lsn = appended.lsn;
        resident.last_time = appended.time;
        resident.bytes = resident.bytes.saturating_add_signed(self.draft.delta);
        resident.exists = exists;
        resident.salt = resident.salt.or(self.salt);
        if resident.name.is_none() {
            resident.name = cell.name().cloned();
        }
        if self.draft.kind == Kind::Purge {
            resident.salt = None;
            resident.name = None;
            resident.hashed = (resident.seq, crate::lineage::genesis(cell.key, resident.seq));
        }
        cell.set_last_lsn(appended.lsn);
    }
}

#[inline]
pub(crate) fn hold<T, E>(engine: &EngineInner, need: Need, outcome: Result<T, E>) -> Gated<T, E> {
    if engine.output.is_open(need) {
        return Gated::open(outcome);
    }
    engine.output.archived.expect(need.archived());
    // What is packed is durable, also where the log that is left ends before it.
    Gated::hold(&engine.output, need.beyond(engine.line()), outcome)
}

/// Buffers that one thread uses again and again, so that a commit allocates nothing.
#[derive(Default)]
struct Scratch {
    ops: Vec<u8>,
    record: RecordBuilder,
}

/// Buffers that grew beyond this are given back.
///
/// Source: chosen; far above a usual transaction, far below a large one.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static SCRATCH: StdCell<Option<Box<Scratch>>> = const { StdCell::new(None) };
}

impl Scratch {
    fn take() -> Box<Scratch> {
        SCRATCH.take().unwrap_or_default()
    }

    fn put_back(self: Box<Self>) {
        if self.ops.capacity() <= SCRATCH_BYTES_MAX && self.record.bytes() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(Some(self));
        }
    }
}
