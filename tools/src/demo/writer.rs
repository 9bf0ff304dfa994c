//! The process that writes: replays the history from where it stands, and tells on stdout what is durable.

use std::{
    io::{Read, Write},
    time::Instant,
};

use lineal::{Engine, Gated, Namespace, Object, Tx};

use super::{
    acks::{self, Acks, Opened},
    blobs::Contents,
    change::{Commit, File},
    marker::{self, Position},
    name,
    origin::{DEMO, FILES, Origin, PIECE_BYTES, keys, pieces},
    repo::Repo,
};
use crate::{
    args,
    exit::{Failure, Outcome},
    open,
};

/// Files in one transaction. A commit that touches more is several, each with its own position.
///
/// Source: chosen; every object of a transaction is in memory and has its turn taken.
const FILES_MAX: usize = 512;
/// Bytes in one transaction from which on it ends.
///
/// Source: chosen; with one more file of 16 MiB far below the engine's 64 MiB.
const BYTES_MAX: u64 = 16 << 20;

pub(crate) fn run(args: &args::DemoWriter) -> Outcome {
    let origin = match (&args.repo, &args.tip) {
        (Some(repo), Some(tip)) => Origin::Git(Repo::at(repo.clone(), tip.clone(), args.base.clone())),
        _ => Origin::Sample,
    };
    let started = Instant::now();
    let engine = open::writing(&args.keeping).open(&args.dir)?;
    let opened = started.elapsed();
    let files = engine.namespace(FILES)?;
    let marker = marker::object(&engine.namespace(DEMO)?)?;
    let position = marker::read(&marker)?;
    acks::tell_opened(&Opened {
        opened,
        replayed: engine.stats().replayed_commits,
        position: position.clone(),
    })?;

    let (acks, acking) = Acks::start(&engine)?;
    let mut writer =
        Writer { engine: &engine, files, marker, acks, resume: Some(position.clone()), position };
    let replayed = writer.replay(&origin, args.hold_at);
    drop(writer);
    // What was acknowledged is told also when the replay failed.
    let acked =
        acking.join().unwrap_or_else(|_| Err(Failure::other("the thread that tells what is durable failed")));
    acked?;
    replayed?;
    let fsyncs = engine.stats().fsyncs;
    engine.close()?;
    acks::tell_closed(fsyncs)
}

struct Writer<'e> {
    engine: &'e Engine,
    files: Namespace,
    marker: Object,
    acks: Acks,
    position: Position,
    /// Where the first commit is taken up in its middle.
    resume: Option<Position>,
}

/// One file's part of a transaction.
struct Part {
    object: Object,
    /// The path, if the object's name is not the path.
    path: Option<Vec<u8>>,
    mode: String,
    /// Whether the file begins here, and what the object held before goes.
    first: bool,
    puts: Vec<(String, Vec<u8>)>,
}

