//! What the command understands.

mod archive;
mod migrate;
mod past;
mod sql;

use std::path::PathBuf;

use clap::{ArgGroup, Args as ArgsOf, Parser, Subcommand, ValueEnum};
use lineal::{EngineId, ObjectId};

use self::archive::{ARCHIVE_HELP, POINTS_HELP, REPAIR_HELP, WHERE_HELP};
pub(crate) use self::archive::{
    Access, Archive, ArchiveStatus, ArchiveVerify, Data, Gc, Keeping, OfArchive, Place, Points, Repair,
    Scrub, Source,
};
use self::migrate::MIGRATE_HELP;
pub(crate) use self::migrate::Migrate;
use self::past::{
    AT_HELP, BLAME_HELP, BOOKMARK_HELP, DIFF_HELP, FORK_HELP, HISTORY_HELP, PIN_HELP, PINS_HELP,
    RESTORE_HELP, SHOW_HELP, UNPIN_HELP, WHEN_HELP,
};
pub(crate) use self::past::{
    At, Blame, Bookmark, Diff, Fork, History, Look, Pin, Pins, Restore, RestoreFrom, RestoreInPlace,
    Restoring, Show, Unpin,
};
use self::sql::{EXPORT_HELP, IMPORT_HELP, SQL_HELP};
pub(crate) use self::sql::{Export, Import, Sql};
use crate::{
    exit,
    open::{parse_engine, parse_id},
};

/// A storage engine for applications made of millions of small, stateful objects.
#[derive(Debug, Parser)]
#[command(name = "lineal", version, after_help = exit::HELP, max_term_width = 110, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const DEMO_HELP: &str = "\
Every file becomes an object, every git commit along first parents a commit of each object it changes, with the git id
as its cause. The writing process is killed half-way, opens again and goes on. Then all is compared with git:
  - every file as it is now, and how often each was written
  - 200 random files of random commits, read at the bookmark that the cause leads to
  - ten objects restored to an old commit, and back by the bookmark that undoes it; one fork
  - one object's commits beside those of git log -- PATH
  - every object's chain of hashes
With --archive the packs are spilled to the store, the directory is deleted, the archive is attached to an empty one, and
everything is compared once more; the archive stays.
Mismatches are counted; if there is one, the exit code is 1. What --dir keeps has the files as they are now, and the
restores in the history of those ten. Without a git history a built-in one is replayed and compared with itself.

Examples:
  lineal demo                          the git repository you stand in
  lineal demo --repo ~/src/linux       another one, bare or shallow ones too
  lineal demo --dir /tmp/demo --json   keep the data, report for a script
  lineal demo --archive s3://try/demo  lose the directory on the way, and go on from the archive
";

const EXEC_HELP: &str = r#"Requests, one JSON object per line; any may carry "id", which comes back:
  {"op":"put","ns":"rooms","obj":"lobby","key":"k","value":"v"}
  {"op":"get","ns":"rooms","obj":"lobby","key":"k"}                  value, null if missing
  {"op":"delete","ns":"rooms","obj":"lobby","key":"k"}
  {"op":"list","ns":"rooms","obj":"lobby"}                           prefix, start, end, limit, reverse
  {"op":"txn","ns":"rooms","obj":"lobby","ops":[{"op":"put","key":"k","value":"v"},{"op":"delete","key":"x"}]}
  {"op":"many","txns":[{"ns":"rooms","obj":"a","ops":[...]},{"ns":"rooms","obj":"b","ops":[...]}]}
  {"op":"objects","ns":"rooms","limit":100,"after":"ID"}             after: an id, as in the reply's "next"
  {"op":"info","ns":"rooms","obj":"lobby"}
  {"op":"delete_object","ns":"rooms","obj":"lobby"}                  empty from now on; the history stays
  {"op":"purge","ns":"rooms","obj":"lobby"}                          state, history and name, for good
  {"op":"verify","ns":"rooms","obj":"lobby"}                         without ns and obj: everything
  {"op":"history","ns":"rooms","obj":"lobby","limit":100}            after, from, to (seqs), since, until (times), reverse
  {"op":"blame","ns":"rooms","obj":"lobby","key":"k"}                the commits that wrote the key; limit, after
  {"op":"changes","ns":"rooms","obj":"lobby","seq":17}               what one commit wrote
  {"op":"bookmark","ns":"rooms","obj":"lobby"}                       at
  {"op":"at","ns":"rooms","obj":"lobby","at":17,"key":"k"}           as get; without key as list
  {"op":"diff","ns":"rooms","obj":"lobby","from":17,"to":20}         limit, after (a key), table (its rows); without to: up to now
  {"op":"restore","ns":"rooms","obj":"lobby","at":17}                brings it back; "undo" is the bookmark that undoes it
  {"op":"fork","ns":"rooms","obj":"lobby","at":17,"to":{"ns":"rooms","obj":"copy"}}
  {"op":"restore_many","ns":"rooms","prefix":"team-7/","at":"1h ago"}  or "all":true, or "objs":[...]; dry_run, limit
  {"op":"pin","ns":"rooms","obj":"lobby","name":"release-1"}         at
  {"op":"unpin","ns":"rooms","obj":"lobby","name":"release-1"}  {"op":"pins","ns":"rooms","obj":"lobby"}
  {"op":"sql","ns":"rooms","obj":"lobby","query":"SELECT * FROM t WHERE id = ?1","params":[7]}   at, limit, cause, expect_seq
  {"op":"sync"}  {"op":"checkpoint"}  {"op":"stat"}
  {"op":"archive"}                                                   the archive has everything when it answers
  {"op":"spill"}                                                     gives local copies up that the archive has; ns
