//! The log: its files on the disk, and pieces of it as the archive has them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lineal_wal::{Disk, EngineId, Log, LogOptions, Lsn, Recovery, records, sim::SimDisk};

use super::world::{self, Image};
use crate::{
    input::{Input, Output},
    mend::{self, log::Binding},
    sparse,
};

/// Checksums are mended.
const MEND: u8 = 1;
/// And what names list and segments, so that they belong together.
const BIND: u8 = 2;
/// The whole engine is opened over the log, and not the log alone.
const ENGINE: u8 = 4;

/// Most bytes of one file.
const FILE_BYTES_MAX: usize = 96 << 10;

/// A list and segments: `mode`, then each file behind its length, the list first. See the constants for the bits of mode.
pub(crate) fn segment(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.u8();
    let mut files = Vec::new();
    while !input.is_empty() && files.len() < 4 {
        let mut file = sparse::expand(input.long(), FILE_BYTES_MAX);
        file.resize(file.len().next_multiple_of(512), 0);
        files.push(file);
    }
    let Some((list, segments)) = files.split_first_mut() else { return };
    let engine = engine_id();
    let image = log_image(list, segments, mode, engine);
    if mode & ENGINE != 0 {
        let mut image = image;
        image.extend(
            world::image()
                .iter()
                .filter(|(path, _)| !path.contains('/'))
                .map(|(a, b)| (a.clone(), b.clone())),
        );
        image.remove("catalog.redb");
        world::exercise(&world::disk(&image));
    } else {
        recover(&image, engine);
    }
}

fn engine_id() -> [u8; 16] {
    *world::image()["LINEAL"][16..].first_chunk().expect("the identity has 36 bytes")
}

fn log_image(list: &mut [u8], segments: &mut [Vec<u8>], mode: u8, engine: [u8; 16]) -> Image {
    let capacities: Vec<u64> = segments.iter().map(|segment| segment.len() as u64).collect();
    let bind = (mode & BIND != 0).then_some(engine);
    let listed = if mode & MEND != 0 { mend::log::list(list, bind, &capacities) } else { Vec::new() };
    let mut image = Image::from([("log/list".to_owned(), list.to_vec())]);
    for (number, segment) in segments.iter_mut().enumerate() {
        let named = listed.get(number);
        let id = named.map_or(number as u64 + 1, |listed| listed.id);
        if mode & MEND != 0 {
            let binding = bind.zip(named).map(|(engine, named)| Binding { id, salt: named.salt, engine });
            mend::log::segment(segment, binding.as_ref());
        }
        image.insert(format!("log/{id:016x}.log"), segment.clone());
    }
    image
}

fn log_options(engine: [u8; 16]) -> LogOptions {
    let salt = AtomicU64::new(1 << 32);
    let mut options =
        LogOptions::new(EngineId(engine), Arc::new(move || salt.fetch_add(1, Ordering::Relaxed)));
    options.threads = false;
    options.segment_bytes_min = 16 << 10;
    options.segment_bytes_max = 16 << 10;
    options
}

/// What recovery accepts it accepts again, and a log that starts goes on behind it.
fn recover(image: &Image, engine: [u8; 16]) {
    let disk = world::disk(image);
    let salvaged = recovered(&disk, engine, Recovery::Salvage);
    let Ok((recovered_log, seen)) = recovered(&disk, engine, Recovery::Strict) else { return };
    assert!(salvaged.is_ok_and(|(_, salvaged)| salvaged == seen), "salvage of a sound log finds another one");
    assert!(disk.image() == *image, "recovery changes a byte");
    let handle: Arc<dyn Disk> = Arc::new(disk.clone());
    let Ok(log) = Log::start(handle, log_options(engine), recovered_log) else { return };
    let first = seen.first().map_or(Lsn::NONE, |(lsn, _)| Lsn(lsn.0 - 1));
    let _ = log.read_durable(first, 1 << 20);
    let closed = log.close();
    drop(log);
    if closed.is_ok() {
        let (_, again) = recovered(&disk, engine, Recovery::Strict).expect("a log that was closed is sound");
        assert!(again == seen, "a log that was opened and closed has other records");
    }
}

