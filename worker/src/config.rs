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
    pub fallbacks: Vec<Fallback>,
}

/// What a million tokens cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub prompt: f64,
    pub completion: f64,
}

/// Another endpoint, asked when those before it fail.
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

    fn check_answers(&self, wrong: &mut Wrong<'_>) {
        let plan = &self.plan;
        for (key, value) in [
            ("answerable_min", plan.answerable_min),
            ("in_scope_answerable_min", plan.in_scope_answerable_min),
            ("out_of_scope_answerable_min", plan.out_of_scope_answerable_min),
            ("small_talk_answerable_max", plan.small_talk_answerable_max),
            ("intent_confidence_min", plan.intent_confidence_min),
            ("approved_confidence_min", plan.approved_confidence_min),
        ] {
            wrong(!(0.0..=1.0).contains(&value), &|| {
                format!("plan.{key} is {value}; it is a probability, give 0 to 1")
            });
        }
        wrong(plan.answer_cache_ttl_s == 0, &|| {
            "plan.answer_cache_ttl_s is 0; give 1 or more, or keep none by plan.answer_cache_entries = 0".into()
        });
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
        for other in &model.fallbacks {
            let url = other.base_url.reveal();
            wrong(!(url.starts_with("http://") || url.starts_with("https://")) || other.name.is_empty(), &|| {
                format!("model.fallbacks: '{}' should look like https://host/v1 and have a name", other.base_url)
            });
        }
        wrong(!model.fallbacks.is_empty() && model.base_url.is_empty(), &|| {
            "model.fallbacks without model.base_url; name the first endpoint there".into()
        });
        let prices = std::iter::once(model.price).chain(model.fallbacks.iter().map(|other| other.price));
        wrong(
            !prices.flat_map(|price| [price.prompt, price.completion]).all(|price| (0.0..=1e6).contains(&price)),
            &|| "a model's price is of a million tokens; give 0 to 1000000".into(),
        );
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
        refused("plan.answer_cache_ttl_s", "0", "plan.answer_cache_entries = 0");
        refused("plan.approved_confidence_min", "2.0", "give 0 to 1");
        refused("model.base_url", "api.deepseek.com", "https://host/v1");
        refused("model.fallbacks", r#"[{base_url="https://b/v1",name="m"}]"#, "name the first endpoint");
        refused("model.fallbacks", r#"[{base_url="b",name="m"}]"#, "https://host/v1 and have a name");
        refused("model.price.prompt", "-1.0", "a million tokens");
        refused("plan.grounding", "\"loose\"", "strict");
        refused("nats.lane", "next", "archive, which a replay's lane ('next' in nats.lane) must not have");
        refused("nats.lane", "Next", "nats.lane 'Next' is no lane");
        refused("shadow.intents_of", "demo-next", "for a replay's lane only");
        refused("redis.url", "localhost", "redis://host:6379");
        refused("memory.turnsmax", "1", "did you mean 'turns_max'?");
    }
}
