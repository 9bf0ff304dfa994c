//! The seam under the archive: what it asks of an object store, and nothing more.
//!
//! Keys are relative to the store's own prefix: `"0f…/manifest"`. A store tries each request once; trying again,
//! waiting and believing are the [client](super::Client)'s.

use crate::sync::Arc;
use bytes::Bytes;
use md5::{Digest, Md5};
use std::fmt::{self, Debug};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;

/// A store's reply, in time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What a store calls one state of one key; another state has another tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(pub String);

impl Tag {
    /// Whether the tag is the MD5 of these bytes, as S3 and most of its likes make it of what they have stored. `false`
    /// says nothing: other stores, and some ways of encryption, make their tags of something else.
    #[must_use]
    pub fn is_digest_of(&self, bytes: &[u8]) -> bool {
        let bare = |tag: &Tag| tag.0.trim_matches('"').to_ascii_lowercase();
        // Only what is as long as one is worth the hashing.
        self.0.trim_matches('"').len() == 32 && bare(self) == bare(&Tag::digest_of(bytes))
    }

    /// The tag that such a store gives to these bytes.
    #[must_use]
    pub fn digest_of(bytes: &[u8]) -> Tag {
        let digest: String = Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Tag(format!("\"{digest}\""))
    }
}

/// When a put may take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Always. For keys that name their content, where writing twice writes the same.
    Always,
    /// Only where the key does not exist.
    Missing,
    /// Only where the key's state is still this one.
    Unchanged(Tag),
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The bytes that were asked for.
    pub bytes: Bytes,
    /// The state they are of; a store that knows none cannot hold an archive.
    pub tag: Option<Tag>,
}

/// Why a request was not answered as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No such key.
    Missing,
    /// No such bucket, container or folder.
    NoBucket,
    /// The condition does not hold. That may be because an earlier attempt of the same put arrived.
    Refused,
    /// Another request for the same key is under way (409): neither done nor refused.
    Conflict,
    /// The store is slow, busy, broken or not to be reached. A put may have taken place.
    Busy,
    /// The credentials are wrong or missing, or do not allow it.
    Denied,
    /// The store has no conditional puts.
    Unsupported,
    /// The store says that the request makes no sense.
    Invalid,
}

/// One failed request.
#[derive(Debug, Clone)]
pub struct StoreError {
    /// What became of it.
    pub kind: StoreErrorKind,
    /// What the store said.
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// An error of this kind, with the store's own words.
    pub fn new(kind: StoreErrorKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind, source: Arc::from(source.into()) }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::Missing => "no such key",
            StoreErrorKind::NoBucket => "no such bucket",
            StoreErrorKind::Refused => "the condition was refused",
            StoreErrorKind::Conflict => "another request was under way",
            StoreErrorKind::Busy => "the store does not answer",
            StoreErrorKind::Denied => "access was denied",
            StoreErrorKind::Unsupported => "the store cannot do this",
            StoreErrorKind::Invalid => "the request was rejected",
        };
        f.write_str(what)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// What stands directly below a folder of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The names of the folders in it.
    pub folders: Vec<String>,
    /// The names of the keys in it, and how many bytes each holds.
    pub keys: Vec<(String, u64)>,
}

/// Bytes that are too many to be held at once, such as a pack's.
#[expect(clippy::len_without_is_empty, reason = "a source is not a collection")]
pub trait Source: Send + Sync + Debug {
    /// How many there are; they do not change.
    fn len(&self) -> u64;

    /// Fills `bytes` from `offset` on. Blocks.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A place for bytes under keys, such as a bucket.
pub trait Store: Send + Sync + Debug {
    /// What to call it in messages, without credentials.
    fn name(&self) -> &str;

    /// Reads a key: all of it, or the part of `range` that exists.
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Found>;

    /// Writes a key, all or nothing, and says its new tag. Durable when it answers.
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When) -> Answer<'a, Option<Tag>>;

    /// Writes a key from a source in pieces, all or nothing. Durable when it answers. The key must name its content.
    fn upload<'a>(&'a self, key: &'a str, source: Arc<dyn Source>) -> Answer<'a, ()>;

    /// Removes a key; one that does not exist is fine.
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;

    /// What stands directly below a folder, such as `"0f…/packs"`, or, for `""`, below the store's prefix, in any order;
    /// nothing, if there is no such folder. It does not go into the folders. For finding engines that nothing names any more,
    /// and the repair of an archive whose manifest is lost; nothing else lists.
    fn list<'a>(&'a self, folder: &'a str) -> Answer<'a, Listing>;
}
