//! Names of namespaces and objects, keys of entries: different ones never meet, whatever is in them.

use std::collections::BTreeMap;

use lineal_wal::sim::SimDisk;

use super::world;
use crate::input::Input;

/// Things that are put under names and keys, then read back, also after reopening.
pub(crate) fn names(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut wanted: BTreeMap<(String, String, Vec<u8>), u8> = BTreeMap::new();
    let disk = SimDisk::new();
    disk.set_capacity(Some(8 << 20));
    let engine = world::options(&disk).open("simulated").expect("an empty disk opens");
    let mut number = 0;
    while !input.is_empty() && number < 24 {
        number += 1;
        let flags = input.u8();
        let text = |input: &mut Input<'_>| {
            String::from_utf8_lossy(input.short()).into_owned().repeat(1 + usize::from(flags >> 5))
        };
        let (space, name) = (text(&mut input), text(&mut input));
        let key = input.short().to_vec();
        lineal_cli::hostile::arguments(&name);
        let Ok(namespace) = engine.namespace(&space) else {
            assert!(space.is_empty() || space.len() > lineal::NAME_BYTES_MAX, "{space:?} is a name");
            continue;
        };
        let Ok(object) = namespace.object(&name) else {
            assert!(name.is_empty() || name.len() > lineal::NAME_BYTES_MAX, "{name:?} is a name");
            continue;
        };
        assert!(namespace.name() == space && object.name() == Some(&name));
        if object.transact(|tx| tx.put(&key, [number])).wait().is_ok() {
            wanted.insert((space, name, key), number);
        }
        if flags & 1 != 0 {
            let _ = object.hibernate();
        }
        if flags & 2 != 0 {
            engine.checkpoint().expect("there is room");
        }
    }
    engine.close().expect("there is room");
    let engine = world::options(&disk).open("simulated").expect("what was closed opens");
    let mut found = BTreeMap::new();
    for namespace in engine.namespaces().expect("nothing is damaged") {
        for info in namespace.objects().expect("nothing is damaged") {
            let info = info.expect("nothing is damaged");
            let object = namespace.by_id(info.id).expect("it was listed");
            let name = info.name.expect("all are by name");
            let entries: Vec<_> = object
                .read(|view| view.prefix("").collect::<lineal::Result<Vec<_>>>())
                .wait()
                .expect("nothing is damaged");
            for (key, value) in entries {
                found.insert((namespace.name().to_owned(), name.clone(), key), value[0]);
            }
        }
    }
    assert!(found == wanted, "what was put under names is not what is found there");
    engine.close().expect("there is room");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let entry = |flags: u8, parts: [&[u8]; 3]| {
        let mut seed = vec![flags];
        for part in parts {
            seed.push(part.len() as u8);
            seed.extend_from_slice(part);
        }
        seed
    };
    vec![
        [entry(0, [b"a", b"bx", b"k"]), entry(2, [b"ab", b"x", b"k"]), entry(1, [b"ab", b"x", b""])].concat(),
        [entry(0, [b"..", b"/etc/passwd", b"\0"]), entry(3, [b".", b"C:\\x", b"\xff\xff"])].concat(),
        [entry(0xe0, ["é".repeat(90).as_bytes(), "\u{202e}".repeat(60).as_bytes(), &[0x20; 200]])].concat(),
        [entry(0, [b"", b"", b""]), entry(0, [b"system", b"-2h", b"2024-05-01T00:00:00Z"])].concat(),
    ]
}
