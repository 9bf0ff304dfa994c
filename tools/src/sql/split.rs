//! Where statements end in a text.
//!
//! The rules are those of `sqlite3_complete`: a statement ends at a semicolon outside of strings, quoted names and comments;
//! that of a trigger at the one after its END.

/// A piece of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input<'t> {
    /// One statement.
    Sql(&'t str),
    /// A command that begins with a dot, on a line of its own.
    Dot(&'t str),
}

/// The first piece of a text and what comes after it; `None` if nothing is left but blanks and comments. A last statement
/// needs no semicolon.
pub(crate) fn next(text: &str) -> Option<(Input<'_>, &str)> {
    let text = skip_blank(text);
    // A comment that does not end has no statement behind it.
    if text.is_empty() || text.starts_with("/*") {
        return None;
    }
    if text.starts_with('.') {
        let end = text.find('\n').unwrap_or(text.len());
        return Some((Input::Dot(text[..end].trim_end()), &text[end..]));
    }
    let end = end(text).unwrap_or(text.len());
    Some((Input::Sql(text[..end].trim_end()), &text[end..]))
}

/// All pieces of a text.
pub(crate) fn all(text: &str) -> Vec<Input<'_>> {
    let mut rest = text;
    std::iter::from_fn(|| {
        let (input, after) = next(rest)?;
        rest = after;
        Some(input)
    })
    .collect()
}

/// The first piece, if the text holds all of it: for input that comes line by line.
pub(crate) fn next_complete(text: &str) -> Option<(Input<'_>, &str)> {
    let (input, rest) = next(text)?;
    match input {
        Input::Dot(_) => Some((input, rest)),
        Input::Sql(_) => end(skip_blank(text)).map(|_| (input, rest)),
    }
}

/// Whether the first word is one of those that statements begin with that only read, as a rule. SQLite knows the rest.
pub(crate) fn seems_to_read(statement: &str) -> bool {
    let word: String = skip_blank(statement).chars().take_while(char::is_ascii_alphabetic).collect();
    ["SELECT", "VALUES", "WITH", "EXPLAIN", "PRAGMA"]
        .iter()
        .any(|reading| reading.eq_ignore_ascii_case(&word))
}

/// The text from the first byte on that is no blank, comment or lone semicolon. A comment that does not end stays.
pub(crate) fn skip_blank(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', '\x0c', ';', '\u{feff}']);
        let after = match (rest.starts_with("--"), rest.strip_prefix("/*")) {
            (true, _) => Some(rest.find('\n').unwrap_or(rest.len())),
            (_, Some(comment)) => comment.find("*/").map(|at| at + 4),
            _ => None,
        };
        let Some(after) = after else { return rest };
        rest = &rest[after..];
    }
}

/// What a piece of a statement is, as far as its end is concerned.
#[derive(Clone, Copy)]
enum Token {
    Semicolon,
    Blank,
    Other,
    Explain,
    Create,
    Temp,
    Trigger,
    End,
}

/// What came so far.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    Explained,
    Creating,
    Plain,
    /// In a trigger; in it after a semicolon; and after the END that follows one.
    Trigger,
    TriggerSemicolon,
    TriggerEnd,
}

impl State {
    /// The state after a token; `None` after a statement's last one.
    fn after(self, token: Token) -> Option<State> {
        use State as S;
        use Token as T;
        Some(match (self, token) {
            (S::Trigger | S::TriggerSemicolon, T::Semicolon) => S::TriggerSemicolon,
            (_, T::Semicolon) => return None,
            (state, T::Blank) => state,
            (S::Start, T::Explain) => S::Explained,
            // EXPLAIN QUERY PLAN.
            (S::Explained, T::Other) => S::Explained,
            (S::Start | S::Explained, T::Create) => S::Creating,
            (S::Creating, T::Temp) => S::Creating,
            (S::Creating, T::Trigger) => S::Trigger,
            (S::TriggerSemicolon, T::End) => S::TriggerEnd,
            (S::Trigger | S::TriggerSemicolon | S::TriggerEnd, _) => S::Trigger,
            _ => S::Plain,
        })
    }
}

/// Length of the first statement of a text that begins with one, its semicolon included.
fn end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut state) = (0, State::Start);
    while at < bytes.len() {
        let rest = &text[at..];
        let (token, length) = token(rest)?;
        at += length;
        match state.after(token) {
            Some(after) => state = after,
            None => return Some(at),
        }
    }
    None
}

