//! Figures of an engine, and of who only reads what it left.

use lineal_tests::world;
use lineal_wal::sim::SimDisk;

#[test]
fn who_only_reads_is_told_what_the_files_say() {
    let disk = SimDisk::new();
    let engine = world::options(&disk, 1).ballast_bytes(64 << 10).open("simulated").unwrap();
    let namespace = engine.namespace(world::NAMESPACE).unwrap();
    for number in 0..60 {
        let object = namespace.object(&format!("o{number}")).unwrap();
        object.transact(|tx| tx.put("k", vec![number; 3_000])).wait().unwrap();
        if number == 20 {
            engine.checkpoint().unwrap();
        }
    }
    let written = engine.stats();
    let killed = disk.kill();
    let read = world::options(&killed, 2).open_read_only("simulated").unwrap().stats();
    for (name, of) in [
        ("epoch", written.epoch == read.epoch),
        ("durable_lsn", written.durable_lsn == read.durable_lsn),
        ("appended_lsn", written.appended_lsn == read.appended_lsn),
        ("checkpoint_lsn", written.checkpoint_lsn == read.checkpoint_lsn),
        ("objects", written.objects == read.objects),
        ("bytes", written.bytes == read.bytes),
        ("log_bytes", written.log_bytes == read.log_bytes),
        ("log_segments", written.log_segments == read.log_segments),
        ("ballast_bytes", written.ballast_bytes == read.ballast_bytes),
        ("packs", written.packs == read.packs),
        ("pack_bytes", written.pack_bytes == read.pack_bytes),
        ("unmerged_packs", written.unmerged_packs == read.unmerged_packs),
        ("catalog_rows", written.catalog_rows == read.catalog_rows),
        ("catalog_bytes", written.catalog_bytes == read.catalog_bytes),
    ] {
        assert!(of, "{name}: {written:?} {read:?}");
    }
    let again = world::options(&killed, 3).open("simulated").unwrap().stats();
    assert!(read.unpacked_bytes > 0);
    assert_eq!(read.unpacked_bytes, again.unpacked_bytes);
    engine.close().unwrap();
    let closed = world::options(&disk, 4).open_read_only("simulated").unwrap().stats();
    assert!(closed.log_bytes > 0 && closed.log_segments > 0, "{closed:?}");
    assert_eq!((closed.unpacked_bytes, closed.ballast_bytes), (0, 0));
}
