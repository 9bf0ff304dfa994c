//! `lineal migrate`: at which version of their schema a namespace's objects are, and bringing them forward.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use lineal::{MigratedObject, Migration, ObjectId, ObjectInfo};

use crate::{
    args,
    exit::{Code, Failure, Outcome},
    json::Line,
    open,
    progress::Progress,
    stdout::Output,
};

pub(crate) fn run(args: &args::Migrate) -> Outcome {
    let steps = args.steps.as_deref().map(read_steps).transpose()?;
    match steps {
        Some(steps) if !args.dry_run => forward(args, steps),
        steps => list(args, steps.as_deref()),
    }
}

/// Says at which version the objects are, and what would be run; without steps of all objects, else of those behind.
fn list(args: &args::Migrate, steps: Option<&[Migration]>) -> Outcome {
    let engine = open::read_only_at(&args.data)?;
    let namespace = engine.existing_namespace(&args.ns)?;
    let newest = steps.map(number_of);
    let mut out = Output::new();
    let mut progress = Progress::new("objects looked at", namespace.usage().objects);
    let mut tally = Tally::default();
    let mut said = Ok(());
    namespace.schema_versions(&mut |info, version| {
        tally.count(version);
        progress.at(tally.done);
        if newest.is_none_or(|newest| version < newest) && said.is_ok() {
            said = out.line(&version_line(info, version, newest, args.json));
        }
    })?;
    progress.end();
    said?;
    out.line(&tally.summary(args.json, true))?;
    out.flush()
}

fn forward(args: &args::Migrate, steps: Vec<Migration>) -> Outcome {
    let engine = open::writable(&args.data)?;
    let namespace = engine.existing_namespace(&args.ns)?;
    namespace.migrations(steps)?;
    let mut out = Output::new();
    let mut progress = Progress::new("objects looked at", namespace.usage().objects);
    let mut tally = Tally::default();
    let mut said = Ok(());
    namespace.migrate_all(&mut |object| {
        let line = tally.end(&object, args.json);
        progress.at(tally.done);
        if let (Some(line), Ok(())) = (line, &said) {
            said = out.line(&line);
        }
    })?;
    progress.end();
    said?;
    out.line(&tally.summary(args.json, false))?;
    out.flush()?;
    engine.close()?;
    if tally.failed > 0 { Err(Failure::Silent(Code::Other)) } else { Ok(()) }
}

/// How many objects are at which version.
#[derive(Default)]
struct Tally {
    done: u64,
    migrated: u64,
    failed: u64,
    versions: BTreeMap<u32, u64>,
}

impl Tally {
    fn count(&mut self, version: u32) {
        self.done += 1;
        *self.versions.entry(version).or_default() += 1;
    }

    /// Counts an object that is done with. What there is to say of it.
    fn end(&mut self, object: &MigratedObject, json: bool) -> Option<String> {
        let mut line = Line::new();
        line.object("obj", object.name.as_deref(), object.id);
        let shown = named(object.name.as_deref(), object.id);
        match &object.outcome {
            Ok((from, to)) => {
                self.count(*to);
                if from == to {
                    return None;
                }
                self.migrated += 1;
                line.text("was", "migrated").number("from", u64::from(*from)).number("to", u64::from(*to));
                Some(if json { line.end() } else { format!("{shown} migrated from {from} to {to}") })
            }
            Err(error) => {
                self.done += 1;
                self.failed += 1;
                line.text("was", "failed").text("error", error.name()).text("message", &error.to_string());
                Some(if json { line.end() } else { format!("{shown} is behind: {error}") })
            }
        }
    }

    fn summary(&self, json: bool, dry: bool) -> String {
        if json {
            let mut versions = Line::new();
            for (version, count) in &self.versions {
                versions.number(&version.to_string(), *count);
            }
            let mut line = Line::new();
            line.flag("dry_run", dry).json("versions", &versions.end());
            return line.number("migrated", self.migrated).number("failed", self.failed).end();
        }
        let mut parts: Vec<String> =
            self.versions.iter().map(|(version, count)| format!("{count} at version {version}")).collect();
        if self.failed > 0 {
            parts.push(format!("{} failed", self.failed));
        }
        let parts = if parts.is_empty() { "there are no objects".to_owned() } else { parts.join(", ") };
        if dry { format!("{parts}; nothing was done") } else { parts }
    }
}

fn version_line(info: &ObjectInfo, version: u32, newest: Option<u32>, json: bool) -> String {
    if json {
        let mut line = Line::new();
        line.object("obj", info.name.as_deref(), info.id).number("version", u64::from(version));
        if let Some(newest) = newest {
            line.number("would_be", u64::from(newest));
        }
        return line.end();
    }
    let shown = named(info.name.as_deref(), info.id);
    match newest {
        Some(newest) => format!("{shown} is at version {version} and would be at {newest}"),
        None => format!("{shown} is at version {version}"),
    }
}

fn named(name: Option<&str>, id: ObjectId) -> String {
    name.map_or_else(|| id.to_string(), |name| format!("{name:?}"))
}

fn number_of(steps: &[Migration]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

/// Reads the steps: one file, or all files of a folder that end in `.sql`.
fn read_steps(path: &Path) -> Outcome<Vec<Migration>> {
    let cannot = |error| Failure::io(format_args!("{} cannot be read", path.display()), &error);
    let mut files: Vec<PathBuf> = if fs::metadata(path).map_err(cannot)?.is_dir() {
        let entries = fs::read_dir(path).map_err(cannot)?;
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(cannot)?
    } else {
        vec![path.to_owned()]
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    let mut named: Vec<(u32, String, PathBuf)> = files
        .into_iter()
        .map(|file| step_name(&file).map(|(number, name)| (number, name, file)))
        .collect::<Outcome<_>>()?;
    named.sort();
    if named.is_empty() {
        return Err(Failure::usage(format!("{} has no files that end in .sql", path.display())));
    }
    let mut steps = Vec::new();
    for (expected, (number, name, file)) in (1..).zip(named) {
        if number != expected {
            let message =
                format!("{} should be step {expected}: steps are numbered from 1, each once", file.display());
            return Err(Failure::usage(message));
        }
        let statements = fs::read_to_string(&file)
            .map_err(|error| Failure::io(format_args!("{} cannot be read", file.display()), &error))?;
        steps.push(Migration::sql(&name, statements));
    }
    Ok(steps)
}

/// Number and name out of `001_name.sql`.
fn step_name(file: &Path) -> Outcome<(u32, String)> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digits = stem.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = stem.split_at(digits);
    match (number.parse(), name.strip_prefix(['_', '-'])) {
        (Ok(number), Some(name)) if !name.is_empty() => Ok((number, name.to_owned())),
        _ => Err(Failure::usage(format!("{} is not named like 001_name.sql", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_tells_number_and_name() {
        let read = |name: &str| step_name(Path::new(name)).ok();
        assert_eq!(read("steps/001_add_index.sql"), Some((1, "add_index".into())));
        assert_eq!(read("12-x.sql"), Some((12, "x".into())));
        for wrong in ["add.sql", "1.sql", "1_.sql", "_x.sql", "99999999999_x.sql"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
