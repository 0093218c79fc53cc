//! The worker's configuration as types; every key, its default and its meaning stand in `schemas/config/worker.toml`.

use std::{collections::BTreeSet, num::NonZero, path::Path, time::Duration};

use serde::Deserialize;
use talkfleet_shared::{
    config::{self, AdminConfig, Checked, ConfigError, NatsConfig, Secret, Url, WORKER_DEFAULTS},
    id::TenantId,
    lifecycle::GRACE,
    telemetry::LogConfig,
    topology::REDELIVERY_WAITS,
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
    pub roles: RolesConfig,
    pub redis: RedisConfig,
    pub database: DatabaseConfig,
    pub models: ModelsConfig,
    pub retrieval: RetrievalConfig,
    pub elasticsearch: ElasticsearchConfig,
    pub memory: MemoryConfig,
    pub plan: PlanConfig,
    pub model: ModelConfig,
    pub turn: TurnConfig,
    pub shadow: ShadowConfig,
}

impl WorkerConfig {
    /// Reads the layers: defaults < `file` < environment < `flags`.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        config::load(WORKER_DEFAULTS, file, flags)
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
pub struct RedisConfig {
    pub url: Url,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    pub url: Url,
    pub connections_max: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsConfig {
    /// Empty looks in the cache folder.
    pub encoder_dir: String,
}

/// Where knowledge is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    Memory,
    Pgvector,
    Elasticsearch,
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
    pub passages_max: u32,
    pub topics_en: Vec<String>,
    pub topics_zh: Vec<String>,
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
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnConfig {
    pub keep_alive_ms: u64,
    pub grace_ms: u64,
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

impl Checked for WorkerConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems = self.nats.problems();
        let mut wrong = |bad: bool, text: &dyn Fn() -> String| {
            if bad {
                problems.push(text());
            }
        };
        self.check_roles(&mut wrong);
        self.check_answers(&mut wrong);
        self.check_shadow(&mut wrong);
        self.check_retrieval(&mut wrong);
        problems
    }
}

type Wrong<'a> = dyn FnMut(bool, &dyn Fn() -> String) + 'a;

impl WorkerConfig {
    fn check_roles(&self, wrong: &mut Wrong<'_>) {
        let roles = &self.roles;
        wrong(roles.enabled.is_empty(), &|| {
            "roles.enabled is empty; give some of intent, retrieval, response, archive".into()
        });
        wrong(!(1..=10_000).contains(&roles.response_concurrency), &|| {
            format!("roles.response_concurrency is {}; give 1 to 10000", roles.response_concurrency)
        });
        wrong(!(1..=10_000).contains(&roles.archive_batch_rows), &|| {
            format!("roles.archive_batch_rows is {}; give 1 to 10000", roles.archive_batch_rows)
        });
        wrong(!(1..=10_000).contains(&roles.archive_batch_wait_ms), &|| {
            format!("roles.archive_batch_wait_ms is {}; give 1 to 10000", roles.archive_batch_wait_ms)
        });
        wrong(!["redis://", "rediss://", "unix://"].iter().any(|s| self.redis.url.reveal().starts_with(s)), &|| {
            format!("redis.url '{}' should look like redis://host:6379", self.redis.url)
        });
        wrong(!["postgres://", "postgresql://"].iter().any(|s| self.database.url.reveal().starts_with(s)), &|| {
            format!("database.url '{}' should look like postgres://user@host:5432/name", self.database.url)
        });
        wrong(self.database.connections_max == 0, &|| "database.connections_max is 0; give 1 or more".into());
        let first_wait = REDELIVERY_WAITS[0].as_millis() as u64;
        wrong(!(100..=first_wait / 2).contains(&self.turn.keep_alive_ms), &|| {
            format!("turn.keep_alive_ms is {}; give 100 to {}", self.turn.keep_alive_ms, first_wait / 2)
        });
        wrong(self.turn.grace() >= GRACE, &|| {
            let below = GRACE.as_millis();
            format!("turn.grace_ms is {}; stay below {below}, where orchestrators lose patience", self.turn.grace_ms)
        });
    }

    fn check_shadow(&self, wrong: &mut Wrong<'_>) {
        let live = self.nats.lane.is_empty();
        wrong(!live && self.plays(Role::Archive), &|| {
            format!(
                "roles.enabled holds archive, which a replay's lane ('{}' in nats.lane) must not have; \
                 give some of intent, retrieval, response",
                self.nats.lane
            )
        });
        for (key, tenant) in [("intents_of", &self.shadow.intents_of), ("knowledge_of", &self.shadow.knowledge_of)] {
            wrong(!tenant.is_empty() && TenantId::parse(tenant).is_err(), &|| {
                format!("shadow.{key} '{tenant}' is no tenant; give letters, digits, '_' and '-', or leave it empty")
            });
            wrong(!tenant.is_empty() && live, &|| {
                format!("shadow.{key} is for a replay's lane only; name one in nats.lane, or leave it empty")
            });
        }
    }

