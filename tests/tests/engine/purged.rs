//! A purge leaves nothing: after compaction no file holds a byte of the object's values, and the engine proves it.

use lineal::PurgeReport;
use lineal_tests::{
    chooser::chooser,
    purged::{WORD, check_gone, files, holding, object, plant, secret},
    world::options,
};
use lineal_wal::sim::SimDisk;

#[test]
fn nothing_of_a_purged_object_is_left_once_compaction_has_passed() {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).reserve_bytes(64 << 10).open("simulated").unwrap();
    assert_eq!(engine.verify_purged().unwrap(), PurgeReport::default(), "nothing was purged");
    let needles = plant(&engine, "vault", 7, &[100, 3_000, 50_000, 20_000]);
    let other = object(&engine, "other");
    // The log goes round: segments are used again, with what is in them.
    for seq in 0..60u64 {
        other.transact(|tx| tx.put(seq.to_be_bytes(), secret(1_000 + seq, 5_000))).wait().unwrap();
        if seq % 7 == 0 {
            object(&engine, "vault").transact(|tx| tx.put(seq.to_be_bytes(), WORD)).wait().unwrap();
            engine.checkpoint().unwrap();
        }
    }
    let plain: Vec<&[u8]> = needles.iter().map(Vec::as_slice).collect();
    assert!(holding(&disk, &plain).len() > 1, "it is in the log and in packs");
    object(&engine, "vault").purge().wait().unwrap();
    let before = engine.verify_purged().unwrap();
    assert_eq!(before.objects, 1);
    for folder in ["packs/", "log/"] {
        assert!(before.found.iter().any(|trace| trace.file.starts_with(folder)), "{}", files(&before));
    }
    engine.checkpoint().unwrap();
    assert!(!engine.verify_purged().unwrap().is_clean(), "a checkpoint alone takes nothing away");

    engine.compact().unwrap();
    check_gone(&disk, &engine, &needles);
    engine.verify(&mut |_| ()).unwrap();
    for seq in 0..60u64 {
        let found = other.read(|view| view.get(seq.to_be_bytes())).wait().unwrap();
        assert_eq!(found.as_deref(), Some(&secret(1_000 + seq, 5_000)[..]));
    }
    engine.close().unwrap();
    let engine = options(&disk, 2).open_read_only("simulated").unwrap();
    check_gone(&disk, &engine, &needles);
}

#[test]
fn an_object_that_was_made_again_keeps_what_is_new() {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).open("simulated").unwrap();
    let vault = object(&engine, "vault");
    let mut needles = plant(&engine, "vault", 7, &[4_000; 60]);
    engine.checkpoint().unwrap();
    vault.purge().wait().unwrap();
    needles.extend(plant(&engine, "vault", 500, &[4_000; 30]));
    vault.purge().wait().unwrap();
    // So many that the catalog has leaves, and rows on several pages.
    let kept: Vec<Vec<u8>> = (0..400).map(|at| secret(9_000 + at, 1_500)).collect();
    for (at, value) in kept.iter().enumerate() {
        vault.transact(|tx| tx.put((at as u64).to_be_bytes(), value)).wait().unwrap();
    }
    engine.compact().unwrap();
    check_gone(&disk, &engine, &needles);
    for (at, value) in kept.iter().enumerate() {
        let found = vault.read(|view| view.get((at as u64).to_be_bytes())).wait().unwrap();
        assert_eq!(found.as_deref(), Some(&value[..]));
    }
    engine.close().unwrap();
    let engine = options(&disk, 2).open("simulated").unwrap();
    check_gone(&disk, &engine, &needles);
    assert!(!holding(&disk, &[&kept[3][..24]]).is_empty());
    object(&engine, "vault").purge().wait().unwrap();
    assert!(!engine.verify_purged().unwrap().is_clean());
}

#[test]
fn rows_of_the_catalog_go_with_their_object() {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).open("simulated").unwrap();
    plant(&engine, "vault", 7, &[4_000; 100]);
    engine.close().unwrap();
    let engine = options(&disk, 2).open("simulated").unwrap();
    object(&engine, "vault").purge().wait().unwrap();
    let before = engine.verify_purged().unwrap();
    assert!(before.found.iter().any(|trace| trace.file == "catalog.redb"), "{}", files(&before));
    engine.compact().unwrap();
    assert!(engine.verify_purged().unwrap().is_clean());
}

#[test]
fn a_crash_while_a_purge_is_erased_loses_nothing_and_the_next_compaction_ends_it() {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).open("simulated").unwrap();
    let needles = plant(&engine, "vault", 7, &[3_000, 9_000]);
    object(&engine, "other").transact(|tx| tx.put("k", "v")).wait().unwrap();
    engine.checkpoint().unwrap();
    object(&engine, "vault").purge().wait().unwrap();
    drop(engine);
    for stop in 0.. {
        let crashing = disk.crash(&mut chooser(stop));
        let engine = options(&crashing, 2).open("simulated").unwrap();
        crashing.power_off_at(crashing.ops() + 1 + stop);
        let done = engine.compact().is_ok();
        drop(engine);
        let after = crashing.crash(&mut chooser(stop + 1));
        let engine = options(&after, 3).open("simulated").unwrap();
        engine.verify(&mut |_| ()).unwrap();
        let other = object(&engine, "other").read(|view| view.get("k")).wait().unwrap();
        assert_eq!(other.as_deref(), Some(&b"v"[..]));
        assert!(object(&engine, "vault").at_seq(1).is_err());
        engine.compact().unwrap();
        check_gone(&after, &engine, &needles);
        if done {
            assert!(stop > 20, "{stop} points");
            return;
        }
    }
}

#[test]
fn commits_that_go_on_meanwhile_lose_nothing() {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).background(true).open("simulated").unwrap();
    let needles = plant(&engine, "vault", 7, &[3_000, 50_000]);
    object(&engine, "vault").purge().wait().unwrap();
    let writing = std::sync::atomic::AtomicBool::new(true);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let other = object(&engine, "other");
            let mut count = 0u64;
            while writing.load(std::sync::atomic::Ordering::Relaxed) {
                other
                    .transact(|tx| tx.put(count.to_be_bytes(), secret(1_000_000 + count, 2_000)))
                    .wait()
                    .unwrap();
                count += 1;
            }
            count
        });
        for _ in 0..3 {
            engine.compact().unwrap();
        }
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    let other = object(&engine, "other");
    for at in 0..written {
        let found = other.read(|view| view.get(at.to_be_bytes())).wait().unwrap();
        assert_eq!(found.as_deref(), Some(&secret(1_000_000 + at, 2_000)[..]));
    }
    engine.compact().unwrap();
    check_gone(&disk, &engine, &needles);
    engine.close().unwrap();
}
