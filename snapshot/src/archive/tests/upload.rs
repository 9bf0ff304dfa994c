//! The upload of a log that grows and of packs, over a store that fails.

use super::super::sim::{Fault, Op};
use super::*;
use crate::PackNumber;
use crate::sync::Mutex;
use std::time::Duration;

/// A log of records that say their own position.
#[derive(Debug, Default)]
struct TestLog(Mutex<u64>);

impl TestLog {
    fn grow(&self, records: u64) -> Lsn {
        let mut durable = self.0.lock();
        *durable += records;
        Lsn(*durable)
    }
}

impl DurableLog for TestLog {
    fn durable(&self) -> Lsn {
        Lsn(*self.0.lock())
    }

    fn begins(&self) -> Lsn {
        Lsn(1)
    }

    fn bytes_after(&self, after: Lsn) -> u64 {
        8 * (self.durable().0 - after.0)
    }

    fn read(&self, after: Lsn, bytes_max: u32) -> Result<Option<LogPiece>, ArchiveError> {
        let last = self.durable().0.min(after.0 + u64::from(bytes_max) / 8);
        if last == after.0 {
            return Ok(None);
        }
        let bytes = (after.0 + 1..=last).flat_map(u64::to_le_bytes).collect();
        Ok(Some(LogPiece { first: after.next(), last: Lsn(last), bytes }))
    }
}

struct Running {
    log: Arc<TestLog>,
    calls: Arc<Calls>,
    told: Arc<Mutex<Vec<Lsn>>>,
    end: std::sync::mpsc::Receiver<Result<(), ArchiveError>>,
    _runtime: Runtime,
}

/// An upload that runs, of chunks of at most ten records.
fn upload(client: &Client, end: LogEnd, log: &Arc<TestLog>, archived: Lsn) -> Running {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = {
        let told = Arc::clone(&told);
        move |lsn| told.lock().push(lsn)
    };
    let calls = Calls::new(archived, Box::new(tell));
    let rhythm = Rhythm { chunk_bytes: 80, chunks_max: 3, ..Rhythm::default() };
    let dyn_log: Arc<dyn DurableLog> = Arc::<TestLog>::clone(log);
    let book = Arc::new(Mutex::new(ChunkBook::new(&[])));
    let upload = TailUpload::new(client.clone(), end, dyn_log, rhythm, Arc::clone(&calls), book);
    let (tell_end, end) = std::sync::mpsc::channel();
    let runtime = Runtime::start().unwrap();
    runtime.spawn(async move {
        let _ = tell_end.send(upload.run().await);
    });
    Running { log: Arc::clone(log), calls, told, end, _runtime: runtime }
}

impl Running {
    fn stop(self) -> Result<Vec<Lsn>, ArchiveError> {
        self.calls.stop();
        self.end.recv_timeout(Duration::from_secs(20)).expect("an upload ends when it is told to")?;
        let told = self.told.lock().clone();
        assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
        Ok(told)
    }

    fn until(&self, done: impl Fn(&Self) -> bool) {
        for _ in 0..4_000 {
            if done(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("twenty seconds went by: {:?}", self.calls.trouble.now());
    }
}

/// The positions that the archive holds, as somebody finds them who takes it over.
fn held(store: &Arc<SimStore>) -> u64 {
    let mut next = 1;
    let forced = Claim { force: true, ..claim("finder", Micros(0)) };
    let finder = client(store, 77);
    let found = take_over(&finder, &forced, |_, chunk| {
        for record in chunk.bytes.chunks_exact(8) {
            assert_eq!(record, u64::to_le_bytes(next));
            next += 1;
        }
        assert_eq!(chunk.last.0 + 1, next);
        Ok(())
    });
    block_on(found).unwrap();
    next - 1
}

#[test]
fn everything_durable_is_archived_in_order_and_found_again() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let writer = take(&client, "a");
    let log = Arc::new(TestLog::default());
    let running = upload(&client, writer.log, &log, Lsn(0));
    for _ in 0..20 {
        log.grow(7);
        running.calls.more();
    }
    assert_eq!(running.stop().unwrap().last(), Some(&Lsn(140)));
    assert_eq!(held(&store), 140);
}

#[test]
fn nothing_is_asked_while_nothing_is_new() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let writer = take(&client, "a");
    let running = upload(&client, writer.log, &Arc::new(TestLog::default()), Lsn(0));
    running.log.grow(3);
    running.calls.more();
    running.until(|running| running.calls.archived() == Lsn(3));
    store.requests();
    for _ in 0..50 {
        running.calls.more();
        std::thread::sleep(Duration::from_millis(1));
    }
    running.stop().unwrap();
    assert!(store.requests().is_empty());
}

