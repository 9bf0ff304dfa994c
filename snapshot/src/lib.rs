//! Packs: immutable files of everything that an engine keeps beside its log.
//!
//! This crate is responsible for
//! - the [pack](Pack) file: [writing](PackWriter) it so that a crash leaves either a complete pack or an unfinished
//!   one, finding entries in it, reading its parts, verifying every byte of it;
//! - what stands in the parts: [leaves](Leaf) and [runs](Run), and their compression;
//! - [entries](EntryKey): how pieces of objects are named, ordered and located;
//! - one bounded [cache](BlockCache) for all of that;
//! - the archive: packs and the log's tail in an object store, and who may write there.
//!
//! It is *not* responsible for
//! - which packs are live, which entry of which pack answers a read, and what compaction may drop: the engine's;
//! - what a head, a commit's body or a value says: opaque bytes here;
//! - durability of commits: the log's.
//!
//! A pack comes to be through [`PackWriter::create`], [`part`](PackWriter::part)s in ascending order,
//! [`seal`](PackWriter::seal) (everything but the footer is durable) and [`finish`](PackWriter::finish) (the footer:
//! now it counts). It is read through [`Pack::open`], [`may_contain`](Pack::may_contain), [`seek`](Pack::seek) and
//! [`read`](Pack::read). The layout of every byte stands in [`mod@format`].
#![forbid(unsafe_code)]

#[cfg(feature = "archive")]
pub mod archive;
mod cache;
mod codec;
mod entry;
mod error;
mod filter;
pub mod format;
mod group;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod hostile;
mod index;
mod iter;
mod leaf;
mod reader;
mod run;
mod sync;
#[cfg(test)]
mod testing;
mod verify;
mod wire;
mod writer;

pub use cache::{BlockCache, CacheStats};
pub use codec::{COMPRESS_BYTES_MIN, Codec, Compressor, PART_BYTES_MAX, decompress};
pub use entry::{
    EntryKey, EntryValue, Kind, PACK_FOLDER, PackNumber, Place, SUB_KEY_BYTES_MAX, encode_key, kind_prefix,
    leaf_sub_key, object_prefix, prefix_end, run_sub_key, split_leaf_sub_key, sub_key_prefix,
};
pub use error::{DecodeError, ErrorKind, PackError};
pub use filter::FILTER_BITS_PER_OBJECT;
pub use format::{Footer, LivePack, PACK_VERSION, PackHeader, PackKind};
pub use group::Group;
pub use iter::{PackIter, PackIterBack};
pub use leaf::{LEAF_KEY_BYTES_MAX, LEAF_KEYS_BYTES_MAX, Leaf, LeafBuilder, LeafKind, LeafValue};
pub use reader::{Pack, Part, StoredPart, read_pack_header};
pub use run::{Commit, HASH_EVERY, HashPoint, Run, RunBuilder};
pub use verify::VerifyCounts;
pub use writer::{FooterInput, PackWriter, PartSpec, WriteOptions};