    fn check_retrieval(&self, wrong: &mut Wrong<'_>) {
        let retrieval = &self.retrieval;
        wrong(!(10..=10_000).contains(&retrieval.timeout_ms), &|| {
            format!("retrieval.timeout_ms is {}; give 10 to 10000", retrieval.timeout_ms)
        });
        wrong(retrieval.breaker_failures == 0, &|| "retrieval.breaker_failures is 0; give 1 or more".into());
        let server = &self.elasticsearch;
        wrong(!["http://", "https://"].iter().any(|scheme| server.url.reveal().starts_with(scheme)), &|| {
            format!("elasticsearch.url '{}' should look like https://host:9200", server.url)
        });
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let named = server.prefix.starts_with(|c: char| c.is_ascii_lowercase()) && server.prefix.chars().all(fits);
        wrong(!named || server.prefix.len() > 32, &|| {
            format!("elasticsearch.prefix '{}' must be 1 to 32 of a-z, 0-9 and '-', a letter first", server.prefix)
        });
        wrong(retrieval.graph_from < 1, &|| {
            format!("retrieval.graph_from is {}; give 1 or more", retrieval.graph_from)
        });
    }

    fn check_answers(&self, wrong: &mut Wrong<'_>) {
        let plan = &self.plan;
        for (key, value) in [
            ("answerable_min", plan.answerable_min),
            ("in_scope_answerable_min", plan.in_scope_answerable_min),
            ("out_of_scope_answerable_min", plan.out_of_scope_answerable_min),
            ("small_talk_answerable_max", plan.small_talk_answerable_max),
            ("intent_confidence_min", plan.intent_confidence_min),
        ] {
            wrong(!(0.0..=1.0).contains(&value), &|| {
                format!("plan.{key} is {value}; it is a probability, give 0 to 1")
            });
        }
        wrong(plan.in_scope_answerable_min > plan.answerable_min, &|| {
            "plan.in_scope_answerable_min must not be above plan.answerable_min".into()
        });
        wrong(plan.out_of_scope_answerable_min < plan.answerable_min, &|| {
            "plan.out_of_scope_answerable_min must not be below plan.answerable_min".into()
        });
        wrong(!(1..=16).contains(&plan.passages_max), &|| {
            format!("plan.passages_max is {}; give 1 to 16", plan.passages_max)
        });
        let memory = &self.memory;
        wrong(!(1..=100).contains(&memory.turns_max), &|| {
            format!("memory.turns_max is {}; give 1 to 100", memory.turns_max)
        });
        wrong(!(1_024..=262_144).contains(&memory.bytes_max), &|| {
            format!("memory.bytes_max is {}; give 1024 to 262144", memory.bytes_max)
        });
        wrong(memory.age_s == 0, &|| "memory.age_s is 0; give 1 or more".into());
        let model = &self.model;
        let url = model.base_url.reveal();
        wrong(!(url.is_empty() || url.starts_with("http://") || url.starts_with("https://")), &|| {
            format!("model.base_url '{}' should look like https://host/v1, or be empty", model.base_url)
        });
        wrong(!(0.0..=2.0).contains(&model.temperature), &|| {
            format!("model.temperature is {}; give 0 to 2", model.temperature)
        });
        let bounds = [model.connect_timeout_ms, model.first_token_timeout_ms, model.token_timeout_ms];
        wrong(bounds.contains(&0), &|| "the time limits under [model] must be above 0".into());
        wrong(model.concurrency == 0 || model.max_tokens == 0 || model.breaker_failures == 0, &|| {
            "model.concurrency, model.max_tokens and model.breaker_failures must be above 0".into()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(key: &str, value: &str, expected: &str) {
        let error = WorkerConfig::load(None, &[(key.into(), value.into())]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn the_manual_is_a_valid_configuration() {
        let config = WorkerConfig::load(None, &[]).unwrap();
        assert_eq!(config.roles.enabled.len(), 4);
        assert!(config.model.base_url.is_empty());
    }

    #[test]
    fn roles_can_be_named_by_a_flag() {
        let config = WorkerConfig::load(None, &[("roles.enabled".into(), r#"["intent","retrieval"]"#.into())]).unwrap();
        assert!(config.plays(Role::Retrieval) && !config.plays(Role::Response));
    }

    #[test]
    fn impossible_values_are_named() {
        refused("roles.enabled", "[]", "roles.enabled is empty");
        refused("roles.enabled", r#"["cook"]"#, "cook");
        refused("roles.response_concurrency", "0", "give 1 to 10000");
        refused("turn.keep_alive_ms", "5000", "give 100 to 1500");
        refused("turn.grace_ms", "25000", "orchestrators lose patience");
        refused("plan.answerable_min", "1.5", "plan.answerable_min is 1.5");
        refused("plan.answerable_min", "0.9", "must not be below");
        refused("model.base_url", "api.deepseek.com", "https://host/v1");
        refused("nats.lane", "next", "archive, which a replay's lane ('next' in nats.lane) must not have");
        refused("nats.lane", "Next", "nats.lane 'Next' is no lane");
        refused("shadow.intents_of", "demo-next", "for a replay's lane only");
        refused("retrieval.backend", "attic", "attic");
        refused("retrieval.timeout_ms", "0", "give 10 to 10000");
        refused("retrieval.graph_from", "0", "give 1 or more");
        refused("elasticsearch.url", "localhost:9200", "https://host:9200");
        refused("elasticsearch.prefix", "Desk", "a letter first");
        refused("elasticsearch.dialect", "solr", "solr");
        refused("redis.url", "localhost", "redis://host:6379");
        refused("memory.turnsmax", "1", "did you mean 'turns_max'?");
    }
}
