//! Several processes of the load generator, set off together; what they counted is added up.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{
    driver::{Load, Order, client::READY},
    tally::Tally,
};

/// The hidden command that is one of them.
pub(crate) const COMMAND: &str = "bench-client";

/// What opening connections may take, beside warming up.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// What telling the tally may take, beside the load itself and its grace.
const TELL_WITHIN: Duration = Duration::from_secs(30);

/// Processes that are ready to begin.
pub(super) struct Clients {
    running: Vec<Client>,
    load: Load,
    grace: Duration,
}

struct Client {
    process: Child,
    orders: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    /// Starts them, each with its share of the order, and waits until all are warm.
    pub(super) async fn start(order: &Order, clients: usize) -> Result<Self> {
        let mut running = Vec::new();
        for place in 0..clients {
            let share = Order {
                place,
                of: clients,
                connections_max: share(order.connections_max, place, clients).max(1),
                ..order.clone()
            };
            running.push(Client::start(&share).await.context("the load generator cannot be started")?);
        }
        let within = OPEN_WITHIN + warm_up(order);
        for client in &mut running {
            let said = timeout(within, client.line()).await.context("the load generator did not become ready")??;
            if said != READY {
                bail!("the load generator said '{said}' instead of '{READY}'");
            }
        }
        Ok(Self { running, load: order.load, grace: Duration::from_millis(order.grace_ms) })
    }

    /// Sets them off and adds up what they tell.
    pub(super) async fn run(mut self) -> Result<Tally> {
        for client in &mut self.running {
            client.orders.write_all(b"go\n").await?;
        }
        let within = Duration::from_secs_f64(self.load.seconds()) + self.grace + TELL_WITHIN;
        let mut all = Tally::default();
        for client in &mut self.running {
            let line = timeout(within, client.line()).await.context("the load generator has not ended in time")??;
            all.merge(&serde_json::from_str(&line).context("the load generator's tally cannot be read")?);
            client.process.wait().await?;
        }
        Ok(all)
    }
}

impl Client {
    async fn start(order: &Order) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let (orders, told) = (process.stdin.take(), process.stdout.take());
        let (Some(mut orders), Some(told)) = (orders, told) else { bail!("it has no standard input") };
        orders.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes()).await?;
        Ok(Self { process, orders, told: BufReader::new(told).lines() })
    }

    async fn line(&mut self) -> Result<String> {
        self.told.next_line().await?.context("the load generator ended without a word")
    }
}

fn warm_up(order: &Order) -> Duration {
    let warm_up = order.warm_up.map_or(0.0, |load| load.seconds());
    Duration::from_secs_f64(warm_up) + Duration::from_millis(order.grace_ms)
}

/// One's share of something whole.
fn share(all: usize, place: usize, of: usize) -> usize {
    all / of.max(1) + usize::from(place < all % of.max(1))
}

#[cfg(test)]
mod tests {
    #[test]
    fn shares_add_up() {
        for (all, of) in [(10, 3), (2, 5), (0, 1), (64, 4)] {
            assert_eq!((0..of).map(|place| super::share(all, place, of)).sum::<usize>(), all);
        }
    }
}
