//! The archive: packs and the log's tail in an object store.
//!
//! From the bottom up: a [`Store`] answers single requests ([`Remote`], [`Folder`]; [`Location`] makes one from a URL);
//! a [`Client`] tries again, settles what became of conditional puts and believes only what it checked; on it stand
//! the [`Lease`], the [`Manifest`] and the log's [chunks](Chunk), which [`take_over`] puts in order. [`TailUpload`] sends
//! the log as it grows, [`archive_packs`] the packs; [`fetch_pack`] brings one back. Futures run on the one thread of the [`Runtime`]. Names of keys stand in `key.rs`, layouts at the head of the file that encodes them.
//!
//! A [`Tier`] is a data directory whose packs may be in the archive only.
//!
//! Nothing is ever listed: the manifest names the packs, and the next chunk is found by asking for the next number. Only
//! who has lost everything looks for [`engines`] that way, and [`Repair`] for what a lost manifest named.

mod blocks;
mod book;
mod chunk;
mod client;
mod clock;
mod cold;
mod error;
mod fetch;
mod fetcher;
mod fetching;
mod find;
mod flights;
mod folder;
mod frame;
mod garbage;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod hostile;
mod key;
mod lease;
mod location;
mod manifest;
mod pace;
mod packs;
mod pieces;
mod probe;
mod queue;
mod remote;
mod repair;
mod restore;
mod runtime;
mod scrub;
mod service;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod tier;
mod traffic;
mod trouble;
mod writer;

pub use book::ChunkBook;
pub use chunk::{CHUNK_BYTES_MAX, CHUNK_VERSION, Chunk, ChunkHash, LogEnd, NextChunk, Stands};
pub use client::{Client, Created, Replaced};
pub use error::{ArchiveError, ArchiveErrorKind};
pub use fetch::{Fetched, fetch_pack};
pub use fetching::{Missing, has_missed, without_blocking};
pub use find::engines;
pub use folder::Folder;
pub use garbage::{Collected, collect_garbage};
pub use key::Keys;
pub use lease::{Claim, LEASE_VERSION, Lease, LeaseHolder};
pub use location::Location;
#[cfg(feature = "_web")]
pub use location::provide_tls;
pub use manifest::{
    ArchivedLog, ArchivedPack, GarbageChunks, GarbagePack, MANIFEST_BYTES_MAX, MANIFEST_VERSION, Manifest,
    ManifestWriter,
};
pub use pace::{Pace, Patience, RealPace};
pub use packs::{Live, LocalPack, archive_packs};
pub use probe::probe;
pub use queue::{ChunkQueue, Cut, Lag, Rhythm};
pub use remote::Remote;
pub use repair::{LeftOut, Loss, Remains, Repair, find_loss};
pub use restore::{RestoredPacks, restore_packs};
pub use runtime::{Hand, Runtime};
pub use scrub::{ArchiveDamage, ScrubReport, scrub};
pub use service::{Host, LeaseTerm, LiveState, PackCalls, Service, ServiceOptions};
pub use store::{Answer, Found, Listing, Source, Store, StoreError, StoreErrorKind, Tag, When};
pub use tail::{Calls, DurableLog, LogPiece, TailUpload};
pub use tier::{Tier, TierOptions, TierStats};
pub use traffic::Traffic;
pub use trouble::Trouble;
pub use writer::{Writer, take_over};
