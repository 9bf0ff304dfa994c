//! Scripts of SQLite's sqllogictest, run through `tx.sql()` and beside it through the same SQLite in memory: the answers
//! must be the script's and the same from both. Statements share transactions by chance, queries go through views too,
//! and between transactions the object hibernates, or the engine makes a checkpoint, or is closed and opened again.
//!
//! The scripts in `corpus` are ours. Those below the folder that the variable `LINEAL_SQLLOGICTEST` names are run as well;
//! CONTRIBUTING.md says where to get SQLite's.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use lineal::{
    Engine, Error, Object, Options, Sql,
    rusqlite::{Connection, types::Value},
};
use lineal_tests::{
    chooser::chooser,
    script::{self, Query, Record, Wants},
    world,
};
use lineal_wal::sim::SimDisk;

/// Published records that a guard refuses, by script and line, and what comes of them.
const REFUSED: (&str, &[usize]) = ("evidence/slt_lang_createview.test", &[48, 52, 115, 119]);

/// Published queries that have no result in their script, because what SQLite makes of them has changed since. Their
/// answer must be the one of SQLite in memory all the same.
const UNANSWERED: (&str, &[usize]) = ("evidence/slt_lang_aggfunc.test", &[478, 482, 489, 493]);

/// The names that conditions know the engine by. SQLite in memory is not asked what is `onlyif lineal`.
const NAMES: &[&str] = &["sqlite", "lineal"];

/// How transactions are cut.
#[derive(Clone, Copy)]
struct Pace {
    /// Records in one transaction, at most.
    records_max: usize,
    /// Transactions between two that something happens after, on average.
    calm: usize,
}

