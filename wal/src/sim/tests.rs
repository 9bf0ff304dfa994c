use super::*;

fn disk_with(path: &str, bytes: &[u8]) -> (SimDisk, Box<dyn DiskFile>) {
    let disk = SimDisk::new();
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    (disk, file)
}

#[test]
fn what_was_synced_survives_and_what_was_not_may_be_lost() {
    let (disk, file) = disk_with("a", b"old");
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file.write_all_at(b"new", 0).unwrap();
    assert_eq!(disk.unsynced_count(), 1);
    assert_eq!(disk.crash(&mut |_| 1).image()["a"], b"old");
    assert_eq!(disk.crash(&mut |_| 0).image()["a"], b"new");
    assert_eq!(disk.image()["a"], b"new");
}

#[test]
fn a_name_that_was_not_synced_may_be_lost_with_its_file() {
    let (disk, file) = disk_with("a", b"old");
    file.sync_all().unwrap();
    assert!(disk.crash(&mut |_| 1).files().is_empty());
    assert_eq!(disk.crash(&mut |_| 0).files(), ["a"]);
}

#[test]
fn a_write_may_be_torn_at_a_sector() {
    let (disk, file) = disk_with("a", &[1; 1024]);
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file.write_all_at(&[2; 1024], 0).unwrap();
    let torn = |fate: usize| {
        let mut choices = vec![0, fate];
        disk.crash(&mut |_| choices.pop().unwrap()).image()["a"].clone()
    };
    assert_eq!(torn(2), [[2; 512], [1; 512]].concat());
    assert_eq!(torn(3), [[1; 512], [2; 512]].concat());
    assert_eq!(torn(4), [[2; 512], [0; 512]].concat());
}

#[test]
fn a_failed_sync_dooms_its_data_and_a_later_success_does_not_save_it() {
    let (disk, file) = disk_with("a", b"old");
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file.write_all_at(b"new", 0).unwrap();
    disk.fail(Fault::on(OpKind::Sync).path("a"));
    assert!(file.sync_data().is_err());
    file.write_all_at(b"more", 3).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.syncs("a"), 3);
    assert_eq!(disk.image()["a"], b"newmore");
    assert_eq!(disk.crash(&mut |_| 0).image()["a"], b"oldmore");
}

#[test]
fn a_full_disk_refuses_to_grow_a_file_and_lets_it_be_overwritten() {
    let (disk, file) = disk_with("a", &[1; 100]);
    disk.set_capacity(Some(150));
    assert_eq!(file.allocate(151).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.free_bytes().unwrap(), 50);
    file.write_all_at(&[2; 100], 0).unwrap();
    file.allocate(150).unwrap();
    assert_eq!(file.write_all_at(&[2], 150).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.remove("a").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 150);
}

#[test]
fn after_power_off_nothing_works() {
    let (disk, file) = disk_with("a", b"old");
    disk.power_off_at(disk.ops());
    assert!(file.write_all_at(b"new", 0).is_err());
    assert!(file.sync_data().is_err());
    assert!(file.read_exact_at(&mut [0], 0).is_err());
    assert!(disk.open("b", OpenMode::Create).is_err());
    assert_eq!(disk.image()["a"], b"old");
}

#[test]
fn an_exclusive_lock_excludes_and_ends_with_a_crash() {
    let disk = SimDisk::new();
    let held = disk.lock("lock", true).unwrap();
    assert_eq!(disk.lock("lock", true).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(disk.lock("lock", false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(disk.crash(&mut |_| 0).lock("lock", true).is_ok());
    drop(held);
    let shared = disk.lock("lock", false).unwrap();
    let second = disk.lock("lock", false).unwrap();
    drop(shared);
    assert!(disk.lock("lock", true).is_err());
    drop(second);
    assert!(disk.lock("lock", true).is_ok());
}

#[test]
fn an_image_comes_back_as_a_disk() {
    let disk = SimDisk::new();
    disk.create_dir("log").unwrap();
    disk.open("log/a", OpenMode::CreateNew).unwrap().write_all_at(b"x", 0).unwrap();
    let again = SimDisk::from_image(&disk.image());
    assert_eq!(again.image(), disk.image());
    assert_eq!(again.list("log").unwrap(), ["a"]);
    assert_eq!(again.unsynced_count(), 0);
}

#[test]
fn a_film_has_every_moment_at_which_the_power_could_go() {
    let disk = SimDisk::new();
    disk.film(None);
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    file.write_all_at(b"one", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    let frames = disk.take_film();
    let kinds: Vec<OpKind> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [OpKind::Open, OpKind::Write, OpKind::Sync, OpKind::SyncDir, OpKind::Read]);
    let lost = |at: usize| frames[at].disk.crash(&mut |choices| choices - 1).image();
    assert!((0..4).all(|at| lost(at).is_empty()));
    assert_eq!(lost(4)["a"], b"one");
    assert_eq!(frames[2].disk.crash(&mut |_| 0).image()["a"], b"one");
    assert!(disk.take_film().is_empty());
}

#[test]
fn tears_are_where_they_are_asked_for_over_stale_bytes_or_none() {
    let (disk, file) = disk_with("a", &[1; 2048]);
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file.write_all_at(&[2; 1024], 1024).unwrap();
    let torn = |tears: Tears, fates: &[usize]| {
        let mut fates = fates.iter();
        disk.crash_with(tears, &mut |_| *fates.next().unwrap()).image()["a"].clone()
    };
    let anywhere = Tears { bytes: 1, stale: true, terse: true };
    assert_eq!(torn(anywhere, &[2, 9]), [vec![1; 1024], vec![2; 10], vec![1; 1014]].concat());
    assert_eq!(
        torn(anywhere, &[5, 511]),
        [vec![1; 1024], vec![2; 512], vec![1; 512]].concat(),
        "of elsewhere"
    );
    assert_ne!(torn(anywhere, &[6, 511])[1536..], [0; 512], "of nobody");
    assert!(torn(Tears { bytes: 0, ..anywhere }, &[1]) == [1; 2048]);
    file.sync_data().unwrap();
    file.write_all_at(&[1; 1024], 0).unwrap();
    assert_eq!(torn(anywhere, &[]).len(), 2048, "what changes nothing asks for no fate");
}
