//! The broker's clock, by which deadlines are kept: this machine's own may be minutes off, or be set while we run.

use std::time::{Duration, Instant};

use talkfleet_shared::{bus::Bus, clock, lifecycle::Shutdown};
use time::OffsetDateTime;
use tokio::sync::watch;

/// How often the broker is asked what time it is: quartz drifts a few milliseconds in this time.
const REFRESH: Duration = Duration::from_secs(30);

/// A difference that people should hear of: deadlines are right nevertheless, but logs of two machines no longer match.
const SKEW_WARN: Duration = Duration::from_secs(2);

/// A moment of the broker's clock tied to a moment of the monotonic one; a value, so that pure code can be given times.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    seen: Instant,
    broker: OffsetDateTime,
}

impl Clock {
    /// What the broker's clock showed at a moment.
    pub fn seen(seen: Instant, broker: OffsetDateTime) -> Self {
        Self { seen, broker }
    }

    /// The broker's time at a moment.
    pub fn at(self, moment: Instant) -> OffsetDateTime {
        self.broker + moment.saturating_duration_since(self.seen)
    }

    /// The broker's time now.
    pub fn now(self) -> OffsetDateTime {
        self.at(clock::now())
    }

    /// How long until a time of the broker's; zero when it has passed.
    pub fn until(self, time: OffsetDateTime) -> Duration {
        (time - self.now()).try_into().unwrap_or_default()
    }
}

/// Follows the broker's clock; the receiver holds the latest reading.
pub async fn follow(bus: &Bus, shutdown: &Shutdown) -> watch::Receiver<Clock> {
    let (sender, receiver) = watch::channel(Clock::seen(clock::now(), OffsetDateTime::now_utc()));
    read(bus, &sender).await;
    let (bus, until) = (bus.clone(), shutdown.clone());
    // Turns outlive the wish to stop by their grace; the reading that they hold is good for as long.
    shutdown.spawn(async move {
        while tokio::time::timeout(REFRESH, until.asked()).await.is_err() {
            read(&bus, &sender).await;
        }
    });
    receiver
}

async fn read(bus: &Bus, sender: &watch::Sender<Clock>) {
    match bus.time().await {
        Ok((seen, broker)) => {
            let clock = Clock::seen(seen, broker);
            sender.send_replace(clock);
            let skew_ms = (OffsetDateTime::now_utc() - clock.now()).whole_milliseconds() as i64;
            bus.metrics().clock_skew.set(skew_ms as f64 / 1_000.0);
            if skew_ms.unsigned_abs() > SKEW_WARN.as_millis() as u64 {
                tracing::warn!(
                    skew_ms,
                    "this machine's clock differs from the broker's; check its time synchronisation"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "the broker's clock could not be read; the last reading is kept"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_clock_goes_on_from_where_it_was_seen() {
        let broker = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let seen = Instant::now();
        let clock = Clock::seen(seen, broker);
        assert_eq!(clock.at(seen), broker);
        assert_eq!(clock.at(seen + Duration::from_secs(5)), broker + Duration::from_secs(5));
        assert_eq!(clock.until(broker - Duration::from_secs(1)), Duration::ZERO);
    }
}