Strings are UTF-8, bytes are {"b64":"..."}; "obj" may be {"id":"32 hex digits"}. Writes take "cause" and "expect_seq";
put, delete, txn, many and sql also "durability":"archived", with which the reply leaves when the archive has the commit.
A point in a history ("at", "from" and "to" of diff) is a commit's number, a bookmark, a time or "2h ago".
A listing that its limit has cut off says "next": with that as "after" it goes on.
Operations of a txn: put (key, value), delete (key), delete_range (start, end), delete_all, sql (query, params, limit).

sql runs one statement and answers "columns", "rows" (a list for each), "more" (rows beyond limit, which is 10,000),
"rows_read" and "rows_written"; a txn has "results", one for each sql in it, a many a list of such lists. "params" is a list,
or an object of names (x is :x; @x and $x as they are). null, numbers and strings are what they are, true and false 1 and 0,
blobs {"b64":"..."}, infinity is "Infinity". Integers are exact in 64 bits: read them as such beyond 2^53.

Replies, one per line and in order: {"ok":true,"seq":7,"lsn":4711,...} or {"ok":false,"error":"TooLarge","message":"..."}.
A reply leaves only when all that it tells of is durable. Requests are read on while earlier replies wait.

Examples:
  echo '{"op":"put","ns":"n","obj":"o","key":"k","value":"v"}' | lineal exec --dir data
  lineal exec --dir data --archive s3://backups/rooms --durability archived < requests.jsonl
  lineal exec --dir /mnt/new --archive s3://backups/rooms --attach < requests.jsonl
"#;

const OBJECTS_HELP: &str = "\
Examples:
  lineal objects --dir data --ns rooms
  lineal objects --dir data --ns rooms --limit 100 --after 0a1b2c3d4e5f60718293a4b5c6d7e8f9 --json
";

const GET_HELP: &str = "\
Examples:
  lineal get --dir data --ns rooms --object lobby topic
  lineal get --dir data --ns rooms --id 10a1b2c3d4e5f60718293a4b5c6d7e8f topic --json
";

const DUMP_HELP: &str = r#"One line per entry, {"ns","obj","key","value","seq"}, sorted by namespace, object name (then the id of those without
one) and key; after an object's keys one per page of its database, {"ns","obj","page","b64","seq"}; last {"blake3":"...","entries":n}, the hash of all lines before it. The directory stays as it is.

Examples:
  lineal dump --dir data > before.jsonl
  lineal dump --dir data --ns rooms --object lobby
"#;

const VERIFY_HELP: &str = "\
Checks every file, every checksum and every object's chain, and says what it checked. With --purged it searches every file,
unused parts of the log and of the catalog included, for what is left of purged objects; if there is something, or that
cannot be ruled out, the exit code is 1. lineal compact takes it away. The directory stays as it is.

Examples:
  lineal verify --dir data
  lineal compact --dir data && lineal verify --dir data --purged
";

const PROOF_HELP: &str = "\
Each checkpoint publishes a root: one hash over the newest commits of all objects it packed, and so over all before them.
Keep roots where whoever runs the engine cannot change them. A proof is one JSON object; any program can check it.

Examples:
  lineal proof --dir data                                                the newest root
  lineal proof --dir data --ns rooms --object lobby --seq 7 > p.json     that commit 7 was made
  lineal proof --dir data --since 1000 > c.json                          that nothing under the root of 1000 heads changed
  lineal proof --check p.json --root 5f3a...                             check it, with no engine at hand
