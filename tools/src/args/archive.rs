//! What the commands understand of archives.

use std::{path::PathBuf, process::Command};

use clap::{Args as ArgsOf, Subcommand};
use lineal::EngineId;

use crate::open::parse_engine;

pub(super) const WHERE_HELP: &str = "\
An archive is at s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder. What it takes to get
there comes from the usual variables (AWS_…, GOOGLE_…, AZURE_…) or from --option, with the same names.
";

pub(super) const ARCHIVE_HELP: &str = "\
Everything but gc only reads, and whoever writes the archive goes on.

Examples:
  lineal archive status --from s3://backups/rooms
  lineal archive verify --from s3://backups/rooms --json
  lineal archive scrub --from s3://backups/rooms --rate 50
  lineal archive gc --from s3://backups/rooms --dry-run
";

pub(super) const STATUS_HELP: &str = "\
For each engine that has an archive there: who writes it, what is in it, and what is to be deleted.

Examples:
  lineal archive status --from s3://backups/rooms
  LINEAL_ARCHIVE=s3://backups/rooms lineal archive status --json
";

pub(super) const ARCHIVE_VERIFY_HELP: &str = "\
Opens the archive as a restore would, with nothing on the disk but the log's end, and walks every object's chain in it.

Examples:
  lineal archive verify --from s3://backups/rooms
  lineal archive verify --from file:///mnt/backup --json
";

pub(super) const SCRUB_HELP: &str = "\
Reads every byte of every pack and of the log, and compares it with its hash. What is damaged is named by key, range and
object, and the exit code is 3.

Examples:
  lineal archive scrub --from s3://backups/rooms
  lineal archive scrub --from s3://backups/rooms --rate 20 --json
";

pub(super) const GC_HELP: &str = "\
Deletes what the archive has not needed for the grace period: packs that were merged, parts of the log that packs cover. An
engine that is open does so by itself. It takes the archive over for the moment, so nobody may have it open.

Examples:
  lineal archive gc --from s3://backups/rooms --dry-run
  lineal archive gc --from s3://backups/rooms --grace 24
";

pub(super) const POINTS_HELP: &str = "\
The moments that lineal restore --from can bring back: from the first to the newest commit that the archive holds, as far as
each namespace's retention reaches.

Examples:
  lineal points --from s3://backups/rooms
  lineal points --from s3://backups/rooms --json
";

pub(super) const REPAIR_HELP: &str = "\
An archive whose manifest is missing or damaged cannot be opened, attached or restored. This makes the manifest again: it lists
what the store has and reads all of it. It takes the archive over for the moment, so nobody may have it open. What is damaged
or missing is named, and the exit code is 3: the archive may hold less then. A manifest that is whole is left alone.

Examples:
  lineal repair --from s3://backups/rooms --dry-run
  lineal repair --from s3://backups/rooms --json
";

/// What it takes to get to a store.
#[derive(Clone, Debug, Default, ArgsOf)]
pub(crate) struct Access {
    /// An option of the archive's store, such as region or endpoint; may be repeated. Credentials are safer in variables
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = option)]
    pub(crate) options: Vec<(String, String)>,
}

/// Where a data directory's archive is.
#[derive(Clone, Debug, Default, ArgsOf)]
pub(crate) struct Place {
    /// Where the directory's archive is, if it has one
    #[arg(long = "archive", value_name = "URL", env = "LINEAL_ARCHIVE", hide_env_values = true)]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

impl Place {
    /// Tells another process of the same program the same place.
    pub(crate) fn pass_to(&self, command: &mut Command) {
        // What it is told counts, and not what this process found in its environment.
        command.env_remove("LINEAL_ARCHIVE");
        if let Some(url) = &self.url {
            command.arg("--archive").arg(url);
        }
        for (name, value) in &self.access.options {
            command.arg("--option").arg(format!("{name}={value}"));
        }
    }
}

/// The archive of a directory that is opened for writing.
#[derive(Clone, Debug, Default, ArgsOf)]
pub(crate) struct Keeping {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Take the archive over although another machine's lease has not ended
    #[arg(long, requires = "url")]
    pub(crate) force: bool,
}

/// A data directory that is there, with its archive.
#[derive(Clone, Debug, ArgsOf)]
pub(crate) struct Data {
    /// The data directory
    #[arg(long, value_name = "D")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) keeping: Keeping,
}

/// An archive that is looked at by itself.
#[derive(Debug, ArgsOf)]
pub(crate) struct Source {
    /// Where the archive is
    #[arg(long = "from", value_name = "URL", env = "LINEAL_ARCHIVE", hide_env_values = true)]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Whose archive, where the place has those of several engines
    #[arg(long, value_name = "HEX", value_parser = parse_engine)]
    pub(crate) engine: Option<EngineId>,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Points {
    #[command(flatten)]
    pub(crate) from: Source,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) from: Source,
    /// Take the archive over although somebody else's lease has not ended
    #[arg(long)]
    pub(crate) force: bool,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Archive {
    #[command(subcommand)]
    pub(crate) what: OfArchive,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OfArchive {
    /// Say what is in an archive and who writes it.
    #[command(after_help = super::with_archive(STATUS_HELP))]
    Status(ArchiveStatus),
    /// Check that everything can be restored: every hash, every chain.
    #[command(after_help = super::with_archive(ARCHIVE_VERIFY_HELP))]
    Verify(ArchiveVerify),
    /// Read everything and compare it with its hashes.
    #[command(after_help = super::with_archive(SCRUB_HELP))]
    Scrub(Scrub),
    /// Delete what the archive does not need any more.
    #[command(after_help = super::with_archive(GC_HELP))]
    Gc(Gc),
}

impl OfArchive {
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            OfArchive::Status(args) => args.json,
            OfArchive::Verify(args) => args.json,
            OfArchive::Scrub(args) => args.json,
            OfArchive::Gc(args) => args.json,
        }
    }
}

#[derive(Debug, ArgsOf)]
pub(crate) struct ArchiveStatus {
    #[command(flatten)]
    pub(crate) from: Source,
    /// One JSON object per line, one for each engine
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct ArchiveVerify {
    #[command(flatten)]
    pub(crate) from: Source,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Scrub {
    #[command(flatten)]
    pub(crate) from: Source,
    /// Read at most so many MiB a second
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) rate: Option<u64>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) from: Source,
    /// Leave what was needed within so many hours
    #[arg(long, value_name = "HOURS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=100 * 366 * 24))]
    pub(crate) grace: u64,
    /// Only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads `NAME=VALUE`.
fn option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        // Not repeated: it may be a secret.
        _ => Err("an option is NAME=VALUE, as region=eu-central-1".into()),
    }
}
