//! Pins: bookmarks with a name, whose history no retention removes.

use super::{
    bookmark::{Bookmark, BookmarkError},
    past::{purged_through, resolve},
};
use crate::{
    Error, Gated, Object, Result,
    engine::holds,
    gate::output::Need,
    sync::Arc,
    transaction::commit::{self, Write},
};

impl Object {
    /// Pins the bookmark: what it needs stays, whatever the retention says, until the pin is taken off. A pin of the
    /// same name moves. Durable when the gate opens.
    ///
    /// # Errors
    /// Inside the gate: a [`BookmarkError`]; [`Error::InvalidName`] and [`Error::TooLarge`] for the name; else as
    /// [`transact`](Object::transact).
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// lobby.transact(|tx| tx.put("topic", "hello")).wait()?;
    /// lobby.pin(&lobby.bookmark().wait()?, "before the party").wait()?;
    /// assert_eq!(lobby.pins()?[0].0, "before the party");
    /// assert!(lobby.unpin("before the party").wait()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pin(&self, mark: &Bookmark, name: &str) -> Gated<()> {
        if let Err(error) = holds::admit(&self.engine) {
            return Gated::open(Err(error));
        }
        let _held = self.engine.retiring.hold();
        let kept = match crate::object::id::check_name(name).and_then(|()| resolve(self, mark)) {
            Ok(kept) => kept,
            Err(error) => return Gated::open(Err(error)),
        };
        holds::in_turns(&self.engine, &[self], |system, [held]| {
            let seq = kept.version.state.seq;
            let engine = Arc::clone(system.engine);
            let purged = match purged_through(&engine, held.cell.key) {
                Ok(purged) => purged,
                Err(error) => return commit::hold(&engine, held.seen(), Err(error)),
            };
            if held.resident.salt.is_none() || seq <= purged {
                let error = BookmarkError::TooOld { seq: seq.0, first: None, last: None };
                return commit::hold(&engine, held.seen(), Err(error.into()));
            }
            engine.retiring.need(held.cell.key);
            let pinned = holds::pin(&system, mark, name)
                .and_then(|draft| commit::commit_drafts(&engine, &mut [Write::new(system, draft)]));
            match pinned {
                Ok(lsn) => commit::hold(&engine, Need::new(lsn, held.namespace.level()), Ok(())),
                Err(error) => Gated::open(Err(error)),
            }
        })
    }

    /// The object's pins, by name. They are durable.
    ///
    /// # Errors
    /// As [`read`](Object::read).
    pub fn pins(&self) -> Result<Vec<(String, Bookmark)>> {
        holds::pins(&self.engine, self.key()).wait()
    }

    /// Takes off a pin. Returns whether there was one. Durable when the gate opens.
    ///
    /// # Errors
    /// As [`transact`](Object::transact).
    pub fn unpin(&self, name: &str) -> Gated<bool> {
        match self.engine.check_open() {
            Ok(()) => holds::unpin(self, name),
            Err(error) => Gated::<bool, Error>::open(Err(error)),
        }
    }
}