impl Writer<'_> {
    fn replay(&mut self, origin: &Origin, hold_at: Option<u64>) -> Outcome {
        let mut feed = origin.replay(&self.position.done)?;
        while let Some(commit) = feed.next()? {
            self.commit(&commit, &mut feed.contents)?;
            if hold_at.is_some_and(|hold_at| self.position.done.commits >= hold_at) {
                return wait_for_the_kill();
            }
        }
        Ok(())
    }

    fn commit(&mut self, commit: &Commit, contents: &mut Contents) -> Outcome {
        let resume = self.resume.take().unwrap_or_default();
        let cause = commit.cause();
        if (resume.files, resume.pieces) == (0, 0) {
            self.deletes(commit, &cause)?;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (number, (path, file)) in commit.files().enumerate() {
            let size = contents.begin(&file.blob)?;
            if (number as u64) < resume.files {
                contents.skip(&file.blob, size)?;
                continue;
            }
            let count = pieces(size).max(1);
            let done = if number as u64 == resume.files { resume.pieces.min(count) } else { 0 };
            let length = if count == 1 { size } else { PIECE_BYTES };
            contents.skip(&file.blob, done * PIECE_BYTES)?;
            for piece in done..count {
                if piece == done || batch.is_empty() {
                    batch.push(self.part(path, file, piece == 0)?);
                }
                let value = contents.piece(&file.blob, length)?;
                bytes += value.len() as u64;
                let key = if pieces(size) == 0 { keys::CONTENT.to_owned() } else { keys::piece(piece) };
                let part: &mut Part = batch.last_mut().expect("a part was just added");
                part.puts.push((key, value));
                let file_done = piece + 1 == count;
                self.position.files = number as u64 + u64::from(file_done);
                self.position.pieces = if file_done { 0 } else { piece + 1 };
                if bytes >= BYTES_MAX || (file_done && batch.len() >= FILES_MAX) {
                    self.write(std::mem::take(&mut batch), bytes, &cause)?;
                    bytes = 0;
                }
            }
        }
        self.position.done.commits += 1;
        self.position.done.last.clone_from(&commit.id);
        self.position.files = 0;
        self.position.pieces = 0;
        self.position.totals.submodules += commit.submodules;
        self.write(batch, bytes, &cause)
    }

    /// Deletes what the commit deletes. Each is a transaction of its own, before those with the position: done again
    /// after a kill it finds nothing to delete, and makes no second commit.
    fn deletes(&mut self, commit: &Commit, cause: &str) -> Outcome {
        for change in commit.changes.iter().filter(|change| change.file.is_none()) {
            let gate = self.files.object(&name::of(&change.path))?.delete_because(cause);
            self.position.totals.transactions += 1;
            self.acks.push(gate, None)?;
        }
        Ok(())
    }

    fn part(&self, path: &[u8], file: &File, first: bool) -> Outcome<Part> {
        let name = name::of(path);
        let object = self.files.object(&name)?;
        let path = name::is_made_up(&name).then(|| path.to_vec());
        Ok(Part { object, path, mode: file.mode.clone(), first, puts: Vec::new() })
    }

    /// Writes files and the position as one transaction, and does not wait for it.
    fn write(&mut self, batch: Vec<Part>, bytes: u64, cause: &str) -> Outcome {
        let totals = &mut self.position.totals;
        totals.transactions += batch.len() as u64;
        totals.continued += batch.iter().filter(|part| !part.first).count() as u64;
        totals.bytes += bytes;
        let objects: Vec<&Object> = batch.iter().map(|part| &part.object).chain([&self.marker]).collect();
        let gate: Gated<()> = self.engine.transact_all(&objects, |txs| {
            let (marker, files) = txs.split_last_mut().expect("the marker is always there");
            for (tx, part) in files.iter_mut().zip(&batch) {
                tx.cause(cause)?;
                apply(tx, part)?;
            }
            marker.cause(cause)?;
            marker::write(marker, &self.position)
        });
        self.acks.push(gate, Some(self.position.clone()))
    }
}

fn apply(tx: &mut Tx<'_>, part: &Part) -> lineal::Result<()> {
    if part.first {
        let whole = part.puts.iter().any(|(key, _)| key == keys::CONTENT);
        if tx.contains(keys::piece(0))? {
            tx.delete_range(keys::PIECES..keys::PIECES_END)?;
        }
        if !whole {
            tx.delete(keys::CONTENT)?;
        }
        tx.put(keys::MODE, &part.mode)?;
        if let Some(path) = &part.path {
            tx.put(keys::PATH, path)?;
        }
    }
    part.puts.iter().try_for_each(|(key, value)| tx.put(key, value))
}

/// Waits with all that is in flight; the parent kills this process now, or has gone.
fn wait_for_the_kill() -> Outcome {
    std::io::stdout().flush().map_err(|error| Failure::output(&error))?;
    let mut nothing = [0];
    // Whatever ends the wait, there is nobody left to write for.
    let _ = std::io::stdin().lock().read(&mut nothing);
    Err(Failure::other("the demo that started this process has gone"))
}
