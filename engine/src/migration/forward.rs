//! Bringing one object forward, in the turn that is about to use it.

use lineal_wal::Seq;

use super::{Migration, Registered, SCHEMA};
use crate::{
    Error, ErrorKind, Result,
    object::{fetching, turns::Held},
    transaction::{commit, view::View},
};

/// What the turn is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A transaction: the object comes into being with it.
    Write,
    /// Reading, which creates nothing.
    Read,
}

/// Why an object's turns fail: so that a step that cannot succeed is not run by each of them.
pub(crate) struct Stuck {
    /// The registration that the step is of.
    generation: u32,
    /// Where the object was when the step failed.
    seq: Seq,
    error: Error,
}

/// Runs the steps that the object is missing, each as a commit of its own. To be called in a turn before the object is
/// used; costs one comparison where nothing is missing.
///
/// On return the object's state may be newer, also after an error.
#[inline]
pub(crate) fn bring_forward(held: &mut Held<'_>, purpose: Use) -> Result<()> {
    if !held.namespace.steps.are_ahead_of(held.resident.schema_version) {
        return Ok(());
    }
    run_missing(held, purpose)
}

#[cold]
fn run_missing(held: &mut Held<'_>, purpose: Use) -> Result<()> {
    if !held.resident.exists && purpose == Use::Read {
        return Ok(());
    }
    let registered = held.namespace.steps.registered();
    if let Some(stuck) = &held.resident.stuck
        && (stuck.generation, stuck.seq) == (registered.generation, held.resident.seq)
    {
        return Err(stuck.error.clone());
    }
    held.resident.stuck = None;
    // What is remembered is 0 where the object was woken, restored or emptied since.
    let version = View::new(held.engine, held.cell.key, held.resident).schema_version()?;
    held.resident.schema_version = version;
    for (number, step) in registered.after(version) {
        run(held, registered.generation, number, step)?;
        held.resident.schema_version = number;
    }
    Ok(())
}

impl Registered {
    /// The steps after `version`, with their numbers.
    fn after(&self, version: u32) -> impl Iterator<Item = (u32, &Migration)> {
        (1..).zip(&self.steps).skip(version as usize)
    }
}

fn run(held: &mut Held<'_>, generation: u32, number: u32, step: &Migration) -> Result<()> {
    let mut failed_itself = false;
    let outcome = held.engine.check_writable().and_then(|()| {
        let gated = commit::migrate(held.again(), |tx| {
            let outcome = (step.step)(tx).and_then(|()| tx.complete());
            failed_itself = outcome.is_err();
            outcome?;
            tx.put_system(SCHEMA, &number.to_be_bytes())?;
            tx.cause(format!("migration {number}: {}", step.name))
        });
        // The turn that this is for looks at the object now, and is held back for it.
        gated.unconfirmed()
    });
    outcome.map_err(|source| {
        // Nor does what a step made of a read that did not wait for the archive.
        let stays = failed_itself && !may_pass(&source) && fetching::check(held.engine).is_ok();
        let error = Error::Migration { step: number, name: step.name.clone(), source: Box::new(source) };
        if stays {
            let seq = held.resident.seq;
            held.resident.stuck = Some(Box::new(Stuck { generation, seq, error: error.clone() }));
        }
        error
    })
}

/// Whether the same step may succeed the next time, with nothing changed in the object.
fn may_pass(error: &Error) -> bool {
    #[cfg(feature = "sql")]
    if let Error::Sql(error) = error {
        return error.code() == crate::SqlErrorCode::Interrupted;
    }
    !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Other | ErrorKind::Conflict | ErrorKind::NotFound)
}
