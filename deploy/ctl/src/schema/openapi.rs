//! The HTTP side as an OpenAPI document, as the gateway's own routes describe it.

use anyhow::Result;

/// The gateway's document.
pub(super) fn document() -> Result<Option<String>> {
    Ok(None)
}
