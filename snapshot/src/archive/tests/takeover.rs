use super::super::sim::{Fault, Op};
use super::*;

fn seen_by(client: &Client, claim: &Claim) -> Result<(Writer, Vec<(u64, u64)>), ArchiveError> {
    let mut seen = Vec::new();
    let writer = block_on(take_over(client, claim, |epoch, chunk| {
        seen.push((epoch.0, chunk.last.0));
        Ok(())
    }))?;
    Ok((writer, seen))
}

#[test]
fn a_lease_that_has_not_ended_is_left_alone() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let (writer, _) = seen_by(&client, &claim("a", Micros(10))).unwrap();
    assert_eq!(writer.lease.epoch(), Epoch(1));
    let error = seen_by(&client, &claim("b", Micros(20))).unwrap_err();
    assert!(matches!(&error, ArchiveError::Held { holder, epoch: Epoch(1), .. } if holder == "a"), "{error}");

    let forced = Claim { force: true, ..claim("b", Micros(20)) };
    assert_eq!(seen_by(&client, &forced).unwrap().0.lease.epoch(), Epoch(2));
    assert_eq!(seen_by(&client, &claim("b", Micros(21))).unwrap().0.lease.epoch(), Epoch(3), "its own");
    let ended = Micros(21 + HOUR.0);
    let (writer, _) = seen_by(&client, &claim("c", ended)).unwrap();
    assert_eq!(writer.lease.epoch(), Epoch(4), "ended");
    block_on(writer.lease.give_back(&client)).unwrap();
    assert_eq!(seen_by(&client, &claim("d", ended)).unwrap().0.lease.epoch(), Epoch(5), "given back");
}

#[test]
fn a_new_epoch_is_above_what_the_local_data_knows() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let local = Claim { above: Epoch(41), ..claim("a", Micros(0)) };
    assert_eq!(seen_by(&client, &local).unwrap().0.lease.epoch(), Epoch(42));
    assert_eq!(take(&client, "b").lease.epoch(), Epoch(43));
}

#[test]
fn a_lease_that_cannot_be_read_is_never_taken_for_none() {
    let store = SimStore::new();
    let client = client(&store, 1);
    take(&client, "a");
    let key = Keys(ENGINE).lease();
    let good = store.peek(&key).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        store.poke(&key, bad);
        let forced = Claim { force: true, ..claim("b", Micros(0)) };
        let error = seen_by(&client, &forced).unwrap_err();
        assert!(
            matches!(error.kind(), ArchiveErrorKind::Corrupt | ArchiveErrorKind::Newer),
            "{bit}: {error}"
        );
    }
}

#[test]
fn who_lost_the_lease_is_fenced_in_all_that_it_does() {
    let store = SimStore::new();
    let (a, b) = (client(&store, 1), client(&store, 2));
    let mut old = take(&a, "a");
    put(&a, &mut old.log, 1).unwrap();
    let late = old.log.append(&a, Lsn(2), Lsn(2), b"late").unwrap();
    take(&b, "b");
    let fenced = |result: Result<(), ArchiveError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, ArchiveError::Fenced { epoch: Epoch(1), by: Epoch(2) }), "{error}");
    };
    fenced(block_on(late.put(&a)).map(drop));
    fenced(block_on(old.manifest.change(&a, Epoch(1), Micros(1), |_| {})));
    fenced(block_on(old.lease.renew(&a, HOUR)));
}

#[test]
fn a_writer_is_fenced_before_its_first_chunk_too() {
    let store = SimStore::new();
    let (a, b) = (client(&store, 1), client(&store, 2));
    let mut old = take(&a, "a");
    take(&b, "b");
    assert!(matches!(put(&a, &mut old.log, 1), Err(ArchiveError::Fenced { .. })));
}

