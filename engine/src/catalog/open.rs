//! Which packs are live when an engine opens.
//!
//! The highest pack with a complete footer names every live pack. What else lies in the folder was
//! unlisted before a crash could remove it, or was never finished:
//!
//! | pack in the folder | catalog lists it | it is | then |
//! |---|---|---|---|
//! | above the highest complete one | yes | lost: it was complete once | error naming it |
//! | above the highest complete one | no | unfinished | removed |
//! | above the highest complete one | no catalog to ask | unfinished, most likely | ignored |
//! | the highest complete one | yes | live | |
//! | the highest complete one | no | finished, then a crash before its row | adopted |
//! | below it and in its list, as listed | any | live | |
//! | below it and in its list, not as listed | any | damaged | error naming it |
//! | below it and not in its list | any | dead | removed |
//!
//! | not in the folder | then |
//! |---|---|
//! | in the list of the highest complete one | error naming it |
//! | above the highest complete one and listed by the catalog | error naming it |
//!
//! A pack whose file has the suffix `void` was given up after its row failed: it is dead, whatever lists it, and a table that
//! does is made anew. So nothing that a later commit relies on is taken away by a row that was not known to stand.
//!
//! Nothing is removed in read-only mode. The catalog's own file is used when every live pack that it
//! has a row for has the footer that the row names; otherwise it is made anew and all packs count as
//! not merged.

use std::collections::{BTreeMap, BTreeSet};

use lineal_snapshot::{LivePack, PackError, PackNumber};

use super::{CatalogError, table::PackRows};

/// What a look at the end of a pack file shows.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// A complete footer: what the pack is, and which others it lists as live.
    Complete { this: LivePack, lists: Vec<LivePack> },
    /// No footer, or one that is not whole.
    Unfinished(PackError),
}

/// What is to be done with the files that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The live packs, oldest first; the last one is the newest.
    pub(super) live: Vec<LivePack>,
    /// Which of them the catalog's rows cover.
    pub(super) merged: BTreeSet<PackNumber>,
    /// Whether the catalog's file agrees with the packs.
    pub(super) table_fits: bool,
    /// Packs that were never finished or are not listed any more.
    pub(super) remove: Vec<PackNumber>,
    /// The highest pack number that was ever seen.
    pub(super) highest: PackNumber,
}

/// Decides, from the numbers of the pack files there are, what the catalog says (`None`: it is
/// missing or damaged), and a look at those packs that matter.
///
/// # Errors
///
/// [`CatalogError::PackLost`], [`CatalogError::PackMissing`], [`CatalogError::PackMismatch`], and
/// those of `look`.
pub(super) fn decide(
    files: &BTreeSet<PackNumber>,
    rows: Option<&PackRows>,
    look: &mut dyn FnMut(PackNumber) -> Result<Look, CatalogError>,
) -> Result<Plan, CatalogError> {
    let mut unfinished = BTreeMap::new();
    let mut newest = None;
    for number in files.iter().rev() {
        match look(*number)? {
            Look::Complete { this, lists } => {
                newest = Some((this, lists));
                break;
            }
            Look::Unfinished(why) => {
                unfinished.insert(*number, why);
            }
        }
    }
    let top = newest.as_ref().map(|(this, _)| this.number);
    let known = rows.and_then(|rows| rows.rows.last_key_value().map(|(number, _)| *number));
    if let Some(number) = known.filter(|number| top.is_none_or(|top| *number > top)) {
        return Err(match unfinished.remove(&number) {
            Some(why) if why.is_damage() => CatalogError::Pack(why),
            _ => CatalogError::PackLost { number, path: number.path(), newest: top },
        });
    }
    let mut live = Vec::new();
    if let Some((this, lists)) = newest {
        let named_by = this.number.path();
        for listed in lists {
            check_listed(&listed, &this, &named_by, files, look)?;
            live.push(listed);
        }
        live.push(this);
        live.sort_by_key(|pack| pack.number);
    }
    let alive: BTreeSet<PackNumber> = live.iter().map(|pack| pack.number).collect();
    let mut remove: Vec<PackNumber> = files
        .iter()
        .filter(|number| top.is_some_and(|top| **number < top) && !alive.contains(number))
        .copied()
        .collect();
    let mut merged = BTreeSet::new();
    let mut table_fits = false;
    if let Some(rows) = rows {
        remove.extend(unfinished.keys());
        table_fits = live
            .iter()
            .all(|pack| rows.rows.get(&pack.number).is_none_or(|row| row.footer_hash == pack.footer_hash));
        if table_fits {
            merged.extend(rows.rows.iter().filter(|(_, row)| row.merged).map(|(number, _)| *number));
            merged.retain(|number| alive.contains(number));
        }
    }
    let seen = files.last().copied().unwrap_or_default();
    let recorded = rows.map(|rows| rows.highest).unwrap_or_default();
    Ok(Plan { live, merged, table_fits, remove, highest: seen.max(recorded).max(known.unwrap_or_default()) })
}

/// Fails if a pack that the newest one lists is not there as listed.
fn check_listed(
    listed: &LivePack,
    newest: &LivePack,
    named_by: &str,
    files: &BTreeSet<PackNumber>,
    look: &mut dyn FnMut(PackNumber) -> Result<Look, CatalogError>,
) -> Result<(), CatalogError> {
    let path = listed.number.path();
    let mismatch = |what: &'static str, expected: String, found: String| CatalogError::PackMismatch {
        path: path.clone(),
        named_by: named_by.to_owned(),
        what,
        expected,
        found,
    };
    if listed.number >= newest.number {
        let expected = format!("below {}", newest.number.0);
        return Err(mismatch("number", expected, listed.number.0.to_string()));
    }
    if !files.contains(&listed.number) {
        return Err(CatalogError::PackMissing { number: listed.number, path, named_by: named_by.to_owned() });
    }
    match look(listed.number)? {
        Look::Unfinished(why) if why.is_damage() => Err(CatalogError::Pack(why)),
        Look::Unfinished(_) => Err(mismatch("footer", "complete".to_owned(), "not there".to_owned())),
        Look::Complete { this, .. } if this.bytes != listed.bytes => {
            Err(mismatch("length", listed.bytes.to_string(), this.bytes.to_string()))
        }
        Look::Complete { this, .. } if this.footer_hash != listed.footer_hash => {
            Err(mismatch("footer hash", hex(&listed.footer_hash), hex(&this.footer_hash)))
        }
        Look::Complete { .. } => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
