//! What a user's handle holds of an engine: as long as one lives the engine works, and when the last one goes it ends.

use std::{ops::Deref, time::Duration};

use super::EngineInner;
use crate::sync::Arc;

/// The engine, as users hold it: engines, namespaces, objects, views of the past. Threads of the engine hold an
/// `Arc<EngineInner>` while they work, which does not count.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Owner>);

struct Owner(Arc<EngineInner>);

/// How long the last handle's drop waits for the engine's threads at most.
///
/// Source: a decision; a merge that is under way takes seconds where the disk is slow.
const LINGER: Duration = Duration::from_secs(10);

impl Handle {
    /// The first handle; all others are its clones.
    pub(super) fn new(engine: Arc<EngineInner>) -> Handle {
        Handle(Arc::new(Owner(engine)))
    }

    /// The engine alone, while this is the only handle and no thread works on it.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn get_mut(&mut self) -> Option<&mut EngineInner> {
        Arc::get_mut(&mut Arc::get_mut(&mut self.0)?.0)
    }
}

impl Deref for Handle {
    type Target = Arc<EngineInner>;

    #[inline]
    fn deref(&self) -> &Arc<EngineInner> {
        &self.0.0
    }
}

impl Drop for Owner {
    /// Waits until nobody works on the engine, so that the directory is free when the last handle is gone, and whoever
    /// opens it then does not find it locked by a thread that was in the middle of something.
    fn drop(&mut self) {
        self.0.abandon(LINGER);
    }
}
