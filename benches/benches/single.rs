//! Criterion benches of single functions, for regressions. The figures beside their floors come from
//! `cargo run --release -p lineal-benches --bin figures`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lineal::{Engine, Object};

fn engine() -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let engine = Engine::open(dir.path()).expect("an empty directory opens");
    (dir, engine)
}

fn objects(engine: &Engine, count: usize) -> Vec<Object> {
    let namespace = engine.namespace("bench").expect("a namespace can be made");
    (0..count)
        .map(|at| {
            let object = namespace.object(&format!("object {at}")).expect("a name is usable");
            object
                .transact(|tx| (0..16u8).try_for_each(|key| tx.put([b'k', key], [7; 100])))
                .unconfirmed()
                .expect("a small transaction commits");
            object
        })
        .collect()
}

fn resident(criterion: &mut Criterion) {
    let (_dir, engine) = engine();
    for count in [100, 10_000] {
        let objects = objects(&engine, count);
        let mut at = 0;
        criterion.bench_function(&format!("get, {count} objects"), |bencher| {
            bencher.iter(|| {
                at = (at + 7_919) % count;
                black_box(objects[at].read(|view| view.get([b'k', (at % 16) as u8])).unconfirmed())
            });
        });
        criterion.bench_function(&format!("put up to the gate, {count} objects"), |bencher| {
            bencher.iter(|| {
                at = (at + 7_919) % count;
                black_box(objects[at].transact(|tx| tx.put([b'k', (at % 16) as u8], [9; 100])).unconfirmed())
            });
        });
    }
}

fn gates(criterion: &mut Criterion) {
    let (_dir, engine) = engine();
    let objects = objects(&engine, 1_024);
    for waiters in [1, 64, 1_024] {
        criterion.bench_function(&format!("commit through the gate, {waiters} at a time"), |bencher| {
            bencher.iter(|| {
                let gates: Vec<_> = objects[..waiters]
                    .iter()
                    .map(|object| object.transact(|tx| tx.put("key", [1; 100])))
                    .collect();
                gates.into_iter().try_for_each(lineal::Gated::wait)
            });
        });
    }
}

fn creation_and_wake(criterion: &mut Criterion) {
    let (_dir, engine) = engine();
    let namespace = engine.namespace("bench").expect("a namespace can be made");
    criterion.bench_function("create an object, up to the gate", |bencher| {
        bencher.iter_batched(
            || namespace.unique().expect("a namespace makes objects"),
            |object| object.transact(|tx| tx.put("key", [1; 100])).unconfirmed(),
            BatchSize::SmallInput,
        );
    });
    let objects = objects(&engine, 1_000);
    engine.checkpoint().expect("a checkpoint succeeds");
    let mut at = 0;
    criterion.bench_function("cold wake and one get", |bencher| {
        bencher.iter_batched(
            || {
                at = (at + 379) % objects.len();
                objects[at].hibernate().expect("an idle object hibernates");
                &objects[at]
            },
            |object| object.read(|view| view.get([b'k', 3])).unconfirmed(),
            BatchSize::SmallInput,
        );
    });
}

fn recovery(criterion: &mut Criterion) {
    let (dir, engine) = engine();
    let objects = objects(&engine, 1_000);
    for round in 0..100u8 {
        for object in &objects {
            object
                .transact(|tx| tx.put("key", [round; 100]))
                .unconfirmed()
                .expect("a small transaction commits");
        }
    }
    engine.sync().expect("the log can be flushed");
    // Left as a kill would leave it: the copy is opened, again and again.
    let copy = tempfile::tempdir().expect("a temporary directory can be made");
    copy_all(dir.path(), copy.path());
    criterion.bench_function("open read-only with 100,000 commits to replay", |bencher| {
        bencher.iter(|| Engine::open_read_only(copy.path()).map(|engine| engine.stats().replayed_commits));
    });
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).expect("the directory is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("a directory can be made");
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a file can be copied");
        }
    }
}

criterion_group!(benches, resident, gates, creation_and_wake, recovery);
criterion_main!(benches);
