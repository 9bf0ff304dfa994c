//! Some objects of an engine, with all of their history, as the packs of another data directory.
//!
//! What packs hold of them is copied part by part as a merge would, and what only the log holds is packed as a checkpoint
//! would. So their chains, bookmarks and versions are what they were.

use std::collections::{BTreeSet, HashSet};

use lineal_snapshot::{FooterInput, LivePack, PackHeader, PackKind, PackNumber, PackWriter, WriteOptions};
use lineal_wal::{Disk, EngineId, Lsn, Micros, ObjectKey};

use super::{
    NewPack,
    compaction::{Found, Merge, take_object_from},
    pack_object::ObjectPacker,
    window::Window,
};
use crate::{
    Result,
    engine::{EngineInner, summary::Summary, totals::Totals},
    object::wake::newest_head,
    sync::Arc,
};

/// What was extracted.
pub(crate) struct Extracted {
    /// The packs hold everything up to here.
    pub(crate) line: Lsn,
    /// When the newest of it was committed.
    pub(crate) time: Micros,
    /// Bytes of the packs.
    pub(crate) bytes: u64,
}

/// Writes packs of `keys` for the engine `identity` to `disk`. They are durable and complete when it returns.
pub(crate) fn extract(
    engine: &Arc<EngineInner>,
    keys: &BTreeSet<ObjectKey>,
    disk: &Arc<dyn Disk>,
    identity: EngineId,
) -> Result<Extracted> {
    let mut out =
        Out { engine, disk, identity, live: Vec::new(), totals: Totals::default(), time: Micros(0) };
    let line = engine.line();
    out.copy(keys, line)?;
    let newest = engine.log.durable().max(line);
    if newest > line {
        out.pack_tail(keys, line, newest)?;
    }
    let bytes = out.live.iter().map(|pack| pack.bytes).sum();
    Ok(Extracted { line: newest, time: out.time, bytes })
}

struct Out<'a> {
    engine: &'a Arc<EngineInner>,
    disk: &'a Arc<dyn Disk>,
    identity: EngineId,
    /// The packs that stand.
    live: Vec<LivePack>,
    totals: Totals,
    time: Micros,
}

impl Out<'_> {
    fn new_pack(&self, kind: PackKind) -> Result<NewPack> {
        let number = PackNumber(self.live.len() as u64 + 1);
        let epoch = self.engine.log.epoch();
        let header = PackHeader { engine: self.identity, epoch, number, kind };
        let writer = PackWriter::create(Arc::clone(self.disk), header, WriteOptions::default())?;
        Ok(NewPack { number, writer })
    }

    fn finish(&mut self, mut pack: NewPack, first_lsn: Lsn, line: Lsn) -> Result<()> {
        pack.writer.seal()?;
        let meta = Summary { totals: self.totals.clone(), ..Summary::default() }.encode();
        let footer = FooterInput { first_lsn, last_lsn: line, line, live: self.live.clone(), meta };
        self.live.push(pack.writer.finish(footer)?);
        Ok(())
    }

    /// What packs hold of the objects.
    fn copy(&mut self, keys: &BTreeSet<ObjectKey>, line: Lsn) -> Result<()> {
        let snapshot = self.engine.catalog.snapshot();
        let packs = self.engine.catalog.live();
        let dropped = HashSet::new();
        let merge = Merge { snapshot: &snapshot, dropped: &dropped, retire: None };
        let mut pack = self.new_pack(PackKind::Compaction)?;
        let mut entries: Vec<Found> = Vec::new();
        for key in keys {
            entries.clear();
            for from in &packs {
                if from.may_contain(key)? {
                    take_object_from(from, *key, &mut entries)?;
                }
            }
            if entries.is_empty() {
                continue;
            }
            merge.merge_object(*key, &entries, &mut pack)?;
            if let Some(found) = newest_head(&snapshot, key)? {
                let bytes = i64::try_from(found.head.bytes).unwrap_or(i64::MAX);
                self.totals.add(key.namespace, i64::from(found.head.exists), bytes);
                self.time = self.time.max(found.head.time);
            }
        }
        let first_lsn = packs.iter().map(|pack| pack.footer().first_lsn).min().unwrap_or_default();
        self.finish(pack, first_lsn, line)
    }

    /// What only the log holds of them.
    fn pack_tail(&mut self, keys: &BTreeSet<ObjectKey>, line: Lsn, newest: Lsn) -> Result<()> {
        let window = Window::survey(self.engine, line, newest, Vec::new(), Some(keys.clone()))?;
        let snapshot = self.engine.catalog.snapshot();
        let mut packer = ObjectPacker::new(self.engine.options.tail_bytes_max);
        let mut pack = self.new_pack(PackKind::Checkpoint)?;
        window.for_each_object(self.engine, &snapshot, |key, commits| {
            let head =
                packer.pack(self.engine, &snapshot, key, commits, &mut self.totals, &mut pack.writer)?;
            self.time = self.time.max(head.time);
            Ok(())
        })?;
        self.finish(pack, line.next(), newest)
    }
}
