//! A cluster of Redis or Valkey: masters with replicas, whose slots are moved and whose servers are killed and revived.
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::EngineOptions;
use super::error::EngineError;
use super::packages::Engine;
use super::progress::Progress;
use super::redis_node::{RedisNode, RedisProgram};

const SLOTS: usize = 16_384;

/// A replica takes over when its master was silent for this long; the others must have agreed, which takes as long again.
const NODE_TIMEOUT_MS: u32 = 1_000;

/// How long servers may take to agree on anything.
const AGREE_WAIT_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Keys that are moved at once.
const KEYS_AT_ONCE: &str = "100";

/// Running servers: the masters, then a replica of each.
pub struct RedisCluster {
    nodes: Vec<RedisNode>,
    ids: Vec<String>,
    password: String,
}

impl RedisCluster {
    /// Starts so many masters, each with a replica, below the folder `data`.
    pub async fn start(
        options: &EngineOptions,
        masters: usize,
        progress: &dyn Progress,
    ) -> Result<RedisCluster, EngineError> {
        let program = RedisProgram::find(options, progress).await?;
        // One password for all, since they speak with one another.
        let password = "cluster".repeat(4);
        let start = |number: usize| {
            let (program, password, data) = (&program, &password, options.data.join(format!("redis-{number}")));
            async move { start_node(program, &data, password).await }
        };
        let nodes = futures::future::try_join_all((0..masters * 2).map(start)).await?;
        let log = nodes[0].log();
        let cluster = RedisCluster { nodes, ids: Vec::new(), password };
        cluster.introduce(masters).await.map_err(|why| {
            let (what, gist) = ("made no cluster".into(), why.to_string());
            EngineError::Failed { engine: Engine::Redis, what, gist, log }
        })
    }

