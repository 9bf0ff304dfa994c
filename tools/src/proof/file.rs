//! Proofs as files: one JSON object, hashes in hexadecimal, readable by any program.

use lineal::{CommitHeader, Consistency, EngineId, Micros, NamespaceId, ObjectId, ObjectKey, Proof, Root};
use serde_json::Value;

use crate::json::Line;

/// What a file of this program claims.
pub(crate) enum Claim {
    Commit(Proof),
    Consistency(Consistency),
}

const COMMIT: &str = "lineal commit proof 1";
const CONSISTENCY: &str = "lineal consistency proof 1";

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn path(hashes: &[[u8; 32]]) -> String {
    list(hashes.iter().map(|hash| format!("\"{}\"", hex(hash))))
}

pub(crate) fn of_root(root: &Root) -> String {
    let mut line = Line::new();
    line.text("hash", &hex(&root.hash))
        .number("size", root.size)
        .number("line", root.line)
        .number("time", root.time.0);
    line.end()
}

pub(crate) fn of_commit(proof: &Proof) -> String {
    let mut line = Line::new();
    line.text("format", COMMIT)
        .text("engine", &hex(&proof.engine.0))
        .number("namespace", u64::from(proof.object.namespace.0))
        .text("object", &hex(&proof.object.id.0))
        .text("before", &hex(&proof.before))
        .json("commits", &list(proof.commits.iter().map(of_header)))
        .number("index", proof.index)
        .json("path", &path(&proof.path))
        .json("root", &of_root(&proof.root));
    line.end()
}

fn of_header(header: &CommitHeader) -> String {
    let mut line = Line::new();
    line.number("seq", header.seq)
        .number("time", header.time.0)
        .number("kind", u64::from(header.kind))
        .text("cause", &header.cause)
        .text("ops", &hex(&header.ops));
    match &header.joint {
        Some(joint) => line.text("joint", &hex(joint)),
        None => line.null("joint"),
    };
    line.end()
}

pub(crate) fn of_consistency(proof: &Consistency) -> String {
    let mut line = Line::new();
    line.text("format", CONSISTENCY)
        .text("engine", &hex(&proof.engine.0))
        .json("old", &of_root(&proof.old))
        .json("new", &of_root(&proof.new))
        .json("path", &path(&proof.path));
    line.end()
}

/// Reads what [`of_commit`] or [`of_consistency`] wrote; else says why it is not that.
pub(crate) fn read(text: &str) -> Result<Claim, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match text_of(&value, "format")? {
        COMMIT => commit(&value).map(Claim::Commit),
        CONSISTENCY => consistency(&value).map(Claim::Consistency),
        other => Err(format!("its format is {other:?}, which this program does not know")),
    }
}

fn commit(value: &Value) -> Result<Proof, String> {
    let namespace = u32::try_from(number(value, "namespace")?).map_err(|_| "its namespace is too large")?;
    Ok(Proof {
        engine: EngineId(array(text_of(value, "engine")?)?),
        object: ObjectKey {
            namespace: NamespaceId(namespace),
            id: ObjectId(array(text_of(value, "object")?)?),
        },
        before: array(text_of(value, "before")?)?,
        commits: items(value, "commits")?.iter().map(header).collect::<Result<_, _>>()?,
        index: number(value, "index")?,
        path: hashes(value)?,
        root: root(field(value, "root")?)?,
    })
}

fn header(value: &Value) -> Result<CommitHeader, String> {
    let joint = field(value, "joint")?;
    Ok(CommitHeader {
        seq: number(value, "seq")?,
        time: Micros(number(value, "time")?),
        kind: u8::try_from(number(value, "kind")?).map_err(|_| "a kind is too large")?,
        cause: text_of(value, "cause")?.to_owned(),
        ops: array(text_of(value, "ops")?)?,
        joint: if joint.is_null() { None } else { Some(array(text_of(value, "joint")?)?) },
    })
}

fn consistency(value: &Value) -> Result<Consistency, String> {
    Ok(Consistency {
        engine: EngineId(array(text_of(value, "engine")?)?),
        old: root(field(value, "old")?)?,
        new: root(field(value, "new")?)?,
        path: hashes(value)?,
    })
}

fn root(value: &Value) -> Result<Root, String> {
    Ok(Root {
        size: number(value, "size")?,
        hash: array(text_of(value, "hash")?)?,
        line: number(value, "line")?,
        time: Micros(number(value, "time")?),
    })
}

fn hashes(value: &Value) -> Result<Vec<[u8; 32]>, String> {
    let hash_of = |item: &Value| hash(item.as_str().ok_or("a hash of \"path\" is no text")?);
    items(value, "path")?.iter().map(hash_of).collect()
}

/// Reads a hash: 64 hexadecimal digits.
pub(crate) fn hash(text: &str) -> Result<[u8; 32], String> {
    array(text)
}

fn array<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let wrong = || format!("{text:?} is not {} hexadecimal digits", 2 * N);
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * N).ok_or_else(wrong)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (pair[0] << 4) | pair[1];
    }
    Ok(bytes)
}

fn field<'v>(value: &'v Value, name: &str) -> Result<&'v Value, String> {
    value.get(name).ok_or_else(|| format!("it has no {name:?}"))
}

fn text_of<'v>(value: &'v Value, name: &str) -> Result<&'v str, String> {
    field(value, name)?.as_str().ok_or_else(|| format!("its {name:?} is no text"))
}

fn number(value: &Value, name: &str) -> Result<u64, String> {
    field(value, name)?.as_u64().ok_or_else(|| format!("its {name:?} is no whole number"))
}

fn items<'v>(value: &'v Value, name: &str) -> Result<&'v Vec<Value>, String> {
    field(value, name)?.as_array().ok_or_else(|| format!("its {name:?} is no list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_proof_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "EOF"),
            ("[]", "format"),
            (r#"{"format":"lineal commit proof 9"}"#, "does not know"),
            (r#"{"format":"lineal commit proof 1"}"#, "namespace"),
            (r#"{"format":"lineal consistency proof 1","engine":"00"}"#, "32 hexadecimal digits"),
        ] {
            let found = read(text).err().unwrap_or_default();
            assert!(found.contains(reason), "{text}: {found}");
        }
    }
}
