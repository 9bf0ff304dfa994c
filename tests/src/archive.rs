//! Archives in a simulated store, in a hurry.

use std::{sync::Arc, time::Duration};

use lineal::archive::{ArchiveOptions, Patience, Store};
use lineal_snapshot::archive::sim::SimStore;

/// Little patience: a store that is dark is given up after 40 ms.
pub const HURRIED: Patience = Patience {
    request_max: Duration::from_millis(20),
    operation_max: Duration::from_millis(40),
    first_wait_max: Duration::from_millis(1),
    wait_max: Duration::from_millis(2),
};

/// An archive in this store that is told of everything at once. All such archives are of one holder.
#[must_use]
pub fn hurried(store: &Arc<SimStore>) -> ArchiveOptions {
    let dyn_store: Arc<dyn Store> = Arc::<SimStore>::clone(store);
    ArchiveOptions::store(dyn_store).holder("test").interval(Duration::from_millis(1)).patience(HURRIED)
}
