//! The archive over a store that fails, and over stores that do not.

mod chunks;
mod client;
mod garbage;
mod golden;
mod manifest;
mod race;
mod restore;
mod scrub;
mod stores;
mod takeover;
mod tier;
mod upload;

use super::sim::{SimPace, SimStore};
use super::*;
use crate::sync::Arc;
use lineal_wal::{EngineId, Epoch, Lsn, Micros};
use pollster::block_on;

const ENGINE: EngineId = EngineId([0xe1; 16]);
const HOUR: Micros = Micros(3_600_000_000);

fn client(store: &Arc<SimStore>, seed: u64) -> Client {
    Client::new(Arc::<SimStore>::clone(store), SimPace::new(seed), Patience::default())
}

fn claim(holder: &str, now: Micros) -> Claim {
    let holder = holder.to_owned();
    Claim { engine: ENGINE, above: Epoch(0), holder, now, lasts: HOUR, force: false }
}

/// Takes over by force, without looking at what is there.
fn take(client: &Client, holder: &str) -> Writer {
    let claim = Claim { force: true, ..claim(holder, Micros(0)) };
    block_on(take_over(client, &claim, |_, _| Ok(()))).unwrap()
}

/// Appends one chunk of one record to a writer's log and stores it.
fn put(client: &Client, log: &mut LogEnd, lsn: u64) -> Result<(), ArchiveError> {
    let chunk = log.append(client, Lsn(lsn), Lsn(lsn), format!("record {lsn}").as_bytes())?;
    block_on(chunk.put(client)).map(drop)
}
