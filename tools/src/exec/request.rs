//! Requests as they come in: JSON, checked for shape before anything is done.

use lineal::{Durability, Micros, ObjectId, rusqlite::types::Value as SqlValue};
use serde_json::{Map, Value};

use crate::{
    bytes,
    open::parse_id,
    values,
    when::{self, When},
};

/// What is wrong with a line.
pub(super) type Malformed = String;

/// An object, as a request names it.
pub(super) struct Target {
    pub(super) ns: String,
    pub(super) object: Named,
}

pub(super) enum Named {
    Name(String),
    Id(ObjectId),
}

/// What a write may say besides what it writes.
#[derive(Clone, Default)]
pub(super) struct Terms {
    pub(super) cause: Option<String>,
    pub(super) expect_seq: Option<u64>,
    /// What a transaction's reply waits for, at least.
    pub(super) durability: Option<Durability>,
}

pub(super) enum Op {
    Put { key: Vec<u8>, value: Vec<u8> },
    Delete { key: Vec<u8> },
    DeleteRange { start: Vec<u8>, end: Option<Vec<u8>> },
    DeleteAll,
    Sql(Statement),
}

/// One statement of SQL.
pub(super) struct Statement {
    pub(super) query: String,
    pub(super) params: Params,
    /// Most rows to answer.
    pub(super) limit: Option<u64>,
}

pub(super) enum Params {
    Listed(Vec<SqlValue>),
    Named(Vec<(String, SqlValue)>),
}

pub(super) struct Write {
    pub(super) target: Target,
    pub(super) ops: Vec<Op>,
    pub(super) terms: Terms,
}

pub(super) struct List {
    pub(super) prefix: Vec<u8>,
    pub(super) start: Option<Vec<u8>>,
    pub(super) end: Option<Vec<u8>>,
    pub(super) limit: u64,
    pub(super) reverse: bool,
}

pub(super) enum After {
    Id(ObjectId),
    Name(String),
}

/// Which commits to list.
pub(super) struct Commits {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) since: Option<Micros>,
    pub(super) until: Option<Micros>,
    pub(super) limit: Option<u64>,
    /// The last one that was seen.
    pub(super) after: Option<u64>,
    pub(super) reverse: bool,
}

/// Which objects to restore, and to when.
pub(super) struct RestoreMany {
    pub(super) ns: String,
    pub(super) which: Which,
    pub(super) time: Micros,
    pub(super) cause: String,
    pub(super) dry_run: bool,
    pub(super) limit: Option<u64>,
}

pub(super) enum Which {
    All,
    Prefix(String),
    Objects(Vec<Named>),
}

pub(super) enum Request {
    Pin { target: Target, name: String, at: Option<When> },
    Unpin { target: Target, name: String },
    Pins(Target),
    Changes { target: Target, seq: u64 },
    RestoreMany(RestoreMany),
    Bookmark { target: Target, at: Option<When> },
    GetAt { target: Target, at: When, key: Vec<u8> },
    ListAt { target: Target, at: When, list: List },
    Restore { target: Target, at: When, terms: Terms },
    Fork { target: Target, at: When, to: Target, terms: Terms },
    History { target: Target, commits: Commits },
    Blame { target: Target, key: Vec<u8>, limit: Option<u64>, after: Option<u64> },
    Diff { target: Target, from: When, to: Option<When>, limit: Option<u64>, after: Option<Vec<u8>> },
    DiffRows { target: Target, from: When, to: Option<When>, table: String, limit: Option<u64> },
    Get { target: Target, key: Vec<u8> },
    List { target: Target, list: List },
    Sql { target: Target, statement: Statement, at: Option<When>, terms: Terms },
    Write(Write),
    Many(Vec<Write>),
    Objects { ns: String, limit: Option<u64>, after: Option<After> },
    Info(Target),
    DeleteObject { target: Target, terms: Terms },
    Purge { target: Target, terms: Terms },
    VerifyObject(Target),
    VerifyAll,
    Archive,
    Spill { ns: Option<String> },
    Sync,
    Checkpoint,
    Stat,
}

