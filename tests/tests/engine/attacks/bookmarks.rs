//! Bookmarks of other objects, and texts that are none.

use lineal::{Bookmark, Error, Object, Result};

use super::ground::Ground;

/// What one can do with a bookmark.
const USES: &[(&str, fn(&Ground, &Object, &Bookmark) -> Result<()>)] = &[
    ("at", |_, object, mark| object.at(mark).map(drop)),
    ("restore", |_, object, mark| object.restore(mark).wait().map(drop)),
    ("fork", |ground, object, mark| object.fork(mark, &ground.object("tenant", "copy")).wait().map(drop)),
    ("pin", |_, object, mark| object.pin(mark, "theirs").wait()),
    ("diff from", |_, object, mark| object.diff(mark, &object.bookmark().wait()?).map(drop)),
    ("diff to", |_, object, mark| object.diff(&object.bookmark().wait()?, mark).map(drop)),
];

/// Whose: a neighbour's, another tenant's object of the same name, another engine's, one of the system object, and the
/// attacker's own with another seq or another hash.
const MARKS: usize = 6;

const TEXTS: usize = 20;

pub fn count() -> usize {
    USES.len() * MARKS + TEXTS
}

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The 44 bytes that a bookmark says, as its format has them.
fn bytes_of(mark: &Bookmark) -> Vec<u8> {
    let (mut bytes, mut bits, mut have) = (Vec::new(), 0u32, 0);
    for digit in mark.to_string().bytes().skip(3) {
        bits = bits << 5 | DIGITS.iter().position(|at| *at == digit).unwrap() as u32;
        have += 5;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    bytes.truncate(44);
    bytes
}

/// A text with a checksum that is right.
fn forged(said: &[u8]) -> String {
    let check = blake3::hash(&[&b"lineal bookmark 1"[..], said].concat());
    let all = [said, &check.as_bytes()[..4]].concat();
    let (mut text, mut bits, mut have) = ("lm1".to_owned(), 0u32, 0);
    for byte in all {
        bits = bits << 8 | u32::from(byte);
        have += 8;
        while have >= 5 {
            have -= 5;
            text.push(char::from(DIGITS[(bits >> have) as usize & 31]));
        }
    }
    text.push(char::from(DIGITS[(bits << (5 - have)) as usize & 31]));
    text
}

#[test]
fn a_bookmark_leads_to_its_own_object_or_nowhere() {
    let ground = Ground::new();
    let elsewhere = Ground::new();
    let attacker = ground.attacker();
    let own = attacker.bookmark().wait().unwrap();
    assert_eq!(forged(&bytes_of(&own)), own.to_string(), "the forger knows his trade");
    let changed = |at: usize, to: &[u8]| -> Bookmark {
        let mut said = bytes_of(&own);
        said[at..at + to.len()].copy_from_slice(to);
        forged(&said).parse().unwrap()
    };
    let marks = [
        ("a neighbour's", ground.victim().bookmark().wait().unwrap(), "BookmarkOtherObject"),
        (
            "a namesake's",
            ground.object("other", "attacker").bookmark().wait().unwrap(),
            "BookmarkOtherObject",
        ),
        (
            "one of another engine",
            elsewhere.object("tenant", "o").bookmark().wait().unwrap(),
            "BookmarkOtherObject",
        ),
        ("one of the system object", changed(0, &[0; 20]), "BookmarkOtherObject"),
        ("one of a commit to come", changed(20, &u64::MAX.to_be_bytes()), "BookmarkFuture"),
        ("one with another hash", changed(36, &[0xa5; 8]), "BookmarkLost"),
    ];
    assert_eq!(marks.len(), MARKS);
    let before = attacker.info().unwrap().seq;
    for (whose, mark, wanted) in &marks {
        for (name, act) in USES {
            let what = format!("{name} with {whose}");
            let Err(error) = act(&ground, &attacker, mark) else { panic!("{what} was let through") };
            assert!(matches!(error, Error::Bookmark(_)), "{what}: {error:?}");
            assert_eq!(error.name(), *wanted, "{what}: {error}");
            assert!(!error.to_string().contains("nobody's business"));
            ground.judge(&what);
        }
    }
    assert_eq!(attacker.info().unwrap().seq, before);
    assert_eq!(attacker.pins().unwrap().len(), 0);
    let copy = ground.object("tenant", "copy");
    assert!(!copy.read(|view| Ok(view.exists())).wait().unwrap());
    ground.judge_names("bookmarks");
}

#[test]
fn what_is_no_bookmark_is_refused() {
    let ground = Ground::new();
    let good = ground.attacker().bookmark().wait().unwrap().to_string();
    let (body, last) = good.split_at(good.len() - 1);
    let mut texts: Vec<String> = vec![
        String::new(),
        "lm1".into(),
        "lm2".to_owned() + &good[3..],
        good.to_uppercase(),
        good.clone() + "0",
        body.into(),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{body}\0"),
        format!("{body}w"),
        format!("{body}\u{ff10}"),
        "../".repeat(27),
        "0".repeat(80),
        "lm1".to_owned() + &"v".repeat(77),
        good.replace("lm1", "lm1lm1"),
        "x".repeat(1 << 20),
    ];
    // The bit behind the last byte says nothing, and is to be 0.
    let odd = DIGITS[DIGITS.iter().position(|digit| last.as_bytes() == [*digit]).unwrap() | 1];
    texts.push(format!("{body}{}", char::from(odd)));
    // One digit is another.
    for at in [3, 40, 79] {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'g' } else { b'0' };
        texts.push(String::from_utf8(bytes).unwrap());
    }
    assert_eq!(texts.len(), TEXTS);
    for text in &texts {
        let error: Error = text.parse::<Bookmark>().unwrap_err();
        assert_eq!(error.name(), "BookmarkMalformed", "{text:.100}");
        assert!(error.to_string().len() < 500, "an error does not repeat what it was given");
    }
    ground.judge("texts");
}
