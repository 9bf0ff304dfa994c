//! A store as the archive sees it: patient, and believed only where it was checked.
//!
//! Every operation has a limit in time and no request is without one. Failures that may pass are tried again after a
//! random wait. What a conditional put became is settled by looking: everything that is put under a condition carries
//! a nonce of its own, so *the bytes that stand there are mine* and *I won* are the same. A look may be stale, so what
//! it shows is believed only where a store that keeps its conditions agrees with it.
//!
//! ```text
//! create    reply                  then the key holds   so
//!           ok                                          won
//!           refused (412)          my bytes             won: an earlier attempt arrived
//!            or not known          other bytes          taken: what was created once stays
//!            (409, 5xx, lost)      nothing              try again
//! replace   ok                                          won
//!           refused or not known   my bytes             won
//!           refused                the old state        try again: the look was stale
//!           refused                anything else        lost
//!           not known              anything else        try again: a refusal will say
//! ```

use super::error::ArchiveError;
use super::pace::{Pace, Patience};
use super::remote::STEP_BYTES;
use super::store::{Found, Listing, Source, Store, StoreError, StoreErrorKind, Tag, When};
use super::traffic::{Counters, Traffic, add};
use crate::sync::Arc;
use blake3::Hash;
use bytes::Bytes;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What a conditional create became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The key holds our bytes, under this tag.
    Won(Tag),
    /// The key holds these; ours were never there and never will be.
    Taken(Found),
}

/// What a conditional replace became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// The key holds our bytes, under this tag.
    Won(Tag),
    /// Somebody else changed or removed the key; this is what it holds.
    Lost(Option<Found>),
}

/// A patient view of one [`Store`]; clones share everything.
#[derive(Debug, Clone)]
pub struct Client {
    store: Arc<dyn Store>,
    pace: Arc<dyn Pace>,
    patience: Patience,
    counters: Arc<Counters>,
}

