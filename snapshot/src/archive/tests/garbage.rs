//! What leaves the archive, and when.

use super::super::sim::{Fault, Op};
use super::upload::Pattern;
use super::*;
use crate::PackNumber;

const GRACE: Micros = Micros(3_600_000_000);

/// Archives packs of these numbers, each of two pieces, with these logs.
fn archive(
    client: &Client,
    writer: &mut Writer,
    time: u64,
    packs: &[u64],
    logs: &[ArchivedLog],
) -> Result<(), ArchiveError> {
    let pack = |number: &u64| LocalPack {
        number: PackNumber(*number),
        source: Arc::new(Pattern { bytes: 70_000, salt: *number }),
    };
    let line = Lsn(*packs.last().unwrap());
    let (packs, logs) = (packs.iter().map(pack).collect(), logs.to_vec());
    let live = Live { packs, line, logs, horizon: Micros(0), note: vec![] };
    with_runtime(async || {
        let epoch = writer.lease.epoch();
        archive_packs(client, &mut writer.manifest, epoch, Micros(time), &live).await
    })
}

/// Hashing needs threads of a runtime.
fn with_runtime<T>(work: impl AsyncFnOnce() -> T) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work())
}

fn collect(client: &Client, writer: &mut Writer, now: u64) -> Result<Collected, ArchiveError> {
    let epoch = writer.lease.epoch();
    block_on(collect_garbage(client, &mut writer.manifest, epoch, Micros(now), GRACE, false))
}

/// Everything that the stored manifest names is there.
fn check(store: &Arc<SimStore>) -> Manifest {
    let manifest = Manifest::decode(ENGINE, &store.peek(&Keys(ENGINE).manifest()).unwrap()).unwrap();
    for pack in &manifest.packs {
        assert_eq!(blake3::hash(&store.peek(&pack.key(&Keys(ENGINE))).unwrap()), pack.hash);
        assert!(store.peek(&pack.pieces_key(&Keys(ENGINE))).is_some());
    }
    for log in &manifest.logs {
        let key = Keys(ENGINE).chunk(log.epoch, log.first_chunk - 1);
        assert!(log.first_chunk == 1 || log.before != [0; 32], "{key}");
    }
    manifest
}

fn packs(store: &Arc<SimStore>) -> Vec<u64> {
    let of = |key: &String| {
        let name = key.split_once("/packs/")?.1;
        (!name.ends_with(".pieces")).then(|| u64::from_str_radix(&name[..16], 16).unwrap())
    };
    store.keys().iter().filter_map(of).collect()
}

fn chunks(store: &Arc<SimStore>) -> Vec<String> {
    store.keys().into_iter().filter(|key| key.contains("/log/")).map(|key| key[33..].to_owned()).collect()
}

/// A writer whose log has this many chunks, and where its chunk `n` + 1 is needed first.
fn writer_with_chunks(client: &Client, count: u64) -> (Writer, Vec<ArchivedLog>) {
    let mut writer = take(client, "a");
    let mut places = vec![ArchivedLog::all(writer.lease.epoch())];
    for lsn in 1..=count {
        let chunk = writer.log.append(client, Lsn(lsn), Lsn(lsn), b"record").unwrap();
        block_on(chunk.put(client)).unwrap();
        places.push(ArchivedLog { epoch: writer.lease.epoch(), first_chunk: lsn + 1, before: chunk.hash() });
    }
    (writer, places)
}

#[test]
fn what_leaves_the_list_is_deleted_after_the_grace_period_and_then_forgotten() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let (mut writer, places) = writer_with_chunks(&client, 5);
    archive(&client, &mut writer, 10, &[1, 2], &[places[0]]).unwrap();
    archive(&client, &mut writer, 20, &[2, 3], &[places[2]]).unwrap();
    archive(&client, &mut writer, 30, &[3, 4], &[places[4]]).unwrap();
    let manifest = check(&store);
    assert_eq!(manifest.garbage_packs.len(), 2);
    let ranges: Vec<_> =
        manifest.garbage_chunks.iter().map(|one| (one.first, one.end, one.since.0)).collect();
    assert_eq!(ranges, [(1, Some(3), 20), (3, Some(5), 30)]);
    store.requests();

    assert_eq!(collect(&client, &mut writer, 19 + GRACE.0).unwrap(), Collected::default());
    assert!(store.requests().is_empty(), "nothing is asked while nothing is due");

    let dry = {
        let epoch = writer.lease.epoch();
        let now = Micros(20 + GRACE.0);
        block_on(collect_garbage(&client, &mut writer.manifest, epoch, now, GRACE, true)).unwrap()
    };
    assert_eq!((packs(&store), chunks(&store).len()), (vec![1, 2, 3, 4], 5));
    let collected = collect(&client, &mut writer, 20 + GRACE.0).unwrap();
    assert_eq!(collected, dry);
    assert_eq!((collected.keys.len(), collected.pack_bytes), (4, 70_000));
    assert_eq!((packs(&store), chunks(&store).len()), (vec![2, 3, 4], 3));
    let manifest = check(&store);
    assert_eq!((manifest.garbage_packs.len(), manifest.garbage_chunks.len()), (1, 1));

    collect(&client, &mut writer, 30 + GRACE.0).unwrap();
    assert_eq!(
        (packs(&store), chunks(&store)),
        (vec![3, 4], vec!["0000000000000001/log/0000000000000005".into()])
    );
    let manifest = check(&store);
    assert!(manifest.garbage_packs.is_empty() && manifest.garbage_chunks.is_empty());
    store.requests();
    collect(&client, &mut writer, u64::MAX).unwrap();
    assert!(store.requests().is_empty());
}

