//! What the demo says at its end.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use lineal::VerifyReport;

use super::{
    change::short, check::Compared, listing::Listing, lost::Returned, marker::Totals, past::Past,
    replay::Replayed,
};
use crate::{
    amounts::{count, size},
    json::Line,
    verify,
};

/// The whole run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) source: String,
    pub(super) replayed: Replayed,
    /// What was compared at the end, with the mismatches of all comparisons.
    pub(super) compared: Compared,
    pub(super) past: Past,
    pub(super) verified: VerifyReport,
    /// What came back from the archive, if there is one.
    pub(super) returned: Option<Returned>,
    pub(super) disk_bytes: u64,
    /// What of this is packs, catalog and log in use. The rest is prepared for later commits, or kept for a full disk.
    pub(super) data_bytes: u64,
}

impl Report {
    fn totals(&self) -> Totals {
        self.replayed.position.totals
    }

    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.replayed.writing.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }

    pub(super) fn json(&self) -> String {
        let (run, totals) = (&self.replayed, self.totals());
        let commits = run.position.done.commits;
        let mut line = Line::new();
        line.text("source", &self.source).number("objects", self.compared.objects).number("commits", commits);
        line.number("transactions", totals.transactions).number("bytes", totals.bytes);
        line.number("submodules_skipped", totals.submodules);
        line.decimal("seconds", run.writing.as_secs_f64());
        line.decimal("commits_per_second", self.per_second(commits));
        line.decimal("transactions_per_second", self.per_second(totals.transactions));
        line.number("fsyncs", run.fsyncs);
        line.number("killed_after_commits", run.acknowledged).number("found_after_kill", run.found);
        line.decimal("recovery_ms", millis(run.recovery))
            .number("replayed_at_recovery", run.replayed_commits);
        line.number("disk_bytes", self.disk_bytes)
            .number("data_bytes", self.data_bytes)
            .number("compared_bytes", self.compared.bytes);
        line.json("past", &self.past_json());
        let mut verified = Line::new();
        verify::fields(&self.verified, &mut verified);
        if let Some(returned) = &self.returned {
            line.json("archive", &returned_json(returned));
        }
        line.json("verified", &verified.end()).number("mismatches", self.compared.mismatches);
        line.end()
    }

    fn past_json(&self) -> String {
        let past = &self.past;
        let mut line = Line::new();
        line.number("pairs", past.pairs).number("bytes", past.bytes);
        line.number("restored", past.restored).number("forked", past.forked);
        if let Some(listing) = &past.listing {
            line.bytes("listed", &listing.path).number("commits", listing.ours.len() as u64);
            line.number("commits_in_git", listing.gits.len() as u64);
        }
        line.end()
    }

    pub(super) fn plain(&self) -> String {
        let (run, totals) = (&self.replayed, self.totals());
        let commits = run.position.done.commits;
        let row = |name: &str, value: String| format!("  {name:<18} {value}\n");
        let mut text = format!("{}\n", self.source);
        text += &row("objects", count(self.compared.objects));
        text += &row(
            "commits",
            format!("{} ({} transactions on files)", count(commits), count(totals.transactions)),
        );
        text += &row(
            "bytes",
            format!("{} written, {} at the end", size(totals.bytes), size(self.compared.bytes)),
        );
        text += &row(
            "speed",
            format!(
                "{}/s commits, {}/s transactions",
                count(self.per_second(commits) as u64),
                count(self.per_second(totals.transactions) as u64)
            ),
        );
        text += &row("fsyncs", count(run.fsyncs));
        text += &row(
            "killed",
            format!(
                "with SIGKILL after {} acknowledged commits; {} were there",
                count(run.acknowledged),
                count(run.found)
            ),
        );
        text += &row(
            "time to recover",
            format!(
                "{:.1} ms ({} transactions read back)",
                millis(run.recovery),
                count(run.replayed_commits)
            ),
        );
        text += &row(
            "space on disk",
            format!(
                "{} of data, {} with what the log keeps ready",
                size(self.data_bytes),
                size(self.disk_bytes)
            ),
        );
        if totals.submodules > 0 {
            text += &row("submodules", format!("{} changes left out", count(totals.submodules)));
        }
        let past = &self.past;
        text += &row(
            "past",
            format!("{} random files of random commits compared, {}", count(past.pairs), size(past.bytes)),
        );
        text += &row(
            "restored",
            format!(
                "{} objects to an old commit and back; {} forked",
                count(past.restored),
                count(past.forked)
            ),
        );
        if let Some(listing) = &past.listing {
            text += &row("history", listed(listing));
        }
        text += &row(
            "verified",
            format!("{} chains, {} commits", count(self.verified.objects), count(self.verified.commits)),
        );
        if let Some(returned) = &self.returned {
            text += &row("archive", returned_plain(returned));
        }
        text += &row("mismatches", count(self.compared.mismatches));
        for mismatch in &self.compared.told {
            text += &format!("    {mismatch}\n");
        }
        text
    }
}

fn returned_json(returned: &Returned) -> String {
    let mut line = Line::new();
    line.text("store", &returned.store).text("engine", &returned.engine);
    line.number("spilled_packs", returned.spilled_packs).number("spilled_bytes", returned.spilled_bytes);
    line.decimal("attached_ms", millis(returned.attached));
    line.number("gets_to_attach", returned.first.gets).number("bytes_to_attach", returned.first.bytes_read);
    line.number("gets", returned.all.gets).number("bytes_read", returned.all.bytes_read);
    let mut verified = Line::new();
    verify::fields(&returned.verified, &mut verified);
    line.json("verified", &verified.end()).end()
}

fn returned_plain(returned: &Returned) -> String {
    format!(
        "{} packs ({}) spilled, the directory deleted, attached in {:.1} ms with {} of {} GETs ({} of {});\n    \
         {} files were compared again, {} chains verified; engine {} stays in {}",
        count(returned.spilled_packs),
        size(returned.spilled_bytes),
        millis(returned.attached),
        count(returned.first.gets),
        count(returned.all.gets),
        size(returned.first.bytes_read),
        size(returned.all.bytes_read),
        count(returned.verified.objects),
        count(returned.verified.objects),
        returned.engine,
        returned.store
    )
}

/// Newest commits of the two lists that are printed.
///
/// Source: chosen; enough to see what is compared.
const LISTED_MAX: usize = 3;

/// An object's commits beside git's.
fn listed(listing: &Listing) -> String {
    let Listing { path, ours, gits } = listing;
    let mut text = format!(
        "{}: {} commits, {} in git",
        String::from_utf8_lossy(path).escape_debug(),
        count(ours.len() as u64),
        count(gits.len() as u64)
    );
    for at in 0..ours.len().max(gits.len()).min(LISTED_MAX) {
        let ours = ours.get(at).map_or_else(String::new, |(seq, id)| format!("{seq:>6}  {}", short(id)));
        let gits = gits.get(at).map_or("", |id| short(id));
        text += &format!("\n    {ours:<26} git {gits}");
    }
    text
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Bytes that a data directory takes on disk.
pub(super) fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        // Blocks of 512 bytes, whatever the file system's own are.
        bytes += if meta.is_dir() { disk_bytes(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}