impl Client {
    /// Sees `store` with `patience`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, pace: Arc<dyn Pace>, patience: Patience) -> Self {
        Self { store, pace, patience, counters: Arc::default() }
    }

    /// What the store is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        self.store.name()
    }

    /// What was asked so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.counters.now()
    }

    /// A name that nobody else has drawn.
    #[must_use]
    pub fn nonce(&self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.pace.random().to_le_bytes());
        nonce[8..].copy_from_slice(&self.pace.random().to_le_bytes());
        nonce
    }

    /// All of a key, or `None` if there is no such key. The caller checks what it says.
    ///
    /// # Errors
    /// [`ArchiveError::Unavailable`] after the last attempt, and what trying again does not mend.
    pub async fn get(&self, key: &str) -> Result<Option<Found>, ArchiveError> {
        let mut trying = self.trying("read", key);
        loop {
            // What it carries is not known: who was given up has more time the next time.
            let bytes = WHOLE_BYTES << trying.attempts.min(5);
            match self.get_within(key, None, bytes).await {
                Ok(found) => return Ok(Some(found)),
                Err(error) if error.kind == StoreErrorKind::Missing => return Ok(None),
                Err(error) => trying.after(error).await?,
            }
        }
    }

    /// All of a key, decoded by who knows how to check it, with its tag; `None` if there is no such key. What is damaged
    /// is read again, since it may have been spoilt on the way.
    ///
    /// # Errors
    /// As [`get`](Self::get), and those of `decode`.
    pub async fn get_as<T>(
        &self,
        key: &str,
        decode: impl Fn(&Bytes) -> Result<T, ArchiveError>,
    ) -> Result<Option<(T, Option<Tag>)>, ArchiveError> {
        let mut doubts = 1;
        loop {
            let Some(found) = self.get(key).await? else {
                return Ok(None);
            };
            match decode(&found.bytes) {
                Ok(decoded) => return Ok(Some((decoded, found.tag))),
                Err(ArchiveError::Damaged { .. }) if doubts < DOUBTS_MAX => doubts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// All of a key whose content is known by length and hash. What does not agree is read again, since it may have
    /// been spoilt on the way; after the last attempt it counts as damage.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`], [`ArchiveError::Damaged`], and as [`get`](Self::get).
    pub async fn get_verified(&self, key: &str, bytes: u64, hash: &Hash) -> Result<Bytes, ArchiveError> {
        self.checked(key, None, bytes, |found| blake3::hash(found) == *hash).await
    }

    /// A part of a key. `check` says whether the bytes are those that were written there; the part of a pack carries
    /// its own checksum. What it refuses is read again, like in [`get_verified`](Self::get_verified).
    ///
    /// # Errors
    /// [`ArchiveError::Missing`], [`ArchiveError::Damaged`], and as [`get`](Self::get).
    pub async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        check: impl Fn(&[u8]) -> bool,
    ) -> Result<Bytes, ArchiveError> {
        let bytes = range.end.saturating_sub(range.start);
        self.checked(key, Some(range), bytes, check).await
    }

    /// The last part of a key that is to end there: as [`get_range`](Self::get_range), and a key that is too long is seen.
    pub(crate) async fn get_end(
        &self,
        key: &str,
        range: Range<u64>,
        check: impl Fn(&[u8]) -> bool,
    ) -> Result<Bytes, ArchiveError> {
        let bytes = range.end.saturating_sub(range.start);
        self.checked(key, Some(range.start..range.end.saturating_add(1)), bytes, check).await
    }

    /// Whether a key holds more than so many bytes; false if there is no such key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn is_longer(&self, key: &str, bytes: u64) -> Result<bool, ArchiveError> {
        let mut trying = self.trying("read", key);
        loop {
            match self.get_once(key, Some(0..bytes + 1)).await {
                Ok(found) => return Ok(found.bytes.len() as u64 > bytes),
                Err(error) if error.kind == StoreErrorKind::Missing => return Ok(false),
                Err(error) => trying.after(error).await?,
            }
        }
    }

    async fn checked(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        bytes: u64,
        check: impl Fn(&[u8]) -> bool,
    ) -> Result<Bytes, ArchiveError> {
        let mut trying = self.trying("read", key);
        let mut doubts = 0;
        loop {
            let reason = match self.get_once(key, range.clone()).await {
                Ok(found) if found.bytes.len() as u64 != bytes => "it has another length than was written",
                Ok(found) if !check(&found.bytes) => "it has another checksum than was written",
                Ok(found) => return Ok(found.bytes),
                Err(error) => {
                    trying.after(error).await?;
                    continue;
                }
            };
            doubts += 1;
            if doubts == DOUBTS_MAX {
                return Err(ArchiveError::Damaged { key: key.to_owned(), reason });
            }
        }
    }

    /// Reads all of a key in pieces, in order, and then says whether they were what was written: nothing that `take`
    /// got counts before that. For packs, which are too large to be held.
    ///
    /// # Errors
    /// As [`get_verified`](Self::get_verified), and those of `take`.
    pub async fn read_through(
        &self,
        key: &str,
        bytes: u64,
        hash: &Hash,
        mut take: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + STEP_BYTES);
            let piece = match end == bytes {
                true => self.get_end(key, at..end, |_| true).await?,
                false => self.get_range(key, at..end, |_| true).await?,
            };
            hasher.update(&piece);
            take(&piece)?;
            at = end;
        }
        if hasher.finalize() == *hash {
            return Ok(());
        }
        let reason = "its bytes are not those that its name says";
        Err(ArchiveError::Damaged { key: key.to_owned(), reason })
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Time, as [`Pace::now`](super::Pace::now) says.
    pub fn now(&self) -> Duration {
        self.pace.now()
    }

    /// Ends after `time`.
    pub fn sleep(&self, time: Duration) -> impl Future<Output = ()> + use<> {
        self.pace.sleep(time)
    }

    /// Waits as after so many failures.
    pub(crate) async fn pause(&self, attempts: u32) {
        self.pace.sleep(self.patience.wait(attempts, self.pace.random())).await;
    }

    /// Writes `bytes` under a key that does not exist. They must hold a nonce of their own. Durable when it answers.
    ///
    /// # Errors
    /// As [`get`](Self::get). After [`ArchiveError::Unavailable`] the key may hold the bytes, now or later.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, ArchiveError> {
        let mut trying = self.trying("create", key);
        loop {
            let error = match self.put_once(key, bytes.clone(), When::Missing).await {
                Ok(Some(tag)) => return Ok(Created::Won(tag)),
                Ok(None) => no_tag(),
                Err(error) => error,
            };
            if passes(&error)
                && let Ok(found) = self.get_once(key, None).await
            {
                match found.tag {
                    Some(tag) if found.bytes == bytes => return Ok(Created::Won(tag)),
                    _ if found.bytes != bytes => return Ok(Created::Taken(found)),
                    _ => {}
                }
            }
            trying.after(error).await?;
        }
    }

    /// Writes `bytes` over the state `tag` of a key. They must hold a nonce of their own. Durable when it answers.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn replace(&self, key: &str, tag: &Tag, bytes: Bytes) -> Result<Replaced, ArchiveError> {
        let mut trying = self.trying("replace", key);
        loop {
            let error = match self.put_once(key, bytes.clone(), When::Unchanged(tag.clone())).await {
                Ok(Some(tag)) => return Ok(Replaced::Won(tag)),
                Ok(None) => no_tag(),
                Err(error) => error,
            };
            let refused = error.kind == StoreErrorKind::Refused;
            if passes(&error) {
                match self.get_once(key, None).await {
                    Ok(Found { bytes: found, tag: Some(tag) }) if found == bytes => {
                        return Ok(Replaced::Won(tag));
                    }
                    Ok(found) if refused && found.tag.as_ref() != Some(tag) => {
                        return Ok(Replaced::Lost(Some(found)));
                    }
                    Err(look) if refused && look.kind == StoreErrorKind::Missing => {
                        return Ok(Replaced::Lost(None));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            trying.after(error).await?;
        }
    }

    /// Writes a key that names its content, in pieces. Durable when it answers; what a store makes of it is for
    /// [`get_verified`](Self::get_verified) to say.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn upload(&self, key: &str, source: Arc<dyn Source>) -> Result<(), ArchiveError> {
        let mut trying = self.trying("upload", key);
        loop {
            add(&self.counters.puts, 1);
            match self.in_time(source.len(), self.store.upload(key, Arc::clone(&source))).await {
                Ok(()) => {
                    add(&self.counters.bytes_written, source.len());
                    return Ok(());
                }
                Err(error) => trying.after(error).await?,
            }
        }
    }

    /// Removes a key; one that does not exist is fine.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn delete(&self, key: &str) -> Result<(), ArchiveError> {
        let mut trying = self.trying("delete", key);
        loop {
            add(&self.counters.deletes, 1);
            match self.in_time(0, self.store.delete(key)).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind == StoreErrorKind::Missing => return Ok(()),
                Err(error) => trying.after(error).await?,
            }
        }
    }

    /// The names of the folders directly below the store's prefix.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn folders(&self) -> Result<Vec<String>, ArchiveError> {
        let mut trying = self.trying("list", "its folders");
        loop {
            add(&self.counters.lists, 1);
            match self.in_time(0, self.store.list("")).await {
                Ok(listing) => return Ok(listing.folders),
                Err(error) => trying.after(error).await?,
            }
        }
    }

    /// What stands directly below a folder of keys. For repair only; see [`Store::list`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn list(&self, folder: &str) -> Result<Listing, ArchiveError> {
        let mut trying = self.trying("list", folder);
        loop {
            add(&self.counters.lists, 1);
            let limit = self.patience.request_max * LIST_REQUESTS;
            match self.in_limit(limit, self.store.list(folder)).await {
                Ok(listing) => return Ok(listing),
                Err(error) => trying.after(error).await?,
            }
        }
    }

    /// What a store is refused with that names no states of its keys.
    pub(super) fn tells_no_tags(&self) -> ArchiveError {
        ArchiveError::Unsuitable { store: self.name().to_owned(), reason: "it tells no entity tags" }
    }

    /// One attempt to put, for the [probe](super::probe), which wants the store's own answer.
    pub(crate) async fn put_once(
        &self,
        key: &str,
        bytes: Bytes,
        when: When,
    ) -> Result<Option<Tag>, StoreError> {
        let count = bytes.len() as u64;
        add(&self.counters.puts, 1);
        let tag = self.in_time(count, self.store.put(key, bytes, when)).await.map_err(|mut error| {
            // A key that is not there is no answer to a put; its bucket is.
            if error.kind == StoreErrorKind::Missing {
                error.kind = StoreErrorKind::NoBucket;
            }
            error
        })?;
        add(&self.counters.bytes_written, count);
        Ok(tag)
    }

    async fn get_once(&self, key: &str, range: Option<Range<u64>>) -> Result<Found, StoreError> {
        let bytes = range.as_ref().map_or(WHOLE_BYTES, |range| range.end.saturating_sub(range.start));
        self.get_within(key, range, bytes).await
    }

    /// Reads once, in the time that so many bytes have.
    async fn get_within(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        bytes: u64,
    ) -> Result<Found, StoreError> {
        add(&self.counters.gets, 1);
        let found = self.in_time(bytes, self.store.get(key, range)).await?;
        add(&self.counters.bytes_read, found.bytes.len() as u64);
        Ok(found)
    }

    /// Gives a request up when its time is over.
    async fn in_time<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.in_limit(self.patience.request(bytes), request).await
    }

    async fn in_limit<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut request = pin!(request);
        let mut limit = self.pace.sleep(limit);
        let answer = poll_fn(|cx| match request.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => limit
                .as_mut()
                .poll(cx)
                .map(|()| Err(StoreError::new(StoreErrorKind::Busy, "the request took too long"))),
        })
        .await;
        let failed = matches!(&answer, Err(error) if error.kind == StoreErrorKind::Busy);
        add(if failed { &self.counters.failures } else { &self.counters.answers }, 1);
        answer
    }

    fn trying<'a>(&'a self, op: &'static str, key: &'a str) -> Trying<'a> {
        Trying { client: self, op, key, attempts: 0, begin: self.pace.now() }
    }
}