/// Reads a line: the request's own id, if it has one, and the request.
pub(super) fn parse(line: &[u8]) -> (Option<Value>, Result<Request, Malformed>) {
    match serde_json::from_slice(line) {
        Ok(Value::Object(map)) => {
            let mut fields = Fields(map);
            (fields.0.remove("id"), fields.request())
        }
        Ok(_) => (None, Err("a request is a JSON object".into())),
        Err(error) => (None, Err(format!("the line is not JSON: {error}"))),
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn request(&mut self) -> Result<Request, Malformed> {
        let op = self.text("op")?;
        Ok(match op.as_str() {
            "get" => Request::Get { target: self.target()?, key: self.bytes("key")? },
            "put" | "delete" => {
                let ops = vec![self.op(&op)?];
                Request::Write(Write { target: self.target()?, ops, terms: self.terms(&Terms::default())? })
            }
            "sql" => {
                let (statement, at) = (self.statement()?, self.when_if_there("at")?);
                Request::Sql { target: self.target()?, statement, at, terms: self.terms(&Terms::default())? }
            }
            "txn" => Request::Write(self.write(&Terms::default())?),
            "many" => {
                let shared = Terms { expect_seq: None, ..self.terms(&Terms::default())? };
                let txns = self.items("txns")?.into_iter().map(|mut txn| txn.write(&shared));
                Request::Many(txns.collect::<Result<_, _>>()?)
            }
            "list" => Request::List { target: self.target()?, list: self.list()? },
            "objects" => {
                Request::Objects { ns: self.text("ns")?, limit: self.number("limit")?, after: self.after()? }
            }
            "info" => Request::Info(self.target()?),
            "delete_object" => {
                Request::DeleteObject { target: self.target()?, terms: self.terms(&Terms::default())? }
            }
            "purge" => Request::Purge { target: self.target()?, terms: self.terms(&Terms::default())? },
            "bookmark" => Request::Bookmark { target: self.target()?, at: self.when_if_there("at")? },
            "at" if self.has("key") => {
                Request::GetAt { target: self.target()?, at: self.when("at")?, key: self.bytes("key")? }
            }
            "at" => Request::ListAt { target: self.target()?, at: self.when("at")?, list: self.list()? },
            "restore" => {
                let (at, terms) = (self.when("at")?, self.terms(&Terms::default())?);
                Request::Restore { target: self.target()?, at, terms }
            }
            "fork" => {
                let Some(Value::Object(to)) = self.take("to") else {
                    return Err("\"to\" is not an object with \"ns\" and \"obj\"".into());
                };
                let (at, terms) = (self.when("at")?, self.terms(&Terms::default())?);
                Request::Fork { target: self.target()?, at, to: Fields(to).target()?, terms }
            }
            "history" => Request::History { target: self.target()?, commits: self.commits()? },
            "blame" => {
                let (key, limit, after) = (self.bytes("key")?, self.number("limit")?, self.number("after")?);
                Request::Blame { target: self.target()?, key, limit, after }
            }
            "diff" => {
                let (from, to, limit) =
                    (self.when("from")?, self.when_if_there("to")?, self.number("limit")?);
                if let Some(table) = self.text_if_there("table")? {
                    return Ok(Request::DiffRows { target: self.target()?, from, to, table, limit });
                }
                Request::Diff {
                    target: self.target()?,
                    from,
                    to,
                    limit,
                    after: self.bytes_if_there("after")?,
                }
            }
            "pin" => {
                let (name, at) = (self.text("name")?, self.when_if_there("at")?);
                Request::Pin { target: self.target()?, name, at }
            }
            "unpin" => Request::Unpin { name: self.text("name")?, target: self.target()? },
            "pins" => Request::Pins(self.target()?),
            "changes" => {
                let seq = self.number("seq")?.ok_or("\"seq\" is missing")?;
                Request::Changes { target: self.target()?, seq }
            }
            "restore_many" => Request::RestoreMany(self.restore_many()?),
            "verify" if self.has("ns") || self.has("obj") => Request::VerifyObject(self.target()?),
            "verify" => Request::VerifyAll,
            "archive" => Request::Archive,
            "spill" => Request::Spill { ns: self.text_if_there("ns")? },
            "sync" => Request::Sync,
            "checkpoint" => Request::Checkpoint,
            "stat" => Request::Stat,
            unknown => return Err(format!("there is no op {unknown:?}")),
        })
    }

    fn write(&mut self, shared: &Terms) -> Result<Write, Malformed> {
        let ops = self.items("ops")?.into_iter().map(|mut fields| {
            let op = fields.text("op")?;
            fields.op(&op)
        });
        let ops = ops.collect::<Result<_, _>>()?;
        Ok(Write { target: self.target()?, ops, terms: self.terms(shared)? })
    }

    fn op(&mut self, op: &str) -> Result<Op, Malformed> {
        match op {
            "put" => Ok(Op::Put { key: self.bytes("key")?, value: self.bytes("value")? }),
            "delete" => Ok(Op::Delete { key: self.bytes("key")? }),
            "delete_range" => Ok(Op::DeleteRange {
                start: self.bytes_if_there("start")?.unwrap_or_default(),
                end: self.bytes_if_there("end")?,
            }),
            "delete_all" => Ok(Op::DeleteAll),
            "sql" => Ok(Op::Sql(self.statement()?)),
            unknown => Err(format!("a transaction has no op {unknown:?}")),
        }
    }

    fn statement(&mut self) -> Result<Statement, Malformed> {
        let read = |value| values::read(value).map_err(|wrong| format!("in \"params\": {wrong}"));
        let params = match self.take("params") {
            None => Params::Listed(Vec::new()),
            Some(Value::Array(list)) => Params::Listed(list.into_iter().map(read).collect::<Result<_, _>>()?),
            Some(Value::Object(map)) => {
                let named = map.into_iter().map(|(name, value)| {
                    let is_whole = name.starts_with([':', '@', '$']);
                    Ok((if is_whole { name } else { format!(":{name}") }, read(value)?))
                });
                Params::Named(named.collect::<Result<_, Malformed>>()?)
            }
            Some(_) => return Err("\"params\" is neither a list nor an object".into()),
        };
        Ok(Statement { query: self.text("query")?, params, limit: self.number("limit")? })
    }

    fn list(&mut self) -> Result<List, Malformed> {
        Ok(List {
            prefix: self.bytes_if_there("prefix")?.unwrap_or_default(),
            start: self.bytes_if_there("start")?,
            end: self.bytes_if_there("end")?,
            limit: self.number("limit")?.unwrap_or(u64::MAX),
            reverse: self.flag("reverse")?,
        })
    }

    fn commits(&mut self) -> Result<Commits, Malformed> {
        let mut time = |name: &str| self.text_if_there(name)?.map(|text| when::parse_time(&text)).transpose();
        let (since, until) = (time("since")?, time("until")?);
        Ok(Commits {
            from: self.number("from")?.unwrap_or(0),
            to: self.number("to")?.unwrap_or(u64::MAX),
            since,
            until,
            limit: self.number("limit")?,
            after: self.number("after")?,
            reverse: self.flag("reverse")?,
        })
    }

    fn restore_many(&mut self) -> Result<RestoreMany, Malformed> {
        let (all, prefix, objects) = (self.flag("all")?, self.text_if_there("prefix")?, self.take("objs"));
        let which = match (all, prefix, objects) {
            (true, None, None) => Which::All,
            (false, Some(prefix), None) => Which::Prefix(prefix),
            (false, None, Some(Value::Array(objects))) => {
                Which::Objects(objects.into_iter().map(named).collect::<Result<_, _>>()?)
            }
            _ => {
                return Err(
                    "which objects: \"all\": true, a \"prefix\", or a list \"objs\", and one of them".into(),
                );
            }
        };
        let When::Time(time) = self.when("at")? else {
            return Err("\"at\" is a time: many objects go back to one moment".into());
        };
        Ok(RestoreMany {
            ns: self.text("ns")?,
            which,
            time,
            cause: self.text_if_there("cause")?.unwrap_or_default(),
            dry_run: self.flag("dry_run")?,
            limit: self.number("limit")?,
        })
    }

    fn when(&mut self, name: &str) -> Result<When, Malformed> {
        self.when_if_there(name)?.ok_or_else(|| format!("{name:?} is missing"))
    }

    /// A point in an object's history: a commit's number, or a text as on the command line.
    fn when_if_there(&mut self, name: &str) -> Result<Option<When>, Malformed> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => when::parse(&text).map(Some),
            Some(value) => match value.as_u64() {
                Some(seq) => Ok(Some(When::Seq(seq))),
                None => Err(format!("{name:?} is neither a commit's number nor a string")),
            },
        }
    }

    fn terms(&mut self, shared: &Terms) -> Result<Terms, Malformed> {
        Ok(Terms {
            cause: self.text_if_there("cause")?.or_else(|| shared.cause.clone()),
            expect_seq: self.number("expect_seq")?,
            durability: self.durability()?.or(shared.durability),
        })
    }

    fn durability(&mut self) -> Result<Option<Durability>, Malformed> {
        match self.text_if_there("durability")?.as_deref() {
            None => Ok(None),
            Some("local") => Ok(Some(Durability::Local)),
            Some("archived") => Ok(Some(Durability::Archived)),
            Some(other) => Err(format!("\"durability\" is \"local\" or \"archived\", not {other:?}")),
        }
    }

    fn target(&mut self) -> Result<Target, Malformed> {
        let ns = self.text("ns")?;
        let object = self.take("obj").ok_or("\"obj\" is missing")?;
        Ok(Target { ns, object: named(object)? })
    }

    /// Where a listing goes on: an id, or the name of the last object that was seen.
    fn after(&mut self) -> Result<Option<After>, Malformed> {
        Ok(self.text_if_there("after")?.map(|after| match parse_id(&after) {
            Ok(id) => After::Id(id),
            Err(_) => After::Name(after),
        }))
    }

    /// A field; `null` is as good as none.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<String, Malformed> {
        self.text_if_there(name)?.ok_or_else(|| format!("{name:?} is missing"))
    }

    fn text_if_there(&mut self, name: &str) -> Result<Option<String>, Malformed> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name:?} is not a string")),
        }
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Malformed> {
        self.bytes_if_there(name)?.ok_or_else(|| format!("{name:?} is missing"))
    }

    fn bytes_if_there(&mut self, name: &str) -> Result<Option<Vec<u8>>, Malformed> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => bytes::read(value)
                .map(Some)
                .ok_or_else(|| format!("{name:?} is neither a string nor {{\"b64\": …}}")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, Malformed> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => {
                value.as_u64().map(Some).ok_or_else(|| format!("{name:?} is not a number from 0 up"))
            }
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, Malformed> {
        match self.take(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| format!("{name:?} is neither true nor false")),
        }
    }

    fn items(&mut self, name: &str) -> Result<Vec<Fields>, Malformed> {
        let wrong = || format!("{name:?} is not a list of objects");
        let Some(Value::Array(items)) = self.take(name) else { return Err(wrong()) };
        let fields = items.into_iter().map(|item| match item {
            Value::Object(map) => Ok(Fields(map)),
            _ => Err(wrong()),
        });
        fields.collect()
    }
}

