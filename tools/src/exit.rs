//! How the command ends: exit codes, and what it says on stderr.

use std::{fmt::Display, io, process::ExitCode};

use lineal::{Error, ErrorKind};

use crate::json::Line;

/// The table of exit codes that every `--help` shows.
pub(crate) const HELP: &str = "\
Exit codes:
  0  ok
  1  another error
  2  wrong usage
  3  corruption: bytes on disk are not what was written
  4  the directory is open in another process
  5  no space on disk
  6  the log failed (poisoned); open the directory again
  7  the archive is unavailable
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
    NotFound = 8,
}

impl Code {
    /// The code of a process that ended with this number.
    pub(crate) fn from_number(number: i32) -> Code {
        [Code::Ok, Code::Usage, Code::Corrupt, Code::Locked, Code::NoSpace, Code::Poisoned, Code::NotFound]
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
        Failure::Said { code: code_of(&error), name: error.name(), message: error.to_string() }
    }
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The exit code that tells of an engine's error.
pub(crate) fn code_of(error: &Error) -> Code {
    match error.kind() {
        ErrorKind::Corrupt => Code::Corrupt,
        ErrorKind::Locked => Code::Locked,
        ErrorKind::NoSpace => Code::NoSpace,
        ErrorKind::Poisoned => Code::Poisoned,
        ErrorKind::NotFound => Code::NotFound,
        // What is asked for is fine, and this program or this opening cannot do it.
        ErrorKind::Invalid if matches!(error, Error::NewerVersion { .. } | Error::ReadOnly) => Code::Other,
        // The command was used as it should be; what it was given did not do.
        ErrorKind::Invalid if matches!(error, Error::Sql(_) | Error::NotImportable { .. }) => Code::Other,
        ErrorKind::Invalid => Code::Usage,
        ErrorKind::Io if matches!(error, Error::Io { source, .. } if is_no_space(source)) => Code::NoSpace,
        _ => Code::Other,
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
        Code::Ok | Code::Other | Code::Locked | Code::NoSpace => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn the_help_names_every_code() {
        for code in 0..=8 {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
