//! Worlds of the log alone: records of known sizes, each content following from its number.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lineal_wal::{
    Class, Disk, EngineId, Log, LogOptions, Lsn, Micros, NamespaceId, ObjectId, ObjectKey, PartHeader,
    RecordBuilder, Recovered, Recovery, Seq,
    sim::{Beside, SimDisk},
};

use super::story::{Story, Told};
use crate::draw::Draw;

/// What is done to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Append a record with so many bytes.
    Append(usize),
    /// Make all of them durable.
    Sync,
    /// Give all durable records up but so many.
    Release(u64),
    /// End the process and start again: what was appended and not given to the disk is gone.
    Kill,
    /// Close it and open it again.
    Reopen,
    /// Go on in a new segment.
    Renew,
}

/// See the head of this file.
pub struct Logged {
    title: String,
    deeds: Vec<Deed>,
    seed: u64,
    segment_bytes: (u64, u64),
    /// Bytes of the records of the last life. What a kill has lost is not among them.
    sizes: Mutex<Vec<usize>>,
}

impl Logged {
    /// A log of this seed, to which this is done.
    pub fn new(title: &str, seed: u64, deeds: Vec<Deed>) -> Logged {
        Logged {
            title: title.to_owned(),
            deeds,
            seed,
            segment_bytes: (4 << 10, 8 << 10),
            sizes: Mutex::default(),
        }
    }

    /// Drawn from its seed.
    pub fn drawn(seed: u64) -> Logged {
        let mut draw = Draw::new(seed ^ 0x106);
        let largest = draw.one_of(&[40, 400, 1_500, 3_500]);
        let deed = |draw: &mut Draw| match draw.below(100) {
            0..50 => Deed::Append(1 + draw.below(largest) as usize),
            50..80 => Deed::Sync,
            80..88 => Deed::Release(draw.below(4)),
            88..93 => Deed::Kill,
            93..97 => Deed::Reopen,
            _ => Deed::Renew,
        };
        let count = 4 + draw.below(9);
        let mut deeds: Vec<Deed> = (0..count).map(|_| deed(&mut draw)).collect();
        deeds.push(Deed::Sync);
        let segment_bytes = draw.one_of(&[(4 << 10, 4 << 10), (4 << 10, 8 << 10), (6 << 10, 16 << 10)]);
        Logged { segment_bytes, ..Logged::new("drawn", seed, deeds) }
    }

    fn options(&self, seed: u64) -> LogOptions {
        let salts = AtomicU64::new(seed.wrapping_mul(2) | 1);
        let random = move || salts.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        LogOptions {
            segment_bytes_min: self.segment_bytes.0,
            segment_bytes_max: self.segment_bytes.1,
            threads: false,
            ..LogOptions::new(EngineId([7; 16]), Arc::new(random))
        }
    }

    /// Recovers what follows `released`: its records have to be dense and hold what their number says.
    fn recover(
        &self,
        disk: &SimDisk,
        options: &LogOptions,
        released: u64,
    ) -> Result<(Recovered, Vec<usize>), String> {
        let mut sizes = Vec::new();
        let mut wrong = None;
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let recovered = Log::recover(disk, options, Lsn(released), Recovery::Strict, &mut |record, _| {
            let lsn = record.lsn.0;
            let mut parts = record.parts();
            let (part, more) = (parts.next(), parts.next());
            match part {
                Some(part)
                    if lsn == released + 1 + sizes.len() as u64
                        && part.seq.0 == lsn
                        && more.is_none()
                        && is_body(lsn, part.body) =>
                {
                    sizes.push(part.body.len());
                }
                _ => wrong = Some(lsn),
            }
            Ok(())
        });
        match (recovered.map_err(|error| format!("recovering: {error}"))?, wrong) {
            (_, Some(lsn)) => Err(format!("record {lsn} is not what was written, or not in its order")),
            (recovered, None) => Ok((recovered, sizes)),
        }
    }

    fn start(&self, disk: &SimDisk, seed: u64, released: u64) -> Result<(Log, Vec<usize>), String> {
        let options = self.options(seed);
        let (recovered, sizes) = self.recover(disk, &options, released)?;
        let log = Log::start(Arc::new(disk.clone()), options, recovered);
        Ok((log.map_err(|error| format!("starting: {error}"))?, sizes))
    }
}

