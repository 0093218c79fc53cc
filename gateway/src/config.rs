//! The gateway's configuration, typed; `schemas/config/gateway.toml` holds the defaults and says what each key is for.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use talkfleet_shared::{
    bus::BUDGET_MAX,
    config::{self, AdminConfig, Checked, ConfigError, GATEWAY_DEFAULTS, NatsConfig, TlsFiles, Url},
    envelope,
    id::TenantId,
    redis_door::RedisPlace,
    spans::OtelConfig,
    telemetry::LogConfig,
};

use crate::{auth::jwt::JwtConfig, channels::ChannelsConfig, http::address::Network};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub log: LogConfig,
    pub otel: OtelConfig,
    pub http: HttpConfig,
    pub turns: TurnsConfig,
    pub channels: ChannelsConfig,
    pub limits: LimitsConfig,
    pub jwt: JwtConfig,
    pub admission: AdmissionConfig,
    pub redis: RedisConfig,
    pub sse: SseConfig,
    pub ws: WsConfig,
    pub web: WebConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    pub listen: String,
    /// Empty for no TLS.
    pub cert_file: String,
    pub key_file: String,
    pub body_bytes_max: usize,
    pub head_bytes_max: usize,
    pub head_read_timeout_ms: u64,
    pub body_read_timeout_ms: u64,
    pub unread_timeout_ms: u64,
    pub connections_max: usize,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnsConfig {
    pub budget_ms: u64,
    pub budget_ms_min: u64,
    pub budget_ms_max: u64,
    pub conversation_waiting_max: usize,
    pub waiting_max: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    pub user_per_minute: u32,
    pub tenant_per_minute: u32,
    pub address_per_minute: u32,
    pub user_burst: u32,
    pub tenant_burst: u32,
    pub address_burst: u32,
    pub auth_failures_per_minute: u32,
    pub auth_failures_burst: u32,
    pub user_tokens_per_day: u64,
    pub tenant_tokens_per_day: u64,
    pub user_micros_per_day: u64,
    pub tenant_micros_per_day: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionConfig {
    pub concurrency_start: usize,
    pub concurrency_min: usize,
    pub wait_target_ms: u64,
    pub round_ms: u64,
    pub dwell_ms: u64,
    pub line_max: usize,
    pub cpu_percent_max: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// Empty for none.
    pub url: Url,
    cluster: bool,
    ca_file: String,
    cert_file: String,
    key_file: String,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SseConfig {
    pub keep_alive_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WsConfig {
    pub auth_timeout_ms: u64,
    pub message_bytes_max: usize,
    pub ping_ms: u64,
    pub write_timeout_ms: u64,
    pub asks_max: usize,
    pub messages_per_second: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    /// Empty for none; see [`WebConfig::tenant`].
    tenant: String,
    pub title: String,
    pub visitor_hours: u64,
    /// Empty for none; see [`WebConfig::site_dir`].
    site_dir: String,
}

impl GatewayConfig {
    /// The defaults with a file, the environment and `section.key=value` pairs laid over them.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        config::load(GATEWAY_DEFAULTS, file, flags)
    }

    /// What this configuration works with and should not stay like.
    pub fn warnings(&self) -> Vec<String> {
        config::warnings(GATEWAY_DEFAULTS, self)
    }

    /// Whether a browser's page of this origin may call us; a page that we served ourselves (`host`) always may.
    pub fn allows_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let same = host.is_some_and(|host| origin.split_once("://").is_some_and(|(_, rest)| rest == host));
        same || self.http.allowed_origins.iter().any(|allowed| allowed == origin)
    }
}

impl RedisConfig {
    /// Where it is, and how to get in.
    pub fn place(&self) -> RedisPlace {
        let Self { url, cluster, ca_file, cert_file, key_file, .. } = self.clone();
        RedisPlace { url, cluster, ca_file, cert_file, key_file }
    }
}

impl GatewayConfig {
    /// The certificates by which this process shows who it is, by the engine that it shows them to.
    pub fn own_certificates(&self) -> Vec<(&'static str, PathBuf)> {
        let files = [("nats", self.nats.tls().cert_file), ("redis", &*self.redis.cert_file)];
        files.into_iter().filter(|(_, path)| !path.is_empty()).map(|(target, path)| (target, path.into())).collect()
    }
}

impl HttpConfig {
    /// The files of its TLS.
    fn tls(&self) -> TlsFiles<'_> {
        TlsFiles { section: "http", ca_file: "", cert_file: &self.cert_file, key_file: &self.key_file }
    }
}

impl WebConfig {
    /// The tenant whose customers the chat page serves.
    pub fn tenant(&self) -> Option<TenantId> {
        TenantId::parse(&self.tenant).ok()
    }