";

const COMPACT_HELP: &str = "\
Merges all packs into one. What is older than a namespace's retention, and that no pin, fork or restore needs, goes for good;
so does what is left of purged objects, in any file.
By itself the engine does this when a good part of the history is beyond. The clock that counts follows a leap of the wall
clock by a day at most.

Examples:
  lineal compact --dir data --dry-run
  lineal compact --dir data --trust-clock    the machine was off for a month, and its clock is right
";

const RETENTION_HELP: &str = "\
Examples:
  lineal retention --dir data --ns rooms
  lineal retention --dir data --ns rooms --days 90
  lineal retention --dir data --ns rooms --days 30 --bytes 10000000
  lineal retention --dir data --ns audit --forever
  lineal retention --dir data --ns audit --days 30 --lineage forever    verify walks from the first commit all the same
";

const STAT_HELP: &str = "\
Examples:
  lineal stat --dir data
  lineal stat --dir data --prometheus
";

fn with_when(help: &str) -> String {
    with_codes(&format!("{WHEN_HELP}\n{help}"))
}

fn with_archive(help: &str) -> String {
    with_codes(&format!("{WHERE_HELP}\n{help}"))
}

fn with_codes(help: &str) -> String {
    format!("{help}\n{}", exit::HELP)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replay a git repository's real history, kill the writer half-way, and compare present and past with git.
    #[command(after_help = with_codes(DEMO_HELP))]
    Demo(Demo),
    /// The writing part of the demo, which gets killed.
    #[command(hide = true)]
    DemoWriter(DemoWriter),
    /// Run requests from stdin, one JSON object per line, and answer on stdout.
    #[command(after_help = with_archive(EXEC_HELP))]
    Exec(Exec),
    /// List the objects of a namespace, by id.
    #[command(after_help = with_codes(OBJECTS_HELP))]
    Objects(Objects),
    /// Print one value.
    #[command(after_help = with_codes(GET_HELP))]
    Get(Get),
    /// Print everything, sorted, with a hash.
    #[command(after_help = with_codes(DUMP_HELP))]
    Dump(Dump),
    /// List an object's commits.
    #[command(after_help = with_when(HISTORY_HELP))]
    History(History),
    /// Print one commit and what it wrote.
    #[command(after_help = with_when(SHOW_HELP))]
    Show(Show),
    /// Look at an object as it was.
    #[command(after_help = with_when(AT_HELP))]
    At(At),
    /// Print what is different between two points of an object's history.
    #[command(after_help = with_when(DIFF_HELP))]
    Diff(Diff),
    /// List the commits that wrote a key.
    #[command(after_help = with_codes(BLAME_HELP))]
    Blame(Blame),
    /// Print the bookmark of a point in an object's history.
    #[command(after_help = with_when(BOOKMARK_HELP))]
    Bookmark(Bookmark),
    /// Bring objects back to where they were, or an engine out of its archive.
    #[command(after_help = with_when(&format!("{WHERE_HELP}\n{RESTORE_HELP}")))]
    Restore(Restore),
    /// Say what can be restored from an archive.
    #[command(after_help = with_archive(POINTS_HELP))]
    Points(Points),
    /// Make an archive's manifest again where it is missing or damaged.
    #[command(after_help = with_archive(REPAIR_HELP))]
    Repair(Repair),
    /// Look at an archive, check it and tidy it up.
    #[command(after_help = with_archive(ARCHIVE_HELP))]
    Archive(Archive),
    /// Merge packs, and give up the history that is beyond its retention.
    #[command(after_help = with_codes(COMPACT_HELP))]
    Compact(Compact),
    /// Show or set how much history a namespace keeps.
    #[command(after_help = with_codes(RETENTION_HELP))]
    Retention(Keep),
    /// Bring the objects of a namespace forward to the newest step of their schema.
    #[command(after_help = with_codes(MIGRATE_HELP))]
    Migrate(Migrate),
    /// Make another object of what an object was.
    #[command(after_help = with_when(FORK_HELP))]
    Fork(Fork),
    /// Keep a point of an object's history, whatever the retention says.
    #[command(after_help = with_when(PIN_HELP))]
    Pin(Pin),
    /// Take off a pin.
    #[command(after_help = with_codes(UNPIN_HELP))]
    Unpin(Unpin),
    /// List an object's pins.
    #[command(after_help = with_codes(PINS_HELP))]
    Pins(Pins),
    /// Run SQL on an object's database, now or as it was.
    #[command(after_help = with_when(SQL_HELP))]
    Sql(Sql),
    /// Make a file of SQLite an object's database.
    #[command(after_help = with_codes(IMPORT_HELP))]
    Import(Import),
    /// Write an object's database to a file of SQLite.
    #[command(after_help = with_when(EXPORT_HELP))]
    Export(Export),
    /// Check every file, checksum and chain.
    #[command(after_help = with_codes(VERIFY_HELP))]
    Verify(Verify),
    /// Print counters and sizes.
    #[command(after_help = with_codes(STAT_HELP))]
    Stat(Stat),
    /// Prove that a commit was made, or that no past was rewritten; and check such proofs.
    #[command(after_help = with_codes(PROOF_HELP))]
    Proof(Proof),
}

