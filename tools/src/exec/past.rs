//! Requests that look at the past, or change the present out of it.

use lineal::{CommitInfo, Error, Object, Selector, View};

use super::{
    reply::{Answer, Refusal},
    request::{Commits, RestoreMany, Target, Terms, Which},
    session::{Session, Spot, check_seq, check_size, not_found, object_in},
};
use crate::{
    commits,
    json::{self, Line},
    restore,
    restore_many::{self, Counts},
    show, tables,
    when::{self, When},
};

/// Commits in the reply to one `history` or `blame`, and objects in that to one `restore_many`, that names no limit.
///
/// Source: chosen; a reply of a few hundred kilobytes.
const COMMITS_LIMIT: u64 = 1_000;

impl Session {
    /// The object, once everything that requests before this one wrote to it is durable.
    fn settled_object(&mut self, target: &Target) -> Result<Object, Error> {
        let object = self.existing_object(target)?.ok_or_else(|| not_found(target))?;
        object.info()?;
        Ok(object)
    }

    pub(super) fn bookmark(&mut self, target: &Target, at: Option<&When>) -> Result<Answer, Refusal> {
        let object = self.settled_object(target)?;
        let mark = match at {
            Some(at) => at.bookmark(&object)?,
            None => object.bookmark().wait()?,
        };
        let view = object.at(&mark)?;
        let mut line = Line::new();
        show::fields(&mark, &mut line);
        Ok(Answer::Now(line.number("lsn", view.lsn()).fields()))
    }

