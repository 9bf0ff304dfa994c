//! What the commands understand that work on the databases of objects.

use std::path::PathBuf;

use clap::Args as ArgsOf;

use super::{Address, Data, Dir, Keeping};
use crate::when::{self, When};

pub(super) const IMPORT_HELP: &str = "\
The file is checked first and never changed; a write-ahead log beside it counts. A database that the object has is replaced
by one commit and stays in the history; its key-values stay. Directory, namespace and object are made if they are missing. A
database may have as many bytes as a transaction, 64 MiB.

Examples:
  lineal import --dir data --ns rooms --object lobby lobby.db --dry-run
  lineal import --dir data --ns rooms --object lobby lobby.db --cause \"moving in\"
";

pub(super) const EXPORT_HELP: &str = "\
The file is one that any SQLite opens. It gets its name when it is whole; a file of that name is replaced only with --replace.

Examples:
  lineal export --dir data --ns rooms --object lobby lobby.db
  lineal export --dir data --ns rooms --object lobby --at \"2h ago\" before.db
";

pub(super) const SQL_HELP: &str = "\
One QUERY, a script on stdin, or a prompt on a terminal. A script is one transaction: all of it or nothing; with --each every
statement is one, and the first that fails ends the script. At the prompt every statement is one. What only reads opens the
directory for reading and changes no byte; so do --at and --read-only, and then statements that write are refused.
Beside SQL there are .tables, .schema [NAME], .help and .quit, each on a line of its own.

A row is a line of a table, of CSV (NULL is empty, an empty text \"\", a blob x'..') or of JSON: an object by column names, so
give columns of one name others with AS; integers are exact, a blob is {\"b64\":\"...\"}, infinity \"Infinity\".

Examples:
  lineal sql --dir data --ns rooms --object lobby \"SELECT count(*) FROM message\"
  lineal sql --dir data --ns rooms --object lobby --at \"2h ago\" --csv \"SELECT * FROM message\" > message.csv
  lineal sql --dir data --ns rooms --object lobby --cause \"ticket 7\" < fix.sql
  lineal sql --dir data --ns rooms --object lobby .tables
";

#[derive(Debug, ArgsOf)]
pub(crate) struct Import {
    /// The data directory; it is created if it is missing
    #[arg(long, value_name = "D")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) keeping: Keeping,
    #[command(flatten)]
    pub(crate) address: Address,
    /// The file
    pub(crate) file: PathBuf,
    /// Why; kept with the commit
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) cause: String,
    /// Only check the file
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// The file to write
    pub(crate) file: PathBuf,
    /// Which point in its history (default: the newest commit)
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    pub(crate) at: Option<When>,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) replace: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Sql {
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) address: Address,
    /// Which point in its history, for reading (default: now)
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    pub(crate) at: Option<When>,
    /// Only read
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Why; kept with the commit
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) cause: String,
    /// Every statement is a transaction
    #[arg(long)]
    pub(crate) each: bool,
    /// One JSON object per row
    #[arg(long)]
    pub(crate) json: bool,
    /// CSV with the columns' names first
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Statements; without them stdin is read
    pub(crate) query: Option<String>,
}
