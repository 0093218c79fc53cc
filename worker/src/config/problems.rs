//! What is wrong with a worker's configuration, a sentence for each fault that says what to do.

use talkfleet_shared::{config::Checked, id::TenantId, release::Release, topology::REDELIVERY_WAITS};

use super::*;
use crate::FAREWELL;

/// Endpoints beside the first: each has a breaker with a name of its own in the metrics.
const FALLBACKS_MAX: usize = 7;

impl Checked for WorkerConfig {
    fn secret_files(&self) -> Vec<(&'static str, &str)> {
        let mut files = self.nats.secret_files();
        files.push(("redis.key_file", &self.redis.key_file));
        files.push(("database.key_file", &self.database.key_file));
        files
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = [self.nats.problems(), self.admin.problems(), self.otel.problems()].concat();
        let mut wrong = |bad: bool, text: &dyn Fn() -> String| {
            if bad {
                problems.push(text());
            }
        };
        self.check_roles(&mut wrong);
        self.check_release(&mut wrong);
        self.check_database(&mut wrong);
        self.check_remote_intent(&mut wrong);
        self.check_answers(&mut wrong);
        self.check_shadow(&mut wrong);
        self.check_retrieval(&mut wrong);
        self.check_archive(&mut wrong);
        problems
    }
}

fn is_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}
/// How old a copy of the archive may be: with the fifth that chance adds still younger than the broker's own records, which
/// are kept for an hour and fill in what a copy lacks.
const COPY_AGE_MAX_S: u64 = 2_400;

type Wrong<'a> = dyn FnMut(bool, &dyn Fn() -> String) + 'a;

/// The longest name of a version in characters.
const VERSION_CHARS_MAX: usize = 64;

impl WorkerConfig {
    fn check_release(&self, wrong: &mut Wrong<'_>) {
        let version = &self.release.version;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
        wrong(version.len() > VERSION_CHARS_MAX || !version.bytes().all(plain), &|| {
            format!("release.version '{version}' should be at most {VERSION_CHARS_MAX} letters, digits and ._+-")
        });
        let next = self.release.name == Release::Next;
        wrong(next && self.plays(Role::Archive), &|| {
            "release.name is \"next\" and roles.enabled holds archive: the archive has no share; leave it to the stable \
             workers"
                .into()
        });
        wrong(next && !self.nats.lane.is_empty(), &|| {
            "release.name is \"next\" in a lane: a replay's candidate has its lane to itself; leave it \"stable\""
                .into()
        });
    }

    fn check_archive(&self, wrong: &mut Wrong<'_>) {
        let archive = &self.archive;
        wrong(archive.retention_days > 36_500, &|| {
            format!("archive.retention_days is {}; give 1 to 36500, or 0 to keep everything", archive.retention_days)
        });
        wrong(!(1..=100_000).contains(&archive.retention_batch_rows), &|| {
            format!("archive.retention_batch_rows is {}; give 1 to 100000", archive.retention_batch_rows)
        });
        wrong(!(1..=86_400).contains(&archive.retention_look_s), &|| {
            format!("archive.retention_look_s is {}; give 1 to 86400", archive.retention_look_s)
        });
    }

    fn check_roles(&self, wrong: &mut Wrong<'_>) {
        let roles = &self.roles;
        wrong(roles.enabled.is_empty(), &|| {
            "roles.enabled is empty; give some of intent, retrieval, response, archive".into()
        });
        wrong(!(1..=10_000).contains(&roles.direct_concurrency), &|| {
            format!("roles.direct_concurrency is {}; give 1 to 10000", roles.direct_concurrency)
        });
        wrong(!(1..=10_000).contains(&roles.response_concurrency), &|| {
            format!("roles.response_concurrency is {}; give 1 to 10000", roles.response_concurrency)
        });
        wrong(!(1..=10_000).contains(&roles.response_concurrency_min), &|| {
            format!("roles.response_concurrency_min is {}; give 1 to 10000", roles.response_concurrency_min)
        });
        wrong(!(1..=60_000).contains(&roles.response_slack_ms), &|| {
            format!("roles.response_slack_ms is {}; give 1 to 60000", roles.response_slack_ms)
        });
        wrong(!(1..=10_000).contains(&roles.archive_batch_rows), &|| {
            format!("roles.archive_batch_rows is {}; give 1 to 10000", roles.archive_batch_rows)
        });
        wrong(!(1..=10_000).contains(&roles.archive_batch_wait_ms), &|| {
            format!("roles.archive_batch_wait_ms is {}; give 1 to 10000", roles.archive_batch_wait_ms)
        });
        for problem in self.redis.place().problems() {
            wrong(true, &|| problem.clone());
        }
        for (key, failures, open_ms) in [
            ("redis", self.redis.breaker_failures, self.redis.breaker_open_ms),
            ("database", self.database.breaker_failures, self.database.breaker_open_ms),
        ] {
            wrong(failures == 0 || open_ms == 0, &|| {
                format!("{key}.breaker_failures and {key}.breaker_open_ms must be above 0")
            });
        }
        let retries = &self.retries;
        wrong(!(0.0..=1.0).contains(&retries.share), &|| {
            format!("retries.share is {}; it is a part of the calls, give 0 to 1", retries.share)
        });
        wrong(!(0.0..=1_000.0).contains(&retries.per_s_min) || !(0.0..=1_000.0).contains(&retries.saved_max), &|| {
            "retries.per_s_min and retries.saved_max must be 0 to 1000".into()
        });
        let first_wait = REDELIVERY_WAITS[0].as_millis() as u64;
        wrong(!(100..=first_wait / 2).contains(&self.turn.keep_alive_ms), &|| {
            format!("turn.keep_alive_ms is {}; give 100 to {}", self.turn.keep_alive_ms, first_wait / 2)
        });
        wrong(self.turn.grace() + FAREWELL >= self.admin.grace(), &|| {
            let below = self.admin.grace().saturating_sub(FAREWELL).as_millis();
            format!("turn.grace_ms is {}; stay below {below}, a second less than admin.grace_ms", self.turn.grace_ms)
        });
    }

