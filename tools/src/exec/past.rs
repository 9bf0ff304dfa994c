//! Requests that look at the past, or change the present out of it.

use lineal::{CommitInfo, Error, Object, View};

use super::{
    reply::{Answer, Refusal},
    request::{Commits, Target, Terms},
    session::{Session, Spot, check_seq, check_size, not_found},
};
use crate::{
    commits,
    json::{self, Line},
    show,
    when::When,
};

/// Commits in the reply to one `history` or `blame` that names no limit.
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
        let mut history = self.settled_object(target)?.history(wanted.from..=wanted.to)?;
        if let Some(since) = wanted.since {
            history = history.since(since);
        }
        if let Some(until) = wanted.until {
            history = history.until(until);
        }
        if wanted.reverse {
            history = history.reverse();
        }
        let mut line = Line::new();
        line.json("commits", &told(&mut history, wanted.limit)?);
        // Where the listing goes on if its limit has cut it off.
        match history.next().transpose()? {
            Some(info) => line.number("next", info.seq),
            None => line.null("next"),
        };
        Ok(Answer::Now(line.fields()))
    }

    pub(super) fn blame(
        &mut self,
        target: &Target,
        key: &[u8],
        limit: Option<u64>,
    ) -> Result<Answer, Refusal> {
        let told = told(&mut self.settled_object(target)?.blame(key)?, limit)?;
        Ok(Answer::Now(Line::new().json("commits", &told).fields()))
    }

    pub(super) fn diff(
        &mut self,
        target: &Target,
        from: &When,
        to: Option<&When>,
        limit: Option<u64>,
    ) -> Result<Answer, Refusal> {
        let object = self.settled_object(target)?;
        let before = from.bookmark(&object)?;
        let after = match to {
            Some(to) => to.bookmark(&object)?,
            None => object.bookmark().wait()?,
        };
        let (mut found, mut size) = (Vec::new(), 0);
        let mut diff = object.diff(&before, &after)?;
        while (found.len() as u64) < limit.unwrap_or(u64::MAX) {
            let Some(difference) = diff.next().transpose()? else { break };
            found.push(commits::difference(&difference));
            size += found.last().map_or(0, String::len);
            check_size("diff (use limit)", size)?;
        }
        let mut line = Line::new();
        line.number("from_seq", before.seq()).number("to_seq", after.seq());
        Ok(Answer::Now(line.json("differences", &json::list(found)).fields()))
    }
}

/// The next commits, as a JSON list.
fn told(
    found: &mut impl Iterator<Item = Result<CommitInfo, Error>>,
    limit: Option<u64>,
) -> Result<String, Error> {
    let limit = usize::try_from(limit.unwrap_or(COMMITS_LIMIT)).unwrap_or(usize::MAX);
    let told = found.take(limit).map(|info| info.map(|info| commits::json(&info)));
    Ok(json::list(told.collect::<Result<Vec<_>, _>>()?))
}
