//! The floor: single PUTs and GETs, with no engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use lineal::{
    Error, Result,
    archive::{Location, Store, When},
};
use lineal_snapshot::archive::Runtime;

use crate::figures::Numbers;

/// Requests of one measurement; their median counts.
const TIMES: usize = 40;

/// A store that is used one request after the other.
pub(super) struct Bare {
    runtime: Runtime,
    store: Arc<dyn Store>,
    made: AtomicU64,
}

impl Bare {
    pub(super) fn new(location: &Location) -> Result<Bare> {
        Ok(Bare { runtime: Runtime::start()?, store: location.open()?, made: AtomicU64::new(0) })
    }

    /// Milliseconds that a create-only PUT of so many bytes takes, and a GET of them: medians.
    pub(super) fn put_and_get(&self, bytes: usize) -> Result<(f64, f64)> {
        let mut numbers = Numbers::new(bytes as u64);
        let body: Bytes = (0..bytes.div_ceil(8)).flat_map(|_| numbers.draw().to_le_bytes()).collect();
        let body = body.slice(..bytes);
        let (mut puts, mut gets) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let (store, body) = (Arc::clone(&self.store), body.clone());
            let key = format!("bare/{}", self.made.fetch_add(1, Ordering::Relaxed));
            let times = self.runtime.run(async move {
                let started = Instant::now();
                let put = store.put(&key, body, When::Missing).await;
                let put = put.map(|_| started.elapsed());
                let started = Instant::now();
                let got = store.get(&key, None).await.map(|_| started.elapsed());
                // Bodies are not kept: they would fill the server's memory.
                let deleted = store.delete(&key).await;
                Ok(put.and_then(|put| Ok((put, got?))).and_then(|times| deleted.map(|()| times)))
            })?;
            let (put, get) = times.map_err(Error::other)?;
            puts.push(put.as_secs_f64() * 1e3);
            gets.push(get.as_secs_f64() * 1e3);
        }
        Ok((crate::figures::resident::median(puts), crate::figures::resident::median(gets)))
    }

    /// Milliseconds of a PUT alone.
    pub(super) fn put(&self, bytes: usize) -> Result<f64> {
        Ok(self.put_and_get(bytes)?.0)
    }

    /// Milliseconds of a GET alone.
    pub(super) fn get(&self, bytes: usize) -> Result<f64> {
        Ok(self.put_and_get(bytes)?.1)
    }
}
