//! Restoring many objects to one moment.

use std::collections::VecDeque;

use lineal_wal::{Lsn, Micros, ObjectId};

use super::{
    bookmark::{Bookmark, BookmarkError},
    past::last_through,
};
use crate::{
    Engine, Error, Gated, Kind, Namespace, Object, Result, engine::listing::Keys, object::id, sync::Arc,
};

/// Restores whose gates are waited for together.
///
/// Source: chosen; one fsync then serves about a thousand of them.
const IN_FLIGHT: usize = 1_024;

/// A moment that an engine can be brought back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// After all that was committed at or before this time.
    Time(Micros),
    /// After the record at this position of the log.
    Lsn(Lsn),
}

impl From<Micros> for Moment {
    fn from(time: Micros) -> Moment {
        Moment::Time(time)
    }
}

impl From<Lsn> for Moment {
    fn from(lsn: Lsn) -> Moment {
        Moment::Lsn(lsn)
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Moment::Time(time) => write!(f, "{time}"),
            Moment::Lsn(lsn) => write!(f, "lsn {lsn}"),
        }
    }
}

/// Which objects of a namespace are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// All of them, those that were deleted included.
    All,
    /// Those whose names begin so.
    Prefix(String),
    /// These.
    Objects(Vec<ObjectId>),
}

impl Selector {
    /// The object of this name in the namespace of that one.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn named(namespace: &str, name: &str) -> Result<Selector> {
        id::check_name(namespace)?;
        id::check_name(name)?;
        Ok(Selector::Objects(vec![id::by_name(namespace, name)]))
    }
}

/// What bringing one object back to a moment comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreAction {
    /// It is as it was then: nothing was committed since, or it was restored to that very moment already.
    Nothing,
    /// It is restored to this point.
    Restore(Bookmark),
    /// It had no commit then, so it is deleted.
    Delete,
}

/// One object of a plan to restore many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedRestore {
    /// Its id.
    pub id: ObjectId,
    /// Its name, if it was made by name.
    pub name: Option<String>,
    /// The number of commits it has now.
    pub seq: u64,
    /// What there is to do.
    pub action: RestoreAction,
}

/// What became of one object.
#[derive(Debug)]
#[non_exhaustive]
pub struct RestoredObject {
    /// Its id.
    pub id: ObjectId,
    /// Its name, if it was made by name.
    pub name: Option<String>,
    /// What was done, and the bookmark that undoes it where something was; or why not. It is durable.
    pub outcome: Result<(RestoreAction, Option<Bookmark>)>,
}

/// How many objects came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Restored to an earlier point.
    pub restored: u64,
    /// Deleted, because they had no commit then.
    pub deleted: u64,
    /// As they were then, and left alone.
    pub unchanged: u64,
    /// Left as they are, because of an error of their own.
    pub failed: u64,
}

impl Engine {
    /// What [`restore_many`](Engine::restore_many) would do, object by object, by id. Lazy; changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time to come; [`Error::Dropped`]. Items: as [`Object::bookmark_at`].
    pub fn plan_restore(
        &self,
        namespace: &Namespace,
        selector: &Selector,
        moment: impl Into<Moment>,
    ) -> Result<impl Iterator<Item = Result<PlannedRestore>>> {
        let moment = moment.into();
        let ids = self.candidates(namespace, selector, moment)?;
        let (namespace, selector) = (namespace.clone(), selector.clone());
        Ok(ids.into_iter().filter_map(move |id| plan(&namespace.at(id), &selector, moment).transpose()))
    }

    /// Brings every object that is meant back to where it was at `time`: after its last commit at or before it. Objects
    /// that had no commit then are deleted, deleted ones come back. What one transaction did to several objects is taken
    /// back or kept as a whole, because it has one time.
    ///
    /// Each object is one commit in its own history, with a bookmark that undoes it. `told` hears of each once it is
    /// durable. An object that fails is left as it is and the others go on. Run again with the same time it finishes what
    /// was interrupted: what was restored to that moment already, and not written since, is left alone.
    ///
    /// Who writes meanwhile writes after the restore of that object, or before it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time to come or a cause over 4,000 bytes; [`Error::Poisoned`], [`Error::NoSpace`] and
    /// [`Error::Closed`] end it.
    pub fn restore_many(
        &self,
        namespace: &Namespace,
        selector: &Selector,
        moment: impl Into<Moment>,
        cause: &str,
        told: &mut dyn FnMut(RestoredObject),
    ) -> Result<RestoreReport> {
        let moment = moment.into();
        let cause = cause_of(moment, cause);
        if cause.len() > 4_096 {
            return Err(Error::Invalid { reason: "the cause of a restore is over 4,000 bytes".into() });
        }
        let mut report = RestoreReport::default();
        let mut waiting: VecDeque<Pending> = VecDeque::new();
        for id in self.candidates(namespace, selector, moment)? {
            let object = namespace.at(id);
            let pending = match plan(&object, selector, moment) {
                Ok(None) => continue,
                Ok(Some(planned)) => Pending::begin(&object, planned, &cause),
                Err(error) => {
                    Pending { id, name: None, action: RestoreAction::Nothing, gate: Gated::open(Err(error)) }
                }
            };
            waiting.push_back(pending);
            if waiting.len() == IN_FLIGHT {
                waiting.pop_front().map_or(Ok(()), |first| first.end(&mut report, told))?;
            }
        }
        waiting.into_iter().try_for_each(|pending| pending.end(&mut report, told))?;
        Ok(report)
    }

