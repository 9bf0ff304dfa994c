//! Is this store fit for an archive? Asked at the start, of a key of its own, which is removed afterwards.
//!
//! ```text
//! put if missing                  must succeed
//! put if missing, again           must fail
//! put if unchanged, right tag     must succeed
//! put if unchanged, that tag      must fail: it is not the newest any more
//! get                             must show what was put last
//! ```
//! A store that ignores the conditions would let two writers overwrite one another, and say nothing.

use super::client::Client;
use super::error::ArchiveError;
use super::key::Keys;
use super::store::{StoreError, StoreErrorKind, Tag, When};
use bytes::Bytes;
use lineal_wal::EngineId;

/// How often the whole probe is done before a store that gives no clear answer counts as not to be reached.
const ATTEMPTS_MAX: u32 = 4;

/// Finds out whether the store keeps conditions. Six requests; it changes nothing of the archive.
///
/// # Errors
/// [`ArchiveError::Unsuitable`] with what is wrong, [`ArchiveError::NoBucket`], [`ArchiveError::Denied`], and as
/// [`Client::get`].
pub async fn probe(client: &Client, engine: EngineId) -> Result<(), ArchiveError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        // A fresh key for each attempt: what an unclear one left behind says nothing about the next.
        let key = Keys(engine).probe(client.nonce());
        let failed = |error| ArchiveError::of(client.name(), "probe", &key, attempts, error);
        match ask(client, &key).await {
            Ok(()) => return client.delete(&key).await,
            Err(Trouble::Unclear(_)) if attempts < ATTEMPTS_MAX => client.pause(attempts).await,
            Err(Trouble::Unclear(error) | Trouble::Store(error)) => return Err(failed(error)),
            Err(Trouble::Archive(error)) => return Err(error),
            Err(Trouble::Unfit(reason)) => {
                // What it holds now is worth nothing, and so is an error here beside the one that is told.
                let _ = client.delete(&key).await;
                return Err(ArchiveError::Unsuitable { store: client.name().to_owned(), reason });
            }
        }
    }
}

/// Why an attempt has not shown that the store is fit.
enum Trouble {
    /// It is not.
    Unfit(&'static str),
    /// No telling: try again.
    Unclear(StoreError),
    /// The store says something that stays.
    Store(StoreError),
    /// The client has tried often enough.
    Archive(ArchiveError),
}

impl Trouble {
    fn of(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Busy | StoreErrorKind::Refused | StoreErrorKind::Conflict => Self::Unclear(error),
            _ => Self::Store(error),
        }
    }
}

async fn ask(client: &Client, key: &str) -> Result<(), Trouble> {
    let put = |text: &'static str, when| client.put_once(key, Bytes::from_static(text.as_bytes()), when);
    let first = wanted(put("first", When::Missing).await)?;
    refused(put("second", When::Missing).await, "it lets a create overwrite what exists (If-None-Match)")?;
    let second = wanted(put("third", When::Unchanged(first.clone())).await)?;
    if first == second {
        return Err(Trouble::Unfit("its entity tags do not change with the content"));
    }
    refused(
        put("fourth", When::Unchanged(first)).await,
        "it lets a conditional put overwrite a newer state (If-Match)",
    )?;
    match client.get(key).await.map_err(Trouble::Archive)? {
        Some(found) if found.bytes == "third" && found.tag == Some(second) => Ok(()),
        Some(found) if found.bytes == "third" => {
            Err(Trouble::Unfit("its entity tags differ between put and get"))
        }
        _ => Err(Trouble::Unfit("what was written is not what is read directly afterwards")),
    }
}

/// A put that must succeed, and say its tag.
fn wanted(answer: Result<Option<Tag>, StoreError>) -> Result<Tag, Trouble> {
    match answer {
        Ok(Some(tag)) => Ok(tag),
        Ok(None) => Err(Trouble::Unfit("it tells no entity tags")),
        Err(error) => Err(Trouble::of(error)),
    }
}

/// A put that must fail.
fn refused(answer: Result<Option<Tag>, StoreError>, otherwise: &'static str) -> Result<(), Trouble> {
    match answer {
        Ok(_) => Err(Trouble::Unfit(otherwise)),
        Err(error) if error.kind == StoreErrorKind::Refused => Ok(()),
        Err(error) => Err(Trouble::of(error)),
    }
}