#[test]
fn what_earlier_epochs_left_is_seen_in_order() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut lsn = 0;
    for _ in 0..3 {
        let mut writer = take(&client, "a");
        for _ in 0..2 {
            lsn += 1;
            put(&client, &mut writer.log, lsn).unwrap();
        }
    }
    let Stands::Chunk(Chunk { hash: second, .. }) =
        block_on(LogEnd::begin(ENGINE, Epoch(2)).read(&client)).unwrap()
    else {
        panic!("the second epoch has chunks");
    };
    let (mut writer, seen) = seen_by(&client, &claim("a", Micros(0))).unwrap();
    assert_eq!(seen, [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]);
    let epoch = writer.lease.epoch();
    block_on(writer.manifest.change(&client, epoch, Micros(0), |next| {
        next.line = Lsn(3);
        next.logs.retain(|log| log.epoch > Epoch(1));
        next.logs[0].first_chunk = 2;
        next.logs[0].before = second;
    }))
    .unwrap();
    let (_, seen) = seen_by(&client, &claim("a", Micros(0))).unwrap();
    assert_eq!(seen, [(2, 4), (3, 5), (3, 6)], "what packs cover is not asked for");
}

/// Every request of a takeover is where the process ends; the next takeover mends it, and what was archived is there.
#[test]
fn a_takeover_that_ends_at_any_request_is_mended_by_the_next() {
    for last in 0..14 {
        let store = SimStore::new();
        let (a, b, c) = (client(&store, 1), client(&store, 2), client(&store, 3));
        let mut old = take(&a, "a");
        put(&a, &mut old.log, 1).unwrap();
        put(&a, &mut old.log, 2).unwrap();
        store.dark_after(last);
        let forced = Claim { force: true, ..claim("b", Micros(0)) };
        let ended = seen_by(&b, &forced);
        store.clear();
        // The old writer does not know yet, and may still be the one that counts.
        let third = put(&a, &mut old.log, 3);
        let forced = Claim { force: true, ..claim("c", Micros(0)) };
        let (mut writer, seen) = seen_by(&c, &forced).unwrap();
        let mut expected = vec![(1, 1), (1, 2)];
        if third.is_ok() {
            expected.push((1, 3));
        }
        assert_eq!(seen, expected, "after {last} requests");
        assert!(put(&a, &mut old.log, 4).is_err() || third.is_err(), "the old epoch is closed, after {last}");
        if writer.lease.epoch() > Epoch(2) {
            let zombie = put(&b, &mut LogEnd::begin(ENGINE, Epoch(2)), 9);
            assert!(matches!(zombie, Err(ArchiveError::Fenced { .. })), "the second is closed, after {last}");
        }
        put(&c, &mut writer.log, 4).unwrap();
        if ended.is_ok() {
            assert!(third.is_err(), "after a takeover nothing of the old epoch is archived");
        }
    }
}

#[test]
fn takeovers_work_whatever_passes() {
    let mut retries = 0;
    for seed in 0..300 {
        let store = SimStore::new();
        let mut archived = Vec::new();
        store.shake(seed, 200);
        for round in 0..4 {
            let client = client(&store, seed * 10 + round);
            let forced = Claim { force: true, ..claim("a", Micros(round)) };
            // A store that answers four of five requests is there.
            let (mut writer, seen) =
                seen_by(&client, &forced).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let seen: Vec<_> = seen.into_iter().map(|(_, lsn)| lsn).collect();
            assert_eq!(seen, archived, "seed {seed}");
            for _ in 0..3 {
                let lsn = archived.len() as u64 + 1;
                put(&client, &mut writer.log, lsn).unwrap();
                archived.push(lsn);
            }
            retries += client.traffic().failures;
        }
    }
    assert!(retries > 100, "the store did fail");
}

#[test]
fn a_lease_whose_reply_was_lost_is_ours() {
    let store = SimStore::new();
    let client = client(&store, 1);
    store.plan(Op::Put, "lease", Fault::LostReply);
    assert_eq!(take(&client, "a").lease.epoch(), Epoch(1));
    store.plan(Op::Put, "lease", Fault::LostReply);
    assert_eq!(take(&client, "b").lease.epoch(), Epoch(2));
}