    fn check_database(&self, wrong: &mut Wrong<'_>) {
        let database = &self.database;
        let addresses = std::iter::once(("url", &database.url))
            .chain(database.replica_urls.iter().map(|url| ("replica_urls", url)));
        for (key, url) in addresses {
            wrong(!["postgres://", "postgresql://"].iter().any(|scheme| url.reveal().starts_with(scheme)), &|| {
                format!("database.{key} '{url}' should look like postgres://user@host:5432/name")
            });
        }
        wrong(database.cert_file.is_empty() != database.key_file.is_empty(), &|| {
            "database.cert_file and database.key_file go together; give both or neither".into()
        });
        wrong(database.connections_max == 0, &|| "database.connections_max is 0; give 1 or more".into());
        wrong(database.fallback_reads_max == 0, &|| "database.fallback_reads_max is 0; give 1 or more".into());
        let (reads, connections) = (database.fallback_reads_max, database.connections_max as usize);
        wrong(!database.replica_urls.is_empty() && reads >= connections, &|| {
            format!(
                "database.fallback_reads_max is {reads}; stay below database.connections_max, {connections}, so that \
                 what is written finds a connection"
            )
        });
        let cache = &self.cache;
        for (key, value, range) in [
            ("database.acquire_timeout_ms", database.acquire_timeout_ms, 10..=60_000),
            ("database.statement_timeout_ms", database.statement_timeout_ms, 10..=60_000),
            ("database.replica_lag_max_ms", database.replica_lag_max_ms, 100..=600_000),
            ("database.promotion_reread_s", database.promotion_reread_s, 0..=604_800),
            ("cache.history_local_ttl_s", cache.history_local_ttl_s, 1..=COPY_AGE_MAX_S),
            ("cache.history_ttl_s", cache.history_ttl_s, 1..=COPY_AGE_MAX_S),
            ("cache.nothing_ttl_s", cache.nothing_ttl_s, 1..=COPY_AGE_MAX_S),
            ("cache.known_refresh_s", cache.known_refresh_s, 1..=COPY_AGE_MAX_S),
            ("cache.known_keys_min", cache.known_keys_min as u64, 1..=1_000_000_000),
        ] {
            wrong(!range.contains(&value), &|| format!("{key} is {value}; give {} to {}", range.start(), range.end()));
        }
    }

