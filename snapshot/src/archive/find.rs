//! Finds the engines whose archives share a prefix, by a listing, for who has lost everything else.

use super::client::Client;
use super::error::ArchiveError;
use lineal_wal::EngineId;

/// The engines that have anything below the store's prefix, ascending; whether it is an archive says its manifest. One
/// listing that does not go into the folders, so it costs the same whatever they hold.
///
/// # Errors
/// As [`Client::get`].
pub async fn engines(client: &Client) -> Result<Vec<EngineId>, ArchiveError> {
    let mut engines: Vec<_> = client.folders().await?.iter().filter_map(|name| engine_of(name)).collect();
    engines.sort_unstable();
    Ok(engines)
}

fn engine_of(name: &str) -> Option<EngineId> {
    let engine = EngineId(u128::from_str_radix(name, 16).ok()?.to_be_bytes());
    // Only the name that a key has: 32 digits, no capitals, no sign.
    (engine.to_string() == name).then_some(engine)
}