#[test]
fn an_outage_costs_lag_and_bounded_requests_and_no_data() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let writer = take(&client, "a");
    let running = upload(&client, writer.log, &Arc::new(TestLog::default()), Lsn(0));
    store.dark(true);
    running.log.grow(1_000);
    running.calls.want(Lsn(1_000));
    running.until(|running| running.calls.trouble.now().is_some() && running.calls.lag().chunks == 3);
    let lag = running.calls.lag();
    assert_eq!((lag.records, lag.chunks), (1_000, 3), "no more than three chunks are in memory");
    assert_eq!(running.calls.archived(), Lsn(0));
    store.clear();
    running.until(|running| running.calls.archived() == Lsn(1_000));
    assert!(running.calls.trouble.now().is_none());
    running.stop().unwrap();
    assert_eq!(held(&store), 1_000);
}

#[test]
fn whatever_passes_nothing_that_was_told_is_lost() {
    for seed in 0..40 {
        let store = SimStore::new();
        let client = client(&store, seed);
        let writer = take(&client, "a");
        store.shake(seed, 300);
        let running = upload(&client, writer.log, &Arc::new(TestLog::default()), Lsn(0));
        for _ in 0..10 {
            let lsn = running.log.grow(23);
            running.calls.want(lsn);
        }
        assert_eq!(running.stop().unwrap().last(), Some(&Lsn(230)), "seed {seed}");
        store.clear();
        assert_eq!(held(&store), 230, "seed {seed}");
    }
}

#[test]
fn what_a_fenced_upload_told_is_what_the_next_writer_finds() {
    for round in 0..30 {
        let store = SimStore::new();
        let client = client(&store, round);
        let writer = take(&client, "a");
        let running = upload(&client, writer.log, &Arc::new(TestLog::default()), Lsn(0));
        for _ in 0..=round {
            running.calls.want(running.log.grow(11));
        }
        let found = held(&store);
        // From here on nothing more may be told.
        running.calls.want(running.log.grow(11));
        let error = running.end.recv_timeout(Duration::from_secs(20)).unwrap().unwrap_err();
        assert!(matches!(error, ArchiveError::Fenced { .. }), "{error}");
        let told = running.calls.archived();
        assert!(told.0 <= found, "told {told}, found {found}");
    }
}

/// Bytes that are different everywhere, and for every salt.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) bytes: u64,
    pub(super) salt: u64,
}

/// The byte at an offset, of salt 0.
pub(super) fn pattern(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Source for Pattern {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        let salt = self.salt << 40;
        bytes.iter_mut().zip(offset..).for_each(|(byte, at)| *byte = pattern(at ^ salt));
        Ok(())
    }
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        bytes.copy_from_slice(&self.0[at..at + bytes.len()]);
        Ok(())
    }
}

fn live(numbers: &[u64], line: u64) -> Live {
    let pack = |number: &u64| LocalPack {
        number: PackNumber(*number),
        source: Arc::new(Bytes(vec![*number as u8; 1_000])),
    };
    let logs = vec![ArchivedLog::all(Epoch(1))];
    Live {
        packs: numbers.iter().map(pack).collect(),
        line: Lsn(line),
        logs,
        horizon: Micros(0),
        note: vec![],
    }
}

/// Archives what is live, as a writer that has just loaded the manifest.
fn archive(client: &Client, live: &Live) -> Result<Manifest, ArchiveError> {
    let (client, live) = (client.clone(), live.clone());
    Runtime::start().unwrap().run(async move {
        let first = Manifest::first(ENGINE, Epoch(1), Micros(0));
        let mut manifest = ManifestWriter::load_or_create(&client, first).await?;
        archive_packs(&client, &mut manifest, Epoch(1), Micros(1), &live).await?;
        Ok(manifest.manifest().clone())
    })
}

#[test]
fn packs_are_sent_once_and_named_when_they_read_back() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let manifest = archive(&client, &live(&[1, 2], 10)).unwrap();
    assert_eq!((manifest.packs.len(), manifest.line), (2, Lsn(10)));
    for pack in &manifest.packs {
        assert_eq!(blake3::hash(&store.peek(&pack.key(&Keys(ENGINE))).unwrap()), pack.hash);
    }
    store.requests();
    archive(&client, &live(&[1, 2], 10)).unwrap();
    assert_eq!(store.requests(), [(Op::Get, Keys(ENGINE).manifest())], "only the test's own loading");
    archive(&client, &live(&[2, 3], 20)).unwrap();
    let put: Vec<_> = store.requests().into_iter().filter(|(op, _)| *op == Op::Put).collect();
    assert_eq!(put.len(), 2, "one pack and the manifest: {put:?}");
}

