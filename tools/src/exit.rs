//! How the command ends: exit codes, and what it says on stderr.

use std::{fmt::Display, io, process::ExitCode};

use lineal::{
    Error, ErrorKind,
    archive::{ArchiveError, ArchiveErrorKind},
};

use crate::json::Line;

/// The table of exit codes that every `--help` shows.
pub(crate) const HELP: &str = "\
Exit codes:
  0  ok
  1  another error
  2  wrong usage
  3  corruption: bytes on disk, or in the archive, are not what was written
  4  the directory is open in another process, or its archive in use by another machine
  5  no space on disk
  6  the log failed (poisoned); open the directory again
  7  the archive is unavailable: it does not answer, or does not let us in
  8  not found, or outside of the retention";

/// Exit codes. They are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Ok = 0,
    Other = 1,
    Usage = 2,
    Corrupt = 3,
    Locked = 4,
    NoSpace = 5,
    Poisoned = 6,
    Archive = 7,
    NotFound = 8,
}

impl Code {
    /// The code of a process that ended with this number.
    pub(crate) fn from_number(number: i32) -> Code {
        use Code::{Archive, Corrupt, Locked, NoSpace, NotFound, Ok, Poisoned, Usage};
        [Ok, Usage, Corrupt, Locked, NoSpace, Poisoned, Archive, NotFound]
            .into_iter()
            .find(|code| *code as i32 == number)
            .unwrap_or(Code::Other)
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read the output has gone. That is how `head` works, and no error.
    OutputClosed,
    /// Everything was said already; only the exit code is left.
    Silent(Code),
    Said {
        code: Code,
        name: &'static str,
        message: String,
    },
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn other(message: impl Into<String>) -> Failure {
        Failure::Said { code: Code::Other, name: "Other", message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::Said { code: Code::Usage, name: "Usage", message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure::Said { code: Code::NotFound, name: "NotFound", message: message.into() }
    }

    /// A failed file operation that is not the engine's own.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Failure {
        let code = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Code::NoSpace
            }
            _ => Code::Other,
        };
        Failure::Said { code, name: "Io", message: format!("{what}: {error}") }
    }

    /// A failed write to stdout.
    pub(crate) fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::io("writing to stdout failed", error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Said { code: code_of(&error), name: error.name(), message: message_of(&error) }
    }
}

/// What an error says. What a store said belongs to it: that is where setups go wrong.
pub(crate) fn message_of(error: &Error) -> String {
    let mut message = error.to_string();
    let mut next = match error {
        Error::Archive(error) => std::error::Error::source(error),
        _ => None,
    };
    while let Some(source) = next {
        message += &format!(": {source}");
        next = source.source();
    }
    message
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The exit code that tells of an engine's error.
pub(crate) fn code_of(error: &Error) -> Code {
    if let Error::Archive(error) = error {
        return code_of_archive(error);
    }
    match error.kind() {
        ErrorKind::Corrupt => Code::Corrupt,
        // What another machine has taken over is as good as locked.
        ErrorKind::Locked | ErrorKind::Fenced => Code::Locked,
        ErrorKind::NoSpace => Code::NoSpace,
        ErrorKind::Poisoned => Code::Poisoned,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Unavailable => Code::Archive,
        // What is asked for is fine, and this program or this opening cannot do it.
        ErrorKind::Invalid if matches!(error, Error::NewerVersion { .. } | Error::ReadOnly) => Code::Other,
        // The command was used as it should be; what it was given did not do.
        ErrorKind::Invalid if matches!(error, Error::Sql(_) | Error::NotImportable { .. }) => Code::Other,
        ErrorKind::Invalid => Code::Usage,
        ErrorKind::Io if matches!(error, Error::Io { source, .. } if is_no_space(source)) => Code::NoSpace,
        _ => Code::Other,
    }
}

fn code_of_archive(error: &ArchiveError) -> Code {
    match error {
        ArchiveError::Location { .. } => Code::Usage,
        ArchiveError::Unavailable { .. }
        | ArchiveError::Denied { .. }
        | ArchiveError::NoBucket { .. }
        | ArchiveError::Rejected { .. }
        | ArchiveError::Unsuitable { .. } => Code::Archive,
        error => match error.kind() {
            ArchiveErrorKind::Corrupt => Code::Corrupt,
            ArchiveErrorKind::Fenced => Code::Locked,
            _ => Code::Other,
        },
    }
}

/// Says on stderr what went wrong, and gives the exit code.
pub(crate) fn report(outcome: Outcome, json: bool) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::OutputClosed) => Code::Ok.into(),
        Err(Failure::Silent(code)) => code.into(),
        Err(Failure::Said { code, name, message }) => {
            // There is nobody left to tell if stderr cannot be written.
            let _ = say(code, name, &message, json);
            code.into()
        }
    }
}

