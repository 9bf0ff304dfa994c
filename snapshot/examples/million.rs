//! Writes a pack of small objects, as a checkpoint does, and reads it as wakes do: bytes per object, time to write,
//! latency of a cold look-up with the page cache warm.
//!
//! `cargo run --release -p lineal-snapshot --example million -- [objects] [folder] [sync every, bytes]`

use lineal_snapshot::{
    BlockCache, EntryKey, FooterInput, Kind, Pack, PackHeader, PackKind, PackNumber, PackWriter, PartSpec,
    WriteOptions, encode_key, run_sub_key,
};
use lineal_wal::{Disk, EngineId, Epoch, NamespaceId, ObjectId, ObjectKey, RealDisk, Seq};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What describes an object of one commit, and that commit with a value of 100 bytes.
const HEAD_BYTES: usize = 60;
const RUN_BYTES: usize = 130;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from).join("lineal-million");
    let sync_every = arguments.next().map_or(Ok(WriteOptions::default().sync_every), |text| text.parse())?;
    std::fs::create_dir_all(&folder)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(folder.clone()));

    let mut random = Random(1);
    let mut objects: Vec<ObjectKey> = (0..count).map(|_| random.object()).collect();
    objects.sort_unstable();
    let mut payload = [0; HEAD_BYTES + RUN_BYTES];

    let start = Instant::now();
    let header = PackHeader {
        engine: EngineId([1; 16]),
        epoch: Epoch(1),
        number: PackNumber(1),
        kind: PackKind::Checkpoint,
    };
    let options = WriteOptions { sync_every, ..WriteOptions::default() };
    let mut writer = PackWriter::create(disk.clone(), header, options)?;
    for object in &objects {
        for chunk in payload.chunks_mut(8) {
            let word = random.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        let head = PartSpec {
            object: *object,
            kind: Kind::Head,
            sub_key: &[],
            seq: Seq(1),
            follows: false,
            end_fence: None,
        };
        writer.part(&head, &payload[..HEAD_BYTES])?;
        let first = run_sub_key(Seq(1));
        let run = PartSpec { kind: Kind::Run, sub_key: &first, follows: true, ..head };
        writer.part(&run, &payload[HEAD_BYTES..])?;
    }
    let filled = start.elapsed();
    let live = writer.finish(FooterInput::default())?;
    let written = start.elapsed();
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    println!(
        "{count} objects, head {HEAD_BYTES} bytes, run {RUN_BYTES} bytes, sync every {sync_every} bytes"
    );
    println!("file: {} bytes, {:.1} per object", live.bytes, live.bytes as f64 / count as f64);
    println!("parts: {:.0} objects/s; with the footer durable: {:.0} objects/s", rate(filled), rate(written));

    let start = Instant::now();
    let cache = BlockCache::new(64 << 20);
    let pack = Pack::open(&disk, &cache, PackNumber(1))?;
    println!("open: {:.1} us", start.elapsed().as_secs_f64() * 1e6);
    let start = Instant::now();
    pack.load()?;
    println!(
        "load: {:.1} us, {} bytes outside the cache",
        start.elapsed().as_secs_f64() * 1e6,
        pack.memory_bytes()
    );

    for (name, cache_bytes) in [("cache 64 MiB", 64 << 20), ("no cache", 0)] {
        let pack = Pack::open(&disk, &BlockCache::new(cache_bytes), PackNumber(1))?;
        // Brings the file into the page cache, and what fits into ours.
        lookups(&pack, &objects, &mut random, 100_000)?;
        report(name, lookups(&pack, &objects, &mut random, 100_000)?);
    }

    let absent: Vec<ObjectKey> = (0..100_000).map(|_| random.object()).collect();
    let start = Instant::now();
    let mut passed = 0;
    for object in &absent {
        passed += u64::from(pack.may_contain(object)?);
    }
    let each = start.elapsed().as_secs_f64() * 1e9 / absent.len() as f64;
    println!("filter: {:.2} % of absent objects pass, {each:.0} ns each", passed as f64 / 1000.0);

    let start = Instant::now();
    let entries = pack.iter(&[]).count();
    println!("iter: {entries} entries, {:.0}/s", rate(start.elapsed()));
    let start = Instant::now();
    pack.verify(&mut |_| ())?;
    println!("verify: {:.0} MB/s", live.bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
    println!("cache: {:?}", cache.stats());
    drop(pack);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Wakes: finds the newest head of a random object and reads it with its run.
fn lookups(
    pack: &Arc<Pack>,
    objects: &[ObjectKey],
    random: &mut Random,
    count: usize,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut took = Vec::with_capacity(count);
    let mut key = Vec::new();
    for _ in 0..count {
        let object = objects[(random.next() % objects.len() as u64) as usize];
        let start = Instant::now();
        key.clear();
        encode_key(&mut key, &object, Kind::Head, &[], Seq(u64::MAX));
        let (found, value) = pack.seek_back(&key)?.ok_or("an object is absent")?;
        let place = value.place().ok_or("a head has ended")?;
        let (_, runs) = pack.read_with_followers(&EntryKey::decode(&found)?, place)?;
        took.push(start.elapsed());
        assert_eq!(runs.len(), 1, "each object was written with one run");
    }
    Ok(took)
}

fn report(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 1000].as_secs_f64() * 1e6;
    println!("wake, {name}: p50 {:.2} us, p99 {:.2} us, p99.9 {:.2} us", at(500), at(990), at(999));
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn object(&mut self) -> ObjectKey {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next().to_be_bytes());
        id[8..].copy_from_slice(&self.next().to_be_bytes());
        ObjectKey { namespace: NamespaceId(1), id: ObjectId(id) }
    }
}
