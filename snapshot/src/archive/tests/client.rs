use super::super::sim::{Fault, Op};
use super::*;
use bytes::Bytes;

const KEY: &str = "e/key";

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_create_is_won_whatever_becomes_of_its_reply() {
    for fault in [Fault::Busy, Fault::Hang, Fault::LostReply, Fault::DoneAndHang, Fault::Conflict] {
        let store = SimStore::new();
        let client = client(&store, 1);
        store.plan(Op::Put, KEY, fault);
        assert!(matches!(block_on(client.create(KEY, bytes("mine"))).unwrap(), Created::Won(_)), "{fault:?}");
        assert_eq!(store.peek(KEY).unwrap(), "mine");
    }
}

#[test]
fn a_create_is_won_although_the_look_behind_it_is_stale_or_fails() {
    for look in [Fault::Stale, Fault::Busy, Fault::Hang] {
        let store = SimStore::new();
        let client = client(&store, 1);
        store.plan(Op::Put, KEY, Fault::LostReply);
        store.plan(Op::Get, KEY, look);
        assert!(matches!(block_on(client.create(KEY, bytes("mine"))).unwrap(), Created::Won(_)), "{look:?}");
    }
}

#[test]
fn a_create_of_what_somebody_else_made_is_taken() {
    for fault in [None, Some(Fault::LostReply), Some(Fault::Busy), Some(Fault::Conflict)] {
        let store = SimStore::new();
        let client = client(&store, 1);
        store.poke(KEY, "theirs");
        if let Some(fault) = fault {
            store.plan(Op::Put, KEY, fault);
        }
        let Created::Taken(found) = block_on(client.create(KEY, bytes("mine"))).unwrap() else {
            panic!("won what was taken, with {fault:?}");
        };
        assert_eq!(found.bytes, "theirs");
        assert_eq!(store.peek(KEY).unwrap(), "theirs");
    }
}

#[test]
fn a_replace_is_won_once_and_lost_to_others_whatever_the_replies() {
    for fault in
        [None, Some(Fault::Busy), Some(Fault::LostReply), Some(Fault::DoneAndHang), Some(Fault::Conflict)]
    {
        for look in [None, Some(Fault::Stale), Some(Fault::Busy)] {
            let store = SimStore::new();
            let client = client(&store, 1);
            store.poke(KEY, "old");
            let old = block_on(client.get(KEY)).unwrap().unwrap().tag.unwrap();
            if let Some(fault) = fault {
                store.plan(Op::Put, KEY, fault);
            }
            if let Some(look) = look {
                store.plan(Op::Get, KEY, look);
            }
            let Replaced::Won(new) = block_on(client.replace(KEY, &old, bytes("mine"))).unwrap() else {
                panic!("lost what nobody else wrote, with {fault:?} and {look:?}");
            };
            assert_eq!(store.peek(KEY).unwrap(), "mine");
            store.poke(KEY, "theirs");
            let again = block_on(client.replace(KEY, &new, bytes("mine too"))).unwrap();
            assert!(matches!(again, Replaced::Lost(Some(found)) if found.bytes == "theirs"));
            assert_eq!(store.peek(KEY).unwrap(), "theirs");
        }
    }
}

#[test]
fn a_store_that_is_down_is_asked_seldom_and_not_for_ever() {
    let store = SimStore::new();
    store.dark(true);
    let pace = SimPace::new(7);
    let client =
        Client::new(Arc::<SimStore>::clone(&store), Arc::<SimPace>::clone(&pace), Patience::default());
    let error = block_on(client.get(KEY)).unwrap_err();
    assert!(matches!(&error, ArchiveError::Unavailable { key, .. } if key == KEY), "{error}");
    assert_eq!(error.kind(), ArchiveErrorKind::Retry);
    let spent = pace.now();
    assert!(spent >= Patience::default().operation_max);
    assert!(spent < Patience::default().operation_max * 2, "{spent:?}");
    let asked = store.requests().len() as u64;
    assert!((2..=spent.as_secs()).contains(&asked), "{asked} requests in {spent:?}");
    assert_eq!(client.traffic().failures, asked);
    store.dark(false);
    assert_eq!(block_on(client.get(KEY)).unwrap(), None, "it goes on where the store comes back");
}

#[test]
fn a_store_that_fails_at_once_is_asked_less_and_less() {
    let store = SimStore::new();
    store.shake(3, 1_000);
    let pace = SimPace::new(7);
    let client =
        Client::new(Arc::<SimStore>::clone(&store), Arc::<SimPace>::clone(&pace), Patience::default());
    for _ in 0..1_000 {
        store.plan(Op::Delete, KEY, Fault::Busy);
    }
    block_on(client.delete(KEY)).unwrap_err();
    let asked = store.requests().len();
    assert!((7..40).contains(&asked), "{asked} requests in a minute");
}

