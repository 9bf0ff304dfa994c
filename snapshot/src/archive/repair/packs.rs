//! Which packs are the archive's, when nothing lists them.
//!
//! Every pack names all others that were live once it was. So the newest pack that is whole, with all that it names, says
//! what the list was. Packs are newer by epoch first: a writer that was fenced off may have stored a pack that nobody
//! ever listed, and of its number and above there may be others by now.

use super::super::client::{Client, DOUBTS_MAX};
use super::super::error::ArchiveError;
use super::super::key::Keys;
use super::super::manifest::ArchivedPack;
use super::super::packs::{keep_small, send_bytes};
use super::super::pieces::Describing;
use super::LeftOut;
use super::survey::FoundPack;
use crate::entry::PackNumber;
use crate::format::Footer;
use lineal_wal::{EngineId, Epoch, Lsn};
use std::collections::{BTreeMap, btree_map::Entry};

/// The packs that were read in full, by number and hash: what a manifest says of them, or why it must not.
pub(super) type Read = BTreeMap<(PackNumber, [u8; 32]), Result<ArchivedPack, &'static str>>;

/// The packs of the archive, as far as there are any.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Ascending by number.
    pub(super) packs: Vec<ArchivedPack>,
    /// They hold every commit up to here.
    pub(super) line: Lsn,
    /// What the engine keeps in the newest one's footer.
    pub(super) meta: Option<Vec<u8>>,
    /// What is damaged or missing, of lists that are newer.
    pub(super) left_out: Vec<LeftOut>,
    /// Whole packs that a later epoch has passed over, and the last commit that they hold.
    pub(super) overtaken: Vec<(String, Lsn)>,
}

impl Chosen {
    fn leave_out(&mut self, key: String, reason: String) {
        if self.left_out.iter().all(|left| left.key != key) {
            self.left_out.push(LeftOut { key, reason });
        }
    }
}

/// Finds the newest list whose packs are all there, and whole. `limit` says where a later epoch than the given one began. With
/// `mend` the packs' lists of pieces are stored again where they are missing or damaged.
///
/// # Errors
/// As [`Client::get`] and [`Client::upload`].
pub(super) async fn choose(
    client: &Client,
    engine: EngineId,
    found: &[FoundPack],
    limit: impl Fn(Epoch) -> Lsn,
    read: &mut Read,
    mend: bool,
) -> Result<Chosen, ArchiveError> {
    let keys = Keys(engine);
    let mut chosen = Chosen::default();
    let mut heads: Vec<(&FoundPack, &Footer)> =
        found.iter().filter_map(|pack| Some((pack, pack.footer.as_ref()?))).collect();
    heads.sort_by_key(|(_, footer)| std::cmp::Reverse((footer.epoch, footer.number)));
    let mut newest = PackNumber(0);
    for (head, footer) in heads {
        let key = keys.pack(head.number, &head.hash);
        if footer.line > limit(footer.epoch) {
            chosen.overtaken.push((key, footer.line));
            continue;
        }
        let Some(packs) = members(client, &keys, found, (head, footer), read, mend, &mut chosen).await?
        else {
            chosen.leave_out(key, "packs that it needs are missing or damaged".into());
            continue;
        };
        chosen.packs = packs;
        keep_small(&mut chosen.packs);
        chosen.line = footer.line;
        chosen.meta = Some(footer.meta.clone());
        newest = head.number;
        break;
    }
    for pack in found.iter().filter(|pack| pack.footer.is_none() && pack.number > newest) {
        chosen.leave_out(keys.pack(pack.number, &pack.hash), "its end is not that of a pack".into());
    }
    Ok(chosen)
}

/// All packs that one names, and itself, if all are whole.
async fn members(
    client: &Client,
    keys: &Keys,
    found: &[FoundPack],
    (head, footer): (&FoundPack, &Footer),
    read: &mut Read,
    mend: bool,
    chosen: &mut Chosen,
) -> Result<Option<Vec<ArchivedPack>>, ArchiveError> {
    let mut packs = Vec::with_capacity(footer.live.len() + 1);
    let mut is_whole = true;
    for live in &footer.live {
        let there = found.iter().find(|pack| pack.footer.as_ref().map(Footer::live_pack) == Some(*live));
        match there {
            Some(pack) => packs.push(pack),
            None => {
                is_whole = false;
                let of_number: Vec<_> = found.iter().filter(|pack| pack.number == live.number).collect();
                for pack in &of_number {
                    let reason = "it is not the pack of its number that is needed".into();
                    chosen.leave_out(keys.pack(pack.number, &pack.hash), reason);
                }
                if of_number.is_empty() {
                    chosen.leave_out(keys.pack_of_any_hash(live.number), "it is missing".into());
                }
            }
        }
    }
    packs.push(head);
    packs.sort_by_key(|pack| pack.number);
    let mut rows = Vec::with_capacity(packs.len());
    for pack in packs {
        let name = (pack.number, *pack.hash.as_bytes());
        let found = match read.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(room) => room.insert(read_pack(client, keys, pack, mend).await?),
        };
        match found {
            Ok(row) => rows.push(row.clone()),
            Err(reason) => {
                is_whole = false;
                chosen.leave_out(keys.pack(pack.number, &pack.hash), format!("it is damaged: {reason}"));
            }
        }
    }
    Ok(is_whole.then_some(rows))
}

/// Reads all of a pack, and compares it with its name.
async fn read_pack(
    client: &Client,
    keys: &Keys,
    pack: &FoundPack,
    mend: bool,
) -> Result<Result<ArchivedPack, &'static str>, ArchiveError> {
    let mut looks = 1;
    let describing = loop {
        let mut describing = Describing::new(pack.number, pack.bytes);
        let through = client
            .read_through(&keys.pack(pack.number, &pack.hash), pack.bytes, &pack.hash, |step| {
                describing.step(step);
                Ok(())
            })
            .await;
        match through {
            Ok(()) => break describing,
            // It may have been spoilt on the way.
            Err(ArchiveError::Damaged { .. }) if looks < DOUBTS_MAX => looks += 1,
            Err(ArchiveError::Damaged { reason, .. }) => return Ok(Err(reason)),
            Err(ArchiveError::Missing { .. }) => return Ok(Err("it went while it was read")),
            Err(error) => return Err(error),
        }
    };
    let (row, list) = describing.end();
    if mend && !list.is_empty() {
        let key = row.pieces_key(keys);
        match client.get_verified(&key, list.len() as u64, &blake3::hash(&list)).await {
            Ok(_) => {}
            Err(ArchiveError::Damaged { .. } | ArchiveError::Missing { .. }) => {
                send_bytes(client, &key, list.into()).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(row))
}
