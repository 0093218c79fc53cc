//! The worker's configuration as types; every key, its default and its meaning stand in `schemas/config/worker.toml`.

/// What is wrong with a configuration, a sentence for each fault.
mod problems;

/// Which of the releases that run side by side this is.
mod release;

/// Redis, PostgreSQL and copies.
mod stores;

use std::{collections::BTreeSet, num::NonZero, path::Path, time::Duration};

use serde::Deserialize;
use talkfleet_shared::{
    config::{self, AdminConfig, ConfigError, NatsConfig, Secret, Url, WORKER_DEFAULTS},
    id::TenantId,
    spans::OtelConfig,
    telemetry::LogConfig,
};

pub use self::{
    release::ReleaseConfig,
    stores::{ArchiveConfig, CacheConfig, DatabaseConfig, RedisConfig},
};

/// Questions that wait for a backend at once: at 20 ms each 800 a second, and no more than twice the connections that a
/// process opens to PostgreSQL.
const BACKEND_PERMITS: usize = 16;

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub log: LogConfig,
    pub otel: OtelConfig,
    pub roles: RolesConfig,
    pub release: ReleaseConfig,
    pub redis: RedisConfig,
    pub database: DatabaseConfig,
    pub archive: ArchiveConfig,
    pub cache: CacheConfig,
    pub models: ModelsConfig,
    pub intent: IntentConfig,
    pub retrieval: RetrievalConfig,
    pub elasticsearch: ElasticsearchConfig,
    pub memory: MemoryConfig,
    pub plan: PlanConfig,
    pub model: ModelConfig,
    pub retries: RetriesConfig,
    pub turn: TurnConfig,
    pub shadow: ShadowConfig,
}

impl WorkerConfig {
    /// Reads the layers: defaults < `file` < environment < `flags`.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        config::load(WORKER_DEFAULTS, file, flags)
    }

    /// What this configuration works with and should not stay like.
    pub fn warnings(&self) -> Vec<String> {
        config::warnings(WORKER_DEFAULTS, self)
    }

    /// By what it is known where it is not told: its one role, else that it is a worker.
    pub fn plays_as(&self) -> &'static str {
        let mut roles = self.roles.enabled.iter();
        match (roles.next(), roles.next()) {
            (Some(role), None) => role.name(),
            _ => "worker",
        }
    }

    pub fn plays(&self, role: Role) -> bool {
        self.roles.enabled.contains(&role)
    }

    /// Questions that are searched at once. One that only waits for a backend needs no core.
    pub fn retrieval_permits(&self) -> usize {
        match self.retrieval.backend {
            BackendName::Memory => self.roles.concurrency(Role::Retrieval),
            _ if self.roles.retrieval_concurrency > 0 => self.roles.retrieval_concurrency,
            _ => BACKEND_PERMITS,
        }
    }
}

/// What a worker can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Recognises what the customer wants.
    Intent,
    /// Finds what the company knows.
    Retrieval,
    /// Owns turns and answers them.
    Response,
    /// Writes the journal into the database and answers for history.
    Archive,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Retrieval => "retrieval",
            Self::Response => "response",
            Self::Archive => "archive",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolesConfig {
    pub enabled: BTreeSet<Role>,
    /// 0 is one per core.
    pub intent_concurrency: usize,
    /// 0 is one per core.
    pub retrieval_concurrency: usize,
    pub response_concurrency: usize,
    pub direct_concurrency: usize,
    pub response_concurrency_min: usize,
    pub response_slack_ms: u64,
    pub archive_batch_rows: usize,
    pub archive_batch_wait_ms: u64,
}

