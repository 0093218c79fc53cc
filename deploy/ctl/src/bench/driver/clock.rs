//! Waiting to the microsecond: the runtime's own timers are good to a millisecond, which is as long as an answer takes.

use std::{io, os::fd::OwnedFd, time::Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// One timer of the kernel.
pub(super) struct Clock(AsyncFd<OwnedFd>);

impl Clock {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for handles that may change while they are watched; this one does not"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(AsyncFd::new(timer)?))
    }

    /// Returns at a moment, or at once when that has passed.
    pub(super) async fn until(&self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            // Setting it also forgets an expiry that nobody read.
            timerfd_settime(
                self.0.get_ref(),
                TimerfdTimerFlags::empty(),
                &Itimerspec { it_interval: never, it_value: once },
            )?;
            self.0.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_never_returns_early() {
        let clock = Clock::new().unwrap();
        for us in [0, 50, 300, 2_000] {
            let due = Instant::now() + Duration::from_micros(us);
            clock.until(due).await.unwrap();
            assert!(Instant::now() >= due);
        }
    }
}
