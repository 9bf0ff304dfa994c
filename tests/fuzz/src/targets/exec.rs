//! The lines that `lineal exec` reads.

use lineal::{Engine, Result};
use serde_json::Value;

use super::{text, world};

/// Lines of requests, on the small engine: each is answered by one line of JSON, and the engine closes.
pub(crate) fn exec(bytes: &[u8]) {
    let disk = world::disk(world::image());
    let engine = world::options(&disk).open("simulated").expect("a sound directory opens");
    answer(&engine, bytes);
    closes(engine).expect("requests fail, and not the engine");
}

fn answer(engine: &Engine, bytes: &[u8]) {
    let mut replies = 0;
    lineal_cli::hostile::exec(engine, bytes, &mut |reply| {
        replies += 1;
        assert!(!reply.contains('\n'), "a reply is one line");
        let value: Value = serde_json::from_str(reply).expect("a reply is JSON");
        let ok = value.get("ok").and_then(Value::as_bool).expect("a reply says whether it is one of success");
        assert!(ok || value.get("error").is_some(), "a refusal has a name");
    });
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    let open = usize::from(!bytes.is_empty() && bytes.last() != Some(&b'\n'));
    assert_eq!(replies, lines + open, "each line is answered once");
}

fn closes(engine: Engine) -> Result<()> {
    engine.verify(&mut |_| ())?;
    engine.close()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mark = &text::marks()[1];
    let mut seeds: Vec<Vec<u8>> = include_str!("../../seeds/exec.txt")
        .split("\n\n")
        .map(|session| session.replace("MARK", mark).into_bytes())
        .collect();
    seeds.retain(|seed| !seed.is_empty());
    seeds
}
