//! The thread that all requests run on, and the bridge to it for code that blocks.

use super::error::ArchiveError;
use crate::sync::{Arc, channel, thread};
use std::future::Future;

/// One thread with tokio's single-threaded scheduler; requests of all kinds share it. Blocking reads and writes of
/// local files are done by up to a few more, which end when idle.
///
/// Dropping it ends what is under way: whoever waits gets [`ArchiveError::Closed`].
#[derive(Debug)]
pub struct Runtime {
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
        let failed = |source| ArchiveError::Thread { source: Arc::new(source) };
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
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs a future there and waits for it. May be called from any thread but its own, inside any other runtime too.
    ///
    /// # Errors
    /// [`ArchiveError::Closed`] if the runtime ends first, and the future's own.
    pub fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, ArchiveError>> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let (tell, told) = channel();
        self.spawn(async move {
            // Nobody waits any more only where the caller's thread is gone.
            let _ = tell.send(future.await);
        });
        told.recv().unwrap_or(Err(ArchiveError::Closed))
    }

    /// Whether the caller is on its thread, where nothing may [`run`](Self::run).
    pub fn is_here(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.thread().id() == thread::current().id())
    }

    /// Runs a future there and waits for nothing. It is dropped where it stands when the runtime ends.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(future);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the thread was told where it happened.
            let _ = thread.join();
        }
    }
}
