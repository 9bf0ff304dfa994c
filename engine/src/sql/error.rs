//! What SQL can fail with.

use std::fmt;

use rusqlite::ErrorCode;

use crate::Error;

/// An error of a statement, as the database reported it. The transaction it happened in can go on, unless
/// [`undid`](SqlError::undid) says that its SQL was rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    code: SqlErrorCode,
    extended: i32,
    message: String,
    undid: bool,
}

/// What kind of error a statement ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqlErrorCode {
    /// The statement is not valid SQL, or names what does not exist.
    Statement,
    /// A constraint was violated: unique, not null, check, foreign key, primary key, trigger.
    Constraint,
    /// A value has another type than was asked for, or the parameters do not fit the statement.
    Mismatch,
    /// A guard refused the statement; the message says what to do instead.
    Refused,
    /// The statement writes, and this is a view.
    ReadOnly,
    /// The transaction's budget of operations or of time is used up; see
    /// [`SqlOptions::operations_max`](crate::SqlOptions::operations_max) and
    /// [`time_max`](crate::SqlOptions::time_max).
    Budget,
    /// Somebody called [`Object::interrupt_sql`](crate::Object::interrupt_sql).
    Interrupted,
    /// A string, blob, row, statement or number of columns is over its limit.
    TooLarge,
    /// The database's memory is used up; see [`SqlOptions::memory_bytes_max`](crate::SqlOptions).
    Memory,
    /// A query for one row found none.
    NoRows,
    /// A query for one row found several.
    ManyRows,
    /// The database's own structure is not sound, although every page is what was written.
    Corrupt,
    /// Anything else.
    Other,
}

/// What a guard stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Transaction,
    Attach,
    Pragma,
    Reserved,
    Temporary,
    Extension,
    Vacuum,
    Module,
    Operations,
    Memory,
    Interrupted,
    Time,
    ReadOnly,
    Undone,
}

impl Refusal {
    fn code(self) -> SqlErrorCode {
        match self {
            Refusal::Operations | Refusal::Time => SqlErrorCode::Budget,
            Refusal::Memory => SqlErrorCode::Memory,
            Refusal::Interrupted => SqlErrorCode::Interrupted,
            Refusal::ReadOnly => SqlErrorCode::ReadOnly,
            _ => SqlErrorCode::Refused,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Refusal::Transaction => {
                "BEGIN, COMMIT, ROLLBACK, SAVEPOINT and RELEASE are not for SQL text: use transact, its Err, and Tx::savepoint"
            }
            Refusal::Attach => {
                "a database reaches no other file: ATTACH and DETACH are not allowed; use transact_many"
            }
            Refusal::Pragma => "this pragma is not allowed, or not with a value",
            Refusal::Reserved => "names that begin with _lineal are reserved",
            Refusal::Temporary => {
                "temporary tables, views and triggers would outlive the transaction: use ordinary ones, or WITH"
            }
            Refusal::Extension => {
                "extensions cannot be loaded: register functions with Namespace::on_connection"
            }
            Refusal::Vacuum => "VACUUM is not allowed: packs leave no gaps; use export for a compact copy",
            Refusal::Module => "this virtual table module is not allowed",
            Refusal::Operations => {
                "the transaction's budget of database operations is used up: do less at once, or raise SqlOptions::operations_max"
            }
            Refusal::Memory => {
                "the database's memory is used up: do less at once, or raise SqlOptions::memory_bytes_max"
            }
            Refusal::Interrupted => "the statement was interrupted",
            Refusal::Time => {
                "the transaction's time for database operations is over: do less at once, or raise SqlOptions::time_max"
            }
            Refusal::ReadOnly => "a view is read-only: write in transact",
            Refusal::Undone => {
                "a statement rolled back the SQL of this transaction, so it cannot commit: let the closure return Err"
            }
        }
    }
}

impl SqlError {
    pub(crate) fn of(refusal: Refusal) -> SqlError {
        SqlError {
            code: refusal.code(),
            extended: 0,
            message: refusal.message().to_owned(),
            undid: refusal == Refusal::Undone,
        }
    }

    pub(super) fn new(code: SqlErrorCode, message: impl Into<String>) -> SqlError {
        SqlError { code, extended: 0, message: message.into(), undid: false }
    }

    pub(super) fn refused(refusal: Refusal, error: &rusqlite::Error) -> SqlError {
        let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
        SqlError { extended, ..SqlError::of(refusal) }
    }