/// An object, by name or by id.
fn named(object: Value) -> Result<Named, Malformed> {
    let wrong = || "\"obj\" is a name or {\"id\": \"32 hexadecimal digits\"}".to_owned();
    match object {
        Value::String(name) => Ok(Named::Name(name)),
        Value::Object(map) => match map.get("id") {
            Some(Value::String(id)) => Ok(Named::Id(parse_id(id)?)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        parse(line.as_bytes()).1.err().unwrap()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refused("").contains("not JSON"));
        assert!(refused("[]").contains("JSON object"));
        assert!(refused("{}").contains("\"op\" is missing"));
        assert!(refused(r#"{"op":"fly"}"#).contains("fly"));
        assert!(refused(r#"{"op":"get","ns":"n","obj":"o"}"#).contains("\"key\" is missing"));
        assert!(refused(r#"{"op":"get","ns":"n","obj":{"id":"1"},"key":"k"}"#).contains("32 hex"));
        assert!(refused(r#"{"op":"put","ns":"n","obj":"o","key":"k","value":1}"#).contains("\"value\""));
        assert!(
            refused(r#"{"op":"put","ns":"n","obj":"o","key":"k","value":"","expect_seq":-1}"#)
                .contains("expect_seq")
        );
        assert!(refused(r#"{"op":"txn","ns":"n","obj":"o","ops":[1]}"#).contains("\"ops\""));
        assert!(refused(r#"{"op":"txn","ns":"n","obj":"o","ops":[{"op":"get","key":"k"}]}"#).contains("get"));
        assert!(refused(r#"{"op":"sql","ns":"n","obj":"o"}"#).contains("\"query\" is missing"));
        assert!(
            refused(r#"{"op":"sql","ns":"n","obj":"o","query":"","params":[[]]}"#).contains("a parameter is")
        );
        assert!(refused(r#"{"op":"sql","ns":"n","obj":"o","query":"","params":7}"#).contains("\"params\""));
        assert!(refused(r#"{"op":"at","ns":"n","obj":"o"}"#).contains("\"at\" is missing"));
        assert!(refused(r#"{"op":"at","ns":"n","obj":"o","at":-1}"#).contains("\"at\""));
        assert!(refused(r#"{"op":"fork","ns":"n","obj":"o","at":1,"to":"p"}"#).contains("\"to\""));
        assert!(refused(r#"{"op":"restore","ns":"n","obj":"o"}"#).contains("\"at\" is missing"));
        assert!(refused(r#"{"op":"diff","ns":"n","obj":"o","from":"when"}"#).contains("when"));
        assert!(refused(r#"{"op":"history","ns":"n","obj":"o","since":"7"}"#).contains("time"));
        assert!(refused(r#"{"op":"many","txns":{}}"#).contains("\"txns\""));
        assert!(refused(r#"{"op":"pin","ns":"n","obj":"o"}"#).contains("\"name\""));
        assert!(refused(r#"{"op":"changes","ns":"n","obj":"o"}"#).contains("\"seq\""));
        assert!(refused(r#"{"op":"restore_many","ns":"n","at":"1h ago"}"#).contains("\"prefix\""));
        assert!(refused(r#"{"op":"restore_many","ns":"n","all":true,"at":7}"#).contains("time"));
    }

    #[test]
    fn the_id_comes_back_also_from_a_request_that_is_wrong() {
        assert_eq!(parse(br#"{"id":[7],"op":"fly"}"#).0, Some(serde_json::json!([7])));
    }

    #[test]
    fn one_cause_serves_all_transactions_that_have_none() {
        let line = br#"{"op":"many","cause":"all","txns":[{"ns":"n","obj":"a","ops":[]},{"ns":"n","obj":"b","ops":[],"cause":"own"}]}"#;
        let Ok(Request::Many(writes)) = parse(line).1 else { panic!() };
        let causes: Vec<_> = writes.iter().map(|write| write.terms.cause.as_deref()).collect();
        assert_eq!(causes, [Some("all"), Some("own")]);
    }
}