impl Command {
    /// Whether errors are told as JSON.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Command::Demo(args) => args.json,
            Command::DemoWriter(_) => false,
            Command::Exec(_) => false,
            Command::Objects(args) => args.json,
            Command::Get(args) => args.json,
            Command::Dump(_) => false,
            Command::History(args) => args.json,
            Command::Show(args) => args.json,
            Command::At(args) => args.json,
            Command::Diff(args) => args.json,
            Command::Blame(args) => args.json,
            Command::Bookmark(args) => args.json,
            Command::Restore(args) => args.json,
            Command::Points(args) => args.json,
            Command::Repair(args) => args.json,
            Command::Archive(args) => args.what.wants_json(),
            Command::Compact(args) => args.json,
            Command::Retention(args) => args.json,
            Command::Migrate(args) => args.json,
            Command::Fork(args) => args.json,
            Command::Pin(args) => args.json,
            Command::Unpin(args) => args.json,
            Command::Pins(args) => args.json,
            Command::Sql(args) => args.json,
            Command::Import(args) => args.json,
            Command::Export(args) => args.json,
            Command::Verify(args) => args.json,
            Command::Stat(args) => args.json,
            Command::Proof(args) => args.json,
        }
    }
}

/// The data directory of a command that only reads.
#[derive(Debug, ArgsOf)]
pub(crate) struct Dir {
    /// The data directory; it is only read
    #[arg(long, value_name = "D")]
    pub(crate) dir: PathBuf,
    /// Read a log that is damaged in its acknowledged part, up to the damage
    #[arg(long)]
    pub(crate) salvage: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, ArgsOf)]
#[command(group = ArgGroup::new("which").required(true).args(["object", "id"]))]
pub(crate) struct Address {
    /// The namespace
    #[arg(long, value_name = "N")]
    pub(crate) ns: String,
    /// The object, by name
    #[arg(long, value_name = "O")]
    pub(crate) object: Option<String>,
    /// The object, by id (for those without a name)
    #[arg(long, value_name = "HEX", value_parser = parse_id)]
    pub(crate) id: Option<ObjectId>,
}

