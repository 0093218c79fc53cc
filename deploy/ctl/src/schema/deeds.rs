//! Examples of what operators change, filled to the brim and down to the bone; a case that was released is never changed.

use anyhow::Result;
use talkfleet_shared::{
    audit::{AuditEntry, DeedState},
    id::TenantId,
};

pub(super) fn entries() -> Result<Vec<(&'static str, AuditEntry)>> {
    let full = AuditEntry {
        id: "01KDVDNC00GW5X3PZ7TRQAE9M2".into(),
        operator: "Ann".into(),
        from: "ann@desk-1".into(),
        action: "keys.revoke".into(),
        tenant: Some(TenantId::parse("demo")?),
        on: "4f1b0c2d9e7a".into(),
        state: DeedState::Done,
        by: "talkfleet/0.1.0".into(),
    };
    let minimal = AuditEntry { tenant: None, on: String::new(), state: DeedState::Begun, ..full.clone() };
    let failed = AuditEntry { state: DeedState::Failed, ..full.clone() };
    Ok(vec![("full", full), ("minimal", minimal), ("failed", failed)])
}
