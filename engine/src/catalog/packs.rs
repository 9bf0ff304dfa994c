//! The packs that are live at one moment.

use std::collections::BTreeSet;

use lineal_snapshot::{LivePack, Pack, PackNumber};

use crate::sync::Arc;

/// One live pack.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What the footers say about it.
    pub(super) live: LivePack,
    /// The open pack.
    pub(super) pack: Arc<Pack>,
    /// Whether its entries are rows of the table.
    pub(super) merged: bool,
}

/// The live packs, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Packs {
    members: Vec<Member>,
}

impl Packs {
    /// The packs of `members`, in any order.
    pub(super) fn new(mut members: Vec<Member>) -> Packs {
        members.sort_by_key(|member| member.live.number);
        Packs { members }
    }

    /// The same packs, of which those in `merged` are rows of the table.
    pub(super) fn merged_as(mut self, merged: &BTreeSet<PackNumber>) -> Packs {
        for member in &mut self.members {
            member.merged = merged.contains(&member.live.number);
        }
        self
    }

    /// The same packs, of which one is read through another handle.
    #[cfg(feature = "archive")]
    pub(super) fn with_pack(&self, number: PackNumber, pack: Arc<Pack>) -> Packs {
        let mut packs = self.clone();
        if let Some(member) = packs.members.iter_mut().find(|member| member.live.number == number) {
            member.pack = pack;
        }
        packs
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Member> {
        self.members.iter()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The pack of that number, if it is live.
    pub(super) fn get(&self, number: PackNumber) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&number, |member| member.live.number).ok()?;
        Some(&self.members[at])
    }

    /// Whether a row of the table that says it is from `number` counts.
    pub(super) fn keeps(&self, number: PackNumber) -> bool {
        self.get(number).is_some()
    }
}
