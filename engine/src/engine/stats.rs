//! What the engine counts, and the walk that verifies everything.

use std::fmt::Write;

use lineal_wal::{Record, RecordPlace};

use super::{Engine, EngineInner, listing::Keys};
use crate::{
    Error, Result,
    object::{
        Verified,
        wake::{log_error, retry_released},
    },
    sync::atomic::Ordering,
};

/// Counters and sizes of an engine at one moment. Counters begin at 0 when the engine is opened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Epoch of this opening; each opening for writing has a higher one.
    pub epoch: u64,
    /// Newest log position that is durable.
    pub durable_lsn: u64,
    /// Newest log position that was handed out.
    pub appended_lsn: u64,
    /// Newest log position that packs cover.
    pub checkpoint_lsn: u64,
    /// Objects that exist, as of the last commit counted.
    pub objects: u64,
    /// Their keys and values, in bytes.
    pub bytes: u64,
    /// Commits since opening; one transaction over three objects counts three.
    pub commits: u64,
    /// Commits that replay found in the log when the engine was opened.
    pub replayed_commits: u64,
    /// fsyncs of the log.
    pub fsyncs: u64,
    /// Groups written to the log.
    pub groups: u64,
    /// Bytes written to the log, padding included.
    pub log_bytes_written: u64,
    /// Bytes that the log takes on disk.
    pub log_bytes: u64,
    /// Log segments on disk.
    pub log_segments: u64,
    /// Bytes that are kept back on disk for a full disk, beside the log's own reserve.
    pub ballast_bytes: u64,
    /// Live packs.
    pub packs: u64,
    /// Bytes that live packs take on disk.
    pub pack_bytes: u64,
    /// Bytes written to packs since opening.
    pub pack_bytes_written: u64,
    /// Live packs that are searched through their own indexes.
    pub unmerged_packs: u64,
    /// Rows in the catalog.
    pub catalog_rows: u64,
    /// Bytes that the catalog takes on disk.
    pub catalog_bytes: u64,
    /// Memory of resident objects, in bytes.
    pub resident_bytes: u64,
    /// Objects with a place in memory.
    pub cells: u64,
    /// Bytes of commits that no pack holds yet.
    pub unpacked_bytes: u64,
    /// Objects that were read into memory.
    pub wakes: u64,
    /// Objects whose memory was taken back.
    pub hibernations: u64,
    /// Connections to databases that are kept for objects which nobody is using at the moment.
    #[cfg(feature = "sql")]
    pub sql_connections: u64,
    /// Memory of those, in bytes.
    #[cfg(feature = "sql")]
    pub sql_bytes: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Merges of packs.
    pub compactions: u64,
    /// Failed rounds of background work; each is tried again.
    pub maintenance_failures: u64,
    /// Blocks and leaves found in the cache.
    pub cache_hits: u64,
    /// Blocks and leaves read from disk.
    pub cache_misses: u64,
    /// Memory of the block cache, in bytes.
    pub cache_bytes: u64,
    /// Whether the log has failed, so that the engine must be opened again.
    pub poisoned: bool,
    /// How the archive stands, if the engine has one.
    #[cfg(feature = "archive")]
    pub archive: Option<crate::archive::ArchiveStatus>,
}

/// What only grows; the other figures go up and down.
const COUNTERS: [&str; 21] = [
    "commits",
    "fsyncs",
    "groups",
    "log_bytes_written",
    "pack_bytes_written",
    "wakes",
    "hibernations",
    "checkpoints",
    "compactions",
    "maintenance_failures",
    "cache_hits",
    "cache_misses",
    "archive_cache_hits",
    "archive_cache_misses",
    "archive_gets",
    "archive_puts",
    "archive_deletes",
    "archive_lists",
    "archive_failures",
    "archive_bytes_read",
    "archive_bytes_written",
];

/// What a verification of the whole engine checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Packs read from end to end.
    pub packs: u64,
    /// Bytes of packs read.
    pub pack_bytes: u64,
    /// Rows of the catalog compared with the packs' own indexes.
    pub catalog_rows: u64,
    /// Hashes of the tree whose roots checkpoints publish.
    pub root_hashes: u64,
    /// Log positions whose records were read.
    pub log_records: u64,
    /// Objects whose chain was walked.
    pub objects: u64,
    /// Commits whose hash was computed again.
    pub commits: u64,
    /// Leaves and deltas read.
    pub leaves: u64,
}

