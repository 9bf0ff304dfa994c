//! What the tests of this crate share: a log on a simulated disk, with records whose content follows from their number.

use crate::sim::SimDisk;
use crate::{
    Appended, Class, Disk, EngineId, Log, LogError, LogOptions, Lsn, Micros, NamespaceId, ObjectId,
    ObjectKey, PartHeader, Record, RecordBuilder, Recovered, Recovery, Seq,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const ENGINE: EngineId = EngineId([7; 16]);

/// Small segments, no threads, salts that count.
pub(crate) fn options() -> LogOptions {
    static SALTS: AtomicU64 = AtomicU64::new(1);
    let random = || SALTS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    LogOptions {
        segment_bytes_min: 32 << 10,
        segment_bytes_max: 64 << 10,
        threads: false,
        ..LogOptions::new(ENGINE, Arc::new(random))
    }
}

/// What the record of this number holds, and how much of it.
pub(crate) fn body(lsn: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (lsn as u8).wrapping_mul(31).wrapping_add(at as u8)).collect()
}

pub(crate) fn record(lsn: u64, bytes: usize) -> RecordBuilder {
    let mut record = RecordBuilder::new();
    let object = ObjectKey { namespace: NamespaceId(1), id: ObjectId([3; 16]) };
    let header =
        PartHeader { object, seq: Seq(lsn), prev_lsn: Lsn(lsn - 1), kind: 1, ..PartHeader::default() };
    record.begin_part(header).extend_from_slice(&body(lsn, bytes));
    record.end_part();
    record
}

/// Asserts that a record is what `record` made.
pub(crate) fn check(record: &Record<'_>) {
    let parts: Vec<_> = record.parts().collect();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].seq.0, record.lsn.0, "the record has the content of its number");
    assert_eq!(parts[0].body, body(record.lsn.0, parts[0].body.len()));
}

pub(crate) fn append(log: &Log, bytes: usize) -> Result<Appended, LogError> {
    let lsn = log.appended().0 + 1;
    let appended = log.append(&record(lsn, bytes), Micros(lsn * 10), Class::User)?;
    assert_eq!(appended.lsn.0, lsn);
    Ok(appended)
}

pub(crate) fn disk(sim: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(sim.clone())
}

/// Recovers and checks that the records are dense from `floor` on.
pub(crate) fn recover(sim: &SimDisk, floor: u64, mode: Recovery) -> Result<Recovered, LogError> {
    let mut next = floor + 1;
    let recovered = Log::recover(disk(sim), &options(), Lsn(floor), mode, &mut |record, _| {
        assert_eq!(record.lsn.0, next, "records are dense");
        check(record);
        next += 1;
        Ok(())
    })?;
    assert_eq!(recovered.records, next - floor - 1);
    if recovered.damage.is_none() {
        assert_eq!(recovered.last_lsn.0, next - 1);
    }
    Ok(recovered)
}

/// Recovers and starts.
pub(crate) fn open(sim: &SimDisk, floor: u64) -> Result<Log, LogError> {
    open_with(sim, floor, options())
}

pub(crate) fn open_with(sim: &SimDisk, floor: u64, options: LogOptions) -> Result<Log, LogError> {
    let recovered = recover(sim, floor, Recovery::Strict)?;
    sim.create_dir("").expect("the data directory is the caller's");
    Log::start(disk(sim), options, recovered)
}

/// All records that the log serves after `after`.
pub(crate) fn scanned(log: &Log, after: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    log.scan(Lsn(after), log.durable(), &mut |record, _| {
        check(record);
        seen.push(record.lsn.0);
        Ok(())
    })
    .unwrap();
    seen
}

/// A small deterministic generator.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % sides as u64) as usize
    }
}
