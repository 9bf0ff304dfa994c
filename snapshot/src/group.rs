//! A head or a run with the runs behind it, decoded: what one entry leads to.

use crate::run::Run;
use crate::sync::Arc;

/// A part and the runs that stand behind it. Never changes.
#[derive(Debug)]
pub struct Group {
    head: Arc<[u8]>,
    runs: Vec<Arc<Run>>,
}

impl Group {
    /// `head` is empty for a group that is led by a run.
    pub(crate) fn new(head: Arc<[u8]>, runs: Vec<Arc<Run>>) -> Self {
        Self { head, runs }
    }

    /// The content of the head that leads the group; empty if a run does.
    pub fn head(&self) -> &Arc<[u8]> {
        &self.head
    }

    /// The runs, oldest first: the one that leads the group, and those behind its first part.
    pub fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// How much memory it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.head.len()
            + self.runs.capacity() * size_of::<Arc<Run>>()
            + self.runs.iter().map(|run| run.memory_bytes()).sum::<usize>()
    }
}
