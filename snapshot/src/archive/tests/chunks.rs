use super::super::sim::{Fault, Op};
use super::*;

fn read_all(client: &Client, epoch: Epoch) -> (Vec<u64>, Stands) {
    let mut log = LogEnd::begin(ENGINE, epoch);
    let mut lsns = Vec::new();
    loop {
        match block_on(log.read(client)).unwrap() {
            Stands::Chunk(chunk) => lsns.push(chunk.last.0),
            end => return (lsns, end),
        }
    }
}

#[test]
fn chunks_are_found_by_asking_for_the_next_number() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut log = LogEnd::begin(ENGINE, Epoch(4));
    for lsn in 1..=3 {
        put(&client, &mut log, lsn).unwrap();
    }
    store.requests();
    assert_eq!(read_all(&client, Epoch(4)), (vec![1, 2, 3], Stands::Nothing));
    let keys: Vec<_> = (1..=4).map(|n| (Op::Get, Keys(ENGINE).chunk(Epoch(4), n))).collect();
    assert_eq!(store.requests(), keys, "one request for each chunk and one for the end, and nothing else");
}

#[test]
fn a_paused_writers_late_chunk_fails_at_the_barrier() {
    let store = SimStore::new();
    let (old, new) = (client(&store, 1), client(&store, 2));
    let mut paused = LogEnd::begin(ENGINE, Epoch(1));
    put(&old, &mut paused, 1).unwrap();
    put(&old, &mut paused, 2).unwrap();
    let late = paused.append(&old, Lsn(3), Lsn(3), b"late").unwrap();
    let later = paused.append(&old, Lsn(4), Lsn(4), b"later").unwrap();

    let mut seen = Vec::new();
    let by = block_on(LogEnd::begin(ENGINE, Epoch(1)).close(&new, Epoch(2), |chunk| {
        seen.push(chunk.last.0);
        Ok(())
    }));
    assert_eq!((by.unwrap(), seen), (Epoch(2), vec![1, 2]));

    let error = block_on(late.put(&old)).unwrap_err();
    assert!(matches!(error, ArchiveError::Fenced { epoch: Epoch(1), by: Epoch(2) }), "{error}");
    // What was under way behind it may arrive: it is behind the barrier, and dead.
    block_on(later.put(&old)).unwrap();
    assert_eq!(read_all(&new, Epoch(1)), (vec![1, 2], Stands::Barrier { by: Epoch(2) }));
}

#[test]
fn a_chunk_that_comes_before_the_barrier_counts() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut writer = LogEnd::begin(ENGINE, Epoch(1));
    put(&client, &mut writer, 1).unwrap();
    // The taker's look at number 2 shows nothing, although the chunk is there: as if it came just behind the look.
    put(&client, &mut writer, 2).unwrap();
    store.plan(Op::Get, &Keys(ENGINE).chunk(Epoch(1), 2), Fault::Stale);
    let mut seen = Vec::new();
    block_on(LogEnd::begin(ENGINE, Epoch(1)).close(&client, Epoch(2), |chunk| {
        seen.push(chunk.last.0);
        Ok(())
    }))
    .unwrap();
    assert_eq!(seen, [1, 2]);
}

#[test]
fn two_who_close_one_log_put_one_barrier() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let close = |by| block_on(LogEnd::begin(ENGINE, Epoch(1)).close(&client, Epoch(by), |_| Ok(())));
    assert_eq!(close(2).unwrap(), Epoch(2));
    assert_eq!(close(3).unwrap(), Epoch(2));
    assert_eq!(store.keys().len(), 1);
}

#[test]
fn a_barrier_whose_reply_was_lost_is_still_ours() {
    let store = SimStore::new();
    let client = client(&store, 1);
    store.plan(Op::Put, "log", Fault::LostReply);
    let by = block_on(LogEnd::begin(ENGINE, Epoch(1)).close(&client, Epoch(9), |_| Ok(())));
    assert_eq!(by.unwrap(), Epoch(9));
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_chunk_is_seen() {
    let store = SimStore::new();
    let client = client(&store, 1);
    put(&client, &mut LogEnd::begin(ENGINE, Epoch(1)), 1).unwrap();
    let key = Keys(ENGINE).chunk(Epoch(1), 1);
    let good = store.peek(&key).unwrap();
    let read = || block_on(LogEnd::begin(ENGINE, Epoch(1)).read(&client));
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        store.poke(&key, bad);
        let error = read().unwrap_err();
        assert!(
            matches!(error.kind(), ArchiveErrorKind::Corrupt | ArchiveErrorKind::Newer),
            "bit {bit}: {error}"
        );
        assert!(error.to_string().contains(&key), "{error}");
    }
    for bytes in 0..good.len() {
        store.poke(&key, good.slice(..bytes));
        assert_eq!(read().unwrap_err().kind(), ArchiveErrorKind::Corrupt, "cut to {bytes}");
    }
    store.poke(&key, good);
    assert!(matches!(read().unwrap(), Stands::Chunk(_)));
}