fn say(code: Code, name: &str, message: &str, json: bool) -> io::Result<()> {
    use io::Write;
    let mut stderr = io::stderr().lock();
    if json {
        let mut line = Line::new();
        line.text("error", name).text("message", message);
        return writeln!(stderr, "{}", line.end());
    }
    write!(stderr, "lineal: {message}")?;
    match hint(code) {
        Some(hint) => writeln!(stderr, "\n  {hint}"),
        None => writeln!(stderr),
    }
}

fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Usage => Some("See lineal --help."),
        Code::Corrupt => Some(
            "Other objects go on working; lineal verify checks everything. Restore the file from a copy.",
        ),
        Code::Poisoned => Some("Open the directory again: everything that was acknowledged is there."),
        Code::NotFound => Some("lineal objects lists what a namespace holds."),
        Code::Ok | Code::Other | Code::Locked | Code::NoSpace | Code::Archive => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineal::{
        Micros,
        archive::{StoreError, StoreErrorKind},
    };

    #[test]
    fn every_kind_of_error_has_its_exit_code() {
        let damaged = Error::Damaged { file: "f".into(), offset: 1, object: None, reason: "r".into() };
        assert_eq!(code_of(&damaged), Code::Corrupt);
        assert_eq!(code_of(&Error::Locked { path: "p".into() }), Code::Locked);
        assert_eq!(code_of(&Error::NoSpace { detail: "d".into() }), Code::NoSpace);
        assert_eq!(code_of(&Error::NotFound { what: "w".into() }), Code::NotFound);
        assert_eq!(code_of(&Error::InvalidName { reason: "r" }), Code::Usage);
        assert_eq!(code_of(&Error::NewerVersion { file: "f".into(), found: 2, known: 1 }), Code::Other);
        assert_eq!(code_of(&Error::Closed), Code::Other);
        assert_eq!(code_of(&Error::NoArchive), Code::Usage);
        assert_eq!(code_of(&Error::Fenced { epoch: 1, by: 2 }), Code::Locked);
    }

    #[test]
    fn every_error_of_an_archive_has_its_exit_code() {
        let (key, store, op) = (String::new, String::new, "read");
        let said = || StoreError::new(StoreErrorKind::Busy, "said");
        for (error, code) in [
            (ArchiveError::Location { url: key(), reason: key() }, Code::Usage),
            (
                ArchiveError::Unavailable { store: store(), op, key: key(), attempts: 1, source: said() },
                Code::Archive,
            ),
            (ArchiveError::Denied { store: store(), op, key: key(), source: said() }, Code::Archive),
            (ArchiveError::NoBucket { store: store(), source: said() }, Code::Archive),
            (ArchiveError::Unsuitable { store: store(), reason: "" }, Code::Archive),
            (ArchiveError::Missing { store: store(), key: key() }, Code::Corrupt),
            (ArchiveError::Damaged { key: key(), reason: "" }, Code::Corrupt),
            (ArchiveError::Held { holder: key(), epoch: Default::default(), until: Micros(0) }, Code::Locked),
            (ArchiveError::Diverged { key: key(), reason: "" }, Code::Other),
        ] {
            assert_eq!(code_of(&error.clone().into()), code, "{error}");
        }
    }

    #[test]
    fn the_help_names_every_code() {
        for code in 0..=8 {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
