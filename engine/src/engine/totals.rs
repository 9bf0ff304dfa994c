//! How many objects and bytes each namespace has, as of a line: carried by every pack's footer, and brought up to
//! date by replay.
//!
//! ```text
//! Little-endian: count u32, then per namespace: id u32, objects i64, bytes i64.
//! ```

use std::collections::BTreeMap;

use lineal_wal::NamespaceId;

use crate::transaction::body::{BORN, GONE};

const ROW_BYTES: usize = 20;

/// Objects that exist and user bytes, by namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals(BTreeMap<NamespaceId, (i64, i64)>);

impl Totals {
    pub(crate) fn of(&self, namespace: NamespaceId) -> (i64, i64) {
        self.0.get(&namespace).copied().unwrap_or_default()
    }

    /// Saturates: the numbers come from packs and from the log, where a checksum says that they were written and not that
    /// they make sense.
    pub(crate) fn add(&mut self, namespace: NamespaceId, objects: i64, bytes: i64) {
        let entry = self.0.entry(namespace).or_default();
        entry.0 = entry.0.saturating_add(objects);
        entry.1 = entry.1.saturating_add(bytes);
    }

    /// Adds what one commit changed, which its part's flags and its body say.
    pub(crate) fn add_commit(&mut self, namespace: NamespaceId, flags: u8, delta: i64) {
        let objects = i64::from(flags & BORN != 0) - i64::from(flags & GONE != 0);
        self.add(namespace, objects, delta);
    }

    /// The sum over all namespaces but those that `leave_out` names.
    pub(crate) fn sum_without(&self, leave_out: impl Fn(NamespaceId) -> bool) -> (i64, i64) {
        self.0.iter().filter(|(id, _)| !leave_out(**id)).fold(
            (0i64, 0i64),
            |(objects, bytes), (_, (more, size))| {
                (objects.saturating_add(*more), bytes.saturating_add(*size))
            },
        )
    }

    pub(crate) fn remove(&mut self, namespace: NamespaceId) {
        self.0.remove(&namespace);
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.0.len()).expect("namespaces are numbered with 32 bits");
        out.extend_from_slice(&count.to_le_bytes());
        for (namespace, (objects, bytes)) in &self.0 {
            out.extend_from_slice(&namespace.0.to_le_bytes());
            out.extend_from_slice(&objects.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
    }

    /// Reads totals and returns what follows them.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Totals, &[u8])> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (rows, rest) = rest.split_at_checked(count.checked_mul(ROW_BYTES)?)?;
        let mut totals = Totals::default();
        for row in rows.chunks_exact(ROW_BYTES) {
            let (id, row) = row.split_first_chunk::<4>()?;
            let (objects, bytes) = row.split_first_chunk::<8>()?;
            let bytes = bytes.first_chunk::<8>()?;
            totals.add(
                NamespaceId(u32::from_le_bytes(*id)),
                i64::from_le_bytes(*objects),
                i64::from_le_bytes(*bytes),
            );
        }
        Some((totals, rest))
    }
}
