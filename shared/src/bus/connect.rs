//! Connecting to the broker, and what the connection tells of itself: that it broke, came back, or that something is forbidden.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{ConnectOptions, Event, ServerAddr, jetstream};

use super::{Bus, BusError, Lane, Nats, Wire};
use crate::{admin::Health, chance, config::NatsConfig, metrics::Metrics};

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
    /// Connects under `name` (which operators see in the broker's connection list) and keeps `health`'s `nats` true.
    pub async fn connect(
        config: &NatsConfig,
        name: &str,
        metrics: Arc<Metrics>,
        health: Health,
    ) -> Result<Self, BusError> {
        let failed = |why: String| BusError::Connect { url: config.url.to_string(), why };
        let lane = Lane::parse(&config.lane).map_err(|error| failed(format!("nats.lane: {error}")))?;
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(CONNECT_TIMEOUT)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .ping_interval(PING_EVERY)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(events(metrics.clone(), health.clone()));
        if !config.credentials_file.is_empty() {
            let file = &config.credentials_file;
            options = options.credentials_file(file).await.map_err(|error| failed(format!("{file}: {error}")))?;
        }
        let servers = servers(config.url.reveal()).map_err(|error| failed(error.to_string()))?;
        if let Some((user, password)) = credentials(&servers) {
            options = options.user_and_password(user, password);
        }
        let client = options.connect(servers).await.map_err(|error| failed(error.to_string()))?;
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
