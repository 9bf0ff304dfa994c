//! Objects that are restored to an old commit and back, and one that is forked.

use std::collections::{HashMap, HashSet};

use lineal::{Engine, Object};

use super::{
    change::Entry,
    check::{Compared, object_of},
    origin::{DEMO, FILES, FORK, Origin},
    pairs::{Order, Pair, against},
};
use crate::{exit::Outcome, progress::Progress};

/// Objects that are restored.
///
/// Source: the issue.
const RESTORES: usize = 10;

/// What was restored and forked.
#[derive(Debug, Default)]
pub(super) struct Undone {
    pub(super) restored: u64,
    pub(super) forked: u64,
    pub(super) compared: Compared,
}

/// Different objects, first those that have changed since.
pub(super) fn choose(pairs: &[Pair]) -> Vec<&Pair> {
    let (old, rest): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|pair| pair.mark.seq() < pair.newest);
    let mut seen = HashSet::new();
    old.into_iter().chain(rest).filter(|pair| seen.insert(&pair.entry.path)).take(RESTORES).collect()
}

/// Restores the objects of these pairs and undoes it, forks the first, and compares each step with git.
pub(super) fn check(
    engine: &Engine,
    origin: &Origin,
    order: &Order,
    chosen: &[&Pair],
    progress: &mut Progress,
) -> Outcome<Undone> {
    let mut undone = Undone::default();
    let Some(first) = chosen.first() else { return Ok(undone) };
    let paths: HashSet<&[u8]> = chosen.iter().map(|pair| pair.entry.path.as_slice()).collect();
    let tip = origin.trees().at(&order.done(order.len() - 1))?;
    let now: HashMap<Vec<u8>, Entry> = tip
        .into_iter()
        .filter(|entry| paths.contains(entry.path.as_slice()))
        .map(|entry| (entry.path.clone(), entry))
        .collect();
    let files = engine.existing_namespace(FILES)?;
    for pair in chosen {
        let object = object_of(&files, &pair.entry.path)?;
        restore(&object, pair, now.get(&pair.entry.path), origin, &mut undone.compared)?;
        undone.restored += 1;
        progress.at(undone.restored);
    }
    fork(engine, first, now.get(&first.entry.path), origin, &mut undone.compared)?;
    undone.forked = 1;
    Ok(undone)
}

fn restore(
    object: &Object,
    pair: &Pair,
    now: Option<&Entry>,
    origin: &Origin,
    compared: &mut Compared,
) -> Outcome {
    let (what, cause) = (pair.shown(), format!("demo: back to {}", pair.commit));
    let undo = match object.restore_because(&pair.mark, &cause).wait() {
        Ok(undo) => undo,
        Err(error) => {
            compared.mismatch(format!("{what}, restored: {error}"));
            return Ok(());
        }
    };
    compare(object, Some(&pair.entry), origin, &format!("{what}, restored"), compared)?;
    match object.restore_because(&undo, "demo: undo").wait() {
        Ok(_) => compare(object, now, origin, &format!("{what}, restored and undone"), compared),
        Err(error) => {
            compared.mismatch(format!("{what}, undone: {error}"));
            Ok(())
        }
    }
}

fn fork(
    engine: &Engine,
    pair: &Pair,
    now: Option<&Entry>,
    origin: &Origin,
    compared: &mut Compared,
) -> Outcome {
    let source = object_of(&engine.existing_namespace(FILES)?, &pair.entry.path)?;
    let fork = engine.existing_namespace(DEMO)?.object(FORK)?;
    let what = pair.shown();
    if let Err(error) =
        source.fork_because(&pair.mark, &fork, &format!("demo: fork of {}", pair.commit)).wait()
    {
        compared.mismatch(format!("{what}, forked: {error}"));
        return Ok(());
    }
    compare(&fork, Some(&pair.entry), origin, &format!("{what}, forked"), compared)?;
    compare(&source, now, origin, &format!("{what}, after it was forked"), compared)
}

fn compare(
    object: &Object,
    wanted: Option<&Entry>,
    origin: &Origin,
    what: &str,
    compared: &mut Compared,
) -> Outcome {
    compared.found(what, object.read(|view| Ok(against(view, wanted, origin))).wait())
}
