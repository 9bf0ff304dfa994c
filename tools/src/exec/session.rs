//! Runs requests on the engine, one after the other.

use std::{collections::HashMap, ops::Bound};

use lineal::{Engine, Error, Gated, Namespace, Object, Tx, View};

use super::{
    reply::{Answer, Queued, Refusal},
    request::{self, After, List, Named, Op, Request, Target, Terms, Write},
    sql,
};
use crate::{
    json::{self, Line},
    objects, stat, verify,
};

/// Most bytes of keys and values in the reply to one `list`.
///
/// Source: chosen; as much as the largest transaction. Longer lists are read in parts.
const LIST_BYTES_MAX: usize = 64 << 20;

/// Objects in the reply to one `objects` that names no limit.
///
/// Source: chosen; a reply of about a megabyte.
const OBJECTS_LIMIT: u64 = 10_000;

pub(super) struct Session {
    pub(super) engine: Engine,
    namespaces: HashMap<String, Namespace>,
}

impl Session {
    pub(super) fn new(engine: Engine) -> Session {
        Session { engine, namespaces: HashMap::new() }
    }

    /// Runs the request on a line. What comes back is told only when its gate has opened.
    pub(super) fn answer(&mut self, line: &[u8]) -> Queued {
        let (id, request) = request::parse(line);
        let answer = match request {
            Ok(request) => self.run(request).unwrap_or_else(Answer::Refused),
            Err(malformed) => Answer::Refused(Refusal::Malformed(malformed)),
        };
        Queued::new(id, answer)
    }

    /// Answers a line that was too long to be read.
    pub(super) fn refuse_line(&self, bytes: u64) -> Queued {
        let limit = super::lines::LINE_BYTES_MAX as u64;
        Queued::new(None, Answer::Refused(Error::TooLarge { what: "line", limit, size: bytes }.into()))
    }

    fn run(&mut self, request: Request) -> Result<Answer, Refusal> {
        match request {
            Request::Get { target, key } => self.get(&target, &key),
            Request::List { target, list } => self.list(&target, &list),
            Request::Sql { target, statement, at, terms } => self.sql(target, statement, at.as_ref(), terms),
            Request::Write(write) => self.write_with(write, sql::results),
            Request::Many(writes) => self.many(&writes),
            Request::Objects { ns, limit, after } => self.objects(&ns, limit, after),
            Request::Info(target) => self.info(&target),
            Request::DeleteObject { target, terms } => {
                let cause = terms.cause.clone().unwrap_or_default();
                self.erase(&target, &terms, |object| object.delete_because(&cause))
            }
            Request::Purge { target, terms } => {
                let cause = terms.cause.clone().unwrap_or_default();
                self.erase(&target, &terms, |object| object.purge_because(&cause))
            }
            Request::Bookmark { target, at } => self.bookmark(&target, at.as_ref()),
            Request::GetAt { target, at, key } => self.at(&target, &at, |view| value_of(view, &key)),
            Request::ListAt { target, at, list } => self.at(&target, &at, |view| entries(view, &list)),
            Request::Restore { target, at, terms } => self.restore(&target, &at, &terms),
            Request::Fork { target, at, to, terms } => self.fork(&target, &at, &to, &terms),
            Request::History { target, commits } => self.history(&target, &commits),
            Request::Blame { target, key, limit, after } => self.blame(&target, &key, limit, after),
            Request::Diff { target, from, to, limit, after } => {
                self.diff(&target, &from, to.as_ref(), limit, after.as_deref())
            }
            Request::DiffRows { target, from, to, table, limit } => {
                self.diff_rows(&target, &from, to.as_ref(), &table, limit)
            }
            Request::Pin { target, name, at } => self.pin(&target, &name, at.as_ref()),
            Request::Unpin { target, name } => self.unpin(&target, &name),
            Request::Pins(target) => self.pins(&target),
            Request::Changes { target, seq } => self.changes(&target, seq),
            Request::RestoreMany(wanted) => self.restore_many(&wanted),
            Request::VerifyObject(target) => self.verify_object(&target),
            Request::VerifyAll => self.verify_all(),
            Request::Archive => self.archive(),
            Request::Spill { ns } => self.spill(ns.as_deref()),
            Request::Sync => self.sync(),
            Request::Checkpoint => self.checkpoint(),
            Request::Stat => {
                let mut line = Line::new();
                stat::fields(&self.engine.stats(), &mut line);
                Ok(Answer::Now(line.fields()))
            }
        }
    }