impl Address {
    /// The object as a person wrote it.
    pub(crate) fn shown(&self) -> String {
        match (&self.object, self.id) {
            (Some(name), _) => format!("{name:?}"),
            (None, Some(id)) => id.to_string(),
            (None, None) => String::new(),
        }
    }
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Demo {
    /// The git repository to replay (default: the one you stand in)
    #[arg(long, value_name = "PATH")]
    pub(crate) repo: Option<PathBuf>,
    /// Where to write: a directory that is missing or empty (default: a temporary one, removed at the end)
    #[arg(long, value_name = "D")]
    pub(crate) dir: Option<PathBuf>,
    /// Replay only the last N commits
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) commits: Option<u64>,
    // Not out of the environment: nobody wants a demo in the archive that a script has set up.
    /// Keep an archive there, lose the local directory half-way, and go on from the archive
    #[arg(long, value_name = "URL")]
    pub(crate) archive: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the demo tells the process that writes.
#[derive(Debug, ArgsOf)]
pub(crate) struct DemoWriter {
    /// The data directory
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// The repository; without it the built-in data set is replayed
    #[arg(long)]
    pub(crate) repo: Option<PathBuf>,
    /// The last git commit to replay
    #[arg(long, requires = "repo")]
    pub(crate) tip: Option<String>,
    /// The git commit before the first one to replay
    #[arg(long, requires = "repo")]
    pub(crate) base: Option<String>,
    #[command(flatten)]
    pub(crate) keeping: Keeping,
    /// Stop for good after this many commits and wait for the kill
    #[arg(long)]
    pub(crate) hold_at: Option<u64>,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Exec {
    /// The data directory; it is created if it is missing
    #[arg(long, value_name = "D")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) keeping: Keeping,
    /// Begin with what the archive holds, if the directory is missing or empty
    #[arg(long, requires = "url")]
    pub(crate) attach: bool,
    /// Whose archive to attach, where the place has those of several engines
    #[arg(long, value_name = "HEX", requires = "attach", value_parser = parse_engine)]
    pub(crate) engine: Option<EngineId>,
    /// Disk that packs may take here; beyond it archived ones lose their local copy
    #[arg(long, value_name = "BYTES", requires = "url")]
    pub(crate) local_bytes: Option<u64>,
    /// Where every commit is before its reply leaves; a request can ask for more
    #[arg(long, value_name = "WHERE", default_value = "local")]
    pub(crate) durability: Durability,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// In the log on the local disk
    Local,
    /// In the archive as well
    Archived,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Objects {
    #[command(flatten)]
    pub(crate) dir: Dir,
    /// The namespace
    #[arg(long, value_name = "N")]
    pub(crate) ns: String,
    /// At most this many
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Only those after this id
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) after: Option<ObjectId>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) dir: Dir,
    #[command(flatten)]
    pub(crate) address: Address,
    /// The key
    pub(crate) key: String,
    /// The value and its seq as JSON, instead of the raw bytes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) dir: Dir,
    /// Only this namespace
    #[arg(long, value_name = "N")]
    pub(crate) ns: Option<String>,
    /// Only this object, by name
    #[arg(long, value_name = "O", requires = "ns")]
    pub(crate) object: Option<String>,
    /// Only this object, by id
    #[arg(long, value_name = "HEX", requires = "ns", conflicts_with = "object", value_parser = parse_id)]
    pub(crate) id: Option<ObjectId>,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) dir: Dir,
    /// Search for what is left of purged objects, instead
    #[arg(long)]
    pub(crate) purged: bool,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Stat {
    #[command(flatten)]
    pub(crate) dir: Dir,
    /// As JSON
    #[arg(long, conflicts_with = "prometheus")]
    pub(crate) json: bool,
    /// As text that Prometheus reads
    #[arg(long)]
    pub(crate) prometheus: bool,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Compact {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Let the retention's clock follow the wall clock all the way
    #[arg(long)]
    pub(crate) trust_clock: bool,
    /// Only say what there is
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Lineage {
    /// The hash of the last commit that goes
    Anchor,
    /// The headers of all commits, without what they wrote
    Forever,
}

#[derive(Debug, ArgsOf)]
pub(crate) struct Keep {
    #[command(flatten)]
    pub(crate) data: Data,
    /// The namespace
    #[arg(long, value_name = "N")]
    pub(crate) ns: String,
    /// Keep every version for so many days
    #[arg(long, value_name = "DAYS", conflicts_with = "forever")]
    pub(crate) days: Option<u64>,
    /// Keep at most so many bytes of history of each object
    #[arg(long, value_name = "BYTES", conflicts_with = "forever")]
    pub(crate) bytes: Option<u64>,
    /// Keep all of it
    #[arg(long)]
    pub(crate) forever: bool,
    /// What stays of older commits: their headers for ever, or an anchor that the chain verifies from
    #[arg(long, value_name = "HOW")]
    pub(crate) lineage: Option<Lineage>,
    /// Only say what would be kept
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ArgsOf)]
#[command(group = ArgGroup::new("from").required(true).args(["dir", "check"]))]
pub(crate) struct Proof {
    /// The data directory; it is only read
    #[arg(long, value_name = "D")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// The namespace of the object
    #[arg(long, value_name = "N", requires = "seq", conflicts_with = "check")]
    pub(crate) ns: Option<String>,
    /// The object, by name
    #[arg(long, value_name = "O", requires = "ns", conflicts_with = "id")]
    pub(crate) object: Option<String>,
    /// The object, by id
    #[arg(long, value_name = "HEX", requires = "ns", value_parser = parse_id)]
    pub(crate) id: Option<ObjectId>,
    /// The number of the commit to prove
    #[arg(long, value_name = "N", requires = "ns")]
    pub(crate) seq: Option<u64>,
    /// Prove that nothing has changed since the root of so many heads
    #[arg(long, value_name = "HEADS", conflicts_with_all = ["ns", "check"])]
    pub(crate) since: Option<u64>,
    /// A proof to check
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
    /// The root that it has to lead to
    #[arg(long, value_name = "HEX", requires = "check")]
    pub(crate) root: Option<String>,
    /// As JSON (a proof always is)
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_help_tells_the_exit_codes() {
        for command in Args::command().get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            assert!(command.render_help().to_string().contains("Exit codes:"), "{}", command.get_name());
        }
    }
}