fn body(lsn: u64, bytes: usize) -> impl Iterator<Item = u8> {
    (0..bytes).map(move |at| (lsn as u8).wrapping_mul(31).wrapping_add(at as u8))
}

fn is_body(lsn: u64, found: &[u8]) -> bool {
    found.iter().copied().eq(body(lsn, found.len()))
}

fn append(log: &Log, bytes: usize) -> Result<u64, String> {
    let lsn = log.appended().0 + 1;
    let mut record = RecordBuilder::new();
    let object = ObjectKey { namespace: NamespaceId(1), id: ObjectId([3; 16]) };
    let header =
        PartHeader { object, seq: Seq(lsn), prev_lsn: Lsn(lsn - 1), kind: 1, ..PartHeader::default() };
    record.begin_part(header).extend(body(lsn, bytes));
    record.end_part();
    log.append(&record, Micros(lsn), Class::User).map_err(|error| format!("appending: {error}"))?;
    Ok(lsn)
}

impl Story for Logged {
    fn title(&self) -> String {
        format!("log, {}: {:?}", self.title, self.deeds)
    }

    fn live(&self, disk: &SimDisk) -> Result<Vec<Told>, String> {
        let failed = |error: lineal_wal::LogError| format!("{error}");
        let (mut log, _) = self.start(disk, self.seed, 0)?;
        let mut told = vec![Told::default()];
        let mut now = Told::default();
        let mut sizes = Vec::new();
        for (at, deed) in self.deeds.iter().enumerate() {
            match deed {
                Deed::Append(bytes) => {
                    now.asked += 1;
                    told.push(Told { ops: disk.ops(), ..now });
                    append(&log, *bytes)?;
                    sizes.push(*bytes);
                }
                Deed::Sync => drop(log.sync().map_err(failed)?),
                Deed::Release(kept) => {
                    now.released = now.released.max(log.durable().0.saturating_sub(*kept));
                    told.push(Told { ops: disk.ops(), ..now });
                    log.release(Lsn(now.released)).map_err(failed)?;
                }
                Deed::Kill | Deed::Reopen => {
                    if *deed == Deed::Reopen {
                        log.close().map_err(failed)?;
                    }
                    drop(log);
                    (log, _) = self.start(disk, self.seed + 1 + at as u64, now.released)?;
                    now.asked = log.durable().0 as usize;
                    sizes.truncate(now.asked);
                }
                Deed::Renew => {
                    log.sync().map_err(failed)?;
                    log.renew().map_err(failed)?;
                }
            }
            now.certain = log.durable().0 as usize;
            told.push(Told { ops: disk.ops(), ..now });
        }
        *self.sizes.lock().unwrap_or_else(PoisonError::into_inner) = sizes;
        Ok(told)
    }

    fn wake(&self, disk: &SimDisk, _: Option<&Beside>, told: Told) -> Result<Box<dyn Any>, String> {
        Ok(Box::new(self.start(disk, self.seed + 77, told.released)?))
    }

    fn judge(&self, disk: &SimDisk, _: Option<&Beside>, told: Told, variety: u64) -> Result<usize, String> {
        let (log, mut sizes) = self.start(disk, self.seed + 77, told.released)?;
        let last = log.durable().0;
        if last < told.certain as u64 || last > told.asked as u64 {
            return Err(format!("{last} records, and it has to be {} to {}", told.certain, told.asked));
        }
        {
            let written = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
            let certain = &written[told.released as usize..told.certain.max(told.released as usize)];
            if !sizes.starts_with(certain) {
                return Err(format!(
                    "records of {sizes:?} bytes, and certain are {certain:?} from {}",
                    told.released
                ));
            }
        }
        let bytes = 1 + variety as usize % 700;
        append(&log, bytes)?;
        log.sync().map_err(|error| format!("syncing: {error}"))?;
        if (variety / 1024).is_multiple_of(8) {
            log.close().map_err(|error| format!("closing: {error}"))?;
        }
        drop(log);
        sizes.push(bytes);
        let (_, again) = self.recover(disk, &self.options(self.seed + 78), told.released)?;
        if again != sizes {
            return Err(format!("first records of {sizes:?} bytes, and then {again:?}"));
        }
        Ok(last as usize)
    }
}
