//! Looking after an archive: who has it, whether it is whole, and what it need not keep.

use std::path::{Path, PathBuf};

use lineal_snapshot::{
    BlockCache, EntryKey, EntryValue, Pack, PackNumber,
    archive::{ArchiveDamage, Lease, Tier, TierOptions, collect_garbage, scrub as scrub_all, take_over},
};
use lineal_wal::{Disk, EngineId, Micros, RealDisk};

use super::{
    ArchiveOptions, Points,
    reading::{Reading, load},
    restore::{points_of, remove_folder},
};
use crate::{Options, Result, VerifyReport, engine::stats, sync::Arc};

/// The engines that have an archive there. One listing.
///
/// # Errors
/// [`Error::Archive`](crate::Error::Archive).
pub fn engines(from: &ArchiveOptions) -> Result<Vec<EngineId>> {
    from.connect(&Options::new().random)?.engines()
}

/// Who may write an archive, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// What it can bring back.
    pub points: Points,
    /// Who has its lease, if somebody has.
    pub holder: Option<String>,
    /// When the lease ends, by its holder's clock; 0 if it was given back.
    pub until: Micros,
    /// Packs that nobody needs any more and that are not deleted yet.
    pub garbage_packs: u64,
    /// Their bytes.
    pub garbage_bytes: u64,
}

/// How an archive stands. Reads lease, manifest, and the tail of the log.
///
/// # Errors
/// As [`points`](super::points).
pub fn standing(from: &ArchiveOptions, engine: Option<EngineId>) -> Result<Standing> {
    let reading = Reading::open(from, &Options::new().random, engine)?;
    let (client, id) = (reading.connection.client.clone(), reading.engine);
    let lease = reading.connection.runtime.run(async move { Lease::look(&client, id).await })?;
    let garbage = &reading.manifest.garbage_packs;
    Ok(Standing {
        points: points_of(&reading)?,
        until: lease.as_ref().map_or(Micros(0), |lease| lease.until),
        holder: lease.map(|lease| lease.holder),
        garbage_packs: garbage.len() as u64,
        garbage_bytes: garbage.iter().map(|pack| pack.bytes).sum(),
    })
}

/// Opens an archive for reading, with nothing of it on this machine but the log's tail, and checks every pack, checksum
/// and chain. `told` hears of objects checked.
///
/// # Errors
/// The first damage found; as [`points`](super::points).
pub fn verify(
    from: &ArchiveOptions,
    engine: Option<EngineId>,
    told: &mut dyn FnMut(u64),
) -> Result<VerifyReport> {
    let settings = Options::new();
    let reading = Reading::open(from, &settings.random, engine)?;
    let scratch = Scratch::new(&settings)?;
    let engine = reading.open_beside(&scratch.0, from, true)?;
    let report = stats::verify(&engine, told)?;
    engine.close()?;
    Ok(report)
}

/// A folder for the time of one call.
struct Scratch(PathBuf);

impl Scratch {
    fn new(settings: &Options) -> Result<Scratch> {
        let folder = std::env::temp_dir().join(format!("lineal-{:016x}", (settings.random)()));
        remove_folder(&folder)?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(&self.0) {
            tracing::warn!(%error, "a temporary folder is left behind");
        }
    }
}

/// Something in an archive that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The key.
    pub key: String,
    /// Where in it; all of it without.
    pub range: Option<std::ops::Range<u64>>,
    /// The objects that have something there, as far as that can be told.
    pub objects: Vec<String>,
    /// What does not hold.
    pub reason: String,
}

/// What a scrub found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Whose archive it is.
    pub engine: EngineId,
    /// Packs read.
    pub packs: u64,
    /// Pieces of the log read, and right.
    pub chunks: u64,
    /// Bytes read, and right.
    pub bytes: u64,
    /// All that is damaged.
    pub damage: Vec<Damage>,
}

