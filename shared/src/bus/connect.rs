//! Connecting to the broker, and what the connection tells of itself: that it broke, came back, or that something is forbidden.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{ConnectOptions, Event, ServerAddr, jetstream};

use super::{Bus, BusError, Lane, Nats, OPERATOR, Wire, login};
use crate::{admin::Health, chance, config::NatsConfig, metrics::Metrics, subject};

/// The oldest server that keeps what the streams promise: per-subject limits had faults before.
pub const SERVER_VERSION_MIN: (u64, u64, u64) = (2, 12, 4);

/// How long the first connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the broker is asked whether it is there; a link that was cut without a word is noticed after three of these.
const PING_EVERY: Duration = Duration::from_secs(2);

/// Messages that a subscription may hold before the library drops some: frames of about 2,000 answers.
const SUBSCRIPTION_CAPACITY: usize = 65_536;

/// How long something must not have been forbidden again before it is taken for allowed: publishes are tried again sooner.
const FORBIDDEN_FOR: Duration = Duration::from_secs(10);

impl Bus {
    /// Connects under `name` (which operators see in the broker's connection list) as the user that is configured, else as
    /// what follows `talkfleet-` in that name, and keeps `health`'s `nats` true.
    pub async fn connect(
        config: &NatsConfig,
        name: &str,
        metrics: Arc<Metrics>,
        health: Health,
    ) -> Result<Self, BusError> {
        let failed = |why: String| BusError::Connect { url: config.url.to_string(), why };
        let lane = Lane::parse(&config.lane).map_err(|error| failed(format!("nats.lane: {error}")))?;
        let mut options = login::options(config)
            .await
            .map_err(failed)?
            .name(name)
            .connection_timeout(CONNECT_TIMEOUT)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .ping_interval(PING_EVERY)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(events(metrics.clone(), health.clone()));
        if let Some(user) = config.user(role_of(name)) {
            options = options.custom_inbox_prefix(subject::inbox_of(&user));
        }
        options = with_tls(options, config);
        let servers = servers(config.url.reveal()).map_err(|error| failed(error.to_string()))?;
        if let Some((user, password)) = credentials(&servers) {
            options = options.user_and_password(user, password);
        }
        let client = options.connect(servers).await.map_err(|error| failed(why(&error)))?;
        let found = client.server_info().version;
        if parse_version(&found).is_none_or(|version| version < SERVER_VERSION_MIN) {
            return Err(BusError::TooOld { found });
        }
        let publish_timeout = Duration::from_millis(config.publish_timeout_ms);
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(publish_timeout)
            .ack_timeout(publish_timeout)
            // The library's own bound on acks in flight would wait silently; admission bounds them and refuses.
            .max_ack_inflight(100_000)
            .build(client.clone());
        Ok(Self::over(Wire::Nats(Arc::new(Nats { client, jetstream })), config, lane, name, metrics, health))
    }
}

/// As whom a program is known whose configuration does not say.
pub(super) fn role_of(name: &str) -> &str {
    name.strip_prefix("talkfleet-").unwrap_or(OPERATOR)
}

/// TLS, when anything of the configuration asks for it: then nothing is said in the clear, not even to a broker that offers
/// no TLS, and not to those that one names. The files are read for each connection.
fn with_tls(mut options: ConnectOptions, config: &NatsConfig) -> ConnectOptions {
    let files = config.tls();
    if !files.ca_file.is_empty() {
        options = options.add_root_certificates(files.ca_file.into());
    }
    if !files.cert_file.is_empty() {
        options = options.add_client_certificate(files.cert_file.into(), files.key_file.into());
    }
    let asked = files.any() || config.url.reveal().split(',').any(|url| url.trim().starts_with("tls://"));
    if asked { options.require_tls(true) } else { options }
}

