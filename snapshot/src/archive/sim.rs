//! A store in memory that fails on demand, and time that stands still until somebody sleeps.
//!
//! One lock lies around each request, so checking a condition and writing are one step, as in a store that keeps its
//! word. Everything follows from the faults that are asked for and from one seed.

use super::pace::Pace;
use super::store::{Answer, Found, Listing, Source, Store, StoreError, StoreErrorKind, Tag, When};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending, poll_fn, ready};
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Reads a key.
    Get,
    /// Writes a key.
    Put,
    /// Removes a key.
    Delete,
    /// Lists folders, or what is in one.
    List,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error of the server (500, 503, 429); nothing was done.
    Busy,
    /// No answer, ever; nothing was done.
    Hang,
    /// It was done, and the answer is an error.
    LostReply,
    /// It was done, and there is no answer.
    DoneAndHang,
    /// A put is answered with success, and half of it is stored.
    HalfStored,
    /// A get shows the state before the newest; nothing, if there was none.
    Stale,
    /// A put is answered with 409, nothing was done, and the key may not even exist.
    Conflict,
    /// A get has one bit turned.
    Flipped,
    /// The credentials are refused.
    Denied,
    /// There is no bucket.
    NoBucket,
}

/// All faults that pass by themselves.
pub const PASSING: [Fault; 7] = [
    Fault::Busy,
    Fault::Hang,
    Fault::LostReply,
    Fault::DoneAndHang,
    Fault::Stale,
    Fault::Conflict,
    Fault::Busy,
];

#[derive(Clone, Debug, Default)]
struct State {
    /// All states of each key, newest last; `None` once it was removed.
    keys: BTreeMap<String, Vec<Option<(Bytes, Tag)>>>,
    next_tag: u64,
    planned: VecDeque<(Op, String, Fault)>,
    requests: Vec<(Op, String)>,
    dark: bool,
    dark_after: Option<u64>,
    careless: bool,
    tells_digests: bool,
    /// Of a thousand requests so many fail.
    per_mille: u64,
    seed: u64,
}

/// A store in memory with faults.
#[derive(Debug, Default)]
pub struct SimStore {
    state: Mutex<State>,
}

impl SimStore {
    /// An empty one without faults.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Another store that is as this one is now.
    #[must_use]
    pub fn copy(&self) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(self.state.lock().clone()) })
    }

    /// Lets the next request of this kind whose key contains `key` fail so.
    pub fn plan(&self, op: Op, key: &str, fault: Fault) {
        self.state.lock().planned.push_back((op, key.to_owned(), fault));
    }

    /// Lets so many of a thousand requests fail, each in one of the ways that [pass](PASSING).
    pub fn shake(&self, seed: u64, per_mille: u64) {
        let mut state = self.state.lock();
        (state.seed, state.per_mille) = (seed, per_mille);
    }

    /// While dark, nothing is done and nothing answers.
    pub fn dark(&self, dark: bool) {
        self.state.lock().dark = dark;
    }

    /// Goes dark after so many more requests: as if the process that asks had ended there.
    pub fn dark_after(&self, requests: u64) {
        self.state.lock().dark_after = Some(requests);
    }

    /// No more faults: none that were planned, no darkness, no shaking.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.planned.clear();
        (state.dark, state.dark_after, state.per_mille) = (false, None, 0);
    }

    /// While careless, conditions are ignored: a store that no archive may use.
    pub fn careless(&self, careless: bool) {
        self.state.lock().careless = careless;
    }

    /// From now on its tags are the MD5 of what it keeps, as those of S3 are.
    pub fn tell_digests(&self) {
        self.state.lock().tells_digests = true;
    }

    /// What was asked since the last time.
    pub fn requests(&self) -> Vec<(Op, String)> {
        std::mem::take(&mut self.state.lock().requests)
    }

    /// The keys that exist.
    pub fn keys(&self) -> Vec<String> {
        let state = self.state.lock();
        let exists = |versions: &[Option<(Bytes, Tag)>]| versions.last().is_some_and(Option::is_some);
        state.keys.iter().filter(|(_, versions)| exists(versions)).map(|(key, _)| key.clone()).collect()
    }

    /// What a key holds.
    pub fn peek(&self, key: &str) -> Option<Bytes> {
        self.state.lock().newest(key).map(|(bytes, _)| bytes)
    }

    /// Changes what a key holds behind everybody's back.
    pub fn poke(&self, key: &str, bytes: impl Into<Bytes>) {
        self.state.lock().store(key, Some(bytes.into()));
    }

    /// Puts a key back to the state before its newest.
    pub fn roll_back(&self, key: &str) {
        if let Some(versions) = self.state.lock().keys.get_mut(key) {
            versions.pop();
        }
    }

    /// Does a request, or what a fault makes of it; `None` is no answer.
    fn answer<T>(
        &self,
        op: Op,
        key: &str,
        act: impl FnOnce(&mut State, Option<Fault>) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        let mut state = self.state.lock();
        state.requests.push((op, key.to_owned()));
        if let Some(left) = state.dark_after {
            state.dark |= left == 0;
            state.dark_after = Some(left.saturating_sub(1));
        }
        if state.dark {
            return None;
        }
        let fault = state.fault(op, key);
        let failed = |kind, text: &'static str| Some(Err(StoreError::new(kind, text)));
        match fault {
            Some(Fault::Busy) => failed(StoreErrorKind::Busy, "503 slow down"),
            Some(Fault::Hang) => None,
            Some(Fault::Denied) => failed(StoreErrorKind::Denied, "403 forbidden"),
            Some(Fault::NoBucket) => failed(StoreErrorKind::NoBucket, "404 no such bucket"),
            Some(Fault::Conflict) if op == Op::Put => failed(StoreErrorKind::Conflict, "409 conflict"),
            Some(Fault::LostReply) => {
                let _ = act(&mut state, None);
                failed(StoreErrorKind::Busy, "connection reset")
            }
            Some(Fault::DoneAndHang) => {
                let _ = act(&mut state, None);
                None
            }
            fault => Some(act(&mut state, fault)),
        }
    }
}

