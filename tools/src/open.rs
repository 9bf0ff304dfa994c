//! Opening for reading, and finding what an argument names.

use std::path::Path;

use lineal::{
    Engine, EngineId, Error, Namespace, Object, ObjectId, ObjectInfo, Options, archive::ArchiveOptions,
};

use crate::{
    archive,
    args::{Address, Data, Dir, Keeping, Place},
    exit::{Failure, Outcome},
};

/// Opens the data directory for reading; no byte of it changes.
pub(crate) fn read_only(dir: &Dir) -> Outcome<Engine> {
    refuse_missing(&dir.dir)?;
    Ok(reading(&dir.place).salvage(dir.salvage).open_read_only(&dir.dir)?)
}

/// Opens a data directory that is there for writing.
pub(crate) fn writable(data: &Data) -> Outcome<Engine> {
    refuse_missing(&data.dir)?;
    Ok(writing(&data.keeping).open(&data.dir)?)
}

/// Opens a data directory for reading that the command can also open for writing.
pub(crate) fn read_only_at(data: &Data) -> Outcome<Engine> {
    refuse_missing(&data.dir)?;
    Ok(reading(&data.keeping.place).open_read_only(&data.dir)?)
}

/// Options for writing, with the archive that the arguments name.
pub(crate) fn writing(keeping: &Keeping) -> Options {
    with(archive::of_writer(keeping))
}

fn reading(place: &Place) -> Options {
    with(archive::of_directory(place))
}

fn with(archive: Option<ArchiveOptions>) -> Options {
    archive.into_iter().fold(Options::new(), Options::archive)
}

fn refuse_missing(dir: &Path) -> Outcome {
    match dir.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::not_found(format!("there is no data directory {}", dir.display()))),
        Err(error) => Err(Failure::io(format_args!("{} cannot be looked at", dir.display()), &error)),
    }
}

/// The object that the arguments name, whether it exists or not.
pub(crate) fn any_object(engine: &Engine, address: &Address) -> Outcome<Object> {
    object_in(&engine.existing_namespace(&address.ns)?, address)
}

/// As `any_object`; the namespace is made if it is missing.
pub(crate) fn new_object(engine: &Engine, address: &Address) -> Outcome<Object> {
    object_in(&engine.namespace(&address.ns)?, address)
}

fn object_in(namespace: &Namespace, address: &Address) -> Outcome<Object> {
    match (&address.object, address.id) {
        (Some(name), _) => Ok(namespace.object(name)?),
        (None, Some(id)) => Ok(namespace.by_id(id)?),
        (None, None) => Err(Failure::usage("name the object with --object or --id")),
    }
}

/// The object that the arguments name, and what is known of it. It exists.
pub(crate) fn existing_object(engine: &Engine, address: &Address) -> Outcome<(Object, ObjectInfo)> {
    let object = any_object(engine, address)?;
    let info = info_of(&object)?.ok_or_else(|| no_object(address))?;
    Ok((object, info))
}

/// The object that the arguments name. It has commits, and may have been deleted.
pub(crate) fn object_with_history(engine: &Engine, address: &Address) -> Outcome<Object> {
    let object = any_object(engine, address)?;
    match object.info() {
        Ok(_) => Ok(object),
        Err(Error::NotFound { .. }) => Err(no_object(address)),
        Err(error) => Err(error.into()),
    }
}

fn no_object(address: &Address) -> Failure {
    Failure::not_found(format!("namespace {:?} has no object {}", address.ns, address.shown()))
}

/// What is known of an object, if it exists.
pub(crate) fn info_of(object: &Object) -> Outcome<Option<ObjectInfo>> {
    match object.info() {
        Ok(info) if info.exists => Ok(Some(info)),
        Ok(_) | Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The namespaces to look at, by name: one, or all.
pub(crate) fn namespaces(engine: &Engine, only: Option<&str>) -> Outcome<Vec<Namespace>> {
    match only {
        Some(name) => Ok(vec![engine.existing_namespace(name)?]),
        None => {
            let mut all = engine.namespaces()?;
            all.sort_by(|a, b| a.name().cmp(b.name()));
            Ok(all)
        }
    }
}

/// Reads an object's id: 32 hexadecimal digits.
pub(crate) fn parse_id(text: &str) -> Result<ObjectId, String> {
    parse_hex(text).map(ObjectId)
}

/// Reads an engine's id: 32 hexadecimal digits.
pub(crate) fn parse_engine(text: &str) -> Result<EngineId, String> {
    parse_hex(text).map(EngineId)
}

fn parse_hex(text: &str) -> Result<[u8; 16], String> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let mut id = [0; 16];
    match digits {
        Some(digits) if digits.len() == 32 => {
            for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = (pair[0] << 4) | pair[1];
            }
            Ok(id)
        }
        _ => Err("an id is 32 hexadecimal digits".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_prints() {
        let id = ObjectId(*b"\x00\x11\xfe0123456789abc");
        assert_eq!(parse_id(&id.to_string()), Ok(id));
        for wrong in ["", "00", "zz000000000000000000000000000000", "+1000000000000000000000000000000"] {
            assert!(parse_id(wrong).is_err(), "{wrong}");
        }
    }
}
