//! Who writes what: a lane is one submitter with two objects of its own, and each of its steps is one transaction that a
//! number decides. So what both objects hold after a step is known without asking anybody.

use std::collections::BTreeMap;

use lineal::{Durability, Engine, Error, Gated, Namespace, Object, Result, Tx, View};

use crate::draw::Draw;

/// Lanes of a worker.
pub const LANES: usize = 3;

/// Objects of a lane.
pub const OBJECTS: usize = 2;

/// The namespace that lanes write to.
pub const NAMESPACE: &str = "lanes";

/// Keys of an object that are written in turn.
const KEYS: u64 = 16;

/// Rows of a database that are written in turn.
const ROWS: u64 = 12;

/// Begins the keys under which an object keeps how far it saw another lane. Not a matter of the step alone.
const SEEN: &str = "seen ";

/// What one step does.
#[derive(Clone, Debug)]
enum Deed {
    /// One transaction.
    Write(Write),
    /// Deletes the first object, which exists then.
    Delete,
}

#[derive(Clone, Debug, Default)]
struct Write {
    /// The first object, the second, or both in one transaction.
    objects: Vec<usize>,
    puts: Vec<(String, Vec<u8>)>,
    remove: Option<String>,
    /// A row of the second object's database.
    row: Option<(i64, i64)>,
    /// A lane that it looks at, and says how far it saw that.
    look: Option<usize>,
}

fn deed(lane: usize, step: u64) -> Deed {
    if step % 61 == 40 {
        return Deed::Delete;
    }
    let mut draw = Draw::new((lane as u64) << 40 | step);
    let mut write = Write { objects: vec![draw.below(2) as usize], ..Write::default() };
    match draw.below(10) {
        0 | 1 => write.objects = vec![0, 1],
        2 | 3 => {
            write.objects = vec![1];
            write.row = Some(((step % ROWS) as i64, step as i64));
        }
        4 => write.look = Some((lane + 1) % LANES),
        5 => write.remove = Some(format!("key {}", draw.below(KEYS))),
        _ => {}
    }
    write.puts.push(("step".to_owned(), step.to_le_bytes().to_vec()));
    for _ in 0..draw.below(3) {
        let length = if draw.percent(4) { 9_000 } else { draw.below(1_200) } as usize;
        let value = if draw.percent(50) {
            step.to_le_bytes().into_iter().cycle().take(length).collect()
        } else {
            (0..length).map(|_| draw.number() as u8).collect()
        };
        write.puts.push((format!("key {}", draw.below(KEYS)), value));
    }
    Deed::Write(write)
}

/// What one object holds, apart from what it saw of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    seq: u64,
    exists: bool,
    entries: BTreeMap<String, Vec<u8>>,
    rows: BTreeMap<i64, i64>,
}

/// A lane after one of its steps, as it should be.
#[derive(Clone, Debug)]
pub struct Lane {
    number: usize,
    step: u64,
    objects: [Content; OBJECTS],
}

impl Lane {
    /// The lane of this number, before its first step.
    #[must_use]
    pub fn new(number: usize) -> Lane {
        Lane { number, step: 0, objects: Default::default() }
    }

    /// Its steps so far.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    fn seqs(&self) -> [u64; OBJECTS] {
        [self.objects[0].seq, self.objects[1].seq]
    }

    fn go(&mut self) {
        self.step += 1;
        match deed(self.number, self.step) {
            Deed::Delete => {
                self.objects[0] = Content { seq: self.objects[0].seq + 1, ..Content::default() };
            }
            Deed::Write(write) => {
                for object in write.objects {
                    let content = &mut self.objects[object];
                    content.seq += 1;
                    content.exists = true;
                    if let Some(key) = &write.remove {
                        content.entries.remove(key);
                    }
                    content.entries.extend(write.puts.iter().cloned());
                    content.rows.extend(write.row);
                }
            }
        }
    }

    /// Goes on to the step after which its objects have had so many commits. So a hole, or half of a transaction over
    /// both, is seen.
    ///
    /// # Errors
    /// If no step leaves them like that.
    pub fn go_to(&mut self, seqs: [u64; OBJECTS]) -> std::result::Result<(), String> {
        while self.seqs() != seqs {
            if self.seqs().iter().zip(seqs).any(|(mine, wanted)| *mine > wanted) {
                let (at, lane) = (self.seqs(), self.number);
                return Err(format!(
                    "lane {lane}: its objects are at {seqs:?}, and no step leads there ({at:?})"
                ));
            }
            self.go();
        }
        Ok(())
    }

    /// Compares what is found with what should be there.
    ///
    /// # Errors
    /// What is different, or what the engine says.
    pub fn compare(&self, found: &Found) -> std::result::Result<(), String> {
        for (at, (wanted, found)) in self.objects.iter().zip(&found.objects).enumerate() {
            if wanted == &found.content {
                continue;
            }
            let context = format!("lane {}, object {at}, after step {}", self.number, self.step);
            let (wanted, found) = (wanted, &found.content);
            for key in wanted.entries.keys().chain(found.entries.keys()) {
                if wanted.entries.get(key) != found.entries.get(key) {
                    let length = |content: &Content| content.entries.get(key).map(Vec::len);
                    let (wanted, found) = (length(wanted), length(found));
                    return Err(format!("{context}: {key:?} has {found:?} bytes and not those {wanted:?}"));
                }
            }
            let told = |content: &Content| (content.seq, content.exists, content.rows.clone());
            return Err(format!("{context}: {:?} instead of {:?}", told(found), told(wanted)));
        }
        Ok(())
    }
}

