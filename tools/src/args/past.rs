//! What the commands understand that look at the past, or change the present out of it.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ArgsOf, Subcommand};
use lineal::{EngineId, Micros, ObjectId, Selector};

use super::{Address, Data, Dir, Keeping, Source};
use crate::{
    exit::{Failure, Outcome},
    open::{parse_engine, parse_id},
    when::{self, When},
};

pub(super) const WHEN_HELP: &str = "\
A point in an object's history is a commit's number (17), a bookmark (lm1…), a time in RFC 3339
(2026-01-31T12:00:00Z), now, or how long ago (\"2h ago\", \"1d 30m ago\"). A time means the last commit at or before it.
";

pub(super) const HISTORY_HELP: &str = "\
Newest first: seq, time, hash, kind, number and bytes of changes, cause. The directory stays as it is.

Examples:
  lineal history --dir data --ns rooms --object lobby --limit 20
  lineal history --dir data --ns rooms --object lobby --since \"2h ago\" --json
  lineal history --dir data --ns rooms --object lobby --from 100 --to 200 --reverse
";

pub(super) const SHOW_HELP: &str = "\
Examples:
  lineal show --dir data --ns rooms --object lobby 17
  lineal show --dir data --ns rooms --object lobby \"2h ago\" --json
";

pub(super) const AT_HELP: &str = "\
Examples:
  lineal at --dir data --ns rooms --object lobby --at \"2h ago\" get topic
  lineal at --dir data --ns rooms --object lobby --at 17 list --prefix user/ --limit 10
  lineal at --dir data --ns rooms --object lobby --at 2026-01-31T12:00:00Z dump
";

pub(super) const DIFF_HELP: &str = "\
One line per key that is different, in key order: - what it was, + what it is. Either point may be the older one. Then the
tables of its database that are different; --table tells the rows of one, by its primary key or its rowid.

Examples:
  lineal diff --dir data --ns rooms --object lobby 17 20
  lineal diff --dir data --ns rooms --object lobby 17 20 --table message
  lineal diff --dir data --ns rooms --object lobby \"1d ago\"        from then to the newest commit
  lineal diff --dir data --ns rooms --object lobby 17 20 --json
";

pub(super) const BLAME_HELP: &str = "\
The commits that wrote the key, newest first, as lineal history prints them. A restore that changed the key is one of them.

Examples:
  lineal blame --dir data --ns rooms --object lobby topic
  lineal blame --dir data --ns rooms --object lobby topic --limit 1 --json
";

pub(super) const BOOKMARK_HELP: &str = "\
Examples:
  lineal bookmark --dir data --ns rooms --object lobby
  lineal bookmark --dir data --ns rooms --object lobby --at \"2h ago\" --json
";

pub(super) const RESTORE_HELP: &str = "\
One more commit in the object's history brings everything back; nothing is destroyed. Prints the bookmark that undoes it.

Examples:
  lineal restore --dir data --ns rooms --object lobby --at \"2h ago\" --dry-run
  lineal restore --dir data --ns rooms --object lobby --at 17 --cause \"ticket 4711\"
  lineal restore --dir data --ns rooms --all --at 2026-01-31T14:03:00Z --dry-run
  lineal restore --dir data --ns rooms --prefix team-7/ --at \"10m ago\" --json > undo.jsonl

Of many objects each is restored to the same moment; those that did not exist then are deleted. Run again it finishes what
was interrupted.

With --from, a new directory is made out of an archive: all of it, one namespace (--ns), or some of its objects. Everything
is verified before the directory gets its name, and what fails leaves nothing that opens; run again it goes on where it
was. --at takes a time, or a position of the log (lsn) as lineal points tells them; what came later stays in the histories.

  lineal restore --from s3://backups/rooms --to data --dry-run
  lineal restore --from s3://backups/rooms --to data
  lineal restore --from s3://backups/rooms --to data --at 2026-01-31T14:03:00Z --parallel 8
  lineal restore --from s3://backups/rooms --to lobby --ns rooms --object lobby
  lineal restore --from s3://backups/rooms --verify-only --json
";

pub(super) const FORK_HELP: &str = "\
The new object is what this one was, with a history of its own. No bytes are copied.

Examples:
  lineal fork --dir data --ns rooms --object lobby --at 17 --to lobby-copy
  lineal fork --dir data --ns rooms --object lobby --at \"1d ago\" --to lobby --to-ns yesterday --dry-run
";

pub(super) const PIN_HELP: &str = "\
Examples:
  lineal pin --dir data --ns rooms --object lobby \"before the party\"
  lineal pin --dir data --ns rooms --object lobby release-1 --at 17
";

pub(super) const UNPIN_HELP: &str = "\
Example:
  lineal unpin --dir data --ns rooms --object lobby release-1
";

pub(super) const PINS_HELP: &str = "\
Examples:
  lineal pins --dir data --ns rooms --object lobby
  lineal pins --dir data --ns rooms --object lobby --json
";

#[derive(Debug, ArgsOf)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// The first commit to list
    #[arg(long, value_name = "SEQ")]
    pub(crate) from: Option<u64>,
    /// The last commit to list
    #[arg(long, value_name = "SEQ")]
    pub(crate) to: Option<u64>,
    /// Only commits made then or later
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    pub(crate) since: Option<Micros>,
    /// Only commits made then or before
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    pub(crate) until: Option<Micros>,
    /// At most this many
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Oldest first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// Which commit
    #[arg(value_name = "WHEN", value_parser = when::parse)]
    pub(crate) at: When,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct At {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// Which point in its history
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    pub(crate) at: When,
    /// Values as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to look at
    #[command(subcommand)]
    pub(crate) look: Look,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Look {
    /// Print one value
    Get {
        /// The key
        key: String,
    },
    /// Print keys and values
    List {
        /// Only keys that begin with this
        #[arg(long, value_name = "P", default_value = "")]
        prefix: String,
        /// At most this many
        #[arg(long, value_name = "COUNT")]
        limit: Option<u64>,
        /// From the last key to the first
        #[arg(long)]
        reverse: bool,
    },
    /// Print everything with a hash, as lineal dump does
    Dump,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Diff {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// From this point
    #[arg(value_name = "WHEN", value_parser = when::parse)]
    pub(crate) before: When,
    /// To this one (default: the newest commit)
    #[arg(value_name = "WHEN", value_parser = when::parse)]
    pub(crate) after: Option<When>,
    /// The rows of this table instead of the keys and the names of tables
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Blame {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// The key
    pub(crate) key: String,
    /// At most this many
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Bookmark {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// Which point in its history (default: the newest commit)
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    pub(crate) at: Option<When>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
#[command(group = ArgGroup::new("where").required(true).args(["dir", "from"]))]
#[command(group = ArgGroup::new("meant").args(["object", "id", "prefix", "all"]))]
pub(crate) struct Restore {
    /// The data directory
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    keeping: Keeping,
    /// The archive to restore from, into a new directory
    #[arg(long, value_name = "URL", conflicts_with_all = ["cause", "force"])]
    from: Option<String>,
    /// The directory to make; it is missing or empty
    #[arg(long, value_name = "DIR", requires = "from")]
    to: Option<PathBuf>,
    /// Whose archive, where the place has those of several engines
    #[arg(long, value_name = "HEX", requires = "from", value_parser = parse_engine)]
    engine: Option<EngineId>,
    /// The namespace; of an archive everything is restored without it
    #[arg(long, value_name = "N", required_unless_present = "from")]
    ns: Option<String>,
    /// The object, by name
    #[arg(long, value_name = "O", requires = "ns")]
    object: Option<String>,
    /// The object, by id (for those without a name)
    #[arg(long, value_name = "HEX", requires = "ns", value_parser = parse_id)]
    id: Option<ObjectId>,
    /// All objects whose names begin so
    #[arg(long, value_name = "NAME", requires = "ns")]
    prefix: Option<String>,
    /// All objects of the namespace
    #[arg(long, requires = "ns", required_unless_present_any = ["from", "object", "id", "prefix"])]
    all: bool,
    /// To which point in its history; for many objects a time; for an archive a time or a position of the log
    #[arg(long, value_name = "WHEN", required_unless_present = "from", value_parser = when::parse)]
    at: Option<When>,
    /// Why; kept with the commit
    #[arg(long, value_name = "TEXT")]
    cause: Option<String>,
    /// Restore from the archive, check everything, and remove it again
    #[arg(long, requires = "from", conflicts_with = "dry_run")]
    verify_only: bool,
    /// Packs to fetch from the archive at a time
    #[arg(long, value_name = "N", requires = "from", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: Option<u8>,
    /// Only say what would change, or be fetched
    #[arg(long)]
    dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `lineal restore` is to do.
pub(crate) enum Restoring {
    InPlace(RestoreInPlace),
    FromArchive(RestoreFrom),
}

/// Objects of a data directory that are brought back.
pub(crate) struct RestoreInPlace {
    pub(crate) data: Data,
    pub(crate) ns: String,
    pub(crate) object: Option<String>,
    pub(crate) id: Option<ObjectId>,
    pub(crate) prefix: Option<String>,
    pub(crate) all: bool,
    pub(crate) at: When,
    pub(crate) cause: String,
    pub(crate) dry_run: bool,
    pub(crate) json: bool,
}

/// A directory that is made out of an archive.
pub(crate) struct RestoreFrom {
    pub(crate) from: Source,
    pub(crate) to: Option<PathBuf>,
    /// Only these.
    pub(crate) only: Option<(String, Selector)>,
    pub(crate) at: Option<When>,
    pub(crate) verify_only: bool,
    pub(crate) parallel: Option<u8>,
    pub(crate) dry_run: bool,
    pub(crate) json: bool,
}

impl Restore {
    pub(crate) fn what(self) -> Outcome<Restoring> {
        let Restore { keeping, to, engine, ns, object, id, prefix, all, at, verify_only, parallel, .. } =
            self;
        let (dry_run, json) = (self.dry_run, self.json);
        match (self.dir, self.from, ns, at) {
            (Some(dir), None, Some(ns), Some(at)) => {
                let (data, cause) = (Data { dir, keeping }, self.cause.unwrap_or_default());
                let what = RestoreInPlace { data, ns, object, id, prefix, all, at, cause, dry_run, json };
                Ok(Restoring::InPlace(what))
            }
            (None, Some(url), ns, at) => {
                let from = Source { url, access: keeping.place.access, engine };
                let selector = |ns: &str| match (&object, id, prefix) {
                    (Some(name), ..) => Selector::named(ns, name),
                    (_, Some(id), _) => Ok(Selector::Objects(vec![id])),
                    (_, _, Some(prefix)) => Ok(Selector::Prefix(prefix)),
                    _ => Ok(Selector::All),
                };
                let only = ns.map(|ns| selector(&ns).map(|selector| (ns, selector))).transpose()?;
                let what = RestoreFrom { from, to, only, at, verify_only, parallel, dry_run, json };
                Ok(Restoring::FromArchive(what))
            }
            _ => Err(Failure::usage("name a data directory with --dir, or an archive with --from")),
        }
    }
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Fork {
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) address: Address,
    /// Of which point in its history
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    pub(crate) at: When,
    /// The new object's name
    #[arg(long, value_name = "O")]
    pub(crate) to: String,
    /// The new object's namespace (default: the same)
    #[arg(long, value_name = "N")]
    pub(crate) to_ns: Option<String>,
    /// Why; kept with the new object's first commit
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) cause: String,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Pin {
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) address: Address,
    /// The pin's name; a pin of the same name moves
    pub(crate) name: String,
    /// Which point in its history (default: the newest commit)
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    pub(crate) at: Option<When>,
    /// Only say what would be pinned
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Unpin {
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) address: Address,
    /// The pin's name
    pub(crate) name: String,
    /// Only look whether there is such a pin
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Pins {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}
