//! Measures commits of the log against the bare device: `cargo run --release -p lineal-wal --example commit_floor [dir]`.
//!
//! Each figure stands beside a floor that was measured right before and after it with the same bytes on the same disk: a
//! preallocated file of zeros, `write` and `fdatasync`. Print-outs are medians over rounds.

use lineal_wal::{
    Class, EngineId, Log, LogOptions, Lsn, Micros, NamespaceId, ObjectId, ObjectKey, PartHeader, RealDisk,
    RecordBuilder, Recovery, Seq,
};
use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const FLOOR_BYTES: u64 = 64 << 20;

fn main() -> Outcome<()> {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("lineal-commit-floor-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = measure(&dir);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn measure(dir: &Path) -> Outcome<()> {
    append_only(dir)?;
    lone_caller(dir, 1500)?;
    for callers in [2, 8, 64] {
        many_callers(dir, callers)?;
    }
    for in_flight in [64, 1024] {
        let mut rates: Vec<f64> =
            (0..3).map(|round| pipelined(dir, round, in_flight)).collect::<Outcome<_>>()?;
        println!("{in_flight} in flight, one thread: {:.0}/s", median(&mut rates));
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn open(dir: &Path, name: &str) -> Outcome<Log> {
    let root = dir.join(name);
    std::fs::create_dir_all(&root)?;
    let disk = Arc::new(RealDisk::new(root));
    let salts = AtomicU64::new(1);
    let random = Arc::new(move || salts.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let options = LogOptions { segment_bytes_min: FLOOR_BYTES, ..LogOptions::new(EngineId([1; 16]), random) };
    let recovered = Log::recover(disk.clone(), &options, Lsn(0), Recovery::Strict, &mut |_, _| Ok(()))?;
    Ok(Log::start(disk, options, recovered)?)
}

fn close(dir: &Path, name: &str, log: Log) -> Outcome<()> {
    drop(log);
    std::fs::remove_dir_all(dir.join(name))?;
    Ok(())
}

/// A record of 200 bytes.
fn record() -> RecordBuilder {
    let object = ObjectKey { namespace: NamespaceId(1), id: ObjectId([3; 16]) };
    let header = PartHeader { object, seq: Seq(1), kind: 1, ..PartHeader::default() };
    let mut record = RecordBuilder::new();
    record.begin_part(header).extend_from_slice(&[7; 120]);
    record.end_part();
    assert_eq!(record.bytes(), 200);
    record
}

fn append_only(dir: &Path) -> Outcome<()> {
    let log = open(dir, "append")?;
    let record = record();
    let mut best = f64::MAX;
    for _ in 0..20 {
        // Fewer bytes than make a flush due, so that the device is left out of it.
        let start = Instant::now();
        for n in 0..4000 {
            log.append(&record, Micros(n), Class::User)?;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / 4000.0);
        log.sync()?;
    }
    println!("append of a record of 200 bytes: {best:.0} ns");
    close(dir, "append", log)
}

fn floor_file(dir: &Path) -> Outcome<File> {
    let path = dir.join("floor");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
    if file.metadata()?.len() < FLOOR_BYTES {
        let zeros = vec![0; 1 << 20];
        for at in 0..FLOOR_BYTES >> 20 {
            file.write_all_at(&zeros, at << 20)?;
        }
        file.sync_all()?;
    }
    Ok(file)
}

/// One after the other, commit by commit, so that both meet the same disk.
fn lone_caller(dir: &Path, commits: u64) -> Outcome<()> {
    let file = floor_file(dir)?;
    let log = open(dir, "lone")?;
    settle(&log);
    let sector = vec![9; 4096];
    let record = record();
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for n in 0..commits {
        let start = Instant::now();
        file.write_all_at(&sector, n * 4096)?;
        file.sync_data()?;
        bare.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        let appended = log.append(&record, Micros(n), Class::User)?;
        log.wait(appended.lsn)?;
        ours.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let low = |values: &mut Vec<f64>| {
        let median = median(values);
        (median, values[values.len() / 10])
    };
    let ((ours, ours_low), (bare, bare_low)) = (low(&mut ours), low(&mut bare));
    println!(
        "one blocking caller: p50 {ours:.1} us, bare write + fdatasync {bare:.1} us: ratio {:.3}",
        ours / bare
    );
    println!(
        "                     p10 {ours_low:.1} us, bare {bare_low:.1} us: ratio {:.3}",
        ours_low / bare_low
    );
    close(dir, "lone", log)
}

/// In turns of a fraction of a second, so that both meet the same disk.
fn many_callers(dir: &Path, callers: usize) -> Outcome<()> {
    let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..9 {
        let floor = bare_group(dir, callers)?;
        let rate = blocking_callers(dir, round, callers)?;
        bare.push(floor);
        ours.push(rate);
        ratios.push(rate / floor);
    }
    println!(
        "{callers} blocking callers: {:.0}/s, bare group fsync {:.0}/s: ratio {:.3}",
        median(&mut ours),
        median(&mut bare),
        median(&mut ratios)
    );
    Ok(())
}

/// Lets the keeper finish, so that its zeros are not measured.
fn settle(log: &Log) {
    let start = Instant::now();
    while log.stats().ready_bytes == 0 && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
}

const GROUP_TIME: Duration = Duration::from_millis(300);

#[derive(Debug, Default)]
struct Turn {
    handed_in: u64,
    durable: u64,
    stop: bool,
}

#[derive(Debug, Default)]
struct Desk {
    turn: Mutex<Turn>,
    work: Condvar,
    done: Condvar,
}

impl Desk {
    /// Writes and syncs what is handed in, until there is nothing more.
    fn serve(&self, file: &File, callers: usize) {
        let block = vec![9_u8; 200 * callers + 8192];
        let mut at = 0;
        let mut turn = self.turn.lock().expect("no caller panics");
        loop {
            let (from, through) = (turn.durable, turn.handed_in);
            if from == through {
                if turn.stop {
                    return;
                }
                turn = self.work.wait(turn).expect("no caller panics");
                continue;
            }
            drop(turn);
            let bytes = ((through - from) * 200 + 64).next_multiple_of(4096);
            at = if at + bytes > FLOOR_BYTES { 0 } else { at };
            let piece = &block[..usize::try_from(bytes).expect("a small piece")];
            file.write_all_at(piece, at).expect("the floor can be written");
            file.sync_data().expect("the floor can be synced");
            at += bytes;
            turn = self.turn.lock().expect("no caller panics");
            turn.durable = through;
            self.done.notify_all();
        }
    }

    fn commit(&self) {
        let mut turn = self.turn.lock().expect("no caller panics");
        turn.handed_in += 1;
        let mine = turn.handed_in;
        self.work.notify_one();
        while turn.durable < mine {
            turn = self.done.wait(turn).expect("no caller panics");
        }
    }
}

/// The floor for many callers: one thread writes and syncs what they hand in, with nothing else to it.
fn bare_group(dir: &Path, callers: usize) -> Outcome<f64> {
    let file = floor_file(dir)?;
    let desk = Desk::default();
    let count = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        let server = scope.spawn(|| desk.serve(&file, callers));
        let commits: Vec<_> = (0..callers)
            .map(|_| {
                scope.spawn(|| {
                    while start.elapsed() < GROUP_TIME {
                        desk.commit();
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for commits in commits {
            commits.join().expect("no caller panics");
        }
        desk.turn.lock().expect("no caller panics").stop = true;
        desk.work.notify_one();
        server.join().expect("the server does not panic");
    });
    Ok(count.into_inner() as f64 / start.elapsed().as_secs_f64())
}

fn blocking_callers(dir: &Path, round: u32, callers: usize) -> Outcome<f64> {
    let name = format!("many{callers}-{round}");
    let log = open(dir, &name)?;
    settle(&log);
    let count = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let record = record();
                while start.elapsed() < GROUP_TIME {
                    let appended = log.append(&record, Micros(1), Class::User).expect("the log takes it");
                    log.wait(appended.lsn).expect("it becomes durable");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let rate = count.into_inner() as f64 / start.elapsed().as_secs_f64();
    close(dir, &name, log)?;
    Ok(rate)
}

/// One thread keeps so many futures in flight and awaits the oldest.
fn pipelined(dir: &Path, round: u32, in_flight: usize) -> Outcome<f64> {
    let name = format!("pipe{in_flight}-{round}");
    let log = open(dir, &name)?;
    settle(&log);
    let record = record();
    let waker = std::task::Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut window = std::collections::VecDeque::new();
    let mut count = 0_u64;
    let start = Instant::now();
    while start.elapsed() < GROUP_TIME {
        while window.len() < in_flight {
            let appended = log.append(&record, Micros(1), Class::User)?;
            window.push_back(log.durable_future(appended.lsn));
        }
        let mut oldest = window.pop_front().ok_or("the window is full")?;
        while Pin::new(&mut oldest).poll(&mut context).map(Result::unwrap_or_default).is_pending() {
            thread::park();
        }
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    log.sync()?;
    close(dir, &name, log)?;
    Ok(rate)
}

struct Unpark(thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
