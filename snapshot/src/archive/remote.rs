//! Stores that `object_store` knows: S3 and its like, GCS, Azure, memory.

use super::chunk::CHUNK_BYTES_MAX;
use super::error::ArchiveError;
use super::store::{Answer, Found, Listing, Source, Store, StoreError, StoreErrorKind, Tag, When};
use crate::sync::Arc;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use std::ops::Range;

/// What is sent or read in one step; larger sources go up in pieces of at least this. Source: a decision; S3 wants 5 MiB.
pub(crate) const STEP_BYTES: u64 = 8 << 20;

/// How many pieces one upload may have. Source: the limit of S3 is 10,000.
const PIECES_MAX: u64 = 9_000;

/// Largest answer that is held in memory. Source: the largest chunk, with its frame.
pub(crate) const ANSWER_BYTES_MAX: u64 = CHUNK_BYTES_MAX as u64 + (1 << 20);

/// A store of `object_store`, below a prefix. To be polled inside the archive's [runtime](super::Runtime).
#[derive(Debug)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    name: String,
    prefix: Path,
}

impl Remote {
    /// Everything goes below `prefix`, which may be empty. The store should not try again by itself: an attempt that
    /// it repeats after a lost reply looks as if somebody else had won.
    ///
    /// # Errors
    /// [`ArchiveError::Location`] for a prefix that is no path.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        name: impl Into<String>,
        prefix: &str,
    ) -> Result<Self, ArchiveError> {
        let name = name.into();
        let prefix = Path::parse(prefix)
            .map_err(|error| ArchiveError::Location { url: name.clone(), reason: error.to_string() })?;
        Ok(Self { store, name, prefix })
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Found, StoreError> {
        let ranged = range.is_some();
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let result: GetResult = match self.store.get_opts(&self.path(key), options).await {
            Err(error) if ranged && says(&error, &BEYOND) => {
                return Ok(Found { bytes: Bytes::new(), tag: None });
            }
            result => result.map_err(said)?,
        };
        let tag = result.meta.e_tag.clone().map(Tag);
        if result.range.end.saturating_sub(result.range.start) > ANSWER_BYTES_MAX {
            return Err(StoreError::new(StoreErrorKind::Invalid, "the key holds more than is read at once"));
        }
        let bytes = result.bytes().await.map_err(said)?;
        Ok(Found { bytes, tag })
    }

    async fn write(&self, key: &str, bytes: Bytes, when: When) -> Result<Option<Tag>, StoreError> {
        let mode = match when {
            When::Always => PutMode::Overwrite,
            When::Missing => PutMode::Create,
            When::Unchanged(Tag(tag)) => PutMode::Update(UpdateVersion { e_tag: Some(tag), version: None }),
        };
        let options = PutOptions::from(mode);
        let put = self.store.put_opts(&self.path(key), PutPayload::from_bytes(bytes), options).await;
        Ok(put.map_err(said)?.e_tag.map(Tag))
    }

    async fn send(&self, key: &str, source: Arc<dyn Source>) -> Result<(), StoreError> {
        let bytes = source.len();
        let piece_bytes = STEP_BYTES.max(bytes.div_ceil(PIECES_MAX));
        if bytes <= piece_bytes {
            let piece = piece(&source, 0..bytes).await?;
            self.write(key, piece, When::Always).await?;
            return Ok(());
        }
        let mut upload = self.store.put_multipart(&self.path(key)).await.map_err(said)?;
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + piece_bytes);
            let sent = match piece(&source, at..end).await {
                Ok(piece) => upload.put_part(PutPayload::from_bytes(piece)).await.map_err(said),
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                // Pieces of an upload that was never ended cost room; if this fails too, the bucket's rules end it.
                let _ = upload.abort().await;
                return Err(error);
            }
            at = end;
        }
        upload.complete().await.map_err(said)?;
        Ok(())
    }
}

/// Reads one piece of a source, away from the thread that the requests of everybody are on.
async fn piece(source: &Arc<dyn Source>, range: Range<u64>) -> Result<Bytes, StoreError> {
    let source = Arc::clone(source);
    let read = move || {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
        source.read_exact_at(&mut bytes, range.start).map(|()| Bytes::from(bytes))
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| StoreError::new(StoreErrorKind::Busy, error))?
        .map_err(|error| StoreError::new(StoreErrorKind::Busy, error))
}