/// What the library says, with what to look at where its words alone do not tell.
fn why(error: &async_nats::ConnectError) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_said = inner.to_string();
        if !said.contains(&inner_said) {
            said = format!("{said}: {inner_said}");
        }
        source = inner.source();
    }
    let hints = [
        ("UnknownIssuer", "nats.ca_file does not hold the authority of its certificate"),
        // An authority of the same name with another key.
        ("BadSignature", "nats.ca_file does not hold the authority of its certificate"),
        ("NotValidForName", "its certificate is for another name than the one in nats.url"),
        ("Expired", "its certificate has expired"),
        ("CertificateRequired", "it wants a certificate of ours, nats.cert_file"),
        ("authorization violation", "it knows no such user, or another password or key of it"),
    ];
    let hint = hints.into_iter().find(|(words, _)| said.to_ascii_lowercase().contains(&words.to_ascii_lowercase()));
    hint.map_or(said.clone(), |(_, hint)| format!("{said} ({hint})"))
}

/// Addresses separated by commas.
fn servers(urls: &str) -> std::io::Result<Vec<ServerAddr>> {
    urls.split(',').map(|url| url.trim().parse()).collect()
}

/// The user and password within the addresses; the library leaves them unused.
fn credentials(servers: &[ServerAddr]) -> Option<(String, String)> {
    let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let server = servers.iter().find(|server| server.has_user_pass())?;
    Some((plain(server.username()?), plain(server.password().unwrap_or_default())))
}

/// Waits before reconnecting: full jitter up to 4 s, so that a fleet does not come back in one instant.
fn reconnect_delay(attempt: usize) -> Duration {
    let ceiling_ms = 100u64.saturating_mul(1 << attempt.min(6)).min(4_000);
    Duration::from_millis(chance::between(ceiling_ms / 4, ceiling_ms))
}

type EventFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Not ready as long as the broker forbids something; the sentence names the subject. Nobody tells when that was mended,
/// so what was not forbidden again for a while is taken for allowed.
fn forbidden(health: &Health, said: String, violations: &Arc<AtomicU64>) {
    health.down("permissions", said);
    let this = violations.fetch_add(1, Ordering::Relaxed) + 1;
    let (health, violations) = (health.clone(), violations.clone());
    tokio::spawn(async move {
        tokio::time::sleep(FORBIDDEN_FOR).await;
        if violations.load(Ordering::Relaxed) == this {
            health.up("permissions");
        }
    });
}

fn events(metrics: Arc<Metrics>, health: Health) -> impl Fn(Event) -> EventFuture + Send + Sync + 'static {
    let violations = Arc::new(AtomicU64::new(0));
    move |event| {
        match event {
            Event::Connected => {
                health.up("nats");
                metrics.bus_connected.set(1);
                metrics.bus_reconnects.inc();
            }
            Event::Disconnected | Event::Closed => {
                health.down("nats", "disconnected");
                metrics.bus_connected.set(0);
            }
            Event::SlowConsumer(_) => {
                metrics.slow_consumers.inc();
            }
            Event::ServerError(error) => {
                let said = error.to_string();
                tracing::warn!(error = said, "the broker complained");
                if said.to_ascii_lowercase().contains("permissions violation") {
                    forbidden(&health, said, &violations);
                }
            }
            Event::ClientError(error) => tracing::warn!(%error, "the connection to the broker failed"),
            Event::LameDuckMode | Event::Draining => {}
        }
        Box::pin(std::future::ready(()))
    }
}

fn parse_version(text: &str) -> Option<(u64, u64, u64)> {
    let core = text.split('-').next()?;
    let mut numbers = core.split('.').map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("2.15.1"), Some((2, 15, 1)));
        assert_eq!(parse_version("2.12.4-RC.1"), Some((2, 12, 4)));
        assert!(parse_version("2.9.10").unwrap() < SERVER_VERSION_MIN);
        assert_eq!(parse_version("dev"), None);
    }

    #[test]
    fn a_password_within_an_address_is_used() {
        let servers = servers("nats://a:4222, nats://desk:p%40ss@b:4222").unwrap();
        assert_eq!(credentials(&servers), Some(("desk".into(), "p@ss".into())));
        assert_eq!(credentials(&servers[..1]), None);
    }

    #[test]
    fn reconnects_are_spread_and_bounded() {
        let delays: Vec<_> = (0..100).map(reconnect_delay).collect();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(4)));
        assert!(delays[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