    async fn introduce(mut self, masters: usize) -> io::Result<RedisCluster> {
        for (number, node) in self.nodes.iter().enumerate() {
            self.ids.push(node.ask(&["CLUSTER", "MYID"]).await?.text());
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await?;
            if number < masters {
                let [first, last] = [number, number + 1].map(|n| n * SLOTS / masters);
                node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(last - 1).to_string()]).await?;
            }
        }
        let [port, bus] = [self.nodes[0].port, self.nodes[0].bus].map(|port| port.to_string());
        for node in &self.nodes[1..] {
            node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
        }
        let all = self.nodes.len();
        self.until("every server knows every other", async |node: &RedisNode| {
            let known = node.ask(&["CLUSTER", "NODES"]).await?.text();
            Ok(known.lines().filter(|line| !line.contains("handshake")).count() == all)
        })
        .await?;
        for (number, node) in self.nodes.iter().enumerate().skip(masters) {
            node.ask(&["CLUSTER", "REPLICATE", &self.ids[number - masters]]).await?;
        }
        self.until_whole().await?;
        Ok(self)
    }

    /// The addresses of all of them, as an operator would write them.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis://:{}@{}", self.password, hosts.join(","))
    }

    /// Every server, dead or alive.
    pub fn nodes(&self) -> &[RedisNode] {
        &self.nodes
    }

    /// Which master has a slot now, as those tell that run; of two that claim it, the one of the later epoch.
    pub async fn owner(&self, slot: usize) -> io::Result<usize> {
        let mut owner = None;
        for node in &self.nodes {
            let Ok(known) = node.ask(&["CLUSTER", "NODES"]).await else { continue };
            let known = known.text();
            let claims = known.lines().filter(|line| has_slot(line, slot) && !line.contains("fail"));
            owner = owner.max(claims.filter_map(|line| self.claim(line)).max());
        }
        let (_, owner) = owner.ok_or_else(|| io::Error::other(format!("nobody has slot {slot}")))?;
        Ok(owner)
    }

    /// The epoch and the server of a line of CLUSTER NODES.
    fn claim(&self, line: &str) -> Option<(u64, usize)> {
        let epoch = line.split(' ').nth(6)?.parse().ok()?;
        Some((epoch, self.ids.iter().position(|id| line.starts_with(id.as_str()))?))
    }

    /// Moves slots to another master as `redis-cli --cluster reshard` does, key by key, while the cluster is asked.
    pub async fn move_slots(&self, slots: Range<usize>, to: usize) -> io::Result<usize> {
        let mut keys_moved = 0;
        for slot in slots {
            let from = self.owner(slot).await?;
            if from == to {
                continue;
            }
            let (source, target, number) = (&self.nodes[from], &self.nodes[to], slot.to_string());
            target.ask(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &self.ids[from]]).await?;
            source.ask(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &self.ids[to]]).await?;
            loop {
                let keys = source.ask(&["CLUSTER", "GETKEYSINSLOT", &number, KEYS_AT_ONCE]).await?.text();
                let keys: Vec<&str> = keys.lines().collect();
                if keys.is_empty() {
                    break;
                }
                let port = target.port.to_string();
                let head = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "AUTH", &self.password, "KEYS"];
                source.ask(&[&head[..], &keys].concat()).await?;
                keys_moved += keys.len();
            }
            // The one that has it first, so that at no moment nobody does.
            for node in [target, source] {
                node.ask(&["CLUSTER", "SETSLOT", &number, "NODE", &self.ids[to]]).await?;
            }
            for node in &self.nodes {
                // The other masters hear of it in a moment anyway; a replica has no say.
                let _ = node.ask(&["CLUSTER", "SETSLOT", &number, "NODE", &self.ids[to]]).await;
            }
        }
        Ok(keys_moved)
    }

    /// Waits until every slot has a master that runs and every server that runs agrees.
    pub async fn until_whole(&self) -> io::Result<()> {
        self.until("the cluster is whole", async |node: &RedisNode| {
            let info = node.ask(&["CLUSTER", "INFO"]).await?.text();
            let known = node.ask(&["CLUSTER", "NODES"]).await?.text();
            let linked = node.ask(&["INFO", "replication"]).await?.text();
            Ok(info.contains("cluster_state:ok")
                && info.contains("cluster_slots_assigned:16384")
                && info.contains("cluster_slots_fail:0")
                && known.lines().any(|line| line.contains("slave"))
                && !linked.contains("master_link_status:down"))
        })
        .await
    }

    /// Waits until all that run say so.
    async fn until(&self, what: &str, probe: impl AsyncFn(&RedisNode) -> io::Result<bool>) -> io::Result<()> {
        let give_up = Instant::now() + AGREE_WAIT_MAX;
        loop {
            let mut agree = true;
            for node in &self.nodes {
                match probe(node).await {
                    Ok(so) => agree &= so,
                    // Whoever does not run has no say.
                    Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(_) => agree = false,
                }
            }
            if agree {
                return Ok(());
            }
            if Instant::now() > give_up {
                return Err(io::Error::other(format!("it did not come so far that {what}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn start_node(program: &RedisProgram, data: &Path, password: &str) -> Result<RedisNode, EngineError> {
    RedisNode::start(program, data, Some(password), |place| {
        // Slots whose master is gone take nobody else's along.
        format!(
            "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {}\ncluster-node-timeout {NODE_TIMEOUT_MS}\n\
             cluster-require-full-coverage no\nmasterauth {password}\nrepl-diskless-sync-delay 0\n",
            place.bus
        )
    })
    .await
}

/// Whether a line of CLUSTER NODES lists a slot as its server's own.
fn has_slot(line: &str, slot: usize) -> bool {
    line.split(' ').skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<usize>(), last.parse::<usize>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_cluster_tells_its_slots() {
        let line = "id 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-5460 7000 [9000->-id]";
        assert!([0, 5_460, 7_000].iter().all(|slot| has_slot(line, *slot)));
        assert!([5_461, 9_000].iter().all(|slot| !has_slot(line, *slot)));
    }
}