impl Store for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Found> {
        Box::pin(self.read(key, range))
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When) -> Answer<'a, Option<Tag>> {
        Box::pin(self.write(key, bytes, when))
    }

    fn upload<'a>(&'a self, key: &'a str, source: Arc<dyn Source>) -> Answer<'a, ()> {
        Box::pin(self.send(key, source))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.store.delete(&self.path(key)).await.map_err(said) })
    }

    fn list<'a>(&'a self, folder: &'a str) -> Answer<'a, Listing> {
        Box::pin(async move {
            let folder = self.path(folder);
            let listed = self.store.list_with_delimiter(Some(&folder)).await.map_err(said)?;
            let name = |path: &Path| path.parts().next_back().map(|part| part.as_ref().to_owned());
            Ok(Listing {
                folders: listed.common_prefixes.iter().filter_map(name).collect(),
                keys: listed
                    .objects
                    .iter()
                    .filter_map(|key| Some((name(&key.location)?, key.size)))
                    .collect(),
            })
        })
    }
}

/// What an error of `object_store` means.
///
/// Its kinds do not tell a missing bucket from a missing key, nor a request that was malformed from a server that is
/// ill; the text of the reply does.
fn said(error: Error) -> StoreError {
    let kind = match &error {
        // Of lists it tells nothing but that they failed.
        error if says(error, &NO_BUCKET) => StoreErrorKind::NoBucket,
        Error::NotFound { .. } => StoreErrorKind::Missing,
        // It makes "already exists" of both, 412 and 409, and of the latter nothing follows.
        error if says(error, &["409 Conflict"]) => StoreErrorKind::Conflict,
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => {
            StoreErrorKind::Refused
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreErrorKind::Denied,
        Error::NotImplemented { .. } | Error::NotSupported { .. } => StoreErrorKind::Unsupported,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => StoreErrorKind::Invalid,
        error if says(error, &DENIED) => StoreErrorKind::Denied,
        error if says(error, &MALFORMED) && !says(error, &["RequestTimeout"]) => StoreErrorKind::Invalid,
        error if says(error, &["501 Not Implemented"]) => StoreErrorKind::Unsupported,
        _ => StoreErrorKind::Busy,
    };
    StoreError::new(kind, error)
}

const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "specified bucket does not exist"];
/// A range that begins behind the end: there is nothing of it.
const BEYOND: [&str; 2] = ["416 Range Not Satisfiable", "Wanted range starting at"];
const DENIED: [&str; 2] = ["401 Unauthorized", "403 Forbidden"];
const MALFORMED: [&str; 2] = ["400 Bad Request", "redirect without LOCATION"];

fn says(error: &Error, words: &[&str]) -> bool {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if words.iter().any(|word| text.contains(word)) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: &str, body: &str) -> Box<dyn std::error::Error + Send + Sync> {
        format!("Server returned non-2xx status code: {status}: {body}").into()
    }

    #[test]
    fn replies_that_look_alike_are_told_apart() {
        let path = || "e/key".to_owned();
        let generic = |source| Error::Generic { store: "S3", source };
        for (error, kind) in [
            (
                Error::NotFound { path: path(), source: reply("404 Not Found", "NoSuchKey") },
                StoreErrorKind::Missing,
            ),
            (
                Error::NotFound { path: path(), source: reply("404 Not Found", "<Code>NoSuchBucket</Code>") },
                StoreErrorKind::NoBucket,
            ),
            (
                Error::AlreadyExists { path: path(), source: reply("412 Precondition Failed", "") },
                StoreErrorKind::Refused,
            ),
            (
                Error::AlreadyExists {
                    path: path(),
                    source: reply("409 Conflict", "ConditionalRequestConflict"),
                },
                StoreErrorKind::Conflict,
            ),
            (
                Error::PermissionDenied {
                    path: path(),
                    source: reply("403 Forbidden", "RequestTimeTooSkewed"),
                },
                StoreErrorKind::Denied,
            ),
            (generic(reply("403 Forbidden", "InvalidAccessKeyId")), StoreErrorKind::Denied),
            (generic(reply("404 Not Found", "<Code>NoSuchBucket</Code>")), StoreErrorKind::NoBucket),
            (generic(reply("400 Bad Request", "InvalidArgument")), StoreErrorKind::Invalid),
            (generic(reply("400 Bad Request", "RequestTimeout")), StoreErrorKind::Busy),
            (generic(reply("501 Not Implemented", "")), StoreErrorKind::Unsupported),
            (generic(reply("503 Service Unavailable", "SlowDown")), StoreErrorKind::Busy),
            (generic("connection reset".into()), StoreErrorKind::Busy),
        ] {
            let text = format!("{error:?}");
            assert_eq!(said(error).kind, kind, "{text}");
        }
    }
}
