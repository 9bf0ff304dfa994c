//! The prompt: line by line, each statement a transaction of its own.

use std::io::{BufRead, Write};

use super::{
    dot,
    print::Format,
    split::{self, Input},
    target::Target,
};
use crate::{
    exit::{Failure, Outcome},
    progress,
};

const READY: &str = "lineal> ";
const MORE: &str = "   ...> ";

/// Reads statements until there are no more. What fails is told, and the next one is read.
pub(super) fn talk(target: &Target, format: Format, input: &mut dyn BufRead, out: &mut dyn Write) -> Outcome {
    let mut text = String::new();
    say(out, "A statement ends with a semicolon; .help lists commands.\n")?;
    loop {
        let is_empty = split::skip_blank(&text).is_empty();
        say(out, if is_empty { READY } else { MORE })?;
        if is_empty {
            text.clear();
        }
        let read = input.read_line(&mut text).map_err(|error| Failure::io("reading stdin failed", &error))?;
        while let Some((piece, rest)) =
            if read > 0 { split::next_complete(&text) } else { split::next(&text) }
        {
            if matches!(piece, Input::Dot(command) if dot::is_end(command)) {
                return Ok(());
            }
            match target.run(&[piece], format, out) {
                Err(Failure::Said { message, .. }) => progress::say(&format!("lineal: {message}")),
                other => other?,
            }
            let after = text.len() - rest.len();
            text.drain(..after);
        }
        if read == 0 {
            return say(out, "\n");
        }
    }
}

fn say(out: &mut dyn Write, text: &str) -> Outcome {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

#[cfg(test)]
mod tests {
    use lineal::Engine;

    use super::*;

    #[test]
    fn statements_may_take_several_lines_and_errors_end_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let object = engine.namespace("n").unwrap().object("o").unwrap();
        let target = Target::Now { engine, object: object.clone(), cause: "typed".into() };
        let typed = "CREATE TABLE t (x); INSERT INTO t\nVALUES ('a;b') -- one\n;\nSELECT nonsense;\n.tables\n/* a\n; b */ SELECT x FROM t;\nSELECT 7 AS seven";
        let mut out = Vec::new();
        talk(&target, Format::Table, &mut typed.as_bytes(), &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        let answers: Vec<&str> = said
            .lines()
            .skip(1)
            .map(|line| line.trim_start_matches(READY).trim_start_matches(MORE))
            .collect();
        let joined = answers.join("|");
        assert!(joined.contains("0 rows changed|") && joined.contains("1 row changed|"), "{said}");
        assert!(
            joined.contains("|t|") && joined.contains("x|---|a;b|") && joined.ends_with("seven|-----|    7|"),
            "{said}"
        );
        assert_eq!(object.info().unwrap().seq, 2, "each statement is a transaction");
        let mut out = Vec::new();
        talk(&target, Format::Json, &mut ".quit\nDELETE FROM t;".as_bytes(), &mut out).unwrap();
        assert_eq!(object.info().unwrap().seq, 2);
    }
}
