//! What a chunk does not keep in its block: long values, shared with their readers, and pending patches.

// Sharing bytes that never change has no protocol to model, so this is std's `Arc` and not the one of `sync`.
use std::sync::Arc;

use super::heap_bytes;
use crate::transaction::ops::{Patch, Patches, push_patch};

/// The counters in front of the bytes of an `Arc<[u8]>`.
const ARC_HEADER_BYTES: usize = 16;

/// One thing kept apart.
#[derive(Debug)]
pub(super) enum Piece {
    /// A long value.
    Value(Arc<[u8]>),
    /// Patches to what lies below, as an encoded list, and how many they are.
    Patches { list: Vec<u8>, count: u32 },
}

impl Piece {
    /// A list of one patch.
    pub(super) fn one_patch(patch: &Patch<'_>) -> Piece {
        let mut list = Vec::with_capacity(patch.as_bytes().len() + 2);
        push_patch(&mut list, patch);
        Piece::Patches { list, count: 1 }
    }

    /// A whole list.
    pub(super) fn patches(patches: &Patches<'_>) -> Piece {
        let count = u32::try_from(patches.iter().count()).expect("a commit has fewer patches than 2^32");
        Piece::Patches { list: patches.as_bytes().to_vec(), count }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Piece::Value(value) => heap_bytes(value.len() + ARC_HEADER_BYTES),
            Piece::Patches { list, .. } => heap_bytes(list.capacity()),
        }
    }
}

/// The pieces of one chunk, by index. Indexes stay valid until the piece is taken.
#[derive(Debug, Default)]
pub(super) struct Apart {
    pieces: Vec<Option<Piece>>,
    holes: usize,
    /// What the pieces take, without the table.
    bytes: usize,
}

impl Apart {
    /// Keeps a piece and says under which index.
    pub(super) fn put(&mut self, piece: Piece) -> u32 {
        self.bytes += piece.heap_bytes();
        let hole = if self.holes > 0 { self.pieces.iter().position(Option::is_none) } else { None };
        let index = match hole {
            Some(index) => {
                self.holes -= 1;
                self.pieces[index] = Some(piece);
                index
            }
            None => {
                self.pieces.reserve_exact(if self.pieces.len() < 4 { 1 } else { self.pieces.len() / 2 });
                self.pieces.push(Some(piece));
                self.pieces.len() - 1
            }
        };
        u32::try_from(index).expect("a chunk has few pieces")
    }

    /// Takes a piece out.
    pub(super) fn take(&mut self, index: u32) -> Piece {
        let piece = self.pieces[index as usize].take().expect("a slot names a piece that is there");
        self.holes += 1;
        self.bytes -= piece.heap_bytes();
        piece
    }

    pub(super) fn get(&self, index: u32) -> &Piece {
        self.pieces[index as usize].as_ref().expect("a slot names a piece that is there")
    }

    /// The bytes of a long value, if nobody shares them.
    pub(super) fn value_mut(&mut self, index: u32) -> Option<&mut [u8]> {
        match self.pieces[index as usize].as_mut()? {
            Piece::Value(value) => Arc::get_mut(value),
            Piece::Patches { .. } => None,
        }
    }

    /// Adds a patch to a list, and says how many it has now.
    pub(super) fn push_patch(&mut self, index: u32, patch: &Patch<'_>) -> u32 {
        let piece = self.pieces[index as usize].as_mut().expect("a slot names a piece that is there");
        let before = piece.heap_bytes();
        let Piece::Patches { list, count } = piece else { unreachable!("the slot says patches") };
        push_patch(list, patch);
        *count += 1;
        let count = *count;
        self.bytes = self.bytes - before + piece.heap_bytes();
        count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holes == self.pieces.len()
    }

    /// What all of it takes, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        heap_bytes(size_of::<Apart>())
            + heap_bytes(self.pieces.capacity() * size_of::<Option<Piece>>())
            + self.bytes
    }
}
