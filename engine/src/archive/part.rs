//! Some objects of an archive, as an engine of their own.

use std::{collections::BTreeSet, path::Path};

use lineal_wal::{Disk, Log, LogOptions, NamespaceId, ObjectKey, RealDisk};

use super::{
    ArchiveOptions,
    options::modest,
    reading::{Reading, make_lock},
    restore::{RestoreReport, remove_folder},
};
use crate::{
    Engine, Error, Result, Selector,
    checkpoint::extract,
    engine::{holds, identity, listing::Keys, system},
    sync::Arc,
};

/// Makes `work` a data directory of the objects that are meant, and of those that their histories read through to. The
/// archive is opened for reading beside it, lazily: only what they need is fetched.
pub(super) fn fetch(
    from: &ArchiveOptions,
    reading: &Reading,
    work: &Path,
    (namespace, selector): (&str, &Selector),
    report: &mut RestoreReport,
) -> Result<()> {
    let settings = modest();
    let scratch = work.join("source");
    remove_folder(&scratch)?;
    let engine = reading.open_beside(&scratch, from, false)?;
    let keys = chosen(&engine, namespace, selector)?;

    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(work.to_path_buf()));
    let id = identity::draw(&settings.random);
    disk.create_dir(lineal_snapshot::PACK_FOLDER)
        .map_err(|error| Error::io("creating", lineal_snapshot::PACK_FOLDER, error))?;
    let extracted = extract(&engine.inner, &keys, &disk, id)?;
    let log_options = LogOptions { threads: false, ..LogOptions::new(id, Arc::clone(&settings.random)) };
    Log::seed(&disk, &log_options, extracted.line, extracted.time, &mut || Ok(None))?;
    report.requests += engine.archive_status().map_or(0, |status| status.traffic.gets + status.traffic.puts);
    report.pack_bytes = extracted.bytes;
    engine.close()?;
    remove_folder(&scratch)?;
    make_lock(&*disk)?;
    identity::write(&*disk, id)
}

/// The objects that are meant, those that their histories read through to, and the system object.
fn chosen(engine: &Engine, namespace: &str, selector: &Selector) -> Result<BTreeSet<ObjectKey>> {
    let namespace = engine.existing_namespace(namespace)?;
    let of = |id| ObjectKey { namespace: namespace.id(), id };
    let mut waiting: Vec<ObjectKey> = match selector {
        Selector::Objects(ids) => ids.iter().map(|id| of(*id)).collect(),
        _ => Keys::new(&engine.inner, namespace.id(), None)?.collect::<Result<_>>()?,
    };
    if let Selector::Prefix(prefix) = selector {
        let mut named = Vec::new();
        for key in waiting {
            match namespace.at(key.id).info() {
                Ok(info) if info.name.as_ref().is_some_and(|name| name.starts_with(prefix)) => {
                    named.push(key)
                }
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        waiting = named;
    }
    if let Selector::Objects(ids) = selector {
        for id in ids {
            // One that was deleted has a history, too.
            namespace.at(*id).info()?;
        }
    }
    let mut keys = BTreeSet::from([system::KEY]);
    while let Some(key) = waiting.pop() {
        if keys.insert(key)
            && let Some(source) = holds::source_of(&engine.inner, key)?
            && source.namespace != NamespaceId(0)
        {
            waiting.push(source);
        }
    }
    if keys.len() == 1 {
        return Err(Error::NotFound { what: "any object that is meant".into() });
    }
    Ok(keys)
}