    /// The ids of the objects that may be meant, sorted.
    fn candidates(
        &self,
        namespace: &Namespace,
        selector: &Selector,
        moment: Moment,
    ) -> Result<Vec<ObjectId>> {
        let inner = &self.inner;
        inner.check_open()?;
        namespace.inner.check()?;
        if !Arc::ptr_eq(inner, &namespace.engine) {
            return Err(Error::OtherEngine);
        }
        let is_to_come = match moment {
            Moment::Time(time) => time > (inner.options.clock)().max(inner.log.last_time()),
            Moment::Lsn(lsn) => lsn > inner.log.appended().max(inner.line()),
        };
        if is_to_come {
            let what = if matches!(moment, Moment::Time(_)) { "the time " } else { "" };
            return Err(Error::Invalid { reason: format!("{what}{moment} has not come yet") });
        }
        match selector {
            Selector::Objects(ids) => {
                ids.iter().try_for_each(|id| id::check_id(*id))?;
                Ok(ids.clone())
            }
            Selector::All | Selector::Prefix(_) => {
                Keys::new(inner, namespace.id(), None)?.map(|key| Ok(key?.id)).collect()
            }
        }
    }
}

/// What a restore of many says as its cause, by which the next one knows it.
fn cause_of(moment: Moment, cause: &str) -> String {
    if cause.is_empty() { format!("restore to {moment}") } else { format!("restore to {moment}: {cause}") }
}

/// Whether no object can be restored any more.
fn ends_all(error: &Error) -> bool {
    matches!(
        error,
        Error::Poisoned { .. } | Error::Closed | Error::NoSpace { .. } | Error::ReadOnly | Error::InsideTurn
    )
}

/// What there is to do for one object; `None` if it is not meant, or nothing is left of it, or never was.
fn plan(object: &Object, selector: &Selector, moment: Moment) -> Result<Option<PlannedRestore>> {
    let info = match object.info() {
        Ok(info) => info,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Selector::Prefix(prefix) = selector
        && !info.name.as_ref().is_some_and(|name| name.starts_with(prefix))
    {
        return Ok(None);
    }
    let then = point_at(object, moment)?;
    let action = match then {
        Some(mark) if mark.seq() == info.seq => RestoreAction::Nothing,
        None if !info.exists => RestoreAction::Nothing,
        _ if is_done(object, moment)? => RestoreAction::Nothing,
        Some(mark) => RestoreAction::Restore(mark),
        None => RestoreAction::Delete,
    };
    Ok(Some(PlannedRestore { id: object.id(), name: info.name, seq: info.seq, action }))
}

/// The object's last commit at the moment or before it; `None` if it had none then.
fn point_at(object: &Object, moment: Moment) -> Result<Option<Bookmark>> {
    match moment {
        Moment::Time(time) => match object.bookmark_at(time) {
            Ok(mark) => Ok(Some(mark)),
            Err(Error::Bookmark(error)) if matches!(*error, BookmarkError::BeforeFirst { first, .. } if first.is_some_and(|first| first.seq() == 1)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        },
        Moment::Lsn(lsn) => match last_through(object, lsn)? {
            (Some(seq), _) => object.bookmark_of(seq.0).map(Some),
            (None, false) => Ok(None),
            (None, true) => Err(Error::NotFound {
                what: format!(
                    "the state of object {} at {moment}: its history begins later, and it",
                    object.id()
                ),
            }),
        },
    }
}

/// Whether the object's newest commit brought it to that moment already.
fn is_done(object: &Object, moment: Moment) -> Result<bool> {
    let Some(newest) = object.history(..)?.next().transpose()? else { return Ok(false) };
    let says_so = matches!(newest.kind, Kind::Restore | Kind::Delete)
        && newest
            .cause
            .strip_prefix(&cause_of(moment, ""))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    Ok(says_so)
}

/// One object's restore on its way.
struct Pending {
    id: ObjectId,
    name: Option<String>,
    action: RestoreAction,
    gate: Gated<Option<Bookmark>>,
}

impl Pending {
    fn begin(object: &Object, planned: PlannedRestore, cause: &str) -> Pending {
        let gate = match planned.action {
            RestoreAction::Nothing => Gated::open(Ok(None)),
            RestoreAction::Restore(mark) => object.restore_because(&mark, cause).map(Some),
            // What a delete destroys nothing of is undone by going back to the commit before it.
            RestoreAction::Delete => match object.bookmark_of(planned.seq) {
                Ok(undo) => object.delete_because(cause).map(move |()| Some(undo)),
                Err(error) => Gated::open(Err(error)),
            },
        };
        Pending { id: planned.id, name: planned.name, action: planned.action, gate }
    }

    fn end(self, report: &mut RestoreReport, told: &mut dyn FnMut(RestoredObject)) -> Result<()> {
        let Pending { id, name, action, gate } = self;
        let outcome = gate.wait().map(|undo| (action, undo));
        match &outcome {
            Ok((RestoreAction::Nothing, _)) => report.unchanged += 1,
            Ok((RestoreAction::Restore(_), _)) => report.restored += 1,
            Ok((RestoreAction::Delete, _)) => report.deleted += 1,
            Err(error) if ends_all(error) => return Err(error.clone()),
            Err(_) => report.failed += 1,
        }
        told(RestoredObject { id, name, outcome });
        Ok(())
    }
}