/// What an object was found to hold.
#[derive(Clone, Debug, Default)]
struct FoundObject {
    content: Content,
    seen: BTreeMap<usize, u64>,
}

/// A lane as it was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    objects: [FoundObject; OBJECTS],
}

impl Found {
    /// How many commits each object has had.
    #[must_use]
    pub fn seqs(&self) -> [u64; OBJECTS] {
        [self.objects[0].content.seq, self.objects[1].content.seq]
    }

    /// How many commits of another lane's first object this one saw before one of its own.
    pub fn seen(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.objects.iter().flat_map(|object| object.seen.iter().map(|(lane, seq)| (*lane, *seq)))
    }
}

/// A lane's two objects.
#[derive(Clone, Debug)]
pub struct Handles {
    number: usize,
    objects: [Object; OBJECTS],
}

impl Handles {
    /// Those of one lane.
    ///
    /// # Errors
    /// What the engine says.
    pub fn open(namespace: &Namespace, number: usize) -> Result<Handles> {
        let object = |at: usize| namespace.object(&format!("lane {number}, object {at}"));
        Ok(Handles { number, objects: [object(0)?, object(1)?] })
    }

    /// Those of all lanes.
    ///
    /// # Errors
    /// What the engine says.
    pub fn all(namespace: &Namespace) -> Result<[Handles; LANES]> {
        let [zero, one, two] = [0, 1, 2].map(|number| Handles::open(namespace, number));
        Ok([zero?, one?, two?])
    }

    /// How many commits each object has had, durable ones and others.
    ///
    /// # Errors
    /// What the engine says.
    pub fn seqs(&self) -> Result<[u64; OBJECTS]> {
        let seq = |at: usize| self.objects[at].read(|view| Ok(view.seq())).wait();
        Ok([seq(0)?, seq(1)?])
    }

    /// How many commits each object has had by now, durable or not, without a wait.
    ///
    /// # Errors
    /// What the engine says.
    pub fn peek(&self) -> Result<[u64; OBJECTS]> {
        let seq = |at: usize| self.objects[at].read(|view| Ok(view.seq())).unconfirmed();
        Ok([seq(0)?, seq(1)?])
    }

    /// A gate that opens when all that both objects have by now is archived.
    pub fn archived(&self) -> Gated<()> {
        let gate = |at: usize| {
            self.objects[at].transact(|tx| {
                tx.durability(Durability::Archived)?;
                // What it looks at, it waits for.
                tx.contains("step").map(drop)
            })
        };
        gate(0).zip(gate(1)).map(|_| ())
    }

    /// Does the step that follows after so many, and does not wait for it.
    pub fn submit(lanes: &[Handles; LANES], number: usize, engine: &Engine, step: u64) -> Gated<()> {
        let Handles { objects, .. } = &lanes[number];
        let write = match deed(number, step) {
            Deed::Delete => return objects[0].delete(),
            Deed::Write(write) => write,
        };
        let seen = write.look.map(|other| lanes[other].objects[0].read(|view| Ok(view.seq())));
        if let [left, right] = write.objects[..] {
            return engine.transact_many([&objects[left], &objects[right]], |[left, right]| {
                do_write(left, &write)?;
                do_write(right, &write)
            });
        }
        objects[write.objects[0]].transact(|tx| {
            if let (Some(seen), Some(other)) = (seen, write.look) {
                let seen = tx.absorb(seen)?;
                tx.put(format!("{SEEN}{other}"), seen.to_le_bytes())?;
            }
            do_write(tx, &write)
        })
    }

    /// Reads all of it, and has the chains verified if that is asked for.
    ///
    /// # Errors
    /// What the engine says, or what cannot be.
    pub fn read(&self, verify: bool) -> std::result::Result<Found, String> {
        let mut found = Found::default();
        for (at, object) in self.objects.iter().enumerate() {
            let context = |error: Error| format!("lane {}, object {at}: {error}", self.number);
            found.objects[at] = object.read(|view| read(view, at == 1)).wait().map_err(context)?;
            if verify && found.objects[at].content.exists {
                object.verify().map_err(context)?;
            }
        }
        Ok(found)
    }
}

fn do_write(tx: &mut Tx<'_>, write: &Write) -> Result<()> {
    if let Some(key) = &write.remove {
        tx.delete(key)?;
    }
    for (key, value) in &write.puts {
        tx.put(key, value)?;
    }
    if let Some((key, value)) = write.row {
        let sql = tx.sql();
        sql.execute("CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v)", [])?;
        sql.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", [key, value])?;
    }
    Ok(())
}

fn read(view: &View<'_>, rows: bool) -> Result<FoundObject> {
    let mut found = FoundObject::default();
    found.content.seq = view.seq();
    found.content.exists = view.exists();
    for entry in view.prefix("") {
        let (key, value) = entry?;
        let key = String::from_utf8_lossy(&key).into_owned();
        match key.strip_prefix(SEEN).and_then(|lane| lane.parse().ok()) {
            Some(lane) => {
                let seq = value[..].try_into().map_err(Error::other)?;
                found.seen.insert(lane, u64::from_le_bytes(seq));
            }
            None => {
                found.content.entries.insert(key, value.to_vec());
            }
        }
    }
    if rows && view.exists() {
        let sql = view.sql();
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 't'";
        if sql.query_one(tables, [], |row| row.get::<i64>(0))? == 1 {
            let all = sql.query_map("SELECT k, v FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.content.rows = all.collect::<Result<_>>()?;
        }
    }
    Ok(found)
}
