//! From arguments to the place of an archive.

use std::env;

use lineal::archive::{ArchiveOptions, Location};

use crate::args::{Access, Keeping, Place, Source};

/// The archive that the arguments name.
pub(super) fn of(source: &Source) -> ArchiveOptions {
    ArchiveOptions::new(location(&source.url, &source.access))
}

/// The archive of a data directory that is read, if it has one.
pub(crate) fn of_directory(place: &Place) -> Option<ArchiveOptions> {
    let url = place.url.as_deref()?;
    Some(ArchiveOptions::new(location(url, &place.access)))
}

/// The archive of a data directory that is written, if it has one.
pub(crate) fn of_writer(keeping: &Keeping) -> Option<ArchiveOptions> {
    of_directory(&keeping.place).map(|archive| archive.force(keeping.force))
}

fn location(url: &str, access: &Access) -> Location {
    // What is no UTF-8 means nothing to any store.
    let variables = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let location = Location::new(url).environment(variables);
    access.options.iter().fold(location, |location, (name, value)| location.option(name, value))
}