pub(crate) fn collect(engine: &EngineInner) -> Stats {
    let log = engine.log.stats();
    let catalog = engine.catalog.stats();
    let cache = engine.catalog.cache().stats();
    let counters = &engine.counters;
    let load = |counter: &crate::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (objects, bytes) = engine.usage();
    Stats {
        epoch: engine.log.epoch().0,
        durable_lsn: log.durable.0,
        appended_lsn: log.appended.0,
        checkpoint_lsn: engine.line().0,
        objects,
        bytes,
        commits: counters.commits(),
        replayed_commits: counters.replayed,
        fsyncs: log.fsyncs,
        groups: log.groups,
        log_bytes_written: log.bytes_written,
        log_bytes: log.log_bytes,
        log_segments: log.segments,
        ballast_bytes: engine.ballast.bytes(),
        packs: catalog.packs,
        pack_bytes: catalog.pack_bytes,
        pack_bytes_written: load(&counters.pack_bytes),
        unmerged_packs: catalog.unmerged,
        catalog_rows: catalog.rows,
        catalog_bytes: catalog.table_bytes,
        resident_bytes: engine.pressure.resident_bytes(),
        cells: engine.table().len() as u64,
        unpacked_bytes: engine.pressure.unpacked_bytes(),
        wakes: counters.wakes(),
        hibernations: load(&counters.hibernations),
        #[cfg(feature = "sql")]
        sql_connections: engine.sql.usage().0,
        #[cfg(feature = "sql")]
        sql_bytes: engine.sql.usage().1,
        checkpoints: load(&counters.checkpoints),
        compactions: load(&counters.compactions),
        maintenance_failures: load(&counters.maintenance_failures),
        cache_hits: cache.hits,
        cache_misses: cache.misses,
        cache_bytes: cache.bytes,
        poisoned: engine.log.poisoned().is_some(),
        #[cfg(feature = "archive")]
        archive: engine.archive.as_ref().map(|archive| archive.status(engine)),
    }
}

impl Stats {
    /// Names and values, in a fixed order; those of the archive, where there is one, are last and begin with `archive_`.
    pub fn fields(&self) -> Vec<(&'static str, u64)> {
        #[cfg_attr(not(feature = "archive"), expect(unused_mut, reason = "the archive's come after them"))]
        let mut fields = vec![
            ("epoch", self.epoch),
            ("durable_lsn", self.durable_lsn),
            ("appended_lsn", self.appended_lsn),
            ("checkpoint_lsn", self.checkpoint_lsn),
            ("objects", self.objects),
            ("bytes", self.bytes),
            ("commits", self.commits),
            ("replayed_commits", self.replayed_commits),
            ("fsyncs", self.fsyncs),
            ("groups", self.groups),
            ("log_bytes_written", self.log_bytes_written),
            ("log_bytes", self.log_bytes),
            ("log_segments", self.log_segments),
            ("ballast_bytes", self.ballast_bytes),
            ("packs", self.packs),
            ("pack_bytes", self.pack_bytes),
            ("pack_bytes_written", self.pack_bytes_written),
            ("unmerged_packs", self.unmerged_packs),
            ("catalog_rows", self.catalog_rows),
            ("catalog_bytes", self.catalog_bytes),
            ("resident_bytes", self.resident_bytes),
            ("cells", self.cells),
            ("unpacked_bytes", self.unpacked_bytes),
            ("wakes", self.wakes),
            ("hibernations", self.hibernations),
            #[cfg(feature = "sql")]
            ("sql_connections", self.sql_connections),
            #[cfg(feature = "sql")]
            ("sql_bytes", self.sql_bytes),
            ("checkpoints", self.checkpoints),
            ("compactions", self.compactions),
            ("maintenance_failures", self.maintenance_failures),
            ("cache_hits", self.cache_hits),
            ("cache_misses", self.cache_misses),
            ("cache_bytes", self.cache_bytes),
            ("poisoned", u64::from(self.poisoned)),
        ];
        #[cfg(feature = "archive")]
        if let Some(archive) = &self.archive {
            fields.extend(archive.fields());
        }
        fields
    }

    /// The same in the text format that Prometheus scrapes.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.fields() {
            let counts = COUNTERS.contains(&name);
            let (kind, suffix) = if counts { ("counter", "_total") } else { ("gauge", "") };
            let _ = writeln!(text, "# TYPE lineal_{name}{suffix} {kind}\nlineal_{name}{suffix} {value}");
        }
        text
    }
}

/// Checks every pack, the catalog, the log and every object.
pub(crate) fn verify(engine: &Engine, progress: &mut dyn FnMut(u64)) -> Result<VerifyReport> {
    let inner = &engine.inner;
    inner.check_open()?;
    let mut report = VerifyReport::default();
    for pack in inner.catalog.live() {
        inner.catalog.verify_pack(&pack)?;
        report.packs += 1;
        report.pack_bytes += pack.footer().file_bytes;
    }
    report.catalog_rows = inner.catalog.verify(&mut |_| ())?.rows;
    let (roots, edge) = inner.roots()?;
    report.root_hashes = roots.verify(&edge)?;
    report.log_records = retry_released(|| {
        let mut records = 0;
        let mut count = |_: &Record<'_>, _: RecordPlace| {
            records += 1;
            Ok(())
        };
        inner.log.scan(inner.line(), inner.log.durable(), &mut count).map_err(log_error)?;
        Ok(records)
    })?;
    let mut count = |verified: Verified, report: &mut VerifyReport| {
        report.objects += 1;
        report.commits += verified.commits;
        report.leaves += verified.leaves;
        progress(report.objects);
    };
    for namespace in engine.namespaces()? {
        for key in Keys::new(inner, namespace.id(), None)? {
            match namespace.at(key?.id).verify() {
                Ok(verified) => count(verified, &mut report),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(report)
}