#[test]
fn what_was_flipped_on_the_way_is_read_again_and_what_stays_wrong_is_damage() {
    let store = SimStore::new();
    let client = client(&store, 1);
    store.poke(KEY, "what was written");
    let hash = blake3::hash(b"what was written");
    store.plan(Op::Get, KEY, Fault::Flipped);
    assert_eq!(block_on(client.get_verified(KEY, 16, &hash)).unwrap(), "what was written");

    for wrong in ["what was writteN", "what was", ""] {
        store.poke(KEY, wrong);
        let error = block_on(client.get_verified(KEY, 16, &hash)).unwrap_err();
        assert!(matches!(&error, ArchiveError::Damaged { key, .. } if key == KEY), "{error}");
    }
    let error = block_on(client.get_verified("e/other", 16, &hash)).unwrap_err();
    assert!(matches!(error, ArchiveError::Missing { .. }), "{error}");
}

#[test]
fn a_part_is_checked_by_who_knows_it() {
    let store = SimStore::new();
    let client = client(&store, 1);
    store.poke(KEY, "0123456789");
    store.plan(Op::Get, KEY, Fault::Flipped);
    assert_eq!(block_on(client.get_range(KEY, 3..7, |bytes| bytes == b"3456")).unwrap(), "3456");
    let error = block_on(client.get_range(KEY, 8..12, |_| true)).unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }), "shorter than asked for: {error}");
}

#[test]
fn a_pack_is_read_in_pieces_and_every_way_to_spoil_it_is_seen() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let written: Vec<u8> = (0..(8 << 20) + 77).map(|at: u32| (at % 253) as u8).collect();
    let (bytes, hash) = (written.len() as u64, blake3::hash(&written));
    let read = || {
        let mut pieces = Vec::new();
        let end = block_on(client.read_through(KEY, bytes, &hash, |piece| {
            pieces.extend_from_slice(piece);
            Ok(())
        }));
        end.map(|()| pieces)
    };
    store.poke(KEY, written.clone());
    assert!(read().unwrap() == written);
    let asked = store.requests().len();
    assert_eq!(asked, 2);
    let mut longer = written.clone();
    longer.push(0);
    let mut turned = written.clone();
    turned[9 << 19] ^= 1;
    for wrong in [longer, turned, written[..written.len() - 1].to_vec(), written[..8 << 20].to_vec()] {
        store.poke(KEY, wrong);
        assert!(matches!(read(), Err(ArchiveError::Damaged { .. })));
    }
    store.poke(KEY, written);
    store.plan(Op::Get, KEY, Fault::Flipped);
    assert!(
        matches!(read(), Err(ArchiveError::Damaged { .. })),
        "pieces went out already: it is read again from the start"
    );
    assert!(read().is_ok());
}

#[test]
fn what_trying_again_does_not_mend_is_told_at_once() {
    for (fault, kind) in
        [(Fault::Denied, ArchiveErrorKind::Setup), (Fault::NoBucket, ArchiveErrorKind::Setup)]
    {
        let store = SimStore::new();
        let client = client(&store, 1);
        store.plan(Op::Get, KEY, fault);
        assert_eq!(block_on(client.get(KEY)).unwrap_err().kind(), kind);
        store.plan(Op::Put, KEY, fault);
        assert_eq!(block_on(client.create(KEY, bytes("mine"))).unwrap_err().kind(), kind);
        assert_eq!(store.requests().len(), 2, "{fault:?}");
    }
}

#[test]
fn the_probe_accepts_a_store_that_keeps_conditions_and_leaves_nothing_behind() {
    let store = SimStore::new();
    let client = client(&store, 1);
    block_on(probe(&client, ENGINE)).unwrap();
    assert_eq!(store.keys(), Vec::<String>::new());
    assert_eq!(store.requests().len(), 6);
}

#[test]
fn the_probe_refuses_a_store_that_ignores_conditions_and_names_it() {
    let store = SimStore::new();
    store.careless(true);
    let error = block_on(probe(&client(&store, 1), ENGINE)).unwrap_err();
    assert!(matches!(error, ArchiveError::Unsuitable { .. }), "{error}");
    assert!(error.to_string().contains("sim://bucket"), "{error}");
}

#[test]
fn the_probe_takes_no_unclear_answer_for_either() {
    for fault in [Fault::Busy, Fault::LostReply, Fault::Hang] {
        let store = SimStore::new();
        store.plan(Op::Put, "probe", fault);
        block_on(probe(&client(&store, 1), ENGINE)).unwrap();
    }
    let store = SimStore::new();
    store.dark(true);
    let error = block_on(probe(&client(&store, 1), ENGINE)).unwrap_err();
    assert!(matches!(error, ArchiveError::Unavailable { .. }), "{error}");
    store.dark(false);
    store.plan(Op::Put, "probe", Fault::NoBucket);
    let error = block_on(probe(&client(&store, 1), ENGINE)).unwrap_err();
    assert!(matches!(error, ArchiveError::NoBucket { .. }), "{error}");
}