impl State {
    fn fault(&mut self, op: Op, key: &str) -> Option<Fault> {
        let planned = self.planned.iter().position(|(on, part, _)| *on == op && key.contains(part));
        if let Some((_, _, fault)) = planned.and_then(|at| self.planned.remove(at)) {
            return Some(fault);
        }
        if self.per_mille == 0 {
            return None;
        }
        let drawn = mix(&mut self.seed);
        let which = usize::try_from(drawn >> 32).unwrap_or(0) % PASSING.len();
        (drawn % 1_000 < self.per_mille).then(|| PASSING[which])
    }

    fn newest(&self, key: &str) -> Option<(Bytes, Tag)> {
        self.keys.get(key)?.last()?.clone()
    }

    fn store(&mut self, key: &str, bytes: Option<Bytes>) -> Tag {
        self.next_tag += 1;
        let counted = || Tag(format!("\"{}\"", self.next_tag));
        let tag =
            bytes.as_ref().filter(|_| self.tells_digests).map_or_else(counted, |bytes| Tag::digest_of(bytes));
        self.keys.entry(key.to_owned()).or_default().push(bytes.map(|bytes| (bytes, tag.clone())));
        tag
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, fault: Option<Fault>) -> Result<Found, StoreError> {
        let back = usize::from(fault == Some(Fault::Stale));
        let versions = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        let version = versions.iter().rev().nth(back).cloned().flatten();
        let (mut bytes, tag) =
            version.ok_or_else(|| StoreError::new(StoreErrorKind::Missing, "404 no such key"))?;
        if let Some(range) = range {
            let end = bytes.len().min(usize::try_from(range.end).unwrap_or(usize::MAX));
            bytes = bytes.slice(end.min(usize::try_from(range.start).unwrap_or(usize::MAX))..end);
        }
        if fault == Some(Fault::Flipped) && !bytes.is_empty() {
            let mut flipped = bytes.to_vec();
            let middle = flipped.len() / 2;
            flipped[middle] ^= 0x10;
            bytes = Bytes::from(flipped);
        }
        Ok(Found { bytes, tag: Some(tag) })
    }

