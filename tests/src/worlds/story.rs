//! What a world is to the machine that crashes it.

use std::any::Any;

use lineal_wal::sim::{Beside, LookBeside, SimDisk};

/// What is known at some moment of a life. States are counted from 0, the empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// Operations of the disk so far.
    pub ops: u64,
    /// This state, or one behind it, has to be there.
    pub certain: usize,
    /// No state behind this one may be there.
    pub asked: usize,
    /// Up to where what the story wrote was given up; means something to the story alone.
    pub released: u64,
}

impl Told {
    /// What was known when the operation of this number was about to be done.
    pub fn at(told: &[Told], op: u64) -> Told {
        let behind = told.partition_point(|told| told.ops <= op);
        behind.checked_sub(1).map_or_else(Told::default, |at| told[at])
    }

    /// The same, of a life that has to be at this state.
    pub fn settled(self, state: usize) -> Told {
        Told { certain: state, asked: state, ..self }
    }
}

/// A short workload, how it is done, and how what it leaves is judged.
pub trait Story: Send + Sync {
    /// What it is about.
    fn title(&self) -> String;

    /// Lives it on an empty disk and says what was told when, in order.
    ///
    /// # Errors
    /// What failed; nothing should.
    fn live(&self, disk: &SimDisk) -> Result<Vec<Told>, String>;

    /// Opens the disk and leaves it open for as long as what is returned lives.
    ///
    /// # Errors
    /// Why it does not open.
    fn wake(&self, disk: &SimDisk, beside: Option<&Beside>, told: Told) -> Result<Box<dyn Any>, String>;

    /// Opens the disk, finds which state it has, reads and verifies everything, writes, opens it again. Returns the state.
    /// `variety` says which of the ways to go on it takes.
    ///
    /// # Errors
    /// What is wrong.
    fn judge(
        &self,
        disk: &SimDisk,
        beside: Option<&Beside>,
        told: Told,
        variety: u64,
    ) -> Result<usize, String>;

    /// Takes down what belongs to a moment besides the disk. Called before each life.
    fn look(&self) -> Option<LookBeside> {
        None
    }
}
