//! A steady load for long: memory, descriptors, consumers and keys must not grow.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::delivery;
use crate::bench::{cost::Sample, report::Outcome, subject::Bench};

const SECONDS: f64 = 1_800.0;

/// Growth is counted from after this share of the run, when caches are full, to its end.
const SETTLED: f64 = 0.2;

/// Memory that has grown by less than this share and these MiB is flat.
const FLAT_SHARE: f64 = 0.05;
const FLAT_MIB: f64 = 8.0;

/// How long a question to an engine may take.
const ASK_WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn run(bench: &mut Bench) -> Result<Outcome> {
    bench.stand_on(bench.ground()).await?;
    let plan = bench.args.plan(delivery::RATE / 2.0, SECONDS);
    let before = counts(bench).await;
    let run = bench.measure("soak", &plan).await?;
    let after = counts(bench).await;
    let mut outcome = Outcome::default();
    let mut growth = serde_json::Map::new();
    for name in run.figures.rss_mib.keys() {
        let Some(grown) = Growth::of(&run.measured.costs.samples, name, plan.load.seconds()) else { continue };
        let word = if grown.is_flat() { "flat" } else { "NOT flat" };
        outcome.found.push(format!(
            "{name}: {} to {} MiB, {} to {} descriptors: {word}",
            grown.mib.0, grown.mib.1, grown.descriptors.0, grown.descriptors.1
        ));
        growth.insert(
            name.clone(),
            json!({ "rss_mib": grown.mib, "descriptors": grown.descriptors, "flat": grown.is_flat() }),
        );
    }
    outcome.found.push(format!("consumers at the broker and keys in Redis: {before} before, {after} after"));
    outcome.tell("growth", growth);
    outcome.tell("counts_before", before);
    outcome.tell("counts_after", after);
    outcome.runs.push(run);
    Ok(outcome)
}

/// What a process held once it had settled, and at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Growth {
    mib: (f64, f64),
    descriptors: (u64, u64),
}

impl Growth {
    fn of(samples: &[Sample], name: &str, seconds: f64) -> Option<Self> {
        let own = |sample: &Sample| sample.usage.get(name).copied();
        let first = samples.iter().find(|sample| sample.at_s >= seconds * SETTLED).and_then(own)?;
        let last = samples.iter().rev().find_map(own)?;
        let mib = crate::bench::figures::mib;
        Some(Self {
            mib: (mib(first.rss_bytes), mib(last.rss_bytes)),
            descriptors: (first.descriptors, last.descriptors),
        })
    }

    fn is_flat(&self) -> bool {
        let grown = self.mib.1 - self.mib.0;
        grown <= FLAT_MIB || grown <= self.mib.0 * FLAT_SHARE
    }
}

/// Consumers at the broker and keys in Redis; null where they cannot be asked.
async fn counts(bench: &Bench) -> Value {
    let Ok(fleet) = bench.fleet() else { return Value::Null };
    let consumers = match &fleet.engines.nats_monitor {
        Some(monitor) => consumers(monitor).await.ok(),
        None => None,
    };
    json!({ "consumers": consumers, "redis_keys": redis_keys(&fleet.engines.redis_url).await.ok() })
}

async fn consumers(monitor: &str) -> Result<u64> {
    let asked = reqwest::Client::new().get(format!("{monitor}/jsz")).timeout(ASK_WITHIN);
    let told: Value = asked.send().await?.json().await?;
    told["consumers"].as_u64().context("the broker does not tell its consumers")
}

/// `DBSIZE`, in the protocol's own words: nothing else is asked of Redis here.
async fn redis_keys(url: &str) -> Result<u64> {
    let url = reqwest::Url::parse(url)?;
    let stream = TcpStream::connect((url.host_str().unwrap_or("127.0.0.1"), url.port().unwrap_or(6379))).await?;
    let mut stream = BufReader::new(stream);
    let password = url.password().unwrap_or_default();
    let user = if url.username().is_empty() { "default" } else { url.username() };
    let asked = if password.is_empty() { "DBSIZE\r\n".into() } else { format!("AUTH {user} {password}\r\nDBSIZE\r\n") };
    stream.write_all(asked.as_bytes()).await?;
    let told = async {
        let mut lines = stream.lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(keys) = line.strip_prefix(':') {
                return Ok(keys.trim().parse()?);
            }
        }
        anyhow::bail!("Redis does not tell how many keys it holds")
    };
    tokio::time::timeout(ASK_WITHIN, told).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cost::Usage;

    #[test]
    fn growth_counts_from_when_a_process_has_settled() {
        let sample = |at_s: f64, mib: u64| Sample {
            at_s,
            usage: [("gateway".to_owned(), Usage { rss_bytes: mib << 20, descriptors: mib, ..Usage::default() })]
                .into(),
        };
        let samples = [sample(0.0, 10), sample(25.0, 100), sample(60.0, 104), sample(100.0, 130)];
        let growth = Growth::of(&samples, "gateway", 100.0).unwrap();
        assert_eq!((growth.mib, growth.descriptors, growth.is_flat()), ((100.0, 130.0), (100, 130), false));
        assert!(Growth::of(&samples[..3], "gateway", 100.0).unwrap().is_flat());
        assert_eq!(Growth::of(&samples, "nobody", 100.0), None);
    }
}