    fn check_remote_intent(&self, wrong: &mut Wrong<'_>) {
        let intent = &self.intent;
        let url = intent.remote_url.reveal();
        wrong(!(url.is_empty() || is_http(url)), &|| {
            format!("intent.remote_url '{}' should look like http://host:8080, or be empty", intent.remote_url)
        });
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        for (key, name) in [("remote_model", &intent.remote_model), ("remote_version", &intent.remote_version)] {
            wrong(!plain(name), &|| format!("intent.{key} '{name}' may hold letters, digits, '.', '_' and '-' only"));
        }
        wrong(!url.is_empty() && intent.remote_model.is_empty(), &|| {
            "intent.remote_model is empty; name the model that intent.remote_url serves".into()
        });
        for (key, value) in [("remote_below", intent.remote_below), ("remote_in_scope_min", intent.remote_in_scope_min)]
        {
            wrong(!(0.0..=1.0).contains(&value), &|| {
                format!("intent.{key} is {value}; it is a probability, give 0 to 1")
            });
        }
        wrong(!(1..=1_400).contains(&intent.remote_timeout_ms), &|| {
            format!("intent.remote_timeout_ms is {}; give 1 to 1400", intent.remote_timeout_ms)
        });
        wrong(!(1..=10_000).contains(&intent.remote_concurrency), &|| {
            format!("intent.remote_concurrency is {}; give 1 to 10000", intent.remote_concurrency)
        });
        wrong(intent.remote_breaker_failures == 0 || intent.remote_breaker_open_ms == 0, &|| {
            "intent.remote_breaker_failures and intent.remote_breaker_open_ms must be above 0".into()
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
            ("approved_confidence_min", plan.approved_confidence_min),
            ("park_below", plan.park_below),
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
        wrong(
            !(0 < plan.lag_small_ms
                && plan.lag_small_ms <= plan.lag_extract_ms
                && plan.lag_extract_ms <= plan.lag_approved_ms),
            &|| {
                "plan.lag_small_ms, plan.lag_extract_ms and plan.lag_approved_ms must be above 0 and rise in this order"
                    .into()
            },
        );
        wrong(!(0.0..1.0).contains(&plan.ladder_release) || plan.ladder_hold_ms == 0, &|| {
            "plan.ladder_release must be 0 to below 1, and plan.ladder_hold_ms above 0".into()
        });
        wrong(plan.parked_max > 10_000, &|| format!("plan.parked_max is {}; give 0 to 10000", plan.parked_max));
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
        wrong(!(url.is_empty() || is_http(url)), &|| {
            format!("model.base_url '{}' should look like https://host/v1, or be empty", model.base_url)
        });
        wrong(model.fallbacks.len() > FALLBACKS_MAX, &|| {
            format!("model.fallbacks has {} endpoints; give at most {FALLBACKS_MAX}", model.fallbacks.len())
        });
        for other in &model.fallbacks {
            let url = other.base_url.reveal();
            wrong(!is_http(url) || other.name.is_empty(), &|| {
                format!("model.fallbacks: '{}' should look like https://host/v1 and have a name", other.base_url)
            });
        }
        wrong(!model.fallbacks.is_empty() && model.base_url.is_empty(), &|| {
            "model.fallbacks without model.base_url; name the first endpoint there".into()
        });
        let small = &model.small;
        wrong(!small.base_url.is_empty() && (small.name.is_empty() || !is_http(small.base_url.reveal())), &|| {
            format!("model.small: '{}' should look like https://host/v1 and have a name", small.base_url)
        });
        let prices = [model.price, small.price].into_iter().chain(model.fallbacks.iter().map(|other| other.price));
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
        refused("roles.direct_concurrency", "0", "give 1 to 10000");
        refused("turn.keep_alive_ms", "5000", "give 100 to 1500");
        refused("turn.grace_ms", "24000", "stay below 24000");
        refused("admin.grace_ms", "4000", "give 5000 or more");
        refused("plan.answerable_min", "1.5", "plan.answerable_min is 1.5");
        refused("plan.answerable_min", "0.9", "must not be below");
        refused("database.replica_urls", "[\"mysql://a\"]", "postgres://user@host");
        refused("database.fallback_reads_max", "0", "1 or more");
        refused("database.statement_timeout_ms", "0", "10 to 60000");
        refused("cache.history_ttl_s", "3600", "1 to 2400");
        refused("cache.known_keys_min", "0", "1 to 1000000000");
        refused("plan.answer_cache_ttl_s", "0", "plan.answer_cache_entries = 0");
        refused("plan.approved_confidence_min", "2.0", "give 0 to 1");
        refused("model.base_url", "api.deepseek.com", "https://host/v1");
        refused("intent.remote_url", "models:8080", "http://host:8080");
        refused("intent.remote_url", "http://models:8080", "intent.remote_model is empty");
        refused("intent.remote_model", "a/../b", "intent.remote_model 'a/../b' may hold");
        refused("intent.remote_protocol", "grpc", "kserve_v2");
        refused("intent.remote_when", "seldom", "unsure");
        refused("intent.remote_below", "1.5", "intent.remote_below is 1.5");
        refused("intent.remote_timeout_ms", "5000", "give 1 to 1400");
        refused("intent.remote_concurrency", "0", "give 1 to 10000");
        refused("intent.remote_breaker_failures", "0", "must be above 0");
        refused("redis.breaker_failures", "0", "must be above 0");
        refused("database.breaker_open_ms", "0", "must be above 0");
        refused("roles.response_concurrency_min", "0", "give 1 to 10000");
        refused("retries.share", "1.5", "give 0 to 1");
        refused("plan.lag_extract_ms", "500", "rise in this order");
        refused("plan.ladder_release", "1.0", "below 1");
        refused("model.small.base_url", "localhost", "should look like https://host/v1");
        refused("model.fallbacks", r#"[{base_url="https://b/v1",name="m"}]"#, "name the first endpoint");
        refused("model.fallbacks", r#"[{base_url="b",name="m"}]"#, "https://host/v1 and have a name");
        refused("model.price.prompt", "-1.0", "a million tokens");
        refused("plan.grounding", "\"loose\"", "strict");
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