/// The first token of a text that is not empty, and its length; `None` if it does not end.
fn token(text: &str) -> Option<(Token, usize)> {
    let first = text.as_bytes()[0];
    let upto = |end: char| text[1..].find(end).map(|at| (Token::Other, at + 2));
    match first {
        b';' => Some((Token::Semicolon, 1)),
        b' ' | b'\t' | b'\r' | b'\n' | 0x0c => Some((Token::Blank, 1)),
        b'/' if text.starts_with("/*") => text[2..].find("*/").map(|at| (Token::Blank, at + 4)),
        b'-' if text.starts_with("--") => text.find('\n').map(|at| (Token::Blank, at + 1)),
        b'[' => upto(']'),
        b'\'' | b'"' | b'`' => upto(char::from(first)),
        _ => {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
            let length = text.find(|c| !is_word(c)).unwrap_or(text.len());
            if length == 0 {
                return Some((Token::Other, 1));
            }
            let token = match text[..length].to_ascii_uppercase().as_str() {
                "EXPLAIN" => Token::Explain,
                "CREATE" => Token::Create,
                "TEMP" | "TEMPORARY" => Token::Temp,
                "TRIGGER" => Token::Trigger,
                "END" => Token::End,
                _ => Token::Other,
            };
            Some((token, length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        let text_of = |input| match input {
            Input::Sql(text) | Input::Dot(text) => text,
        };
        all(text).into_iter().map(text_of).collect()
    }

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        assert_eq!(split("SELECT 1; SELECT 2"), ["SELECT 1;", "SELECT 2"]);
        assert_eq!(split(" ;; -- nothing\n /* ; */ ;"), [""; 0]);
        assert_eq!(
            split("SELECT ';', \";\", `;`, [;] -- ;\n, 'it''s;' /* ; */; x"),
            ["SELECT ';', \";\", `;`, [;] -- ;\n, 'it''s;' /* ; */;", "x"]
        );
        assert_eq!(split("SELECT 5 - -1, 6/2; SELECT 'é;'; é"), ["SELECT 5 - -1, 6/2;", "SELECT 'é;';", "é"]);
        assert_eq!(split("SELECT 'open; SELECT 2;"), ["SELECT 'open; SELECT 2;"]);
        assert_eq!(split("SELECT 1; /* open"), ["SELECT 1;"]);
        assert_eq!(split("-- a\n.tables\nSELECT 1;.help \n"), [".tables", "SELECT 1;", ".help"]);
    }

    #[test]
    fn a_trigger_ends_after_its_end() {
        let body = "BEGIN UPDATE t SET x = CASE WHEN 1 THEN 2 END; DELETE FROM u; END";
        for head in [
            "CREATE TRIGGER r AFTER INSERT ON t",
            "create temp trigger r DELETE ON t",
            "EXPLAIN CREATE TRIGGER r",
        ] {
            let trigger = format!("{head} {body};");
            assert_eq!(split(&format!("{trigger} SELECT 1;")), [&trigger, "SELECT 1;"]);
            assert_eq!(next_complete(&trigger[..trigger.len() - 1]), None);
        }
        assert_eq!(split("CREATE TABLE trigger_x (a); END;"), ["CREATE TABLE trigger_x (a);", "END;"]);
        assert_eq!(split("EXPLAIN QUERY PLAN SELECT 1; x"), ["EXPLAIN QUERY PLAN SELECT 1;", "x"]);
    }

    #[test]
    fn a_line_may_be_a_part_of_a_statement() {
        assert_eq!(next_complete("SELECT 1"), None);
        assert_eq!(next_complete("SELECT ';"), None);
        assert_eq!(next_complete("/* SELECT 1;"), None);
        assert_eq!(next_complete("SELECT 1; x"), Some((Input::Sql("SELECT 1;"), " x")));
        assert_eq!(next_complete(".tables\n"), Some((Input::Dot(".tables"), "\n")));
    }

    #[test]
    fn what_seems_to_read_is_told_by_the_first_word() {
        assert!(seems_to_read(" /* a */ select 1") && seems_to_read("WITH x AS (SELECT 1) SELECT * FROM x"));
        assert!(!seems_to_read("INSERT INTO t VALUES (1)") && !seems_to_read("selection"));
    }
}