    /// What kind of error it is.
    pub fn code(&self) -> SqlErrorCode {
        self.code
    }

    /// The error's stable name, as scripts see it.
    pub(crate) fn name(&self) -> &'static str {
        match self.code {
            SqlErrorCode::Statement => "SqlStatement",
            SqlErrorCode::Constraint => "SqlConstraint",
            SqlErrorCode::Mismatch => "SqlMismatch",
            SqlErrorCode::Refused => "SqlRefused",
            SqlErrorCode::ReadOnly => "SqlReadOnly",
            SqlErrorCode::Budget => "SqlBudget",
            SqlErrorCode::Interrupted => "SqlInterrupted",
            SqlErrorCode::TooLarge => "SqlTooLarge",
            SqlErrorCode::Memory => "SqlMemory",
            SqlErrorCode::NoRows => "SqlNoRows",
            SqlErrorCode::ManyRows => "SqlManyRows",
            SqlErrorCode::Corrupt => "SqlCorrupt",
            SqlErrorCode::Other => "Sql",
        }
    }

    /// SQLite's extended result code; 0 if the error is not SQLite's own.
    pub fn extended_code(&self) -> i32 {
        self.extended
    }

    /// What went wrong, in words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the statement took the SQL of the whole transaction back, so that it can only fail: after an
    /// `OR ROLLBACK`, a `RAISE(ROLLBACK)`, a used up budget.
    pub fn undid(&self) -> bool {
        self.undid
    }

    pub(crate) fn undoing(mut self) -> SqlError {
        self.undid = true;
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.undid && self.code != SqlErrorCode::Refused {
            f.write_str("; the transaction's SQL was undone by it, so the transaction fails")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        SqlError::of(refusal).into()
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Error {
        Error::Sql(Box::new(error))
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> SqlError {
        use rusqlite::Error as E;
        let code = match &error {
            E::SqliteFailure(failure, _) => code_of(*failure),
            E::SqlInputError { error, .. } => code_of(*error),
            E::QueryReturnedNoRows => SqlErrorCode::NoRows,
            E::QueryReturnedMoreThanOneRow => SqlErrorCode::ManyRows,
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnIndex(_)
            | E::InvalidColumnName(_)
            | E::InvalidColumnType(..)
            | E::InvalidParameterName(_)
            | E::InvalidParameterCount(..)
            | E::ToSqlConversionFailure(_) => SqlErrorCode::Mismatch,
            E::MultipleStatement | E::ExecuteReturnedResults | E::InvalidQuery | E::NulError(_) => {
                SqlErrorCode::Statement
            }
            _ => SqlErrorCode::Other,
        };
        let message = match &error {
            E::MultipleStatement => "several statements in one call: use execute_batch".to_owned(),
            E::ExecuteReturnedResults => "the statement returns rows: use query".to_owned(),
            E::QueryReturnedNoRows => "the query found no row".to_owned(),
            E::QueryReturnedMoreThanOneRow => "the query found more than one row".to_owned(),
            other => other.to_string(),
        };
        let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
        // No authorizer is asked about VACUUM; it fails because a transaction is open.
        if message.contains("VACUUM") {
            return SqlError { extended, ..SqlError::of(Refusal::Vacuum) };
        }
        // A function of ours cannot give SQLite's code along with its message.
        let code = if message == TOO_BIG { SqlErrorCode::TooLarge } else { code };
        SqlError { code, extended, message, undid: false }
    }
}

/// What SQLite says of a string over its limit.
pub(super) const TOO_BIG: &str = "string or blob too big";

fn code_of(error: rusqlite::ffi::Error) -> SqlErrorCode {
    match error.code {
        ErrorCode::ConstraintViolation => SqlErrorCode::Constraint,
        ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange => SqlErrorCode::Mismatch,
        ErrorCode::AuthorizationForStatementDenied => SqlErrorCode::Refused,
        ErrorCode::ReadOnly => SqlErrorCode::ReadOnly,
        ErrorCode::OperationInterrupted => SqlErrorCode::Interrupted,
        ErrorCode::TooBig => SqlErrorCode::TooLarge,
        ErrorCode::OutOfMemory | ErrorCode::DiskFull => SqlErrorCode::Memory,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => SqlErrorCode::Corrupt,
        _ if error.extended_code == rusqlite::ffi::SQLITE_ERROR => SqlErrorCode::Statement,
        _ => SqlErrorCode::Other,
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        SqlError::from(error).into()
    }
}
