//! The thread that all requests run on, and the bridge to it for code that blocks.

use super::error::ArchiveError;
use crate::sync::{Arc, Mutex, channel, thread};
use std::cell::Cell;
use std::future::Future;

/// One thread with tokio's single-threaded scheduler; requests of all kinds share it. Blocking reads and writes of
/// local files are done by up to a few more, which end when idle.
///
/// Dropping it ends what is under way: whoever waits gets [`ArchiveError::Closed`].
#[derive(Debug)]
pub struct Runtime(Kind);

#[derive(Debug)]
enum Kind {
    Thread(Worker),
    Hand(Arc<Slow>),
}

#[derive(Debug)]
struct Worker {
    handle: tokio::runtime::Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Threads for blocking file work. Source: a guess; an upload and a restore side by side, and the puts of a folder.
const FILE_THREADS_MAX: usize = 4;

impl Runtime {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`ArchiveError::Thread`].
    pub fn start() -> Result<Self, ArchiveError> {
        Self::start_with(|| ())
    }

    /// As [`start`](Self::start); each of its threads begins with `begin`.
    ///
    /// # Errors
    /// [`ArchiveError::Thread`].
    pub fn start_with(begin: impl Fn() + Clone + Send + Sync + 'static) -> Result<Self, ArchiveError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(FILE_THREADS_MAX)
            .thread_name("lineal-archive-io")
            .on_thread_start(begin.clone())
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = thread::Builder::new()
            .name("lineal-archive".to_owned())
            .spawn(move || {
                begin();
                // An error says that the sender is gone: the same as being told.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Self(Kind::Thread(Worker { handle, stop: Some(stop), thread: Some(thread) })))
    }

    /// One without a thread, which moves when `hand` says so.
    ///
    /// # Errors
    /// [`ArchiveError::Thread`].
    pub fn by_hand(hand: &Hand) -> Result<Self, ArchiveError> {
        let slow = Arc::new(Slow { requests: scheduler()?, services: scheduler()? });
        *hand.0.lock() = Some(Arc::clone(&slow));
        Ok(Self(Kind::Hand(slow)))
    }

    /// Runs a future there and waits for it. May be called from any thread but its own, inside any other runtime too.
    ///
    /// # Errors
    /// [`ArchiveError::Closed`] if the runtime ends first, and the future's own.
    pub fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, ArchiveError>> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        if let Kind::Hand(slow) = &self.0 {
            return by_hand(|| slow.requests.block_on(future));
        }
        let (tell, told) = channel();
        self.spawn(async move {
            // Nobody waits any more only where the caller's thread is gone.
            let _ = tell.send(future.await);
        });
        told.recv().unwrap_or(Err(ArchiveError::Closed))
    }

    /// Whether the caller is on its thread, where nothing may [`run`](Self::run).
    pub fn is_here(&self) -> bool {
        match &self.0 {
            Kind::Thread(worker) => worker.is_here(),
            Kind::Hand(_) => IS_BY_HAND.get(),
        }
    }

    /// Runs a future there and waits for nothing: a request that somebody will wait for. It is dropped where it stands when
    /// the runtime ends.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Kind::Thread(worker) => worker.handle.spawn(future),
            Kind::Hand(slow) => slow.requests.spawn(future),
        };
    }

    /// As [`spawn`](Self::spawn), for what goes on beside all requests for as long as there is something to do.
    pub fn attend(&self, future: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Kind::Thread(worker) => worker.handle.spawn(future),
            Kind::Hand(slow) => slow.services.spawn(future),
        };
    }

    /// Whether it is moved by a [`Hand`].
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        matches!(self.0, Kind::Hand(_))
    }

    /// Where it is moved by hand, moves what it [attends](Self::attend): who waits for that does so instead of resting, and
    /// holds nothing meanwhile that it might need.
    pub fn turn(&self) {
        if let Kind::Hand(slow) = &self.0 {
            slow.turn(1);
        }
    }
}

fn failed(source: std::io::Error) -> ArchiveError {
    ArchiveError::Thread { source: Arc::new(source) }
}

fn scheduler() -> Result<tokio::runtime::Runtime, ArchiveError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)
}

impl Worker {
    fn is_here(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.thread().id() == thread::current().id())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let is_here = self.is_here();
        if let Some(thread) = self.thread.take().filter(|_| !is_here) {
            // A panic of the thread was told where it happened.
            let _ = thread.join();
        }
    }
}

/// Moves a [`Runtime`] that has no thread, for simulation: everything happens on the caller's thread, in an order that only he
/// decides. A clone moves the same one, which is the newest that was made [by](Runtime::by_hand) it.
#[derive(Clone, Debug, Default)]
pub struct Hand(Arc<Mutex<Option<Arc<Slow>>>>);

impl Hand {
    /// Lets what the runtime attends go on for so many ticks, in each of which every task that can go on does, up to where it
    /// waits.
    pub fn turn(&self, ticks: u32) {
        let slow = self.0.lock().clone();
        slow.iter().for_each(|slow| slow.turn(ticks));
    }

    /// Lets go of the runtime, so that it ends with its engine.
    pub fn let_go(&self) {
        *self.0.lock() = None;
    }
}

/// Two schedulers, so that who waits for a request, with whatever locks, does not run what may want those locks too.
#[derive(Debug)]
struct Slow {
    requests: tokio::runtime::Runtime,
    services: tokio::runtime::Runtime,
}

impl Slow {
    fn turn(&self, ticks: u32) {
        let rest = async {
            for _ in 0..ticks {
                tokio::task::yield_now().await;
            }
        };
        by_hand(|| self.services.block_on(rest));
    }
}

thread_local! {
    static IS_BY_HAND: Cell<bool> = const { Cell::new(false) };
}

fn by_hand<T>(work: impl FnOnce() -> T) -> T {
    /// Puts back what was, also where the work panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            IS_BY_HAND.set(self.0);
        }
    }
    let _before = Before(IS_BY_HAND.replace(true));
    work()
}

/// Does what blocks, beside the runtime that it is called in.
///
/// # Errors
/// [`ArchiveError::Closed`] if the runtime has ended.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ArchiveError> {
    if IS_BY_HAND.get() {
        // On another thread, because what blocks may run something; it alone moves meanwhile.
        return thread::spawn(work).join().map_err(|_| ArchiveError::Closed);
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ArchiveError::Closed)
}
