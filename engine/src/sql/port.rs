//! What stands behind a connection's file: the pages of one object, lent to SQLite for the time of one call.
#![allow(unsafe_code, reason = "SQLite's callbacks have no lifetimes")]

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr::NonNull,
    time::{Duration, Instant},
};

use crate::{
    Clock, Error, Random, Result,
    sql::error::{Refusal, SqlError},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Size of a page of every database, in bytes.
pub(crate) const PAGE_BYTES: usize = 4096;

/// A buffer for written pages that is kept for the next commit is no larger than this, in bytes.
///
/// Source: chosen; small transactions write a few pages.
const SPARE_BYTES_MAX: usize = 8 * PAGE_BYTES;

/// Where a connection finds the pages that its own cache does not hold: the layers of an object in a turn, or those of
/// one of its versions.
pub(crate) trait Pages {
    /// Copies the bytes of page `number` (the first is 1) from `offset` on to `to`: zeros where there is no such page.
    fn read(&self, number: u32, offset: usize, to: &mut [u8]) -> Result<()>;

    /// The number of the last page; 0 if there is none.
    fn last(&self) -> Result<u32>;
}

/// The pages that a COMMIT handed over.
#[derive(Default)]
pub(crate) struct Written {
    numbers: Vec<u32>,
    bytes: Vec<u8>,
    /// Whether `numbers` does not ascend.
    is_mixed: bool,
    /// Pages after this one were cut off.
    pub(crate) cut_after: Option<u32>,
}

impl Written {
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.cut_after.is_none()
    }

    fn clear(&mut self) {
        self.numbers.clear();
        self.bytes.clear();
        self.is_mixed = false;
        self.cut_after = None;
    }

    /// The pages, in the order in which they were written.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.numbers.iter().copied().zip(self.bytes.chunks_exact(PAGE_BYTES))
    }

    fn find(&self, number: u32) -> Option<usize> {
        // SQLite nearly always writes in ascending order, so what is searched for is not there, or the last.
        if !self.is_mixed && self.numbers.last().is_none_or(|last| *last < number) {
            return None;
        }
        self.numbers.iter().position(|written| *written == number)
    }

    fn put(&mut self, number: u32, page: &[u8]) {
        match self.find(number) {
            Some(at) => self.bytes[at * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(page),
            None => {
                self.is_mixed |= self.numbers.last().is_some_and(|last| *last > number);
                self.numbers.push(number);
                self.bytes.extend_from_slice(page);
            }
        }
    }

    fn cut(&mut self, after: u32) {
        self.cut_after = Some(self.cut_after.map_or(after, |before| before.min(after)));
        let kept: Vec<(u32, usize)> =
            self.numbers.iter().copied().zip(0..).filter(|(number, _)| *number <= after).collect();
        if kept.len() < self.numbers.len() {
            let bytes = kept.iter().flat_map(|(_, at)| &self.bytes[at * PAGE_BYTES..][..PAGE_BYTES]);
            self.bytes = bytes.copied().collect();
            self.numbers = kept.into_iter().map(|(number, _)| number).collect();
        }
    }
}

/// The engine's side of one connection, as the callbacks of SQLite reach it. Whoever uses the connection has this too;
/// both move between threads, and never serve two at once.
pub(crate) struct Port {
    /// Set while a call is under way, and no longer.
    pages: Cell<Option<NonNull<dyn Pages>>>,
    page_count: Cell<u32>,
    written: RefCell<Written>,
    /// The buffer of the commit before.
    spare: RefCell<Written>,
    /// The error of ours under the one that SQLite reports.
    failed: RefCell<Option<Error>>,
    panicked: RefCell<Option<Box<dyn Any + Send>>>,
    refused: Cell<Option<Refusal>>,
    /// While it is set, what is prepared is the engine's own and passes the guards.
    trusted: Cell<bool>,
    /// Set while the engine commits. SQLite writes at no other time.
    committing: Cell<bool>,
    /// What SQLite has cached may not be what it was taken for, so the connection must not be used again.
    spoilt: Cell<bool>,
    /// Whether statements may write.
    writable: Cell<bool>,
    /// Whether a statement was prepared that can rename.
    renames: Cell<bool>,
    operations_left: Cell<u64>,
    /// When the transaction has to end. Not by the engine's clock, which may jump.
    deadline: Cell<Option<Instant>>,
    memory_bytes_max: usize,
    temp_bytes: Cell<usize>,
    interrupted: Arc<AtomicBool>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
}

thread_local! {
    /// The port whose connection this thread is in a call of.
    static CURRENT: Cell<Option<NonNull<Port>>> = const { Cell::new(None) };
}

