//! `lineal exec`: the engine for any language, one JSON request per line, one JSON reply per line.
//!
//! The main thread reads requests and runs them, one after the other, without waiting for the disk; what they answer
//! goes, with its gate, through a bounded queue to a second thread that waits for each gate and writes the reply. So
//! replies keep the order of the requests, and one fsync serves all requests that arrived while the last one ran.

mod archived;
mod lines;
mod past;
mod reply;
mod request;
mod room;
mod session;
mod sql;
mod writer;

use std::io;

use lineal::{Durability, Engine, Options};

use self::{
    lines::{Lines, Next},
    reply::Queued,
    room::Room,
    session::Session,
    writer::Writer,
};
use crate::{
    archive, args,
    exit::{Failure, Outcome},
    sync::{Arc, mpsc, thread},
};

/// Replies that may wait for their gates at a time.
///
/// Source: chosen; above it a group commit of small requests does not get faster.
const QUEUE_MAX: usize = 4096;

pub(crate) fn run(args: &args::Exec) -> Outcome {
    let engine = open(args)?;
    let room = Arc::new(Room::new());
    let (queue, replies) = mpsc::sync_channel(QUEUE_MAX);
    let writer = Writer::new(engine.clone(), Arc::clone(&room), replies);
    let writing = thread::Builder::new()
        .name("lineal-replies".into())
        .spawn(move || writer.run())
        .map_err(|error| Failure::io("the thread that writes replies could not be started", &error))?;
    let read = serve(&engine, &room, &queue);
    drop(queue);
    let wrote =
        writing.join().unwrap_or_else(|_| Err(Failure::other("the thread that writes replies failed")));
    let closed = engine.close().map_err(Failure::from);
    wrote?;
    read?;
    closed
}

fn open(args: &args::Exec) -> Outcome<Engine> {
    let mut archive = archive::of_writer(&args.keeping);
    if let Some(bytes) = args.local_bytes {
        archive = archive.map(|archive| archive.local_bytes(bytes));
    }
    let durability = match args.durability {
        args::Durability::Local => Durability::Local,
        args::Durability::Archived => Durability::Archived,
    };
    let options = archive.into_iter().fold(Options::new().durability(durability), Options::archive);
    let options = args.engine.into_iter().fold(options, Options::engine_id);
    Ok(if args.attach { options.attach(&args.dir)? } else { options.open(&args.dir)? })
}

/// For fuzzers: answers all lines of a text, each reply when its gate has opened.
#[cfg(feature = "sim")]
pub(crate) fn answer_all(engine: &Engine, text: &[u8], reply: &mut dyn FnMut(&str)) {
    let mut session = Session::new(engine.clone());
    let mut lines = Lines::new(text);
    loop {
        let queued = match lines.next() {
            Ok(Next::Line(line)) => session.answer(line),
            Ok(Next::TooLong { bytes }) => session.refuse_line(bytes),
            Ok(Next::End) | Err(_) => return,
        };
        reply(&queued.wait().line);
    }
}

/// Reads and runs requests until there are no more, or nobody answers them any more.
fn serve(engine: &Engine, room: &Room, queue: &mpsc::SyncSender<Queued>) -> Outcome {
    let mut session = Session::new(engine.clone());
    let mut lines = Lines::new(io::stdin().lock());
    loop {
        let queued = match lines.next().map_err(|error| Failure::io("reading stdin failed", &error))? {
            Next::End => return Ok(()),
            Next::Line(line) => session.answer(line),
            Next::TooLong { bytes } => session.refuse_line(bytes),
        };
        room.take(queued.weight());
        if queue.send(queued).is_err() || room.is_shut() {
            return Ok(());
        }
    }
}