#[test]
fn the_log_of_an_earlier_epoch_goes_up_to_its_barrier_which_stays() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let (_, places) = writer_with_chunks(&client, 4);
    let mut next = take(&client, "b");
    let own = ArchivedLog::all(next.lease.epoch());
    archive(&client, &mut next, 10, &[1], &[places[1], own]).unwrap();
    archive(&client, &mut next, 20, &[2], &[own]).unwrap();
    let barrier = "0000000000000001/log/0000000000000005".to_owned();
    collect(&client, &mut next, 20 + GRACE.0).unwrap();
    assert_eq!(chunks(&store), [barrier]);
    assert!(check(&store).garbage_chunks.is_empty());

    // Who comes back late finds the barrier, and nobody archives anything in that epoch.
    let mut late = LogEnd::at(ENGINE, Epoch(1), 5, places[4].before);
    let chunk = late.append(&client, Lsn(5), Lsn(5), b"late").unwrap();
    assert!(matches!(block_on(chunk.put(&client)), Err(ArchiveError::Fenced { .. })));
}

/// Every request is where the process ends: what the manifest names is there, and the next one finishes.
#[test]
fn a_collection_that_ends_at_any_request_is_finished_by_the_next() {
    for last in 0..16 {
        let store = SimStore::new();
        let client = client(&store, 1);
        let (_, places) = writer_with_chunks(&client, 4);
        let mut writer = take(&client, "b");
        let own = ArchivedLog::all(writer.lease.epoch());
        archive(&client, &mut writer, 10, &[1, 2], &[places[2], own]).unwrap();
        archive(&client, &mut writer, 20, &[2, 3], &[own]).unwrap();
        store.dark_after(last);
        let ended = collect(&client, &mut writer, 20 + GRACE.0);
        assert_eq!(ended.is_ok(), last > 11, "after {last} requests: {ended:?}");
        store.clear();
        check(&store);

        let mut again = writer;
        if last % 2 == 0 {
            // Another process takes over.
            again = take(&client, "c");
        }
        collect(&client, &mut again, 20 + GRACE.0).unwrap();
        let manifest = check(&store);
        assert!(manifest.garbage_packs.is_empty() && manifest.garbage_chunks.is_empty());
        assert_eq!(packs(&store), [2, 3]);
        let barriers = chunks(&store);
        assert!(barriers.contains(&"0000000000000001/log/0000000000000005".to_owned()), "{barriers:?}");
        assert!(barriers.iter().all(|key| store.peek(&format!("{ENGINE}/{key}")).unwrap().len() == 137));
    }
}

#[test]
fn a_writer_that_was_fenced_off_deletes_nothing() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let (mut writer, places) = writer_with_chunks(&client, 3);
    archive(&client, &mut writer, 10, &[1, 2], &[places[0]]).unwrap();
    archive(&client, &mut writer, 20, &[2], &[places[2]]).unwrap();
    let mut next = take(&client, "b");
    let before = store.keys();
    let error = collect(&client, &mut writer, 20 + GRACE.0).unwrap_err();
    assert!(matches!(error, ArchiveError::Fenced { .. }), "{error}");
    assert_eq!(store.keys(), before);
    // Nor does one whose manifest is not the one that is there.
    store.roll_back(&Keys(ENGINE).manifest());
    let error = collect(&client, &mut next, 20 + GRACE.0).unwrap_err();
    assert!(matches!(error, ArchiveError::Diverged { .. }), "{error}");
    assert_eq!(store.keys(), before);
}

#[test]
fn a_change_whose_reply_was_lost_is_settled_before_anything_is_deleted() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let (mut writer, places) = writer_with_chunks(&client, 3);
    archive(&client, &mut writer, 10, &[1, 2], &[places[0]]).unwrap();
    archive(&client, &mut writer, 20, &[2], &[places[1]]).unwrap();
    for _ in 0..100 {
        store.plan(Op::Put, "manifest", Fault::LostReply);
        store.plan(Op::Get, "manifest", Fault::Busy);
    }
    archive(&client, &mut writer, 30, &[2, 3], &[places[2]]).unwrap_err();
    store.clear();
    collect(&client, &mut writer, 30 + GRACE.0).unwrap();
    let manifest = check(&store);
    assert_eq!(manifest.packs.len(), 2, "the change had arrived");
    assert_eq!((packs(&store), chunks(&store).len()), (vec![2, 3], 1));
}

#[test]
fn garbage_goes_whatever_passes() {
    for seed in 0..30 {
        let store = SimStore::new();
        let client = client(&store, seed);
        let (mut writer, places) = writer_with_chunks(&client, 6);
        store.shake(seed, 200);
        for round in 0..6u64 {
            let live = [round + 1, round + 2];
            archive(&client, &mut writer, round, &live, &[places[round as usize]]).unwrap();
            collect(&client, &mut writer, round + GRACE.0 - 2).unwrap();
            check(&store);
        }
        store.clear();
        collect(&client, &mut writer, 9 + GRACE.0).unwrap();
        assert_eq!((packs(&store), chunks(&store).len()), (vec![6, 7], 1), "seed {seed}");
    }
}

#[test]
#[should_panic(expected = "chunks that were not needed any more stay so")]
fn a_chunk_that_was_given_up_is_never_needed_again() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let (mut writer, places) = writer_with_chunks(&client, 3);
    archive(&client, &mut writer, 10, &[1], &[places[2]]).unwrap();
    let _ = archive(&client, &mut writer, 20, &[1, 2], &[places[1]]);
}