type Seen = Vec<(Lsn, Vec<u8>)>;

fn recovered(
    disk: &SimDisk,
    engine: [u8; 16],
    mode: Recovery,
) -> Result<(lineal_wal::Recovered, Seen), lineal_wal::LogError> {
    let mut seen = Seen::new();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let recovered = Log::recover(disk, &log_options(engine), Lsn::NONE, mode, &mut |record, _| {
        assert!(seen.last().is_none_or(|(last, _)| last.next() == record.lsn), "records are dense");
        assert_eq!(record.parts().count(), record.part_count(), "a record has the parts that it says");
        seen.push((record.lsn, record.encoded().to_vec()));
        Ok(())
    })?;
    Ok((recovered, seen))
}

/// Seeds: the log of the small engine before and after it was closed.
pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for files in [log_of(false), log_of(true)] {
        for mode in [0, MEND, MEND | BIND, MEND | BIND | ENGINE] {
            let mut out = Output(vec![mode]);
            files.iter().for_each(|file| out.long(&sparse::pack(file)));
            seeds.push(out.0);
        }
    }
    seeds
}

/// The list of a small log and its segments in the list's order, as a kill or a close leaves them.
fn log_of(closed: bool) -> Vec<Vec<u8>> {
    let disk = SimDisk::new();
    let built = (|| -> lineal::Result<()> {
        let engine = world::options(&disk).open("simulated")?;
        let object = engine.namespace(world::NAMESPACE)?.object("o")?;
        for number in 0..5u8 {
            object.transact(|tx| tx.put([number], [number; 30])).wait()?;
        }
        object.transact(|tx| tx.delete_range([1u8]..[3])).wait()?;
        if closed {
            return engine.close();
        }
        std::mem::forget(engine);
        Ok(())
    })();
    built.expect("nothing fails");
    let mut image = disk.image();
    let mut list = image.remove("log/list").expect("a log has a list");
    let listed = mend::log::list(&mut list, None, &[]);
    let segments = listed.iter().filter_map(|listed| image.remove(&format!("log/{:016x}.log", listed.id)));
    [list].into_iter().chain(segments).collect()
}

/// A piece of the log: as it is, and with its checksums mended.
pub(crate) fn piece(bytes: &[u8]) {
    read_piece(bytes);
    let mut mended = bytes.to_vec();
    mend::log::records(&mut mended);
    read_piece(&mended);
}

fn read_piece(bytes: &[u8]) {
    let mut all = records(bytes);
    let mut again = Vec::new();
    let mut last = None;
    while let Some(record) = all.next() {
        let Ok(record) = record else {
            assert!(all.next().is_none(), "nothing comes after what is damaged");
            break;
        };
        assert!(last.is_none_or(|last: Lsn| last.next() == record.lsn), "records are dense");
        assert_eq!(record.parts().count(), record.part_count(), "a record has the parts that it says");
        for part in record.parts() {
            lineal::hostile::body(part.flags, part.body);
        }
        again.extend_from_slice(record.encoded());
        last = Some(record.lsn);
    }
    assert!(bytes.starts_with(&again) && all.offset() == again.len(), "a piece is its records");
}

/// Seeds: what a log's groups hold.
pub(crate) fn piece_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new()];
    let files = log_of(false);
    let image = log_image(&mut files[0].clone(), &mut files[1..].to_vec(), 0, engine_id());
    for bytes in image.values() {
        for at in (512..bytes.len()).step_by(512).filter(|at| bytes[*at..].starts_with(b"LINEALGR")) {
            let count = mend::u32_at(bytes, at + 60).map_or(0, |count| count as usize);
            seeds.push(bytes[at + 64..at + 64 + count].to_vec());
        }
    }
    seeds.push(seeds.concat());
    seeds
}
