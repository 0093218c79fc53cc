//! What the archive has just taken in is told to whoever keeps copies of it; at most once, so that copies expire as well.

use super::{Bus, BusError, header_of, headers_for, reply::Inbound};
use crate::{
    chat::ArchiveChange,
    envelope::{self, Format},
    header,
    id::TenantId,
    subject,
};

/// Changes of the archive, as they come in.
pub struct Changes(Inbound);

impl Changes {
    /// The next change and whose conversations it is about; None when the subscription has ended.
    pub async fn next(&mut self) -> Option<(TenantId, ArchiveChange)> {
        loop {
            let message = self.0.next().await?;
            let Some(tenant) = subject::parse_tenant(&message.subject) else { continue };
            let format = Format::detect(header_of(message.headers.as_ref(), header::CONTENT_TYPE), &message.payload);
            match format.and_then(|format| envelope::decode_large(&message.payload, format)) {
                Ok(change) => return Some((tenant, change)),
                Err(error) => tracing::warn!(%error, "what should be a change of the archive is none"),
            }
        }
    }
}

impl Bus {
    /// Tells every process that keeps copies.
    pub async fn tell_changed(&self, tenant: &TenantId, change: &ArchiveChange) -> Result<(), BusError> {
        let body = envelope::encode(change, Format::MessagePack)?;
        self.publish_core(subject::changed(tenant), headers_for(Format::MessagePack), body).await
    }

    /// Hears every tenant's changes from here on.
    pub async fn changes(&self) -> Result<Changes, BusError> {
        self.subscribe(subject::every_tenant("changed"), None).await.map(Changes)
    }
}