#[test]
fn our_scripts_answer_as_sqlite_does() {
    let scripts = scripts(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")));
    assert!(!scripts.is_empty());
    // Each cut in several ways, on a small engine.
    for seed in 2..10 {
        let open = || {
            let disk = SimDisk::new();
            Box::new(move || world::options(&disk, seed).open("scripts").unwrap()) as Opens
        };
        run_all(&scripts, seed, Pace { records_max: 4, calm: 4 }, open);
    }
}

#[test]
fn published_scripts_answer_as_sqlite_does() {
    let Some(folder) = std::env::var_os("LINEAL_SQLLOGICTEST") else {
        say("skipped: LINEAL_SQLLOGICTEST names no folder of published scripts (see CONTRIBUTING.md)");
        return;
    };
    let scripts = scripts(Path::new(&folder));
    assert!(!scripts.is_empty(), "no .test below {}", folder.display());
    let began = Instant::now();
    let open = || {
        let temp = tempfile::tempdir().unwrap();
        Box::new(move || Options::new().background(false).open(temp.path()).unwrap()) as Opens
    };
    let counts = run_all(&scripts, 2, Pace { records_max: 20, calm: 20 }, open);
    say(&format!("{} scripts, {counts:?}, {:.1?}", scripts.len(), began.elapsed()));
}

/// Writes a line past the test harness, which keeps what a passing test prints.
fn say(line: &str) {
    std::io::stderr().write_all(format!("sqllogictest: {line}\n").as_bytes()).unwrap();
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(scripts(&path));
        } else if path.extension().is_some_and(|extension| extension == "test") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[derive(Debug, Default)]
struct Counts {
    statements: usize,
    queries: usize,
    /// For other engines.
    not_ours: usize,
    refused: usize,
    unanswered: usize,
    transactions: usize,
    upheavals: usize,
}

/// Opens one script's engine, as often as it is called.
type Opens = Box<dyn Fn() -> Engine>;

fn run_all(scripts: &[PathBuf], seed: u64, pace: Pace, place: impl Fn() -> Opens) -> Counts {
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    for script in scripts {
        let began = Instant::now();
        let records = script::parse(&std::fs::read_to_string(script).unwrap());
        let of = |(name, lines): (&str, &'static [usize])| if script.ends_with(name) { lines } else { &[] };
        let mut run = Run::new(place(), seed, pace, of(UNANSWERED));
        run.script(&records, of(REFUSED), &mut counts);
        wrong.extend(run.wrong.iter().map(|wrong| format!("{}:{wrong}", script.display())));
        if records.len() > 1_000 {
            say(&format!("{}: {} records, {:.1?}", script.display(), records.len(), began.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong[..wrong.len().min(50)].join("\n"));
    counts
}

/// What a record was answered.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Done,
    Values(Vec<String>),
    Failed(String),
}

/// One script on one object.
struct Run {
    /// Nothing while it is opened again.
    engine: Option<Engine>,
    open: Opens,
    memory: Connection,
    choose: Box<dyn FnMut(usize) -> usize>,
    pace: Pace,
    labels: HashMap<String, String>,
    /// Lines of queries without a result.
    unanswered: &'static [usize],
    wrong: Vec<String>,
}

impl Run {
    fn new(open: Opens, seed: u64, pace: Pace, unanswered: &'static [usize]) -> Run {
        let memory = Connection::open_in_memory().unwrap();
        memory.execute_batch("PRAGMA foreign_keys = ON").unwrap();
        Run {
            engine: Some(open()),
            open,
            memory,
            choose: Box::new(chooser(seed)),
            pace,
            labels: HashMap::new(),
            unanswered,
            wrong: Vec::new(),
        }
    }

    fn object(&self) -> Object {
        self.engine.as_ref().unwrap().namespace("scripts").unwrap().object("script").unwrap()
    }

    fn script(&mut self, records: &[Record], refused: &[usize], counts: &mut Counts) {
        let mut rest = Vec::new();
        for record in records {
            if !record.is_for(NAMES) {
                counts.not_ours += 1;
            } else if matches!(record.wants, Wants::Halt) {
                break;
            } else if refused.contains(&record.line) {
                counts.refused += 1;
            } else {
                match record.wants {
                    Wants::Values(_) => counts.queries += 1,
                    _ => counts.statements += 1,
                }
                counts.unanswered += usize::from(self.unanswered.contains(&record.line));
                rest.push(record);
            }
        }
        let mut rest = rest.as_slice();
        while !rest.is_empty() {
            let (group, later) = rest.split_at(rest.len().min(1 + (self.choose)(self.pace.records_max)));
            rest = later;
            self.group(group, counts);
            if (self.choose)(self.pace.calm) == 0 {
                counts.upheavals += 1;
                self.upheaval();
            }
        }
        self.compare_databases();
    }

    /// Runs records in one transaction, or in one view. If one of them takes the whole transaction back, each is run in
    /// a transaction of its own, which is what scripts mean.
    fn group(&mut self, group: &[&Record], counts: &mut Counts) {
        counts.transactions += 1;
        let asks =
            group.iter().all(|record| matches!(record.wants, Wants::Values(_)) && !is_returning(&record.sql));
        let reads = asks && (self.choose)(4) == 0;
        let batched = (self.choose)(2) == 0;
        let mut undone = None;
        let answers = if reads {
            self.object()
                .read(|view| Ok(group.iter().map(|record| ask(&view.sql(), record, false).0).collect()))
                .wait()
        } else {
            self.object()
                .transact(|tx| {
                    let mut answers = Vec::new();
                    for record in group {
                        let (answer, undid) = ask(&tx.sql(), record, batched);
                        answers.push(answer);
                        if undid {
                            undone = Some(std::mem::take(&mut answers));
                            return Err(Error::other("undone"));
                        }
                    }
                    Ok(answers)
                })
                .wait()
        };
        let answers = match (answers, undone) {
            (Ok(answers), None) => answers,
            (Err(_), Some(answers)) if group.len() == 1 => answers,
            (Err(_), Some(_)) => return group.iter().for_each(|record| self.group(&[record], counts)),
            (answers, _) => return self.wrong.push(format!("{}: {answers:?}", group[0].line)),
        };
        for (record, answer) in group.iter().zip(answers) {
            self.judge(record, &answer);
        }
    }

    fn judge(&mut self, record: &Record, answer: &Answer) {
        if record.is_for(&NAMES[..1]) {
            let memory = ask_memory(&self.memory, record);
            let same = match (answer, &memory) {
                (Answer::Failed(_), Answer::Failed(_)) => true,
                (answer, memory) => answer == memory,
            };
            if !same {
                let problem = format!("{answer:?}, and SQLite in memory {memory:?}");
                self.wrong.push(format!("{}: {}\n  {problem}", record.line, record.sql));
            }
        }
        if self.unanswered.contains(&record.line) {
            return;
        }
        let right = match (&record.wants, answer) {
            (Wants::Success, Answer::Done) | (Wants::Failure, Answer::Failed(_)) => true,
            (Wants::Values(query), Answer::Values(values)) => {
                query.expects(values) && self.is_labelled(query, values)
            }
            _ => false,
        };
        if !right {
            self.wrong.push(format!("{}: {}\n  {answer:?}, not {:?}", record.line, record.sql, record.wants));
        }
    }

    fn is_labelled(&mut self, query: &Query, values: &[String]) -> bool {
        let Some(label) = &query.label else { return true };
        let hash = script::hash(values);
        *self.labels.entry(label.clone()).or_insert_with(|| hash.clone()) == hash
    }

    /// What may happen to an object between two transactions.
    fn upheaval(&mut self) {
        match (self.choose)(3) {
            0 => self.object().hibernate().unwrap(),
            1 => drop(self.engine.as_ref().unwrap().checkpoint().unwrap()),
            _ => {
                self.engine.take().unwrap().close().unwrap();
                self.engine = Some((self.open)());
            }
        }
    }

    /// At the end everything in the database is what SQLite has in memory, and both kinds of check are content.
    fn compare_databases(&mut self) {
        let object = self.object();
        let ours = |text: &str| object.read(|view| run(&view.sql(), text)).wait().unwrap();
        let theirs = |text: &str| run_in_memory(&self.memory, text).unwrap();
        assert_eq!(ours("PRAGMA integrity_check"), [[Value::Text("ok".to_owned())]]);
        object.verify().unwrap();
        let schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
        let mut texts = vec![schema.to_owned()];
        for row in theirs("PRAGMA main.table_list") {
            let [_, Value::Text(name), Value::Text(kind), ..] = row.as_slice() else { panic!("{row:?}") };
            // How full-text search lays out its own tables depends on how the transactions were cut.
            if kind != "shadow" && kind != "view" && name != "sqlite_schema" {
                texts.push(format!("SELECT * FROM \"{name}\""));
            }
        }
        let differing: Vec<_> =
            texts.into_iter().filter(|text| ours(text.as_str()) != theirs(text.as_str())).collect();
        self.wrong.extend(differing.into_iter().map(|text| format!("at the end: {text}")));
    }
}

type Rows = Vec<Vec<Value>>;

/// What the object answers, and whether that took the transaction back.
fn ask(sql: &Sql<'_>, record: &Record, batched: bool) -> (Answer, bool) {
    let text = record.sql.as_str();
    let rows = match record.wants {
        Wants::Values(_) => run(sql, text),
        _ if returns_rows(text) => run(sql, text),
        // A batch that fails leaves nothing, not even what OR FAIL keeps.
        Wants::Success if batched => sql.execute_batch(text).map(|()| Vec::new()),
        _ => sql.execute(text, []).map(|_| Vec::new()),
    };
    let undid = matches!(&rows, Err(Error::Sql(error)) if error.undid());
    (answer(record, rows), undid)
}

fn ask_memory(memory: &Connection, record: &Record) -> Answer {
    answer(record, run_in_memory(memory, &record.sql))
}

fn returns_rows(text: &str) -> bool {
    let text = text.trim_start().to_ascii_uppercase();
    ["SELECT", "VALUES", "PRAGMA"].iter().any(|word| text.starts_with(word)) || is_returning(&text)
}

fn is_returning(text: &str) -> bool {
    text.to_ascii_uppercase().contains("RETURNING")
}

fn run(sql: &Sql<'_>, text: &str) -> lineal::Result<Rows> {
    let mut rows = sql.query(text, [])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((0..row.column_count()).map(|at| row.get(at)).collect::<Result<_, _>>()?);
    }
    Ok(all)
}

fn run_in_memory(memory: &Connection, text: &str) -> lineal::rusqlite::Result<Rows> {
    let mut statement = memory.prepare(text)?;
    let columns = statement.column_count();
    statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect())?.collect()
}

fn answer<E: std::fmt::Display>(record: &Record, rows: Result<Rows, E>) -> Answer {
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    let Wants::Values(query) = &record.wants else { return Answer::Done };
    if let Some(row) = rows.iter().find(|row| row.len() != query.types.len()) {
        return Answer::Failed(format!("{} columns", row.len()));
    }
    let render = |row: Vec<Value>| {
        row.iter()
            .zip(query.types.chars())
            .map(|(value, column)| script::render(value.into(), column))
            .collect()
    };
    Answer::Values(query.sorted(rows.into_iter().map(render).collect()))
}