    fn put(&mut self, key: &str, bytes: Bytes, when: &When, fault: Option<Fault>) -> Result<Tag, StoreError> {
        let newest = self.newest(key).map(|(_, tag)| tag);
        let allowed = match when {
            When::Always => true,
            When::Missing => newest.is_none(),
            When::Unchanged(tag) => newest.as_ref() == Some(tag),
        };
        if !allowed && !self.careless {
            return Err(StoreError::new(StoreErrorKind::Refused, "412 precondition failed"));
        }
        let half = fault == Some(Fault::HalfStored);
        let bytes = if half { bytes.slice(..bytes.len() / 2) } else { bytes };
        Ok(self.store(key, Some(bytes)))
    }
}

/// Turns what may be no answer into a future.
fn in_time<'a, T: Send + 'a>(answer: Option<Result<T, StoreError>>) -> Answer<'a, T> {
    match answer {
        Some(answer) => Box::pin(ready(answer)),
        None => Box::pin(pending()),
    }
}

impl Store for SimStore {
    fn name(&self) -> &str {
        "sim://bucket"
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Found> {
        in_time(self.answer(Op::Get, key, |state, fault| state.get(key, range, fault)))
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When) -> Answer<'a, Option<Tag>> {
        in_time(self.answer(Op::Put, key, |state, fault| state.put(key, bytes, &when, fault).map(Some)))
    }

    fn upload<'a>(&'a self, key: &'a str, source: Arc<dyn Source>) -> Answer<'a, ()> {
        let mut bytes = vec![0; usize::try_from(source.len()).unwrap_or(usize::MAX)];
        if let Err(error) = source.read_exact_at(&mut bytes, 0) {
            return Box::pin(ready(Err(StoreError::new(StoreErrorKind::Busy, error))));
        }
        let bytes = Bytes::from(bytes);
        in_time(
            self.answer(Op::Put, key, |state, fault| state.put(key, bytes, &When::Always, fault).map(|_| ())),
        )
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        in_time(self.answer(Op::Delete, key, |state, _| {
            state.store(key, None);
            Ok(())
        }))
    }

    fn list<'a>(&'a self, folder: &'a str) -> Answer<'a, Listing> {
        in_time(self.answer(Op::List, folder, |state, _| {
            let mut listing = Listing::default();
            for (key, versions) in &state.keys {
                let below = match folder {
                    "" => Some(&key[..]),
                    folder => key.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
                };
                let (Some(below), Some(Some((bytes, _)))) = (below, versions.last()) else { continue };
                match below.split_once('/') {
                    Some((name, _)) => listing.folders.push(name.to_owned()),
                    None => listing.keys.push((below.to_owned(), bytes.len() as u64)),
                }
            }
            listing.folders.dedup();
            Ok(listing)
        }))
    }
}

/// Time that passes for who sleeps only; drawing from a seed.
#[derive(Debug)]
pub struct SimPace {
    micros: Arc<AtomicU64>,
    /// What passes whenever a sleeper looks; else it is all that he wants.
    step: Option<u64>,
    seed: Mutex<u64>,
}

impl SimPace {
    /// From time 0 on; it jumps to when the first sleeper wakes.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { micros: Arc::default(), step: None, seed: Mutex::new(seed) })
    }

    /// From time 0 on; a step passes whenever a sleeper looks whether it is time, so that those who sleep shortly wake first.
    #[must_use]
    pub fn in_steps(step: Duration, seed: u64) -> Arc<Self> {
        let step = u64::try_from(step.as_micros()).unwrap_or(u64::MAX);
        Arc::new(Self { micros: Arc::default(), step: Some(step), seed: Mutex::new(seed) })
    }
}

impl Pace for SimPace {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    /// Time passes when the future is polled for the second time: a limit that nobody reaches costs none, and who only
    /// sleeps and asks lets others run.
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let micros = Arc::clone(&self.micros);
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let step = self.step.unwrap_or(time).min(time);
        let mut until = None;
        Box::pin(poll_fn(move |cx| {
            match until {
                None => until = Some(micros.load(Ordering::Relaxed).saturating_add(time)),
                Some(until) => {
                    let now = micros.fetch_add(step, Ordering::Relaxed) + step;
                    if now >= until {
                        return Poll::Ready(());
                    }
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    fn random(&self) -> u64 {
        mix(&mut self.seed.lock())
    }
}

/// SplitMix64.
fn mix(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