    /// Answers out of the object as it was.
    pub(super) fn at(
        &mut self,
        target: &Target,
        at: &When,
        f: impl FnOnce(&View<'_>) -> Result<String, Error>,
    ) -> Result<Answer, Refusal> {
        let view = at.view(&self.settled_object(target)?)?;
        let fields = f(&view)?;
        let mut line = Line::new();
        line.number("seq", view.seq()).number("lsn", view.lsn());
        Ok(Answer::Now(line.append(&fields).fields()))
    }

    pub(super) fn restore(&mut self, target: &Target, at: &When, terms: &Terms) -> Result<Answer, Refusal> {
        let object = self.settled_object(target)?;
        let info = object.info()?;
        check_seq(terms, info.seq)?;
        let mark = at.bookmark(&object)?;
        let gate = object.restore_because(&mark, terms.cause.as_deref().unwrap_or_default());
        let gate = gate.map(|undo| Line::new().json("undo", &show::json(&undo)).fields());
        let known = Spot { seq: info.seq, lsn: info.lsn }.after(&object).fields();
        Ok(Answer::Gated { known, gate, bytes: 0 })
    }

    pub(super) fn fork(
        &mut self,
        target: &Target,
        at: &When,
        to: &Target,
        terms: &Terms,
    ) -> Result<Answer, Refusal> {
        let object = self.settled_object(target)?;
        let mark = at.bookmark(&object)?;
        restore::check_fork(&object, &mark, terms.cause.as_deref().unwrap_or_default())?;
        let copy = self.object(to)?;
        let gate = object.fork_because(&mark, &copy, terms.cause.as_deref().unwrap_or_default());
        let known = Line::new().number("lsn", copy.last_lsn().0).fields();
        let gate = gate.map(|first| {
            let mut line = Line::new();
            show::fields(&first, &mut line);
            line.fields()
        });
        Ok(Answer::Gated { known, gate, bytes: 0 })
    }

    pub(super) fn history(&mut self, target: &Target, wanted: &Commits) -> Result<Answer, Refusal> {
        let (mut from, mut to) = (wanted.from, wanted.to);
        match wanted.after {
            Some(after) if wanted.reverse => from = from.max(after.saturating_add(1)),
            Some(after) => to = to.min(after.saturating_sub(1)),
            None => {}
        }
        let mut history = self.settled_object(target)?.history(from..=to)?;
        if let Some(since) = wanted.since {
            history = history.since(since);
        }
        if let Some(until) = wanted.until {
            history = history.until(until);
        }
        if wanted.reverse {
            history = history.reverse();
        }
        page(&mut history, wanted.limit)
    }

    pub(super) fn blame(
        &mut self,
        target: &Target,
        key: &[u8],
        limit: Option<u64>,
        after: Option<u64>,
    ) -> Result<Answer, Refusal> {
        let blame = self.settled_object(target)?.blame(key)?;
        page(&mut blame.before(after.unwrap_or(u64::MAX)), limit)
    }

    pub(super) fn diff(
        &mut self,
        target: &Target,
        from: &When,
        to: Option<&When>,
        limit: Option<u64>,
        after_key: Option<&[u8]>,
    ) -> Result<Answer, Refusal> {
        let object = self.settled_object(target)?;
        let (before, after) = when::points(&object, from, to)?;
        let (mut found, mut size) = (Vec::new(), 0);
        let mut diff = object.diff(&before, &after)?;
        if let Some(key) = after_key {
            diff = diff.after(key);
        }
        let mut last = None;
        while (found.len() as u64) < limit.unwrap_or(u64::MAX) {
            let Some(difference) = diff.next().transpose()? else { break };
            found.push(commits::difference(&difference));
            last = Some(difference.key);
            size += found.last().map_or(0, String::len);
            check_size("diff (use limit)", size)?;
        }
        let mut line = Line::new();
        let more = diff.next().transpose()?.is_some();
        line.number("from_seq", before.seq()).number("to_seq", after.seq());
        line.json("differences", &json::list(found));
        match last.filter(|_| more) {
            Some(key) => line.bytes("next", &key),
            None => line.null("next"),
        };
        // With the first page, not with every one.
        if after_key.is_none() {
            let tables = object.diff_tables(&before, &after)?;
            line.json("tables", &json::list(tables.iter().map(tables::table)));
        }
        Ok(Answer::Now(line.fields()))
    }

    pub(super) fn diff_rows(
        &mut self,
        target: &Target,
        from: &When,
        to: Option<&When>,
        table: &str,
        limit: Option<u64>,
    ) -> Result<Answer, Refusal> {
        let object = self.settled_object(target)?;
        let (before, after) = when::points(&object, from, to)?;
        let (mut rows, mut size, mut more) = (Vec::new(), 0, false);
        let told = object.diff_rows(&before, &after, table, |row| {
            more = rows.len() as u64 >= limit.unwrap_or(u64::MAX);
            if more {
                return Err(Error::Closed);
            }
            let row = tables::row(table, &row);
            size += row.len();
            rows.push(row);
            check_size("diff (use limit)", size)
        });
        if !more {
            told?;
        }
        let mut line = Line::new();
        line.number("from_seq", before.seq()).number("to_seq", after.seq());
        line.json("rows", &json::list(rows)).flag("more", more);
        Ok(Answer::Now(line.fields()))
    }

    pub(super) fn changes(&mut self, target: &Target, seq: u64) -> Result<Answer, Refusal> {
        let object = self.settled_object(target)?;
        let changes = object.changes(seq)?;
        let info = object.history(seq..=seq)?.next().transpose()?.ok_or_else(|| not_found(target))?;
        let mut line = Line::new();
        commits::fields(&info, &mut line);
        let wrote = commits::changes(&changes);
        check_size("commit", wrote.len())?;
        Ok(Answer::Now(line.json("wrote", &wrote).fields()))
    }

    pub(super) fn pin(&mut self, target: &Target, name: &str, at: Option<&When>) -> Result<Answer, Refusal> {
        let object = self.settled_object(target)?;
        let mark = match at {
            Some(at) => at.bookmark(&object)?,
            None => object.bookmark().wait()?,
        };
        let gate = object.pin(&mark, name).map(|()| String::new());
        let mut line = Line::new();
        show::fields(&mark, line.text("name", name));
        Ok(Answer::Gated { known: line.fields(), gate, bytes: 0 })
    }

    pub(super) fn unpin(&mut self, target: &Target, name: &str) -> Result<Answer, Refusal> {
        let gate = self.settled_object(target)?.unpin(name);
        let gate = gate.map(|was_there| Line::new().flag("was_there", was_there).fields());
        Ok(Answer::Gated { known: String::new(), gate, bytes: 0 })
    }

    pub(super) fn pins(&mut self, target: &Target) -> Result<Answer, Refusal> {
        let pins = self.settled_object(target)?.pins()?;
        let told = pins.iter().map(|(name, mark)| restore::pin_line(name, mark, true));
        Ok(Answer::Now(Line::new().json("pins", &json::list(told)).fields()))
    }

    /// Tells of as many objects as the limit says, those left as they are not among them, and counts them all.
    pub(super) fn restore_many(&mut self, wanted: &RestoreMany) -> Result<Answer, Refusal> {
        let found = self.existing_namespace(&wanted.ns)?;
        let namespace =
            found.ok_or_else(|| Error::NotFound { what: format!("namespace {:?}", wanted.ns) })?;
        let selector = match &wanted.which {
            Which::All => Selector::All,
            Which::Prefix(prefix) => Selector::Prefix(prefix.clone()),
            Which::Objects(objects) => {
                let ids = objects.iter().map(|object| Ok(object_in(&namespace, object)?.id()));
                Selector::Objects(ids.collect::<Result<_, Error>>()?)
            }
        };
        self.engine.sync()?;
        let limit = usize::try_from(wanted.limit.unwrap_or(COMMITS_LIMIT)).unwrap_or(usize::MAX);
        let (mut told, mut counts) = (Vec::new(), Counts::default());
        let mut tell = |(what, line): (&'static str, String)| {
            *counts.entry(what).or_default() += 1;
            if what != "unchanged" && told.len() < limit {
                told.push(line);
            }
        };
        if wanted.dry_run {
            for planned in self.engine.plan_restore(&namespace, &selector, wanted.time)? {
                tell(restore_many::plan_line(&planned?, true));
            }
        } else {
            let mut each = |object| tell(restore_many::done_line(&object, true));
            self.engine.restore_many(&namespace, &selector, wanted.time, &wanted.cause, &mut each)?;
        }
        let mut line = Line::new();
        restore_many::counted(&counts, wanted.dry_run, &mut line);
        Ok(Answer::Now(line.json("objects", &json::list(told)).fields()))
    }
}

/// The next commits, and where the listing goes on if its limit has cut it off: what "after" is to be then.
fn page(
    found: &mut impl Iterator<Item = Result<CommitInfo, Error>>,
    limit: Option<u64>,
) -> Result<Answer, Refusal> {
    let limit = usize::try_from(limit.unwrap_or(COMMITS_LIMIT)).unwrap_or(usize::MAX);
    let told: Vec<CommitInfo> = found.take(limit).collect::<Result<_, _>>()?;
    let more = found.next().transpose()?.is_some();
    let mut line = Line::new();
    line.json("commits", &json::list(told.iter().map(commits::json)));
    match told.last().filter(|_| more) {
        Some(last) => line.number("next", last.seq),
        None => line.null("next"),
    };
    Ok(Answer::Now(line.fields()))
}
