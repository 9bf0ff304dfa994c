//! Names and ids that look like paths, like other names, or like what is the engine's own.

use std::collections::BTreeMap;

use lineal::{Error, ObjectId, ObjectKey};

use super::ground::Ground;

/// Each is a name as good as any: an object of its own, and a namespace of its own.
const NAMES: &[&str] = &[
    // Paths.
    ".",
    "..",
    "/",
    "//",
    "./attacker",
    "../attacker",
    "../../secret.db",
    "../beside/secret.txt",
    "/etc/passwd",
    "/dev/zero",
    "/proc/self/mem",
    "neighbour/",
    "neighbour/..",
    "neighbour/../o",
    "tenant/neighbour",
    "\\\\server\\share",
    "C:\\neighbour",
    "file:///etc/passwd",
    "%2e%2e%2fneighbour",
    "~",
    "$HOME",
    "`id`",
    "$(id)",
    "; rm -rf data",
    "CON",
    "-rf",
    // The directory's own.
    "LOCK",
    "CATALOG",
    "IDENTITY",
    "packs",
    "log",
    "roots",
    "ballast",
    // The system object's rows.
    "next",
    "ns/",
    "ns/tenant",
    "gone/",
    "gone/\u{1}",
    "keep/",
    "lineage/",
    "durability/",
    "running",
    "_lineal",
    "_system",
    "system",
    "0",
    // Characters that are cut, folded or looked alike.
    "\0",
    "\0\0\0\0",
    "neighbour\0",
    "\0neighbour",
    "neigh\0bour",
    " ",
    " neighbour",
    "neighbour ",
    "neighbour\t",
    "neighbour\n",
    "neighbour\r\n",
    "NEIGHBOUR",
    "Neighbour",
    "nei\u{67}hbour\u{200b}",
    "\u{200b}neighbour",
    "\u{feff}neighbour",
    "neighbour\u{ad}",
    "\u{202e}ruobhgien",
    "n\u{435}ighbour",
    "ne\u{456}ghbour",
    "\u{ff4e}eighbour",
    "\u{43e}",
    "\u{3bf}",
    "\u{ba}",
    "\u{e9}",
    "e\u{301}",
    "\u{fb01}",
    "fi",
    "\u{212a}",
    "K",
    "\u{df}",
    "ss",
    "\u{130}",
    "i\u{307}",
    "\u{10ffff}",
    "\u{fffd}",
    "\u{7f}",
    "\u{1b}[2J",
    // Beginnings and ends of others.
    "n",
    "neighbou",
    "neighbours",
    "neighbourneighbour",
    // What other layers take for syntax.
    "'; DROP TABLE t; --",
    "\"",
    "{\"id\":\"00\"}",
    "null",
    "*",
    "%",
    "?",
];

/// Pairs of namespace and name that are one text where somebody only puts them together.
const TOGETHER: &[(&str, &str)] = &[
    ("a", "b/c"),
    ("a/b", "c"),
    ("a/", "b/c"),
    ("a", "/b/c"),
    ("a\0b", "c"),
    ("a", "b\0c"),
    ("ab", "c"),
    ("a", "bc"),
    ("a:b", "c"),
    ("a", "b:c"),
    ("\u{1}", "\u{1}\u{1}"),
    ("\u{1}\u{1}", "\u{1}"),
];

/// Kinds of ids, by the first four bits, that applications do not make.
const KINDS: std::ops::Range<u8> = 2..16;

/// Empty and over-long ones, as an object's name and as a namespace's.
const INVALID: usize = 4;

pub fn count() -> usize {
    2 * NAMES.len() + TOGETHER.len() + KINDS.len() + INVALID + 3
}

#[test]
fn each_name_is_an_object_and_a_namespace_of_its_own() {
    let mut ground = Ground::new();
    let mut pairs: Vec<(String, String)> = Vec::new();
    let longest = "n".repeat(1_024);
    for name in NAMES.iter().copied().chain([longest.as_str()]) {
        pairs.push(("tenant".into(), name.into()));
        pairs.push((name.into(), "attacker".into()));
    }
    pairs.extend(TOGETHER.iter().map(|(namespace, name)| ((*namespace).into(), (*name).into())));
    let mut keys: BTreeMap<ObjectKey, (String, String)> = BTreeMap::new();
    for (namespace, name) in &pairs {
        let object = ground.object(namespace, name);
        let before = keys.insert(object.key(), (namespace.clone(), name.clone()));
        assert_eq!(before, None, "one object for two names");
        assert_eq!(object.name(), Some(name.as_str()));
        let found = object.transact(|tx| {
            let found = tx.prefix("").count();
            tx.put("secret", format!("{namespace}\u{1}{name}"))?;
            Ok(found)
        });
        assert_eq!(found.wait().unwrap(), 0, "{namespace:?} {name:?} is not new");
        ground.judge(&format!("{namespace:?} {name:?}"));
    }
    for packed in [false, true] {
        if packed {
            ground.engine().checkpoint().unwrap();
        }
        ground.reopen();
        for (namespace, name) in &pairs {
            let object = ground.object(namespace, name);
            let secret = object.read(|view| view.get("secret")).wait().unwrap().unwrap();
            assert_eq!(secret, format!("{namespace}\u{1}{name}").into_bytes()[..]);
        }
        ground.judge("opening again");
    }
    let mut listed: Vec<String> =
        ground.engine().namespaces().unwrap().iter().map(|found| found.name().to_owned()).collect();
    let mut wanted: Vec<String> = pairs.into_iter().map(|(namespace, _)| namespace).collect();
    wanted.push("other".into());
    [&mut listed, &mut wanted].into_iter().for_each(|names| names.sort());
    wanted.dedup();
    assert_eq!(listed, wanted);
}

#[test]
fn what_is_no_name_is_refused() {
    let ground = Ground::new();
    let tenant = ground.engine().namespace("tenant").unwrap();
    let long = "n".repeat(1_025);
    for (name, wanted) in [("", "InvalidName"), (&*long, "TooLarge")] {
        assert_eq!(tenant.object(name).unwrap_err().name(), wanted);
        assert_eq!(ground.engine().namespace(name).unwrap_err().name(), wanted);
        ground.judge(wanted);
    }
    ground.judge_names("names that are none");
}

#[test]
fn ids_reach_nothing_that_is_not_the_namespaces_own() {
    let ground = Ground::new();
    let tenant = ground.engine().namespace("tenant").unwrap();
    for kind in KINDS {
        let mut id = [0xa5; 16];
        id[0] = kind << 4;
        let refused = tenant.by_id(ObjectId(id)).unwrap_err();
        assert!(matches!(refused, Error::Invalid { .. }), "kind {kind}: {refused}");
    }
    // The system object's id, and ids of another namespace's objects, are other objects here.
    let elsewhere = [ground.object("other", "attacker").id(), ground.object("other", "p").id()];
    for id in elsewhere.into_iter().chain([ObjectId([0; 16])]) {
        let object = tenant.by_id(id).unwrap();
        assert_eq!(
            object.read(|view| Ok((view.exists(), view.prefix("").count()))).wait().unwrap(),
            (false, 0)
        );
        // Only its name makes an object that has one.
        let put = object.transact(|tx| tx.put("next", "stolen")).wait();
        assert!(matches!(put, Err(Error::NotFound { .. })), "{put:?}");
        object.purge().wait().unwrap();
        ground.judge(&format!("id {id}"));
    }
    let new = ground.engine().namespace("after").unwrap();
    assert!(new.id().0 > tenant.id().0, "the system object goes on counting");
}