impl Port {
    pub(crate) fn new(clock: Clock, random: Random, memory_bytes_max: usize) -> Port {
        Port {
            pages: Cell::new(None),
            page_count: Cell::new(0),
            written: RefCell::default(),
            spare: RefCell::default(),
            failed: RefCell::default(),
            panicked: RefCell::default(),
            refused: Cell::new(None),
            trusted: Cell::new(false),
            committing: Cell::new(false),
            spoilt: Cell::new(false),
            writable: Cell::new(true),
            renames: Cell::new(false),
            operations_left: Cell::new(u64::MAX),
            deadline: Cell::new(None),
            memory_bytes_max,
            temp_bytes: Cell::new(0),
            interrupted: Arc::default(),
            clock,
            random,
        }
    }

    /// Runs a call of SQLite that may read `pages`, and makes one error of what the two sides say of it.
    pub(crate) fn call<R>(&self, pages: &dyn Pages, f: impl FnOnce() -> rusqlite::Result<R>) -> Result<R> {
        struct Leave<'p>(&'p Port, Option<NonNull<Port>>, Option<NonNull<dyn Pages>>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.pages.set(self.2);
                CURRENT.set(self.1);
            }
        }
        if self.pages.get().is_none() {
            // SQLite goes on over some errors; what they left here is nobody's.
            self.failed.take();
            self.panicked.take();
            self.refused.take();
        }
        let lent = NonNull::from(pages);
        // SAFETY: only the lifetime changes. `Leave` takes the pointer out again before this function ends, by return or
        // by panic, and `pages` is borrowed until then.
        let lent: NonNull<dyn Pages> = unsafe { std::mem::transmute(lent) };
        let leave = Leave(self, CURRENT.replace(Some(NonNull::from(self))), self.pages.replace(Some(lent)));
        let outcome = f();
        drop(leave);
        match outcome {
            Ok(result) => Ok(result),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The port of the call that this thread is in.
    pub(super) fn current<R>(f: impl FnOnce(Option<&Port>) -> R) -> R {
        // SAFETY: it was set by `call` from a reference that lives until it is taken out again, on this thread.
        f(CURRENT.get().map(|port| unsafe { &*port.as_ptr() }))
    }

    /// Why a call failed: what failed on our side, if anything did, else what SQLite says.
    fn explain(&self, error: rusqlite::Error) -> Error {
        if let Some(panic) = self.panicked.take() {
            resume_unwind(panic);
        }
        let refused = self.refused.take();
        if let Some(error) = self.failed.take() {
            return error;
        }
        match refused {
            Some(refusal) => SqlError::refused(refusal, &error).into(),
            None => error.into(),
        }
    }

    /// Runs a callback's body: a panic must not cross C, so it waits until the call is over.
    pub(super) fn guard<R>(&self, otherwise: R, f: impl FnOnce() -> Result<R>) -> R {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                self.failed.replace(Some(error));
                otherwise
            }
            Err(panic) => {
                self.panicked.replace(Some(panic));
                otherwise
            }
        }
    }

    fn with_pages<R>(&self, f: impl FnOnce(&dyn Pages) -> Result<R>) -> Result<R> {
        let pages = self.pages.get().ok_or_else(|| Error::Invalid {
            reason: "a database was read outside of the transaction it belongs to".into(),
        })?;
        // SAFETY: `call` set it, takes it out before its borrow ends, and is under way on this thread.
        f(unsafe { pages.as_ref() })
    }

    /// Looks up how large the file is. To be called once for a new connection, before its file is read.
    pub(super) fn measure(&self, pages: &dyn Pages) -> Result<()> {
        self.page_count.set(pages.last()?);
        Ok(())
    }

    pub(super) fn page_count(&self) -> u32 {
        self.page_count.get()
    }

    /// Fills `to` from `offset` of the file on. Returns whether all of it lies within the file.
    pub(super) fn read(&self, offset: u64, to: &mut [u8]) -> Result<bool> {
        let mut at = offset;
        let mut rest = &mut *to;
        while !rest.is_empty() {
            let within = (at % PAGE_BYTES as u64) as usize;
            let (piece, after) = rest.split_at_mut(rest.len().min(PAGE_BYTES - within));
            let number = u32::try_from(at / PAGE_BYTES as u64 + 1).unwrap_or(u32::MAX);
            self.read_page(number, within, piece)?;
            at += piece.len() as u64;
            rest = after;
        }
        Ok(at <= u64::from(self.page_count()) * PAGE_BYTES as u64)
    }

    fn read_page(&self, number: u32, offset: usize, to: &mut [u8]) -> Result<()> {
        let written = self.written.borrow();
        if let Some(at) = written.find(number) {
            to.copy_from_slice(&written.bytes[at * PAGE_BYTES + offset..][..to.len()]);
            return Ok(());
        }
        if number > self.page_count() || written.cut_after.is_some_and(|after| number > after) {
            to.fill(0);
            return Ok(());
        }
        self.with_pages(|pages| pages.read(number, offset, to))
    }

    /// Keeps a page that SQLite writes, until the transaction takes it.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check_committing()?;
        let page = PAGE_BYTES as u64;
        let number = u32::try_from(offset / page + 1).ok();
        let Some(number) = number.filter(|_| offset.is_multiple_of(page) && bytes.len() == PAGE_BYTES) else {
            return Err(Error::Invalid {
                reason: format!(
                    "a database page is {PAGE_BYTES} bytes, and SQLite wrote {} at {offset}",
                    bytes.len()
                ),
            });
        };
        self.written.borrow_mut().put(number, bytes);
        self.page_count.set(self.page_count().max(number));
        Ok(())
    }

    pub(super) fn truncate(&self, bytes: u64) -> Result<()> {
        self.check_committing()?;
        let count = u32::try_from(bytes / PAGE_BYTES as u64).unwrap_or(u32::MAX);
        if count < self.page_count() {
            self.written.borrow_mut().cut(count);
        }
        self.page_count.set(count);
        Ok(())
    }

    /// A statement that writes although it is said to be read-only commits by itself, in a view: nothing of it is taken.
    fn check_committing(&self) -> Result<()> {
        if self.committing.get() {
            return Ok(());
        }
        self.spoil();
        Err(Refusal::ReadOnly.into())
    }

    /// Runs the commit `f`, in which SQLite may write. If it fails, what was written counts as never written, and the
    /// connection cannot be used again.
    pub(super) fn committing<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        self.committing.set(true);
        let outcome = f();
        self.committing.set(false);
        outcome.inspect_err(|_| self.spoil())
    }

    pub(super) fn spoil(&self) {
        self.spoilt.set(true);
    }

    /// Whether the connection's cache is what it is taken for.
    pub(super) fn is_sound(&self) -> bool {
        !self.spoilt.get() && self.written.borrow().is_empty()
    }

    pub(super) fn set_writable(&self, writable: bool) {
        self.writable.set(writable);
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable.get()
    }

    pub(super) fn set_renames(&self) {
        self.renames.set(true);
    }

    pub(super) fn has_renames(&self) -> bool {
        self.renames.get()
    }

    /// What SQLite wrote since the last time.
    pub(crate) fn take_written(&self) -> Written {
        self.written.replace(self.spare.take())
    }

    /// Takes back the buffer, unless it is a large one.
    pub(crate) fn recycle(&self, mut written: Written) {
        if written.bytes.capacity() <= SPARE_BYTES_MAX {
            written.clear();
            self.spare.replace(written);
        }
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.refused.set(Some(refusal));
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted.get()
    }

    /// Runs `f` with the guards told that what is prepared is the engine's own.
    pub(crate) fn trusting<R>(&self, f: impl FnOnce() -> R) -> R {
        let before = self.trusted.replace(true);
        let result = f();
        self.trusted.set(before);
        result
    }

    /// Begins a budget: operations of SQLite's virtual machine, and time.
    pub(super) fn set_budget(&self, operations: u64, time: Duration) {
        self.operations_left.set(operations);
        self.deadline.set(Instant::now().checked_add(time));
    }

    pub(super) fn clear_interrupt(&self) {
        self.interrupted.store(false, Ordering::Relaxed);
    }

    /// Takes operations off; `memory_bytes` is what the connection holds. Returns whether the statement has to stop. What
    /// the engine does itself is never stopped.
    pub(super) fn spend(&self, operations: u64, memory_bytes: usize) -> bool {
        if self.trusted.get() {
            return false;
        }
        let left = self.operations_left.get().saturating_sub(operations);
        self.operations_left.set(left);
        let refusal = if left == 0 {
            Refusal::Operations
        } else if memory_bytes.saturating_add(self.temp_bytes.get()) > self.memory_bytes_max {
            Refusal::Memory
        } else if self.interrupted.load(Ordering::Relaxed) {
            Refusal::Interrupted
        } else if self.deadline.get().is_some_and(|deadline| Instant::now() > deadline) {
            Refusal::Time
        } else {
            return false;
        };
        self.refuse(refusal);
        true
    }

    /// What stops the statement that runs, from any thread.
    pub(crate) fn interrupter(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// Counts memory of temporary files. Returns whether there is room for it.
    pub(super) fn charge_temp(&self, bytes: usize) -> bool {
        let total = self.temp_bytes.get().saturating_add(bytes);
        if total > self.memory_bytes_max {
            self.refuse(Refusal::Memory);
            return false;
        }
        self.temp_bytes.set(total);
        true
    }

    pub(super) fn release_temp(&self, bytes: usize) {
        self.temp_bytes.set(self.temp_bytes.get() - bytes);
    }
}

/// A port that stays where it is while its owner moves, because files and hooks point to it.
pub(super) struct Pinned(NonNull<Port>);

impl Pinned {
    pub(super) fn new(port: Port) -> Pinned {
        Pinned(NonNull::from(Box::leak(Box::new(port))))
    }

    pub(super) fn as_ptr(&self) -> *const Port {
        self.0.as_ptr()
    }
}

impl Deref for Pinned {
    type Target = Port;

    fn deref(&self) -> &Port {
        // SAFETY: from a box that lives until the drop, and shared only.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: `new` leaked the box, and this is dropped once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
