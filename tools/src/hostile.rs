//! For fuzzers: what the command reads of what anybody may have written. Nothing else uses this.

use lineal::Engine;

use crate::{exec, open, proof, when};

/// Answers lines as `lineal exec` does, one after the other; each reply without its line break.
pub fn exec(engine: &Engine, lines: &[u8], reply: &mut dyn FnMut(&str)) {
    exec::answer_all(engine, lines, reply);
}

/// A file with a proof: read, checked, and written again if it is one.
pub fn proof(text: &str) {
    use proof::file::{Claim, of_commit, of_consistency, read};
    let again = match read(text) {
        Ok(Claim::Commit(proof)) => {
            let _ = proof.check();
            of_commit(&proof)
        }
        Ok(Claim::Consistency(proof)) => {
            let _ = proof.check();
            of_consistency(&proof)
        }
        Err(_) => return,
    };
    let same = match (read(text), read(&again)) {
        (Ok(Claim::Commit(a)), Ok(Claim::Commit(b))) => a == b,
        (Ok(Claim::Consistency(a)), Ok(Claim::Consistency(b))) => a == b,
        _ => false,
    };
    assert!(same, "a proof changes when it is written again");
}

/// Arguments that are no names: ids, points in time.
pub fn arguments(text: &str) {
    let _ = open::parse_id(text);
    let _ = open::parse_engine(text);
    let _ = when::parse(text);
    let _ = when::parse_time(text);
}
