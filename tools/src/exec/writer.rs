//! The writing side: waits for gates in order and writes replies.

use std::{
    io::{self, BufWriter, Stdout, Write},
    process,
    time::Duration,
};

use lineal::{Engine, Error};

use super::{reply::Queued, room::Room};
use crate::{
    exit::{Code, Failure, Outcome},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
};

/// How long a request that is being run when the log fails may take until it is answered.
///
/// Source: chosen; every call of an engine whose log has failed fails at once.
const LAST_REPLY_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Writer {
    engine: Engine,
    room: Arc<Room>,
    replies: Receiver<Queued>,
    out: BufWriter<Stdout>,
    poisoned: Option<Error>,
}

impl Writer {
    pub(super) fn new(engine: Engine, room: Arc<Room>, replies: Receiver<Queued>) -> Writer {
        let out = BufWriter::with_capacity(64 << 10, io::stdout());
        Writer { engine, room, replies, out, poisoned: None }
    }

    /// Writes replies until there are no more. The reading side may sit in a read of stdin that never ends: where
    /// nobody is left to answer, this ends the process.
    pub(super) fn run(mut self) -> Outcome {
        match self.write_all() {
            Ok(Ended::NoMoreRequests) => match self.poisoned.take() {
                None => Ok(()),
                Some(error) => Err(error.into()),
            },
            Ok(Ended::Poisoned(error)) => {
                self.room.shut();
                end(Err(error.into()))
            }
            Err(error) => {
                self.room.shut();
                let failure = Failure::output(&error);
                let closed = self.engine.close().map_err(Failure::from);
                end(match failure {
                    Failure::OutputClosed => closed,
                    failure => Err(failure),
                })
            }
        }
    }

    fn write_all(&mut self) -> io::Result<Ended> {
        loop {
            let queued = match self.next()? {
                Ok(queued) => queued,
                Err(ended) => return Ok(ended),
            };
            if !queued.is_open() {
                self.out.flush()?;
            }
            let weight = queued.weight();
            let reply = queued.wait();
            self.out.write_all(reply.line.as_bytes())?;
            self.out.write_all(b"\n")?;
            self.room.free(weight);
            if let Some(error) = reply.poisoned {
                self.poisoned.get_or_insert(error);
                self.room.shut();
            }
        }
    }

    /// The next reply to wait for; flushes before it waits for one to come.
    fn next(&mut self) -> io::Result<Result<Queued, Ended>> {
        match self.replies.try_recv() {
            Ok(queued) => return Ok(Ok(queued)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => self.out.flush()?,
        }
        let Some(error) = &self.poisoned else {
            return Ok(self.replies.recv().map_err(|_| Ended::NoMoreRequests));
        };
        Ok(self.replies.recv_timeout(LAST_REPLY_AFTER).map_err(|ended| match ended {
            RecvTimeoutError::Timeout => Ended::Poisoned(error.clone()),
            RecvTimeoutError::Disconnected => Ended::NoMoreRequests,
        }))
    }
}

enum Ended {
    NoMoreRequests,
    Poisoned(Error),
}

fn end(outcome: Outcome) -> ! {
    let code = match &outcome {
        Ok(()) | Err(Failure::OutputClosed) => Code::Ok,
        Err(Failure::Silent(code) | Failure::Said { code, .. }) => *code,
    };
    // Prints the reason; the code is needed as a number here.
    let _ = crate::exit::report(outcome, false);
    process::exit(code as i32)
}
