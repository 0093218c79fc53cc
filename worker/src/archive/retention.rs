//! What is older than the archive keeps is deleted, some rows at a time, by one archive worker at a time.

use std::{sync::Arc, time::Duration};

use talkfleet_shared::{
    chance,
    lifecycle::Shutdown,
    metrics::{Metrics, Row},
};

use crate::{
    config::ArchiveConfig,
    store::{Store, StoreError, Table},
};

/// The pause after each batch: what customers wait for comes first.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the lock may be waited for; nobody waits for the lock itself.
const LOCK_WITHIN: Duration = Duration::from_secs(5);

/// Deletes what is old until shutdown; nothing where everything is kept.
pub async fn keep_young(metrics: Arc<Metrics>, store: Store, config: ArchiveConfig, shutdown: Shutdown) {
    if config.retention_days == 0 {
        return;
    }
    loop {
        // Not at the start: workers that start together would all look at once.
        let wait = Duration::from_secs(config.retention_look_s).mul_f64(chance::between(0.8, 1.2));
        tokio::select! {
            () = shutdown.asked() => return,
            () = tokio::time::sleep(wait) => {}
        }
        tokio::select! {
            () = shutdown.asked() => return,
            swept = sweep(&metrics, &store, &config) => if let Err(error) = swept {
                tracing::warn!(%error, "what is older than archive.retention_days stays for now");
            },
        }
    }
}

/// Deletes what is older now, unless another worker is at it.
async fn sweep(metrics: &Metrics, store: &Store, config: &ArchiveConfig) -> Result<(), StoreError> {
    let Some(_turn) = store.retention_turn(LOCK_WITHIN).await? else { return Ok(()) };
    for tenant in store.archived_tenants().await? {
        for table in Table::ALL {
            loop {
                let deleted =
                    store.erase_before(table, &tenant, config.retention_days, config.retention_batch_rows).await?;
                count(metrics, table, deleted);
                if deleted < u64::from(config.retention_batch_rows) {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Ok(())
}

fn count(metrics: &Metrics, table: Table, deleted: u64) {
    metrics.archive_expired.get_or_create(&Row { table: table.name() }).inc_by(deleted);
}