    /// The folder of static pages that citations point to.
    pub fn site_dir(&self) -> Option<&Path> {
        (!self.site_dir.is_empty()).then(|| Path::new(&self.site_dir))
    }

    pub fn visitor_life(&self) -> Duration {
        Duration::from_secs(self.visitor_hours * 3_600)
    }
}

impl LimitsConfig {
    /// Whether requests are counted.
    pub fn limits_requests(&self) -> bool {
        [self.user_per_minute, self.tenant_per_minute, self.address_per_minute].iter().any(|limit| *limit > 0)
    }

    /// Whether it is counted what answers cost.
    pub fn limits_costs(&self) -> bool {
        let purses = [
            self.user_tokens_per_day,
            self.tenant_tokens_per_day,
            self.user_micros_per_day,
            self.tenant_micros_per_day,
        ];
        purses.iter().any(|limit| *limit > 0)
    }

    /// The limits as `RateLimit-Policy` tells them; None when requests are not counted.
    pub fn policy(&self) -> Option<String> {
        let limits =
            [("user", self.user_per_minute), ("tenant", self.tenant_per_minute), ("address", self.address_per_minute)];
        let told = limits.iter().filter(|(_, limit)| *limit > 0);
        let told: Vec<_> = told.map(|(name, limit)| format!("\"{name}\";q={limit};w=60")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

impl TurnsConfig {
    /// The budget that a client asked for, if it lies within the bounds; the usual one when it asked for none.
    pub fn budget(&self, asked_ms: Option<u64>) -> Option<Duration> {
        let budget_ms = asked_ms.unwrap_or(self.budget_ms);
        (self.budget_ms_min..=self.budget_ms_max).contains(&budget_ms).then(|| Duration::from_millis(budget_ms))
    }
}

impl Checked for GatewayConfig {
    fn secret_files(&self) -> Vec<(&'static str, &str)> {
        let mut files = self.nats.secret_files();
        files.push(("http.key_file", &self.http.key_file));
        files.push(("redis.key_file", &self.redis.key_file));
        files
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = [self.nats.problems(), self.admin.problems(), self.otel.problems()].concat();
        problems.extend(self.channels.problems());
        problems.extend(self.http.tls().problems());
        problems.extend(self.jwt.problems());
        let mut must = |holds: bool, line: String| {
            if !holds {
                problems.push(line);
            }
        };
        let (http, turns, limits) = (&self.http, &self.turns, &self.limits);
        for (key, listen) in [("http.listen", &http.listen), ("admin.listen", &self.admin.listen)] {
            must(has_port(listen), format!("{key} '{listen}' should look like 127.0.0.1:8080"));
        }
        must(
            (1_024..=envelope::BODY_BYTES_MAX).contains(&http.body_bytes_max),
            format!("http.body_bytes_max is {}; give 1024 to {}", http.body_bytes_max, envelope::BODY_BYTES_MAX),
        );
        // The HTTP library's own floor is 8 KiB.
        must(
            http.head_bytes_max >= 8_192,
            format!("http.head_bytes_max is {}; give 8192 or more", http.head_bytes_max),
        );
        must(http.connections_max > 0, "http.connections_max is 0; nobody could connect".into());
        for (key, value) in [
            ("http.head_read_timeout_ms", http.head_read_timeout_ms),
            ("http.body_read_timeout_ms", http.body_read_timeout_ms),
            ("http.unread_timeout_ms", http.unread_timeout_ms),
            ("sse.keep_alive_ms", self.sse.keep_alive_ms),
            ("ws.auth_timeout_ms", self.ws.auth_timeout_ms),
            ("ws.ping_ms", self.ws.ping_ms),
            ("ws.write_timeout_ms", self.ws.write_timeout_ms),
            ("redis.timeout_ms", self.redis.timeout_ms),
            ("web.visitor_hours", self.web.visitor_hours),
            ("admission.concurrency_start", self.admission.concurrency_start as u64),
            ("admission.concurrency_min", self.admission.concurrency_min as u64),
            ("admission.wait_target_ms", self.admission.wait_target_ms),
            ("admission.round_ms", self.admission.round_ms),
            ("turns.waiting_max", turns.waiting_max as u64),
            ("turns.budget_ms_min", turns.budget_ms_min),
            ("ws.asks_max", self.ws.asks_max as u64),
            ("ws.messages_per_second", u64::from(self.ws.messages_per_second)),
            ("ws.message_bytes_max", self.ws.message_bytes_max as u64),
        ] {
            must(value > 0, format!("{key} must be above 0"));
        }
        must(
            turns.budget(None).is_some(),
            format!(
                "turns.budget_ms is {}; it must lie between turns.budget_ms_min ({}) and turns.budget_ms_max ({})",
                turns.budget_ms, turns.budget_ms_min, turns.budget_ms_max
            ),
        );
        must(
            turns.budget_ms_max <= BUDGET_MAX.as_millis() as u64,
            format!("turns.budget_ms_max is {}; workers stop at {}", turns.budget_ms_max, BUDGET_MAX.as_millis()),
        );
        for (key, per_minute, burst) in [
            ("limits.user", limits.user_per_minute, limits.user_burst),
            ("limits.tenant", limits.tenant_per_minute, limits.tenant_burst),
            ("limits.address", limits.address_per_minute, limits.address_burst),
            ("limits.auth_failures", limits.auth_failures_per_minute, limits.auth_failures_burst),
        ] {
            must(per_minute == 0 || burst > 0, format!("{key}_burst is 0 while {key}_per_minute is {per_minute}"));
        }
        must(
            self.admission.cpu_percent_max <= 100,
            format!("admission.cpu_percent_max is {}; give 1 to 100, or 0 for none", self.admission.cpu_percent_max),
        );
        for origin in &http.allowed_origins {
            must(is_origin(origin), format!("http.allowed_origins: '{origin}' should look like https://shop.example"));
        }
        for proxy in &http.trusted_proxies {
            must(
                Network::parse(proxy).is_some(),
                format!("http.trusted_proxies: '{proxy}' should look like 10.0.0.0/8 or 192.0.2.1"),
            );
        }
        must(
            self.web.tenant.is_empty() || self.web.tenant().is_some(),
            format!("web.tenant '{}' is no identifier", self.web.tenant),
        );
        if !self.redis.url.is_empty() {
            problems.extend(self.redis.place().problems());
        }
        problems
    }
}

fn has_port(listen: &str) -> bool {
    listen.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Scheme and host without a path, as browsers send it.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<GatewayConfig, ConfigError> {
        let flags: Vec<_> = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        GatewayConfig::load(None, &flags)
    }

    #[track_caller]
    fn refused(key: &str, value: &str, expected: &str) {
        let error = with(&[(key, value)]).unwrap_err().to_string();
        assert!(error.contains(expected), "{key}={value}: {error}");
    }

    #[test]
    fn the_manual_is_a_valid_configuration() {
        let config = with(&[]).unwrap();
        assert_eq!(config.turns.budget(None), Some(Duration::from_secs(30)));
        assert_eq!(config.web.tenant(), None);
    }

    #[test]
    fn impossible_values_are_named() {
        refused("turns.budget_ms", "200", "turns.budget_ms is 200");
        refused("turns.budget_ms_max", "600000", "workers stop at 120000");
        refused("admin.grace_ms", "4000", "give 5000 or more");
        refused("http.listen", "localhost", "http.listen 'localhost'");
        refused("http.body_bytes_max", "9999999", "http.body_bytes_max");
        refused("http.allowed_origins", "[\"shop.example\"]", "should look like https://shop.example");
        refused("http.trusted_proxies", "[\"proxy.example\"]", "should look like 10.0.0.0/8");
        refused("admission.concurrency_min", "0", "admission.concurrency_min must be above 0");
        refused("admission.cpu_percent_max", "101", "give 1 to 100");
        refused("redis.url", "http://u:geheim@host", "redis.url 'http://…@host'");
        refused("web.tenant", "a.b", "web.tenant 'a.b'");
        refused("web.tenent", "demo", "did you mean 'tenant'?");
        refused("limits.user_burst", "x", "limits.user_burst");
    }

    #[test]
    fn a_limit_without_a_burst_would_let_nobody_in() {
        let error = with(&[("limits.user_per_minute", "60"), ("limits.user_burst", "0")]).unwrap_err().to_string();
        assert!(error.contains("limits.user_burst is 0"), "{error}");
    }

    #[test]
    fn limits_are_told_as_the_draft_writes_them() {
        assert_eq!(with(&[]).unwrap().limits.policy(), None);
        let config = with(&[("limits.user_per_minute", "60"), ("limits.address_per_minute", "9")]).unwrap();
        assert_eq!(config.limits.policy().as_deref(), Some("\"user\";q=60;w=60, \"address\";q=9;w=60"));
    }

    #[test]
    fn our_own_page_and_listed_origins_may_call() {
        let config = with(&[("http.allowed_origins", "[\"https://shop.example\"]")]).unwrap();
        assert!(config.allows_origin("https://shop.example", Some("chat.example")));
        assert!(config.allows_origin("http://localhost:8080", Some("localhost:8080")));
        assert!(!config.allows_origin("https://evil.example", Some("chat.example")));
        assert!(!config.allows_origin("null", Some("chat.example")));
    }
}
