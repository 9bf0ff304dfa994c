//! Where the attacks happen: a data directory with others' objects in it, and files beside it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lineal::{Engine, Micros, Object, Options, SqlOptions};

/// What the engine takes for the time: no real clock shows it.
pub const NOW: Micros = Micros(1_234_567_890_000_000);

/// What the random numbers of one engine begin with, and so the names of its directories for imports: the process and a
/// number, so that tests beside this one are not taken for it.
fn first_draw() -> u64 {
    static GROUNDS: AtomicU64 = AtomicU64::new(1);
    u64::from(std::process::id()) << 32 | GROUNDS.fetch_add(1, Ordering::Relaxed) << 16
}

/// Everything that somebody else's object holds.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    seq: u64,
    bytes: u64,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    rows: Vec<String>,
}

/// An engine, others' objects, and what lies beside it.
pub struct Ground {
    temp: tempfile::TempDir,
    draw: u64,
    engine: Option<Engine>,
    victims: Vec<(&'static str, &'static str)>,
    before: Vec<Content>,
    beside: BTreeMap<PathBuf, Vec<u8>>,
    inside: Vec<PathBuf>,
}

impl Ground {
    pub fn new() -> Ground {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("beside")).unwrap();
        fs::write(temp.path().join("beside/secret.txt"), "nobody's business").unwrap();
        fs::write(temp.path().join("secret.db"), "nor this").unwrap();
        let draw = first_draw();
        let engine = open(temp.path(), draw);
        let victims = vec![("tenant", "neighbour"), ("tenant", "o"), ("other", "attacker"), ("other", "p")];
        for (namespace, name) in &victims {
            let object = engine.namespace(namespace).unwrap().object(name).unwrap();
            let filled = object.transact(|tx| {
                for at in 0..20u8 {
                    tx.put([at], vec![at; 100])?;
                }
                tx.put("secret", format!("of {namespace}/{name}"))?;
                tx.sql().execute_batch("CREATE TABLE t (x TEXT); INSERT INTO t VALUES ('theirs')")
            });
            filled.wait().unwrap();
        }
        let attacker = engine.namespace("tenant").unwrap().object("attacker").unwrap();
        let mine = "CREATE TABLE t (x TEXT); INSERT INTO t VALUES ('mine')";
        attacker.transact(|tx| tx.sql().execute_batch(mine)).wait().unwrap();
        // Half of what there is lies in a pack, half in the log.
        engine.checkpoint().unwrap();
        for (namespace, name) in victims.iter().step_by(2) {
            let object = engine.namespace(namespace).unwrap().object(name).unwrap();
            object.transact(|tx| tx.put("newer", "in the log")).wait().unwrap();
        }
        let mut ground = Ground {
            beside: BTreeMap::new(),
            inside: Vec::new(),
            before: Vec::new(),
            engine: Some(engine),
            draw,
            temp,
            victims,
        };
        ground.before = ground.contents();
        ground.beside = ground.files_beside();
        ground.inside = listed(&ground.dir());
        ground
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// The object that attacks.
    pub fn attacker(&self) -> Object {
        self.object("tenant", "attacker")
    }

    /// Somebody else's object, in the attacker's namespace.
    pub fn victim(&self) -> Object {
        self.object("tenant", "neighbour")
    }

    pub fn object(&self, namespace: &str, name: &str) -> Object {
        self.engine().namespace(namespace).unwrap().object(name).unwrap()
    }

    pub fn dir(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    pub fn reopen(&mut self) {
        self.engine.take().unwrap().close().unwrap();
        self.engine = Some(open(self.temp.path(), self.draw));
    }

    /// That nobody else has noticed anything.
    pub fn judge(&self, attack: &str) {
        assert_eq!(self.contents(), self.before, "others' objects after {attack}");
        assert_eq!(self.files_beside(), self.beside, "files beside the directory after {attack}");
        let scratch = format!("lineal-import-{:012x}", self.draw >> 16);
        let mut left = listed(&std::env::temp_dir());
        left.retain(|path| path.to_string_lossy().contains(&scratch));
        assert!(left.is_empty(), "{left:?} is left after {attack}");
    }

    /// That the data directory has no file that it did not have. Only for attacks that commit next to nothing, because
    /// the engine itself makes files as it goes.
    pub fn judge_names(&self, attack: &str) {
        assert_eq!(listed(&self.dir()), self.inside, "files in the directory after {attack}");
    }

    fn contents(&self) -> Vec<Content> {
        let content = |&(namespace, name): &(&str, &str)| {
            let object = self.object(namespace, name);
            let read = object.read(|view| {
                let entries = view.prefix("").map(|entry| {
                    let (key, value) = entry?;
                    Ok((key, value.to_vec()))
                });
                let entries = entries.collect::<lineal::Result<Vec<_>>>()?;
                let sql = view.sql();
                let rows = sql.query_map("SELECT x FROM t", [], |row| row.get(0))?;
                Ok((entries, rows.collect::<lineal::Result<Vec<String>>>()?))
            });
            let (entries, rows) = read.wait().unwrap();
            let info = object.info().unwrap();
            Content { seq: info.seq, bytes: info.bytes, entries, rows }
        };
        self.victims.iter().map(content).collect()
    }

    fn files_beside(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        for folder in [self.temp.path().to_owned(), self.temp.path().join("beside")] {
            for path in listed(&folder) {
                let bytes = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                found.insert(path, bytes);
            }
        }
        // Where a relative path would lead.
        found.extend(listed(Path::new(".")).into_iter().map(|path| (path, Vec::new())));
        found
    }
}

fn open(temp: &Path, draw: u64) -> Engine {
    let sql = SqlOptions::new().operations_max(3_000_000).memory_bytes_max(8 << 20);
    let draws = AtomicU64::new(draw);
    Options::new()
        .sql(sql)
        .clock(Arc::new(|| NOW))
        .random(Arc::new(move || draws.fetch_add(1, Ordering::Relaxed)))
        .open(temp.join("data"))
        .unwrap()
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
