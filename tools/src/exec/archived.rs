//! Requests about the archive.

use super::{
    reply::{Answer, Refusal},
    session::Session,
};
use crate::json::Line;

impl Session {
    /// Waits until the archive has everything that was committed before.
    pub(super) fn archive(&mut self) -> Result<Answer, Refusal> {
        self.engine.archive_now()?;
        let mut line = Line::new();
        if let Some(status) = self.engine.archive_status() {
            line.number("archived_lsn", status.archived.0).number("packed_lsn", status.line.0);
            line.number("packs", status.packs).number("cold_packs", status.cold_packs);
            line.number("local_pack_bytes", status.local_pack_bytes);
            line.number("gets", status.traffic.gets).number("puts", status.traffic.puts);
            line.number("bytes_read", status.traffic.bytes_read);
            line.number("bytes_written", status.traffic.bytes_written);
        }
        Ok(Answer::Now(line.fields()))
    }

    /// Gives up local copies that the archive has: of all packs, or of those of a namespace.
    pub(super) fn spill(&mut self, ns: Option<&str>) -> Result<Answer, Refusal> {
        let spilled = match ns {
            Some(ns) => self.engine.existing_namespace(ns)?.spill()?,
            None => self.engine.spill()?,
        };
        Ok(Answer::Now(Line::new().number("packs", spilled.packs).number("bytes", spilled.bytes).fields()))
    }
}
