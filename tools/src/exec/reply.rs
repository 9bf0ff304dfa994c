//! Replies: made when a request has run, told when its gate has opened.

use lineal::{Error, Gated};
use serde_json::Value;

use crate::{exit, json::Line};

/// Memory that a waiting reply takes besides its text, in bytes.
///
/// Source: estimated; it only has to keep many small ones from counting as nothing.
const OVERHEAD_BYTES: usize = 256;

/// What a request is answered with.
pub(super) enum Answer {
    /// Fields that depend on nothing that is not durable.
    Now(String),
    /// What is told if the gate opens without an error: what the caller knew, then what the gate held.
    Gated {
        known: String,
        gate: Gated<String>,
        bytes: usize,
    },
    Refused(Refusal),
}

/// Why a request was not done.
pub(super) enum Refusal {
    /// The line is no request.
    Malformed(String),
    Engine(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Engine(error)
    }
}

/// An answer on its way out.
pub(super) struct Queued {
    id: Option<Value>,
    answer: Answer,
}

impl Queued {
    pub(super) fn new(id: Option<Value>, answer: Answer) -> Queued {
        Queued { id, answer }
    }

    /// Memory that it takes while it waits, in bytes.
    pub(super) fn weight(&self) -> usize {
        let text = match &self.answer {
            Answer::Now(fields) => fields.len(),
            Answer::Gated { known, bytes, .. } => known.len() + bytes,
            Answer::Refused(_) => 0,
        };
        OVERHEAD_BYTES + text
    }

    /// Whether it can be told without waiting.
    pub(super) fn is_open(&self) -> bool {
        match &self.answer {
            Answer::Gated { gate, .. } => gate.is_open(),
            Answer::Now(_) | Answer::Refused(_) => true,
        }
    }

    /// The reply, once everything that it tells of is durable.
    pub(super) fn wait(self) -> Reply {
        let mut line = Line::new();
        let outcome = match self.answer {
            Answer::Now(fields) => Ok((fields, String::new())),
            Answer::Gated { known, gate, .. } => {
                gate.wait().map(|held| (known, held)).map_err(Refusal::Engine)
            }
            Answer::Refused(refusal) => Err(refusal),
        };
        line.flag("ok", outcome.is_ok());
        if let Some(id) = self.id {
            line.json("id", &id.to_string());
        }
        let mut poisoned = None;
        match outcome {
            Ok((known, held)) => {
                line.append(&known).append(&held);
            }
            Err(Refusal::Malformed(message)) => {
                line.text("error", "Malformed").text("message", &message);
            }
            Err(Refusal::Engine(error)) => {
                tell(&error, &mut line);
                poisoned = matches!(error, Error::Poisoned { .. }).then_some(error);
            }
        }
        Reply { line: line.end(), poisoned }
    }
}

/// A reply that may leave.
pub(super) struct Reply {
    pub(super) line: String,
    /// The log has failed, and this is how.
    pub(super) poisoned: Option<Error>,
}

fn tell(error: &Error, line: &mut Line) {
    line.text("error", error.name()).text("message", &exit::message_of(error));
    match error {
        Error::Conflict { expected, actual } => {
            line.number("expected", *expected).number("actual", *actual);
        }
        Error::TooLarge { what, limit, size } | Error::Quota { what, limit, size } => {
            line.text("what", what).number("limit", *limit).number("size", *size);
        }
        Error::Damaged { file, offset, object, .. } => {
            line.text("file", file).number("offset", *offset);
            if let Some(object) = object {
                line.text("object", object);
            }
        }
        _ => {}
    }
}
