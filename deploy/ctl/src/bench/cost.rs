//! What processes take of the machine, as the kernel counts it: CPU time, memory, descriptors, threads.

use std::{collections::BTreeMap, fs, time::Duration};

use serde::Serialize;
use tokio::sync::watch;

/// The kernel tells CPU time to user space in hundredths of a second, whatever it counts in itself.
const TICK_US: u64 = 10_000;

/// How often memory is looked at during a run.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One process, or one with all that it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) pid: u32,
    /// PostgreSQL works in children.
    pub(super) with_children: bool,
}

/// What it took up to a moment, and what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) cpu_us: u64,
    pub(super) rss_bytes: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// What a run cost one process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cost {
    pub(super) name: String,
    pub(super) cpu_us: u64,
    /// The most that was seen.
    pub(super) rss_bytes: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// What all processes held at a moment of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Sample {
    pub(super) at_s: f64,
    pub(super) usage: BTreeMap<String, Usage>,
}

impl Process {
    pub(super) fn new(name: impl Into<String>, pid: u32) -> Self {
        Self { name: name.into(), pid, with_children: false }
    }

    /// None once it is gone.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (mut usage, ended_us) = own(self.pid)?;
        if self.with_children {
            // Children that have ended count with their parent from then on.
            usage.cpu_us += ended_us;
            for (child, _) in children(self.pid).into_iter().filter_map(own) {
                usage.cpu_us += child.cpu_us;
                usage.rss_bytes += child.rss_bytes;
                usage.descriptors += child.descriptors;
                usage.threads += child.threads;
            }
        }
        Some(usage)
    }
}

/// A process by itself, and the CPU time of its ended children.
fn own(pid: u32) -> Option<(Usage, u64)> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let (cpu_us, ended_us) = cpu_of(&read("stat")?)?;
    let (mut rss_kb, mut threads, mut shared_kb) = (0, 0, 0);
    for line in read("status")?.lines() {
        match line.split_once(':') {
            Some(("VmRSS", value)) => rss_kb = kb(value),
            // PostgreSQL's children show the same shared buffers each.
            Some(("RssShmem", value)) => shared_kb = kb(value),
            Some(("Threads", value)) => threads = value.trim().parse().unwrap_or_default(),
            _ => {}
        }
    }
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    let rss_bytes = rss_kb.saturating_sub(shared_kb) * 1_024;
    Some((Usage { cpu_us, rss_bytes, descriptors, threads }, ended_us))
}

fn kb(value: &str) -> u64 {
    value.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

/// The CPU time of `/proc/PID/stat`, own and of ended children; a name may hold spaces and brackets.
fn cpu_of(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let ticks: Vec<u64> = rest.split(' ').skip(11).take(4).map_while(|word| word.parse().ok()).collect();
    let [user, system, ended_user, ended_system] = ticks[..] else { return None };
    Some(((user + system) * TICK_US, (ended_user + ended_system) * TICK_US))
}

fn children(parent: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// CPU time that the machine spent on anything at all.
pub(super) fn machine_us() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = stat.lines().next().map_or(Vec::new(), |line| {
        line.split_whitespace().skip(1).take(8).map_while(|word| word.parse().ok()).collect()
    });
    // user, nice, system, irq, softirq, steal; idle and waiting for disks are left out.
    ticks.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks * TICK_US).sum()
}

/// Beside a run: what it cost so far, and what was held over its time.
pub(super) struct Watched {
    before: Vec<(Process, Usage)>,
    machine_before_us: u64,
    samples: tokio::task::JoinHandle<Vec<Sample>>,
    over: watch::Sender<bool>,
}

/// What a run cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Costs {
    pub(super) processes: Vec<Cost>,
    pub(super) samples: Vec<Sample>,
    /// All that the machine spent meanwhile, this run's processes included.
    pub(super) machine_us: u64,
}

impl Costs {
    /// Those of another run of the same processes.
    pub(super) fn add(&mut self, other: &Self) {
        for theirs in &other.processes {
            match self.processes.iter_mut().find(|own| own.name == theirs.name) {
                None => self.processes.push(theirs.clone()),
                Some(own) => {
                    own.cpu_us += theirs.cpu_us;
                    own.rss_bytes = own.rss_bytes.max(theirs.rss_bytes);
                    own.descriptors = own.descriptors.max(theirs.descriptors);
                    own.threads = own.threads.max(theirs.threads);
                }
            }
        }
        self.samples.extend(other.samples.iter().cloned());
        self.machine_us += other.machine_us;
    }
}

impl Watched {
    pub(super) fn begin(processes: Vec<Process>) -> Self {
        let before = processes.into_iter().filter_map(|one| one.usage().map(|usage| (one, usage))).collect::<Vec<_>>();
        let all: Vec<Process> = before.iter().map(|(process, _)| process.clone()).collect();
        let (over, ended) = watch::channel(false);
        let samples = tokio::spawn(sample(all, ended));
        Self { before, machine_before_us: machine_us(), samples, over }
    }

    pub(super) async fn end(self) -> Costs {
        let machine_us = machine_us().saturating_sub(self.machine_before_us);
        let after: Vec<Option<Usage>> = self.before.iter().map(|(process, _)| process.usage()).collect();
        self.over.send_replace(true);
        let samples = self.samples.await.unwrap_or_default();
        let cost = |((process, before), after): (&(Process, Usage), Option<Usage>)| {
            let after = after.unwrap_or(*before);
            let most = |of: fn(&Usage) -> u64| {
                let seen = samples.iter().filter_map(|sample| sample.usage.get(&process.name)).map(of);
                seen.chain([of(&after)]).max().unwrap_or_default()
            };
            Cost {
                name: process.name.clone(),
                cpu_us: after.cpu_us.saturating_sub(before.cpu_us),
                rss_bytes: most(|usage| usage.rss_bytes),
                descriptors: most(|usage| usage.descriptors),
                threads: most(|usage| usage.threads),
            }
        };
        let processes = self.before.iter().zip(after).map(cost).collect();
        Costs { processes, samples, machine_us }
    }
}

async fn sample(processes: Vec<Process>, mut ended: watch::Receiver<bool>) -> Vec<Sample> {
    let began = tokio::time::Instant::now();
    let mut samples = Vec::new();
    loop {
        let usage = processes.iter().filter_map(|one| Some((one.name.clone(), one.usage()?))).collect();
        samples.push(Sample { at_s: began.elapsed().as_secs_f64(), usage });
        if tokio::time::timeout(LOOK_EVERY, ended.changed()).await.is_ok() {
            return samples;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_stands_behind_any_name() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194304 100 200 0 0 7 3 20 5 20 0 4 0 100 1000 50";
        assert_eq!(cpu_of(stat), Some((100_000, 250_000)));
        assert_eq!(cpu_of("12 (a) S 1"), None);
    }

    #[tokio::test]
    async fn what_this_process_does_is_seen() {
        let own = Process::new("own", std::process::id());
        let watched = Watched::begin(vec![own.clone(), Process::new("nobody", u32::MAX)]);
        let since_us = crate::eval::meter::thread_us();
        let mut sum = 0u64;
        while crate::eval::meter::thread_us() - since_us < 60_000.0 {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        let costs = watched.end().await;
        assert_eq!(costs.processes.len(), 1, "{sum}");
        let cost = &costs.processes[0];
        assert!(
            cost.cpu_us >= 20_000 && cost.rss_bytes > 1 << 20 && cost.descriptors > 2 && cost.threads > 0,
            "{cost:?}"
        );
        assert!(costs.machine_us > 0 && !costs.samples.is_empty());
    }
}