#[test]
fn a_pack_that_is_not_stored_as_sent_is_sent_again_and_never_named_before() {
    let store = SimStore::new();
    let client = client(&store, 1);
    store.plan(Op::Put, "packs", Fault::HalfStored);
    archive(&client, &live(&[1], 10)).unwrap();

    for _ in 0..3 {
        store.plan(Op::Put, "packs", Fault::HalfStored);
    }
    let error = archive(&client, &live(&[1, 2], 20)).unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
    let manifest = archive(&client, &live(&[1], 10)).unwrap();
    assert_eq!((manifest.packs.len(), manifest.line), (1, Lsn(10)));
}

#[test]
fn a_pack_goes_up_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let disk = lineal_wal::RealDisk::new(folder.path().to_owned());
    let missing = LocalPack::open(&disk, PackNumber(4)).unwrap_err();
    assert_eq!(missing.kind(), ArchiveErrorKind::Local);
    let path = folder.path().join(PackNumber(4).path());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, vec![7; 5_000]).unwrap();
    let pack = LocalPack::open(&disk, PackNumber(4)).unwrap();
    std::fs::remove_file(&path).unwrap();
    let store = SimStore::new();
    let manifest = archive(&client(&store, 1), &Live { packs: vec![pack], ..live(&[], 1) }).unwrap();
    assert_eq!(store.peek(&manifest.packs[0].key(&Keys(ENGINE))).unwrap(), vec![7; 5_000]);
}

#[test]
fn a_pack_comes_back_whole_or_not_at_all() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let manifest = archive(&client, &live(&[7], 10)).unwrap();
    let pack = manifest.packs[0].clone();
    let key = pack.key(&Keys(ENGINE));
    let folder = tempfile::tempdir().unwrap();
    let disk = lineal_wal::RealDisk::new(folder.path().to_owned());
    let fetch = || {
        let (client, pack, disk) = (client.clone(), pack.clone(), disk.clone());
        let fetch = async move {
            let mut bytes = 0;
            let fetched = fetch_pack(&client, &Keys(ENGINE), &pack, &disk, |more| bytes += more).await?;
            assert_eq!(bytes, if fetched == Fetched::Now { pack.bytes } else { 0 });
            Ok(fetched)
        };
        Runtime::start().unwrap().run(fetch)
    };
    let names = || lineal_wal::Disk::list(&disk, "packs").unwrap();

    store.poke(&key, vec![8; 1_000]);
    assert!(matches!(fetch(), Err(ArchiveError::Damaged { .. })));
    store.roll_back(&key);
    store.roll_back(&key);
    assert!(matches!(fetch(), Err(ArchiveError::Missing { .. })));
    assert_eq!(names(), Vec::<String>::new());

    store.poke(&key, vec![7; 1_000]);
    assert_eq!(fetch().unwrap(), Fetched::Now);
    assert_eq!(fetch().unwrap(), Fetched::Before);
    let path = folder.path().join(pack.number.path());
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 1_000]);
    assert_eq!(names().len(), 1);

    std::fs::write(&path, vec![6; 1_000]).unwrap();
    assert_eq!(fetch().unwrap(), Fetched::Now, "what is there and wrong is replaced");
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 1_000]);
}

/// Every request is where the process ends: what the manifest names is all there.
#[test]
fn an_upload_that_ends_at_any_request_names_only_what_is_there() {
    for last in 0..10 {
        let store = SimStore::new();
        let client = client(&store, 1);
        archive(&client, &live(&[1], 10)).unwrap();
        store.dark_after(last);
        let ended = archive(&client, &live(&[1, 2, 3], 20));
        store.clear();
        let found = block_on(ManifestWriter::load(&client, ENGINE)).unwrap().unwrap().manifest().clone();
        for pack in &found.packs {
            assert_eq!(blake3::hash(&store.peek(&pack.key(&Keys(ENGINE))).unwrap()), pack.hash);
        }
        assert_eq!(found.packs.len(), if found.line == Lsn(20) { 3 } else { 1 });
        assert!(ended.is_err() || found.line == Lsn(20));
        assert_eq!(archive(&client, &live(&[1, 2, 3], 20)).unwrap().packs.len(), 3);
    }
}
