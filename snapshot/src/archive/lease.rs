//! Who writes: one small object per engine, changed by conditional put only.
//!
//! Body of the frame `LINLLEAS`, see `frame.rs`; all integers are little-endian:
//! ```text
//!    16 engine, 8 epoch, 16 nonce
//!     8 until (µs): the holder renews it before; 0 once given back
//!     4 open epochs, ascending, each 8: earlier epochs whose logs have no barrier yet, as far as this says
//!     2 holder bytes, holder: a name for messages
//! ```
//! The lease is a courtesy: it keeps two engines that mean well from taking turns. What makes a paused writer harmless
//! is the barrier at the end of its log and the changed tag of the manifest, and neither depends on a clock.

use super::client::{Client, Created, Replaced};
use super::error::ArchiveError;
use super::frame::Frame;
use super::key::Keys;
use super::store::Tag;
use crate::wire::Wire;
use bytes::Bytes;
use lineal_wal::planted::{self, Bug};
use lineal_wal::{EngineId, Epoch, Micros};

/// The newest format version of leases that this program reads, and the one that it writes.
pub const LEASE_VERSION: u16 = 1;

/// How many openings may fail between lease and barrier. Source: a decision.
const OPEN_EPOCHS_MAX: usize = 4_096;

const FRAME: Frame =
    Frame { magic: *b"LINLLEAS", version: LEASE_VERSION, what: "the lease", body_bytes_max: 128 << 10 };

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    engine: EngineId,
    epoch: Epoch,
    nonce: [u8; 16],
    until: Micros,
    open: Vec<Epoch>,
    holder: String,
}

impl State {
    fn encode(&self) -> Result<Bytes, ArchiveError> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.engine.0);
        body.extend_from_slice(&self.epoch.0.to_le_bytes());
        body.extend_from_slice(&self.nonce);
        body.extend_from_slice(&self.until.0.to_le_bytes());
        body.extend_from_slice(&u32::try_from(self.open.len()).unwrap_or(u32::MAX).to_le_bytes());
        for epoch in &self.open {
            body.extend_from_slice(&epoch.0.to_le_bytes());
        }
        let mut end = self.holder.len().min(usize::from(u16::MAX));
        while !self.holder.is_char_boundary(end) {
            end -= 1;
        }
        body.extend_from_slice(&u16::try_from(end).unwrap_or(u16::MAX).to_le_bytes());
        body.extend_from_slice(&self.holder.as_bytes()[..end]);
        FRAME.wrap(&Keys(self.engine).lease(), &body)
    }

    fn decode(engine: EngineId, bytes: &Bytes) -> Result<Self, ArchiveError> {
        let key = Keys(engine).lease();
        let (body, _) = FRAME.unwrap(&key, bytes)?;
        let Some(state) = Self::parse(&body) else {
            return Err(ArchiveError::Damaged { key, reason: "its body breaks a rule of the format" });
        };
        if state.engine != engine {
            return Err(ArchiveError::WrongEngine { key, expected: engine, found: state.engine });
        }
        Ok(state)
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut wire = Wire::new(body);
        let engine = EngineId(wire.array()?);
        let epoch = Epoch(wire.u64()?);
        let nonce = wire.array()?;
        let until = Micros(wire.u64()?);
        let count = usize::try_from(wire.u32()?).ok().filter(|count| *count <= OPEN_EPOCHS_MAX)?;
        let mut open = Vec::with_capacity(count);
        for _ in 0..count {
            open.push(Epoch(wire.u64()?));
        }
        let holder_bytes = wire.u16()?;
        let holder = String::from_utf8(wire.take(holder_bytes.into())?.to_vec()).ok()?;
        let valid =
            wire.is_empty() && open.is_sorted_by(|a, b| a < b) && open.iter().all(|open| *open < epoch);
        valid.then_some(Self { engine, epoch, nonce, until, open, holder })
    }
}

/// For fuzzers: the frame of a lease and its key.
#[cfg(feature = "sim")]
pub(super) fn framed(engine: EngineId) -> (&'static Frame, String) {
    (&FRAME, Keys(engine).lease())
}

/// For fuzzers: what is read of a lease, written again.
#[cfg(feature = "sim")]
pub(super) fn reread(engine: EngineId, stored: &Bytes) -> Result<Bytes, ArchiveError> {
    State::decode(engine, stored)?.encode()
}

/// What somebody who wants to write brings along.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose archive.
    pub engine: EngineId,
    /// The new epoch is above this: the newest one that the local data knows.
    pub above: Epoch,
    /// A name for messages. Who has the same one as the holder is taken for the holder, started again: it should name
    /// the machine and the data directory.
    pub holder: String,
    /// The wall clock.
    pub now: Micros,
    /// How long the lease lasts unless it is renewed.
    pub lasts: Micros,
    /// Take it although somebody else's has not ended.
    pub force: bool,
}

/// Who has a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Its name.
    pub holder: String,
    /// The epoch that it writes in.
    pub epoch: Epoch,
    /// When the lease ends, by the holder's clock; 0 if it was given back.
    pub until: Micros,
}

/// The right to write, until somebody takes it.
#[derive(Debug)]
pub struct Lease {
    state: State,
    tag: Tag,
}