impl RolesConfig {
    /// How many calls of a role run at once here.
    pub fn concurrency(&self, role: Role) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let per_core = |configured: usize| if configured == 0 { cores() } else { configured };
        match role {
            Role::Intent => per_core(self.intent_concurrency),
            Role::Retrieval => per_core(self.retrieval_concurrency),
            Role::Response => self.response_concurrency,
            Role::Archive => 1,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsConfig {
    /// Empty looks in the cache folder.
    pub encoder_dir: String,
    pub transformer: ModelUse,
    /// Empty looks in the cache folder.
    pub transformer_dir: String,
}

/// Whether a model that is there is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelUse {
    Auto,
    Off,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentConfig {
    /// Empty for none.
    pub remote_url: Url,
    pub remote_protocol: RemoteProtocol,
    pub remote_model: String,
    /// Empty for the server's choice.
    pub remote_version: String,
    /// Empty for the protocol's usual.
    pub remote_input: String,
    /// Empty for the model's own.
    pub remote_labels: String,
    pub remote_when: RemoteWhen,
    pub remote_below: f32,
    pub remote_in_scope_min: f32,
    pub remote_timeout_ms: u64,
    pub remote_concurrency: usize,
    pub remote_breaker_failures: u32,
    pub remote_breaker_open_ms: u64,
}

/// What a model server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteProtocol {
    KserveV2,
    TfServing,
}

/// When a model server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteWhen {
    Always,
    Unsure,
}

/// Where knowledge is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    Memory,
    Pgvector,
    Elasticsearch,
}

impl BackendName {
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pgvector => "pgvector",
            Self::Elasticsearch => "elasticsearch",
        }
    }
}

/// How a search server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    Elasticsearch,
    Opensearch,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchConfig {
    pub url: Url,
    pub dialect: Dialect,
    pub api_key: Secret,
    pub username: String,
    pub password: Secret,
    pub prefix: String,
    pub replicas: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalConfig {
    pub backend: BackendName,
    pub timeout_ms: u64,
    pub breaker_failures: u32,
    pub breaker_open_ms: u64,
    pub graph_from: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    pub turns_max: usize,
    pub bytes_max: usize,
    pub age_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    pub answerable_min: f32,
    pub in_scope_answerable_min: f32,
    pub out_of_scope_answerable_min: f32,
    pub small_talk_answerable_max: f32,
    pub intent_confidence_min: f32,
    pub approved_confidence_min: f32,
    pub answer_cache_entries: u64,
    pub answer_cache_ttl_s: u64,
    pub passages_max: u32,
    pub grounding: Grounding,
    pub topics_en: Vec<String>,
    pub topics_zh: Vec<String>,
    pub lag_small_ms: u64,
    pub lag_extract_ms: u64,
    pub lag_approved_ms: u64,
    pub ladder_release: f64,
    pub ladder_hold_ms: u64,
    pub park_below: f32,
    pub parked_max: usize,
}

/// How strictly a model is held to the passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grounding {
    /// What cannot be compared with a passage is not said.
    Strict,
    /// Amounts, dates, names and addresses are held to the passages; words and denials are not, nor the language.
    Facts,
    Off,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Empty for none.
    pub base_url: Url,
    pub api_key: Secret,
    pub name: String,
    pub connect_timeout_ms: u64,
    pub first_token_timeout_ms: u64,
    pub token_timeout_ms: u64,
    pub concurrency: usize,
    pub max_tokens: u32,
    pub temperature: f32,
    pub breaker_failures: u32,
    pub breaker_open_ms: u64,
    pub hedge_after_ms: u64,
    pub price: Price,
    pub tenant_concurrency: usize,
    pub tenant_tokens_per_min: u64,
    pub fallbacks: Vec<Fallback>,
    /// Without an address there is none.
    pub small: Fallback,
}

/// What a million tokens cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub prompt: f64,
    pub completion: f64,
}

/// Another endpoint: asked when those before it fail, or when there is no time for them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    pub base_url: Url,
    #[serde(default)]
    pub api_key: Secret,
    pub name: String,
    #[serde(default)]
    pub price: Price,
}

/// How much may be asked twice of what is outside.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetriesConfig {
    pub share: f64,
    pub per_s_min: f64,
    pub saved_max: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnConfig {
    pub keep_alive_ms: u64,
    pub grace_ms: u64,
    pub slow_ms: u64,
}

/// What a worker in the lane of a replay does differently.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowConfig {
    /// Empty for the ask's own tenant.
    pub intents_of: String,
    /// Empty for the ask's own tenant.
    pub knowledge_of: String,
}

impl ShadowConfig {
    /// Whose intents classify and whose knowledge is searched, where they are not the ask's own tenant's.
    pub fn aliases(&self) -> [Option<TenantId>; 2] {
        [&self.intents_of, &self.knowledge_of].map(|tenant| TenantId::parse(tenant).ok())
    }
}

impl TurnConfig {
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}