/// Reads everything that an archive holds, at most so many bytes in a second. `told` hears of bytes read, and of how many
/// the packs are. Damage is part of the report.
///
/// # Errors
/// As [`points`](super::points).
pub fn scrub(
    from: &ArchiveOptions,
    engine: Option<EngineId>,
    bytes_per_second: Option<u64>,
    told: &mut dyn FnMut(u64, u64),
) -> Result<ScrubReport> {
    let reading = Reading::open(from, &Options::new().random, engine)?;
    let of = reading.manifest.packs.iter().map(|pack| pack.bytes).sum();
    let (client, keys, manifest) =
        (reading.connection.client.clone(), reading.keys(), reading.manifest.clone());
    let (rate, mut read) = (bytes_per_second.unwrap_or(0), 0);
    let found = reading.connection.run_telling(
        move |progress| async move {
            scrub_all(&client, &keys, &manifest, rate, move |more| progress.tell(more)).await
        },
        &mut |more| {
            read += more;
            told(read, of);
        },
    )?;
    let damage = found.damage.into_iter().map(|damage| with_objects(&reading, damage)).collect();
    Ok(ScrubReport {
        engine: reading.engine,
        packs: found.packs,
        chunks: found.chunks,
        bytes: found.bytes,
        damage,
    })
}

/// Objects that are named of one damage.
///
/// Source: chosen; what fits a screen.
const OBJECTS_MAX: usize = 32;

/// Says whose parts lie in the damaged range of a pack, if its index can still be read.
fn with_objects(reading: &Reading, damage: ArchiveDamage) -> Damage {
    let ArchiveDamage { key, range, reason } = damage;
    let pack = reading.manifest.packs.iter().find(|pack| pack.key(&reading.keys()) == key);
    let objects = match (pack, &range) {
        (Some(pack), Some(range)) => objects_in(reading, pack.number, range).unwrap_or_default(),
        _ => Vec::new(),
    };
    Damage { key, range, objects, reason }
}

fn objects_in(reading: &Reading, number: PackNumber, range: &std::ops::Range<u64>) -> Result<Vec<String>> {
    let nowhere: Arc<dyn Disk> = Arc::new(RealDisk::new(PathBuf::new()));
    let connection = &reading.connection;
    let tier = Tier::new(
        nowhere,
        connection.client.clone(),
        Arc::clone(&connection.runtime),
        reading.keys(),
        TierOptions { cache_bytes: 0 },
    );
    tier.set_archived(&reading.manifest.packs);
    let pack = Pack::open(&tier.disk_cold(), &BlockCache::new(1 << 20), number)?;
    let mut objects: Vec<String> = Vec::new();
    for entry in pack.iter(&[]) {
        let (key, value) = entry?;
        let EntryValue::Place(place) = value else { continue };
        let (start, end) = (place.file_offset(), place.file_offset() + u64::from(place.part_bytes));
        if start >= range.end || end <= range.start {
            continue;
        }
        let Ok(key) = EntryKey::decode(&key) else { continue };
        let object = format!("{}/{}", key.object.namespace, key.object.id);
        if objects.last() != Some(&object) {
            objects.push(object);
        }
        if objects.len() == OBJECTS_MAX {
            break;
        }
    }
    Ok(objects)
}

/// What was deleted, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Whose archive it is.
    pub engine: EngineId,
    /// The keys.
    pub keys: Vec<String>,
    /// Bytes of the packs among them.
    pub pack_bytes: u64,
}

/// Deletes what an archive has not needed for longer than its [grace](ArchiveOptions::grace). An engine that is open does
/// so itself; this is for archives whose engine is not, and takes them over for that.
///
/// # Errors
/// [`ArchiveError::Held`](super::ArchiveError::Held) while an engine has it; as [`points`](super::points).
pub fn gc(from: &ArchiveOptions, engine: Option<EngineId>, dry_run: bool) -> Result<Collected> {
    let settings = Options::new();
    let reading = Reading::open(from, &settings.random, engine)?;
    let (client, id, now) = (reading.connection.client.clone(), reading.engine, (settings.clock)());
    let grace = from.service.grace.into();
    let claim = from.claim(id, reading.manifest.epoch, from.holder_in(Path::new("gc")), now);
    let found = reading.connection.runtime.run(async move {
        if dry_run {
            let mut manifest = load(&client, id).await?;
            let epoch = manifest.manifest().epoch;
            return collect_garbage(&client, &mut manifest, epoch, now, grace, true).await;
        }
        let mut writer = take_over(&client, &claim, |_, _| Ok(())).await?;
        let epoch = writer.lease.epoch();
        let collected = collect_garbage(&client, &mut writer.manifest, epoch, now, grace, false).await;
        writer.lease.give_back(&client).await?;
        collected
    })?;
    Ok(Collected { engine: id, keys: found.keys, pack_bytes: found.pack_bytes })
}
