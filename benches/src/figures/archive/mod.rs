//! The archive, on a local S3 server: what it asks of the store, and how long that takes.
//!
//! Requests are counted where they leave the process. The server is the one of the tests ([`lineal_tests::s3`]); with
//! `LINEAL_S3_ENDPOINT=http://host:port` it is one that runs already.

mod bare;
mod child;
mod commits;
mod foreground;
mod large;
mod million;
mod puts;
mod slow;
mod wire;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lineal::{
    Engine, Error, Namespace, Object, Result,
    archive::{ArchiveOptions, Location},
};
use lineal_tests::s3::S3;

pub use self::child::{ROLES, play};
use self::{bare::Bare, wire::Wire};
use crate::report::Figure;

/// What measures one part.
type Part = fn(&Place) -> Result<Vec<Figure>>;

/// The parts of this group, each of which stands for itself.
pub const PARTS: [(&str, Part); 5] = [
    ("archive-commits", commits::measure),
    ("archive-puts", puts::measure),
    ("archive-foreground", foreground::measure),
    ("archive-million", million::measure),
    ("archive-large", large::measure),
];

/// Where the measurements take place, and how large they are.
pub struct Place {
    s3: S3,
    dir: PathBuf,
    /// Objects of the store that has many.
    objects: usize,
    /// Bytes of the large object.
    large_bytes: usize,
    /// How long a minute is: 60 seconds, or less to try it out.
    minute: Duration,
}

impl Place {
    /// Starts the server, if nobody else did.
    ///
    /// # Errors
    /// If there is none; the reason was told on standard error.
    pub fn new(dir: &Path, objects: usize, large_bytes: usize, minute: Duration) -> Result<Place> {
        let s3 = S3::start().ok_or_else(|| Error::other("the figures of the archive need an S3 server"))?;
        Ok(Place { s3, dir: dir.to_path_buf(), objects, large_bytes, minute })
    }

    /// A folder with nothing in it.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(name);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::other(error)),
            _ => Ok(folder),
        }
    }

    /// The place of an archive, for whoever is not watched.
    fn location(&self, prefix: &str) -> Location {
        self.s3.location(prefix)
    }

    /// An archive whose requests are counted.
    fn watched(&self, prefix: &str) -> Result<(ArchiveOptions, Arc<Wire>)> {
        let (store, wire) = Wire::connect(&self.s3.url(prefix), prefix, &self.s3.environment())?;
        Ok((wire::options(store), wire))
    }

    fn bare(&self) -> Result<Bare> {
        Bare::new(&self.location("bare"))
    }
}

/// The first `count` objects of the namespace that [`prepare`](super::steady::prepare) fills.
fn objects(engine: &Engine, count: usize) -> Result<Vec<Object>> {
    let namespace: Namespace = engine.namespace("objects")?;
    (0..count).map(|at| namespace.object(&format!("object {at}"))).collect()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
