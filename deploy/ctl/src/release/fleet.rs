//! Who answers and who publishes right now: versions by release, gateways that do not go by the rule, what waits where.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serde::Serialize;
use talkfleet_gateway::ingress::FACE;
use talkfleet_shared::{
    bus::{Bus, Present},
    release::{FOLLOWS, Release, Rule},
};
use talkfleet_worker::RESPONDER;

/// How long processes may take to say that they are there.
const ROLL_CALL: Duration = Duration::from_millis(700);

/// The fleet as it answers.
#[derive(Debug, Serialize)]
pub(super) struct Fleet {
    pub(super) rule: Option<Rule>,
    /// Workers that own turns, by release and version.
    pub(super) workers: BTreeMap<&'static str, BTreeMap<String, usize>>,
    pub(super) gateways: usize,
    /// Gateways of a build that knows no releases.
    pub(super) gateways_that_do_not_follow: usize,
    /// Messages that wait or are being answered, by release.
    pub(super) queued: BTreeMap<&'static str, u64>,
}

impl Fleet {
    pub(super) async fn look(bus: &Bus) -> Result<Self> {
        let (workers, gateways) = tokio::join!(bus.present(RESPONDER, ROLL_CALL), bus.present(FACE, ROLL_CALL));
        let (workers, gateways) = (workers?, gateways?);
        let mut queued = BTreeMap::new();
        for release in [Release::Stable, Release::Next] {
            let lag = bus.lag_of(release).await?;
            queued.insert(release.name(), lag.waiting + lag.running);
        }
        let follows = |gateway: &&Present| {
            let [name, what] = FOLLOWS;
            gateway.metadata.get(name).is_some_and(|said| said == what)
        };
        let following = gateways.iter().filter(follows).count();
        Ok(Self {
            rule: bus.read_rule().await?,
            workers: by_version(&workers),
            gateways_that_do_not_follow: gateways.len() - following,
            gateways: gateways.len(),
            queued,
        })
    }

    /// The versions of a release's workers.
    pub(super) fn versions(&self, release: Release) -> Vec<&str> {
        self.workers[release.name()].keys().map(String::as_str).collect()
    }

    pub(super) fn show(&self) {
        match &self.rule {
            Some(rule) => println!("share      {} for {}", rule.share, rule.version),
            None => println!("share      0%; no candidate was ever on trial"),
        }
        for (release, versions) in &self.workers {
            let who: Vec<String> = versions.iter().map(|(version, count)| format!("{count} × {version}")).collect();
            let who = if who.is_empty() { "none".to_owned() } else { who.join(", ") };
            println!("{release:<10} workers: {who}; {} messages wait or are answered", self.queued[release]);
        }
        let deaf = self.gateways_that_do_not_follow;
        let all = if deaf == 0 { String::new() } else { format!("; {deaf} of a build that knows no releases") };
        println!("gateways   {}{all}", self.gateways);
    }
}

fn by_version(workers: &[Present]) -> BTreeMap<&'static str, BTreeMap<String, usize>> {
    let mut by = BTreeMap::from([Release::Stable, Release::Next].map(|release| (release.name(), BTreeMap::new())));
    for worker in workers {
        let of = |key: &str| worker.metadata.get(key).map(String::as_str).unwrap_or_default();
        if let Some(versions) = by.get_mut(of("release")) {
            *versions.entry(of("version").to_owned()).or_default() += 1;
        }
    }
    by
}
