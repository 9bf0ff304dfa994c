//! What `lineal migrate` understands.

use std::path::PathBuf;

use clap::Args as ArgsOf;

use super::Data;

pub(super) const MIGRATE_HELP: &str = "\
Objects come forward by themselves when the program that registers the steps uses them; this brings all of a namespace
forward at once. The steps are SQL files, 001_name.sql, 002_name.sql and so on: the same as the program's, in the same order.
Each object keeps its own version, so after an interruption it goes on where it was. Without --steps it lists at which
version each object is. The exit code is 1 if an object could not be brought forward; the others are.

Examples:
  lineal migrate --dir data --ns rooms                              which object is at which version
  lineal migrate --dir data --ns rooms --steps schema/ --dry-run    which objects are behind
  lineal migrate --dir data --ns rooms --steps schema/ --json
";

#[derive(Debug, ArgsOf)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) data: Data,
    /// The namespace
    #[arg(long, value_name = "N")]
    pub(crate) ns: String,
    /// A folder of SQL files, or the one file there is
    #[arg(long, value_name = "PATH")]
    pub(crate) steps: Option<PathBuf>,
    /// Only say which objects are behind
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}