    fn namespace(&mut self, name: &str) -> Result<Namespace, Error> {
        if let Some(namespace) = self.namespaces.get(name) {
            return Ok(namespace.clone());
        }
        let namespace = self.engine.namespace(name)?;
        self.namespaces.insert(name.to_owned(), namespace.clone());
        Ok(namespace)
    }

    /// The namespace, if it is there: looking at it does not make it.
    pub(super) fn existing_namespace(&mut self, name: &str) -> Result<Option<Namespace>, Error> {
        if let Some(namespace) = self.namespaces.get(name) {
            return Ok(Some(namespace.clone()));
        }
        match self.engine.existing_namespace(name) {
            Ok(namespace) => {
                self.namespaces.insert(name.to_owned(), namespace.clone());
                Ok(Some(namespace))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn object(&mut self, target: &Target) -> Result<Object, Error> {
        object_in(&self.namespace(&target.ns)?, &target.object)
    }

    pub(super) fn existing_object(&mut self, target: &Target) -> Result<Option<Object>, Error> {
        match self.existing_namespace(&target.ns)? {
            Some(namespace) => object_in(&namespace, &target.object).map(Some),
            None => Ok(None),
        }
    }

    fn get(&mut self, target: &Target, key: &[u8]) -> Result<Answer, Refusal> {
        let Some(object) = self.existing_object(target)? else {
            return Ok(nothing_there(Line::new().null("value").fields()));
        };
        read(&object, |view| value_of(view, key))
    }

    fn list(&mut self, target: &Target, list: &List) -> Result<Answer, Refusal> {
        let Some(object) = self.existing_object(target)? else {
            return Ok(nothing_there(Line::new().json("entries", "[]").fields()));
        };
        read(&object, |view| entries(view, list))
    }

    /// Runs a transaction; `told` makes fields of what its statements answered.
    pub(super) fn write_with(
        &mut self,
        write: Write,
        told: impl FnOnce(Vec<String>) -> String,
    ) -> Result<Answer, Refusal> {
        let object = self.object(&write.target)?;
        let (mut spot, mut bytes) = (Spot::default(), 0);
        let gate = object.transact(|tx| {
            spot = Spot { seq: tx.seq(), lsn: tx.lsn() };
            let told = told(apply(tx, &write)?);
            bytes = told.len();
            Ok(told)
        });
        let known = spot.after(&object).fields();
        Ok(Answer::Gated { known, gate, bytes })
    }

    fn many(&mut self, writes: &[Write]) -> Result<Answer, Refusal> {
        let objects: Vec<Object> =
            writes.iter().map(|write| self.object(&write.target)).collect::<Result<_, _>>()?;
        let each: Vec<&Object> = objects.iter().collect();
        let mut spots = Vec::with_capacity(each.len());
        let mut bytes = 0;
        let gate = self.engine.transact_all(&each, |txs| {
            spots.extend(txs.iter().map(|tx| Spot { seq: tx.seq(), lsn: tx.lsn() }));
            let answers = txs.iter_mut().zip(writes).map(|(tx, write)| apply(tx, write));
            let answers = answers.collect::<Result<Vec<_>, Error>>()?;
            if answers.iter().all(Vec::is_empty) {
                return Ok(String::new());
            }
            let results = json::list(answers.into_iter().map(sql::listed));
            bytes = results.len();
            Ok(Line::new().json("results", &results).fields())
        });
        let mut newest = 0;
        let mut txns = Vec::with_capacity(spots.len());
        for (spot, object) in spots.into_iter().zip(&objects) {
            let spot = spot.after(object);
            newest = spot.lsn.max(newest);
            txns.push(format!("{{{}}}", spot.fields()));
        }
        let known = Line::new().number("lsn", newest).json("txns", &json::list(txns)).fields();
        Ok(Answer::Gated { known, gate, bytes })
    }

    fn objects(&mut self, ns: &str, limit: Option<u64>, after: Option<After>) -> Result<Answer, Refusal> {
        let mut found = Vec::new();
        let mut next = None;
        if let Some(namespace) = self.existing_namespace(ns)? {
            let after = match after {
                None => None,
                Some(After::Id(id)) => Some(id),
                Some(After::Name(name)) => Some(namespace.object(&name)?.id()),
            };
            let limit = limit.unwrap_or(OBJECTS_LIMIT);
            let mut last = None;
            let mut objects = namespace.objects_after(after)?;
            while (found.len() as u64) < limit {
                let Some(info) = objects.next().transpose()? else { break };
                last = Some(info.id);
                found.push(objects::json(&info));
            }
            next = last.filter(|_| found.len() as u64 == limit);
        }
        let mut line = Line::new();
        line.json("objects", &json::list(found));
        match next {
            Some(id) => line.text("next", &id.to_string()),
            None => line.null("next"),
        };
        Ok(Answer::Now(line.fields()))
    }

    fn info(&mut self, target: &Target) -> Result<Answer, Refusal> {
        let object = self.existing_object(target)?.ok_or_else(|| not_found(target))?;
        let info = object.info()?;
        let mut line = Line::new();
        line.object("obj", info.name.as_deref(), info.id).text("id", &info.id.to_string());
        line.number("seq", info.seq).number("lsn", info.lsn).number("bytes", info.bytes);
        line.flag("exists", info.exists).number("last_commit_us", info.last_commit.0);
        Ok(Answer::Now(line.fields()))
    }

    /// Deletes or purges an object.
    fn erase(
        &mut self,
        target: &Target,
        terms: &Terms,
        how: impl FnOnce(&Object) -> Gated<()>,
    ) -> Result<Answer, Refusal> {
        let Some(object) = self.existing_object(target)? else {
            check_seq(terms, 0)?;
            return Ok(nothing_there(String::new()));
        };
        // Nobody else writes, so what holds now holds when the object is erased.
        let mut spot = None;
        let gate = object.read(|view| {
            check_seq(terms, view.seq())?;
            spot = Some(Spot { seq: view.seq(), lsn: view.lsn() });
            Ok(String::new())
        });
        let Some(spot) = spot else { return Ok(Answer::Gated { known: String::new(), gate, bytes: 0 }) };
        let gate = how(&object).map(|()| String::new());
        let known = spot.after(&object).fields();
        Ok(Answer::Gated { known, gate, bytes: 0 })
    }

    fn verify_object(&mut self, target: &Target) -> Result<Answer, Refusal> {
        let object = self.existing_object(target)?.ok_or_else(|| not_found(target))?;
        let verified = object.verify()?;
        let hash: String = verified.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut line = Line::new();
        line.number("seq", verified.last_seq).number("first_seq", verified.first_seq);
        line.number("commits", verified.commits).number("leaves", verified.leaves).text("hash", &hash);
        Ok(Answer::Now(line.fields()))
    }

    fn verify_all(&mut self) -> Result<Answer, Refusal> {
        let report = self.engine.verify(&mut |_| ())?;
        let mut line = Line::new();
        verify::fields(&report, &mut line);
        Ok(Answer::Now(line.fields()))
    }

    fn sync(&mut self) -> Result<Answer, Refusal> {
        self.engine.sync()?;
        Ok(Answer::Now(Line::new().number("lsn", self.engine.stats().durable_lsn).fields()))
    }

    fn checkpoint(&mut self) -> Result<Answer, Refusal> {
        let done = self.engine.checkpoint()?;
        let mut line = Line::new();
        line.number("lsn", done.line).number("objects", done.objects).number("commits", done.commits);
        line.number("pack_bytes", done.pack_bytes);
        Ok(Answer::Now(line.fields()))
    }
}

pub(super) fn check_size(what: &'static str, size: usize) -> Result<(), Error> {
    if size > LIST_BYTES_MAX {
        return Err(Error::TooLarge { what, limit: LIST_BYTES_MAX as u64, size: size as u64 });
    }
    Ok(())
}

fn value_of(view: &View<'_>, key: &[u8]) -> Result<String, Error> {
    let mut line = Line::new();
    match view.get(key)? {
        Some(value) => line.bytes("value", &value),
        None => line.null("value"),
    };
    Ok(line.fields())
}

pub(super) fn object_in(namespace: &Namespace, object: &Named) -> Result<Object, Error> {
    match object {
        Named::Name(name) => namespace.object(name),
        Named::Id(id) => namespace.by_id(*id),
    }
}

pub(super) fn not_found(target: &Target) -> Error {
    Error::NotFound { what: format!("namespace {:?}", target.ns) }
}

/// The answer about an object that never was.
fn nothing_there(fields: String) -> Answer {
    Answer::Now(Line::new().number("seq", 0).number("lsn", 0).append(&fields).fields())
}

pub(super) fn check_seq(terms: &Terms, actual: u64) -> Result<(), Error> {
    match terms.expect_seq {
        Some(expected) if expected != actual => Err(Error::Conflict { expected, actual }),
        _ => Ok(()),
    }
}

/// Does what a transaction asks for; returns what its statements answered.
fn apply(tx: &mut Tx<'_>, write: &Write) -> Result<Vec<String>, Error> {
    let (mut answers, mut size) = (Vec::new(), 0);
    if let Some(seq) = write.terms.expect_seq {
        tx.expect_seq(seq)?;
    }
    if let Some(cause) = &write.terms.cause {
        tx.cause(cause.as_str())?;
    }
    if let Some(durability) = write.terms.durability {
        tx.durability(durability)?;
    }
    for op in &write.ops {
        match op {
            Op::Put { key, value } => tx.put(key, value)?,
            Op::Delete { key } => tx.delete(key)?,
            Op::DeleteRange { start, end: Some(end) } => tx.delete_range::<&Vec<u8>>(start..end)?,
            Op::DeleteRange { start, end: None } => tx.delete_range::<&Vec<u8>>(start..)?,
            Op::DeleteAll => tx.delete_all()?,
            Op::Sql(statement) => {
                answers.push(sql::run(&tx.sql(), statement)?);
                size += answers.last().map_or(0, String::len);
                check_size("results (use limit)", size)?;
            }
        }
    }
    Ok(answers)
}

pub(super) fn read(
    object: &Object,
    f: impl FnOnce(&View<'_>) -> Result<String, Error>,
) -> Result<Answer, Refusal> {
    let mut spot = Spot::default();
    let mut bytes = 0;
    let gate = object.read(|view| {
        spot = Spot { seq: view.seq(), lsn: view.lsn() };
        let fields = f(view)?;
        bytes = fields.len();
        Ok(fields)
    });
    Ok(Answer::Gated { known: spot.fields(), gate, bytes })
}

fn entries(view: &View<'_>, list: &List) -> Result<String, Error> {
    let start = list.start.as_ref().filter(|start| **start > list.prefix).unwrap_or(&list.prefix);
    let after_prefix = end_of(&list.prefix);
    let end = match (&list.end, &after_prefix) {
        (Some(end), Some(after)) => Some(end.min(after)),
        (end, after) => end.as_ref().or(after.as_ref()),
    };
    let mut entries = view
        .range::<&Vec<u8>>((Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded)))
        .limit(list.limit);
    if list.reverse {
        entries = entries.reverse();
    }
    let mut size = 0;
    let mut found = Vec::new();
    for entry in entries {
        let (key, value) = entry?;
        size += key.len() + value.len();
        check_size("list (use limit and start)", size)?;
        found.push(Line::new().bytes("key", &key).bytes("value", &value).end());
    }
    Ok(Line::new().json("entries", &json::list(found)).fields())
}

/// The first key after all that begin with `prefix`; `None` if there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Where an object stands: its number of commits and the log position of the newest one.
#[derive(Clone, Copy, Default)]
pub(super) struct Spot {
    pub(super) seq: u64,
    pub(super) lsn: u64,
}

impl Spot {
    /// Where it stands now, when at most one commit was made since and nobody else writes.
    pub(super) fn after(self, object: &Object) -> Spot {
        // 0 if its newest commit is in the packs, and then none was made since.
        let lsn = object.last_lsn().0.max(self.lsn);
        Spot { seq: self.seq + u64::from(lsn != self.lsn), lsn }
    }

    pub(super) fn fields(self) -> String {
        Line::new().number("seq", self.seq).number("lsn", self.lsn).fields()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_begin_with_it() {
        assert_eq!(end_of(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(end_of(b"\xff\xff"), None);
        assert_eq!(end_of(b""), None);
    }
}
