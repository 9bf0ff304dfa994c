//! A first walk through the public API on a real directory.

use lineal::{Engine, Error, Options};

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = Engine::open(dir.path()).unwrap();
        let rooms = engine.namespace("rooms").unwrap();
        for number in 0..100u32 {
            let room = rooms.object(&format!("room {number}")).unwrap();
            room.transact(|tx| tx.put("topic", number.to_be_bytes())).wait().unwrap();
        }
        assert_eq!(rooms.objects().unwrap().count(), 100);
        engine.close().unwrap();
    }
    let engine = Engine::open(dir.path()).unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    for number in 0..100u32 {
        let room = rooms.object(&format!("room {number}")).unwrap();
        let topic = room.read(|view| view.get("topic")).wait().unwrap().unwrap();
        assert_eq!(topic, number.to_be_bytes());
        assert_eq!(room.verify().unwrap().commits, 1);
    }
    assert_eq!(rooms.usage().objects, 100);
}

#[test]
fn a_large_object_reads_the_same_through_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Options::new().open(dir.path()).unwrap();
    let big = engine.namespace("n").unwrap().object("big").unwrap();
    for round in 0..30u32 {
        big.transact(|tx| {
            for number in 0..200u32 {
                tx.put(format!("key {:06}", number * 31 % 5000 + round), vec![round as u8; 100])?;
            }
            Ok(())
        })
        .wait()
        .unwrap();
        engine.checkpoint().unwrap();
        big.hibernate().unwrap();
    }
    let all: Vec<_> = big.read(|view| view.prefix("").collect::<Result<Vec<_>, Error>>()).wait().unwrap();
    let mut back: Vec<_> =
        big.read(|view| view.prefix("").reverse().collect::<Result<Vec<_>, Error>>()).wait().unwrap();
    back.reverse();
    assert_eq!(all, back);
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    big.verify().unwrap();
    engine.compact().unwrap();
    big.hibernate().unwrap();
    let again: Vec<_> = big.read(|view| view.prefix("").collect::<Result<Vec<_>, Error>>()).wait().unwrap();
    assert_eq!(all, again);
    let report = engine.verify(&mut |_| ()).unwrap();
    assert!(report.leaves > 10, "{report:?}");
    engine.close().unwrap();
}