/// How often bytes that fail their check are read before they count as damaged. Source: a decision.
pub(super) const DOUBTS_MAX: u32 = 3;

/// What a read of unknown length may carry, for its limit in time. Source: a chunk of the default size.
const WHOLE_BYTES: u64 = 4 << 20;

/// As how many requests a listing counts, for its limit in time. Source: a decision; a store tells a thousand keys at once,
/// in less than a second.
const LIST_REQUESTS: u32 = 10;

/// True if trying again makes sense, and a put may have taken place although the reply says no.
fn passes(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Refused | StoreErrorKind::Conflict | StoreErrorKind::Busy)
}

/// A put that succeeded and cannot be followed by another: a look may show its tag.
fn no_tag() -> StoreError {
    StoreError::new(StoreErrorKind::Busy, "the store told no tag of what it stored")
}

/// The attempts of one operation.
struct Trying<'a> {
    client: &'a Client,
    op: &'static str,
    key: &'a str,
    attempts: u32,
    begin: Duration,
}

impl Trying<'_> {
    /// Waits after a failure, or ends the operation with it.
    async fn after(&mut self, error: StoreError) -> Result<(), ArchiveError> {
        self.attempts += 1;
        let Client { pace, patience, .. } = self.client;
        let spent = pace.now().saturating_sub(self.begin);
        if !passes(&error) || spent >= patience.operation_max {
            return Err(ArchiveError::of(self.client.name(), self.op, self.key, self.attempts, error));
        }
        self.client.pause(self.attempts).await;
        Ok(())
    }
}