#[test]
fn a_chunk_that_was_flipped_on_the_way_is_read_again() {
    let store = SimStore::new();
    let client = client(&store, 1);
    put(&client, &mut LogEnd::begin(ENGINE, Epoch(1)), 1).unwrap();
    store.plan(Op::Get, "log", Fault::Flipped);
    assert!(matches!(block_on(LogEnd::begin(ENGINE, Epoch(1)).read(&client)).unwrap(), Stands::Chunk(_)));
}

#[test]
fn a_chunk_under_another_number_or_after_another_chunk_is_damage() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut log = LogEnd::begin(ENGINE, Epoch(1));
    for lsn in 1..=3 {
        put(&client, &mut log, lsn).unwrap();
    }
    let key = |n| Keys(ENGINE).chunk(Epoch(1), n);
    let third = store.peek(&key(3)).unwrap();
    store.poke(&key(2), third);
    let mut log = LogEnd::begin(ENGINE, Epoch(1));
    block_on(log.read(&client)).unwrap();
    assert_eq!(block_on(log.read(&client)).unwrap_err().kind(), ArchiveErrorKind::Corrupt);

    // A second chunk that is whole and in its place, but follows another first one.
    let other = SimStore::new();
    let mut foreign = LogEnd::begin(ENGINE, Epoch(1));
    let other_client = super::client(&other, 99);
    put(&other_client, &mut foreign, 1).unwrap();
    put(&other_client, &mut foreign, 2).unwrap();
    store.poke(&key(2), other.peek(&key(2)).unwrap());
    let mut log = LogEnd::begin(ENGINE, Epoch(1));
    block_on(log.read(&client)).unwrap();
    let error = block_on(log.read(&client)).unwrap_err();
    assert!(error.to_string().contains("does not follow"), "{error}");
}

#[test]
fn a_chunk_that_was_stored_by_half_is_found_before_it_counts() {
    for tells_digests in [false, true] {
        let store = SimStore::new();
        if tells_digests {
            store.tell_digests();
        }
        let client = client(&store, 1);
        let runtime = Runtime::start().unwrap();
        let mut log = LogEnd::begin(ENGINE, Epoch(1));
        let mut archive = |first, last, fault: bool| {
            if fault {
                store.plan(Op::Put, "log", Fault::HalfStored);
            }
            let chunk = log.append(&client, Lsn(first), Lsn(last), b"some records").unwrap();
            let (ours, client) = (chunk.clone(), client.clone());
            store.requests();
            let checked = runtime.run(async move { ours.check(&client, ours.put(&client).await?).await });
            (chunk, checked, store.requests().len())
        };
        let (torn, checked, _) = archive(1, 5, true);
        assert!(matches!(checked, Err(ArchiveError::Damaged { .. })), "{checked:?}");
        assert!(matches!(block_on(torn.put(&client)), Err(ArchiveError::Damaged { .. })), "and is mended");
        let (_, checked, requests) = archive(6, 6, false);
        checked.unwrap();
        assert_eq!(
            requests,
            if tells_digests { 1 } else { 2 },
            "what the store vouches for is not read back"
        );
    }
}

#[test]
fn only_the_digest_of_the_bytes_is_taken_for_one() {
    let tag = |text: &str| Tag(text.to_owned());
    assert!(tag("\"900150983cd24fb0d6963f7d28e17f72\"").is_digest_of(b"abc"), "of RFC 1321");
    assert!(tag("900150983CD24FB0D6963F7D28E17F72").is_digest_of(b"abc"));
    for other in ["\"900150983cd24fb0d6963f7d28e17f72-1\"", "900150983cd24fb0d6963f7d28e17f7", "", "\"7\""] {
        assert!(!tag(other).is_digest_of(b"abc"), "{other}");
    }
    assert!(!tag("900150983cd24fb0d6963f7d28e17f72").is_digest_of(b"abd"));
}
