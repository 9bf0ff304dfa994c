//! A store in the process that takes its time: any number of requests at once, each as long as one to a store in the same
//! region, and tags as S3 makes them. The server of the other figures does one request after the other.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lineal::archive::{Answer, Found, Source, Store, StoreError, StoreErrorKind, Tag, When};
use lineal_snapshot::archive::{Listing, sim::SimStore};
use parking_lot::Mutex;

/// How long a request takes. Source: what S3 takes for a small one, about.
pub(super) const TAKES: Duration = Duration::from_millis(20);

/// See the head of this file. Of the log it keeps the names only, so that a run does not fill the memory.
#[derive(Debug, Default)]
pub(super) struct Slow {
    inner: Arc<SimStore>,
    chunks: Mutex<BTreeSet<String>>,
}

impl Slow {
    /// Chunks that were put so far.
    pub(super) fn puts(&self) -> usize {
        self.chunks.lock().len()
    }
}

async fn pass(since: Instant) {
    tokio::time::sleep_until((since + TAKES).into()).await;
}

impl Store for Slow {
    fn name(&self) -> &str {
        "slow://"
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<std::ops::Range<u64>>) -> Answer<'a, Found> {
        let since = Instant::now();
        Box::pin(async move {
            pass(since).await;
            self.inner.get(key, range).await
        })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When) -> Answer<'a, Option<Tag>> {
        let since = Instant::now();
        Box::pin(async move {
            if !key.contains("/log/") {
                pass(since).await;
                return self.inner.put(key, bytes, when).await;
            }
            let tag = Tag::digest_of(&bytes);
            pass(since).await;
            if self.chunks.lock().insert(key.to_owned()) {
                Ok(Some(tag))
            } else {
                Err(StoreError::new(StoreErrorKind::Refused, "it exists"))
            }
        })
    }

    fn upload<'a>(&'a self, key: &'a str, source: Arc<dyn Source>) -> Answer<'a, ()> {
        self.inner.upload(key, source)
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.inner.delete(key)
    }

    fn list<'a>(&'a self, folder: &'a str) -> Answer<'a, Listing> {
        self.inner.list(folder)
    }
}
