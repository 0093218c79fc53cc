//! The audit log: operators' deeds are added to a stream from which nothing can be taken, and read back in their order.

use time::OffsetDateTime;

use super::{Bus, BusError, Records, Start, headers_for};
use crate::{
    audit::AuditEntry,
    envelope::{self, Format},
    subject, topology,
};

/// What a lane may not do: operators' deeds are about the live fleet.
const WRITE: &str = "write to the audit log";

/// The audit log, oldest first.
pub struct AuditLog(Records);

impl Bus {
    /// Adds an entry; it stands once the broker says so. In JSON, since it may be read long after this program is gone.
    pub async fn write_audit(&self, entry: &AuditEntry) -> Result<(), BusError> {
        self.lane.live_only(WRITE)?;
        let body = envelope::encode(entry, Format::Json)?;
        self.publish_stored(subject::audit(), headers_for(Format::Json), body).await.map(drop)
    }

    /// What was written since, up to what the log holds right now.
    pub async fn audit_log(&self, from: Start) -> Result<AuditLog, BusError> {
        let last_sequence = self.stream_state(topology::AUDIT).await?.last_sequence;
        self.records(topology::AUDIT, from, subject::audit(), Some(last_sequence)).await.map(AuditLog)
    }
}

impl AuditLog {
    /// The next entry with when the broker stored it; None after the last one.
    pub async fn next(&mut self) -> Option<Result<(OffsetDateTime, AuditEntry), BusError>> {
        let stored = match self.0.next().await? {
            Ok(stored) => stored,
            Err(error) => return Some(Err(error)),
        };
        Some(stored.decode().map(|entry| (stored.stored_at, entry)).map_err(BusError::from))
    }
}
