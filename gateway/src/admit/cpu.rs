//! How much of its CPU this process uses, as the kernel counts it.

use std::{num::NonZero, time::Instant};

/// Ticks a second in `/proc`, on every architecture that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// The time that this process has used, and when it was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuClock {
    used_s: f64,
    at: Instant,
}

impl CpuClock {
    /// None where the kernel does not tell.
    pub(super) fn start() -> Option<Self> {
        Some(Self { used_s: used_s(&std::fs::read_to_string("/proc/self/stat").ok()?)?, at: Instant::now() })
    }

    /// The part of all CPUs that was used since the last look, from 0 to 1.
    pub(super) fn look(&mut self) -> Option<f64> {
        let now = Self::start()?;
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        let used = (now.used_s - self.used_s) / (now.at - self.at).as_secs_f64().max(0.001) / cpus as f64;
        *self = now;
        Some(used)
    }
}

/// User and system time of a line of `/proc/<pid>/stat`; the process's name, in brackets, may hold anything.
fn used_s(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_behind_any_name() {
        let stat = "42 (a ) b) S 1 2 3 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 100 200 300";
        assert_eq!(used_s(stat), Some(2.0));
        assert_eq!(used_s("nonsense"), None);
    }
}
