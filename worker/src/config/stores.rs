//! What the worker is told of Redis, PostgreSQL and the copies before them.

use serde::Deserialize;
use talkfleet_shared::{config::Url, redis_door::RedisPlace};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    pub url: Url,
    pub cluster: bool,
    /// Empty for the system's own.
    pub ca_file: String,
    /// Empty for none.
    pub cert_file: String,
    /// Empty for none.
    pub key_file: String,
    pub breaker_failures: u32,
    pub breaker_open_ms: u64,
}

impl RedisConfig {
    /// Where it is, and how to get in.
    pub fn place(&self) -> RedisPlace {
        let Self { url, cluster, ca_file, cert_file, key_file, .. } = self.clone();
        RedisPlace { url, cluster, ca_file, cert_file, key_file }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Of several servers separated by commas the primary is looked for.
    pub url: Url,
    /// Empty for what the address says.
    pub ca_file: String,
    /// Empty for none.
    pub cert_file: String,
    /// Empty for none.
    pub key_file: String,
    pub migrate: bool,
    pub promotion_reread_s: u64,
    pub connections_max: u32,
    pub acquire_timeout_ms: u64,
    pub statement_timeout_ms: u64,
    /// Empty for none.
    pub replica_urls: Vec<Url>,
    pub replica_lag_max_ms: u64,
    pub fallback_reads_max: usize,
    pub breaker_failures: u32,
    pub breaker_open_ms: u64,
}

/// How long the archive keeps what it has.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// 0 keeps everything.
    pub retention_days: u32,
    pub retention_batch_rows: u32,
    pub retention_look_s: u64,
}

/// Copies before the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    /// 0 for none.
    pub history_bytes_max: u64,
    pub history_local_ttl_s: u64,
    pub history_ttl_s: u64,
    pub nothing_ttl_s: u64,
    pub known_keys_min: usize,
    pub known_refresh_s: u64,
}
