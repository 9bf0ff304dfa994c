//! What an engine has in the store, as the store's listing and the ends of the packs say.

use super::super::chunk::BARRIER_BYTES;
use super::super::client::Client;
use super::super::error::ArchiveError;
use super::super::key::{Keys, number_of, pack_of};
use crate::entry::PackNumber;
use crate::format::{
    FRAME_TAIL_BYTES, Footer, FrameFound, PACK_VERSION, decode_frame, frame_bytes_from_tail,
};
use blake3::Hash;
use lineal_wal::{EngineId, Epoch};

/// What is read of a pack's end at first. Source: a decision; the footer that names a thousand packs fits.
const END_BYTES: u64 = 64 << 10;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) packs: Vec<FoundPack>,
    /// Ascending by epoch.
    pub(super) logs: Vec<FoundLog>,
}

/// A pack in the store. Its bytes may be anything yet.
#[derive(Debug)]
pub(super) struct FoundPack {
    pub(super) number: PackNumber,
    pub(super) hash: Hash,
    pub(super) bytes: u64,
    /// What its end says, if that is the end of this pack.
    pub(super) footer: Option<Footer>,
}

/// What an epoch's log has in the store.
#[derive(Debug)]
pub(super) struct FoundLog {
    pub(super) epoch: Epoch,
    /// Ascending.
    pub(super) chunks: Vec<u64>,
    /// The first barrier.
    pub(super) barrier: Option<u64>,
    /// Damaged chunks that an earlier repair has put aside.
    pub(super) aside: Vec<u64>,
}

impl Survey {
    /// A listing for each folder, and a request or two for each pack.
    ///
    /// # Errors
    /// [`ArchiveError::NewerVersion`] for a pack of a later release; as [`Client::list`].
    pub(super) async fn take(client: &Client, engine: EngineId) -> Result<Self, ArchiveError> {
        let keys = Keys(engine);
        let mut survey = Self::default();
        for folder in client.list(&keys.folder()).await?.folders {
            if let Some(epoch) = number_of(&folder).map(Epoch) {
                survey.logs.extend(log(client, &keys, epoch).await?);
            }
        }
        survey.logs.sort_by_key(|log| log.epoch);
        for (name, bytes) in client.list(&keys.packs()).await?.keys {
            let Some((number, hash)) = pack_of(&name) else { continue };
            let footer = footer(client, engine, &keys.pack(number, &hash), number, bytes).await?;
            survey.packs.push(FoundPack { number, hash, bytes, footer });
        }
        survey.packs.sort_by_key(|pack| (pack.number, *pack.hash.as_bytes()));
        Ok(survey)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.logs.is_empty()
    }

    /// The newest epoch that anything is of.
    pub(super) fn newest_epoch(&self) -> Epoch {
        let packs = self.packs.iter().filter_map(|pack| pack.footer.as_ref()).map(|footer| footer.epoch);
        packs.chain(self.logs.iter().map(|log| log.epoch)).max().unwrap_or(Epoch(0))
    }
}

async fn log(client: &Client, keys: &Keys, epoch: Epoch) -> Result<Option<FoundLog>, ArchiveError> {
    let mut log = FoundLog { epoch, chunks: Vec::new(), barrier: None, aside: Vec::new() };
    for (name, bytes) in client.list(&keys.log(epoch)).await?.keys {
        match number_of(&name) {
            Some(n) if bytes == BARRIER_BYTES => {
                log.barrier = Some(log.barrier.map_or(n, |first| first.min(n)))
            }
            Some(n) => log.chunks.push(n),
            None => log.aside.extend(name.strip_suffix(".damaged").and_then(number_of)),
        }
    }
    log.chunks.sort_unstable();
    let is_there = !log.chunks.is_empty() || log.barrier.is_some() || !log.aside.is_empty();
    Ok(is_there.then_some(log))
}

/// The footer at the end of a pack, if there is one and it is this pack's.
async fn footer(
    client: &Client,
    engine: EngineId,
    key: &str,
    number: PackNumber,
    bytes: u64,
) -> Result<Option<Footer>, ArchiveError> {
    let mut from = bytes.saturating_sub(END_BYTES);
    loop {
        // What reads as no footer may be spoilt on the way, and is read again.
        let reads = |end: &[u8]| !matches!(footer_in(end, from, bytes), Found::Nothing);
        let end = match client.get_range(key, from..bytes, reads).await {
            Ok(end) => end,
            Err(ArchiveError::Missing { .. } | ArchiveError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        return match footer_in(&end, from, bytes) {
            Found::Nothing => Ok(None),
            Found::From(start) => {
                from = start;
                continue;
            }
            Found::Newer(found) => {
                Err(ArchiveError::NewerVersion { key: key.to_owned(), found, known: PACK_VERSION })
            }
            Found::Footer(footer) => {
                let is_its = (footer.engine, footer.number, footer.file_bytes) == (engine, number, bytes);
                Ok(is_its.then_some(*footer))
            }
        };
    }
}

/// What the end of a pack says.
enum Found {
    Nothing,
    /// The frame begins here, before what was read.
    From(u64),
    Newer(u16),
    Footer(Box<Footer>),
}

/// The footer in the last bytes of a pack of so many, which begin at `from`.
fn footer_in(end: &[u8], from: u64, bytes: u64) -> Found {
    let frame_bytes = end.last_chunk::<FRAME_TAIL_BYTES>().and_then(frame_bytes_from_tail);
    let Some(frame_at) = frame_bytes.and_then(|frame| bytes.checked_sub(frame)) else {
        return Found::Nothing;
    };
    if frame_at < from {
        return Found::From(frame_at);
    }
    let frame = usize::try_from(frame_at - from).ok().and_then(|at| end.get(at..)).unwrap_or_default();
    match decode_frame(frame) {
        FrameFound::Newer(found) => Found::Newer(found),
        FrameFound::Valid(footer) => Found::Footer(footer),
        FrameFound::Invalid => Found::Nothing,
    }
}