impl Lease {
    /// Takes the lease of an engine, and with it an epoch that nobody had. The holder of a lease that has not ended is
    /// left alone, unless by force or it has the same name.
    ///
    /// # Errors
    /// [`ArchiveError::Held`]; [`ArchiveError::Damaged`] and its kin for a lease that cannot be read: that is never
    /// taken for none; as [`Client::replace`].
    pub async fn take(client: &Client, claim: &Claim) -> Result<Self, ArchiveError> {
        let key = Keys(claim.engine).lease();
        loop {
            let found = client.get_as(&key, |bytes| State::decode(claim.engine, bytes)).await?;
            let state = next(claim, found.as_ref().map(|(old, _)| old), client.nonce())?;
            let bytes = state.encode()?;
            let won = match found.map(|(_, tag)| tag) {
                None => match client.create(&key, bytes).await? {
                    Created::Won(tag) => Some(tag),
                    Created::Taken(_) => None,
                },
                Some(None) => return Err(client.tells_no_tags()),
                Some(Some(tag)) => match client.replace(&key, &tag, bytes).await? {
                    Replaced::Won(tag) => Some(tag),
                    Replaced::Lost(_) => None,
                },
            };
            if let Some(tag) = won {
                return Ok(Self { state, tag });
            }
            // Somebody came between: look again whether that one may be passed over.
        }
    }

    /// Who has the lease of an engine, if it has one; takes nothing. One request.
    ///
    /// # Errors
    /// As [`take`](Self::take), but for `Held`.
    pub async fn look(client: &Client, engine: EngineId) -> Result<Option<LeaseHolder>, ArchiveError> {
        let found = client.get_as(&Keys(engine).lease(), |bytes| State::decode(engine, bytes)).await?;
        Ok(found.map(|(state, _)| LeaseHolder {
            holder: state.holder,
            epoch: state.epoch,
            until: state.until,
        }))
    }

    /// The epoch to write in.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.state.epoch
    }

    /// Earlier epochs whose logs may have no barrier yet: to be closed before anything is believed.
    #[must_use]
    pub fn open_epochs(&self) -> &[Epoch] {
        &self.state.open
    }

    /// When it ends.
    #[must_use]
    pub fn until(&self) -> Micros {
        self.state.until
    }

    /// Says that all earlier epochs are closed.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn closed(&mut self, client: &Client) -> Result<(), ArchiveError> {
        let next = State { open: Vec::new(), ..self.state.clone() };
        self.change(client, next).await
    }

    /// Makes the lease last until `until`.
    ///
    /// # Errors
    /// [`ArchiveError::Fenced`] if somebody has taken it, and as [`Client::replace`].
    pub async fn renew(&mut self, client: &Client, until: Micros) -> Result<(), ArchiveError> {
        let next = State { until, ..self.state.clone() };
        self.change(client, next).await
    }

    /// Gives the lease back, so that the next one need not wait.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn give_back(mut self, client: &Client) -> Result<(), ArchiveError> {
        self.renew(client, Micros(0)).await
    }

    async fn change(&mut self, client: &Client, mut next: State) -> Result<(), ArchiveError> {
        let key = Keys(next.engine).lease();
        loop {
            next.nonce = client.nonce();
            match client.replace(&key, &self.tag, next.encode()?).await? {
                Replaced::Won(tag) => {
                    *self = Self { state: next, tag };
                    return Ok(());
                }
                Replaced::Lost(None) => {
                    return Err(ArchiveError::Missing { store: client.name().to_owned(), key });
                }
                Replaced::Lost(Some(found)) => {
                    let other = State::decode(next.engine, &found.bytes)?;
                    if other.epoch > next.epoch && !planted::on(Bug::StaleLeaseRenewed) {
                        return Err(ArchiveError::Fenced { epoch: next.epoch, by: other.epoch });
                    }
                    if other.epoch < next.epoch {
                        let reason = "the store went back to an older one";
                        return Err(ArchiveError::Diverged { key, reason });
                    }
                    // Nobody else has this epoch: an earlier change of ours arrived after all.
                    self.tag = found.tag.ok_or_else(|| client.tells_no_tags())?;
                }
            }
        }
    }
}

fn next(claim: &Claim, old: Option<&State>, nonce: [u8; 16]) -> Result<State, ArchiveError> {
    let mut open = Vec::new();
    let mut above = claim.above;
    if let Some(old) = old {
        let is_held = old.until > claim.now && old.holder != claim.holder;
        if is_held && !claim.force && !planted::on(Bug::HeldLeaseTaken) {
            return Err(ArchiveError::Held {
                holder: old.holder.clone(),
                epoch: old.epoch,
                until: old.until,
            });
        }
        open.clone_from(&old.open);
        open.push(old.epoch);
        above = above.max(old.epoch);
    }
    if open.len() > OPEN_EPOCHS_MAX {
        return Err(ArchiveError::TooLarge {
            what: "the list of epochs without a barrier",
            bytes: 8 * open.len() as u64,
            bytes_max: 8 * OPEN_EPOCHS_MAX as u64,
        });
    }
    let until = Micros(claim.now.0.saturating_add(claim.lasts.0));
    let Some(epoch) = above.0.checked_add(1).map(Epoch) else {
        let key = Keys(claim.engine).lease();
        return Err(ArchiveError::Damaged { key, reason: "it leaves no epoch to write in" });
    };
    Ok(State { engine: claim.engine, epoch, nonce, until, open, holder: claim.holder.clone() })
}
