//! What is older than the archive keeps is deleted, some rows at a time, by one archive worker at a time.

use std::time::Duration;

use talkfleet_shared::{
    bus::Bus,
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

const DAY_MS: u64 = 86_400_000;

/// Deletes what is old until shutdown; nothing where everything is kept.
pub async fn keep_young(bus: Bus, store: Store, config: ArchiveConfig, shutdown: Shutdown) {
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
            swept = sweep(&bus, &store, &config) => if let Err(error) = swept {
                tracing::warn!(%error, "what is older than archive.retention_days stays for now");
            },
        }
    }
}

/// Deletes what is older now, unless another worker is at it.
async fn sweep(bus: &Bus, store: &Store, config: &ArchiveConfig) -> Result<(), StoreError> {
    let Some(_turn) = store.retention_turn(LOCK_WITHIN).await? else { return Ok(()) };
    let Ok((_, now)) = bus.time().await else { return Ok(()) };
    let now_ms = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    let before_ms = now_ms.saturating_sub(u64::from(config.retention_days) * DAY_MS);
    for tenant in store.archived_tenants().await? {
        for table in Table::ALL {
            loop {
                let deleted = store.erase_before(table, &tenant, before_ms, config.retention_batch_rows).await?;
                count(bus.metrics(), table, deleted);
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
