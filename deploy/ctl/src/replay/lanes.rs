//! The lanes of a run, and the workers that this process starts in them.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use talkfleet_shared::{
    bus::{Bus, Change, Lane},
    lifecycle::Shutdown,
    topology::Scale,
};
use talkfleet_worker::{Worker, config::WorkerConfig};

use crate::{connect::Connect, topology};

/// How long a worker that is started here may take to have what it needs.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long somebody may take to listen in a lane that was named.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

const LOOK: Duration = Duration::from_millis(50);

/// How PostgreSQL is told that a connection only reads.
const READ_ONLY: &str = "options[default_transaction_read_only]=on";

/// Who answers on one side of a comparison.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// Workers that listen in this lane already.
    Lane(String),
    /// A worker that is started here, with this configuration.
    Here { file: Option<PathBuf>, set: Vec<(String, String)> },
}

impl fmt::Display for Who {
    /// Settings without what nobody else shall read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lane(lane) => write!(f, "the workers of lane {lane}"),
            Self::Here { file: None, set } if set.is_empty() => f.write_str("this build with its defaults"),
            Self::Here { file, set } => {
                f.write_str("this build with")?;
                if let Some(file) = file {
                    write!(f, " {}", file.display())?;
                }
                let secret = |key: &str| ["key", "url"].iter().any(|mark| key.ends_with(mark));
                set.iter().try_for_each(|(key, value)| write!(f, " {key}={}", if secret(key) { "…" } else { value }))
            }
        }
    }
}

/// A lane with whoever answers in it.
pub(super) struct Stage {
    pub(super) bus: Bus,
    worker: Option<(Worker, Shutdown)>,
    /// The lane was not there before.
    made: bool,
}

impl Stage {
    /// Makes the lane's streams, starts a worker there if one is wanted, and waits until somebody listens.
    pub(super) async fn open(connect: &Connect, shadow: Option<&str>, lane: &str, who: &Who) -> Result<Self> {
        let name = match who {
            Who::Lane(name) => name,
            Who::Here { .. } => lane,
        };
        Lane::parse(name).with_context(|| format!("'{name}' is no lane"))?;
        let bus = connect.bus_in(name).await?;
        let changes = bus.topology_apply(Scale::default()).await?;
        if let Some(stuck) = changes.iter().find(|change| matches!(change, Change::Conflict { .. })) {
            bail!("{}", topology::line(stuck, ""));
        }
        let made = changes.iter().any(|change| matches!(change, Change::Create { what: "stream", .. }));
        let mut stage = Self { bus, worker: None, made };
        match who {
            Who::Lane(_) => stage.heard().await?,
            Who::Here { file, set } => {
                let config = worker_config(connect, shadow, name, file.clone(), set)?;
                stage.worker = Some(start(config).await?);
            }
        }
        Ok(stage)
    }

    /// Waits until a worker asks for messages.
    async fn heard(&self) -> Result<()> {
        let give_up = tokio::time::Instant::now() + HEARD_WITHIN;
        while self.bus.lag().await?.pulls == 0 {
            if tokio::time::Instant::now() > give_up {
                let lane = self.bus.lane().name();
                bail!("nobody listens in the lane '{lane}'; start a worker there with --set nats.lane={lane}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The worker finishes and leaves; the lane goes with it, unless it is kept or was there before.
    pub(super) async fn close(self, keep: bool) -> Result<()> {
        if let Some((worker, shutdown)) = self.worker {
            shutdown.ask();
            worker.finished().await;
        }
        if self.made && !keep {
            self.bus.topology_remove().await?;
        }
        Ok(())
    }
}

async fn start(config: WorkerConfig) -> Result<(Worker, Shutdown)> {
    let shutdown = Shutdown::new();
    let worker = Worker::start(config, shutdown.clone()).await?;
    let give_up = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let missing = worker.health().missing();
        if missing.is_empty() {
            return Ok((worker, shutdown));
        }
        if tokio::time::Instant::now() > give_up {
            let missing: Vec<_> = missing.into_iter().map(|(part, why)| format!("{part}: {why}")).collect();
            shutdown.ask();
            worker.finished().await;
            bail!("a worker of the replay is not ready after {} s: {}", READY_WITHIN.as_secs(), missing.join("; "));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The configuration of a worker here: what was given, in the run's lane, against the fleet's engines, only reading.
pub(super) fn worker_config(
    connect: &Connect,
    shadow: Option<&str>,
    lane: &str,
    file: Option<PathBuf>,
    set: &[(String, String)],
) -> Result<WorkerConfig> {
    let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut flags = vec![text("roles.enabled", r#"["intent","retrieval","response"]"#)];
    flags.extend_from_slice(set);
    let nats = shadow.map_or_else(|| connect.nats_url(), |url| Ok(url.to_owned()))?;
    let database = connect.database_url()?;
    let mark = if database.contains('?') { '&' } else { '?' };
    flags.extend([
        text("nats.url", &nats),
        text("nats.lane", lane),
        text("nats.shards", &connect.shards.to_string()),
        text("database.url", &format!("{database}{mark}{READ_ONLY}")),
        text("admin.listen", "127.0.0.1:0"),
    ]);
    WorkerConfig::load(file.as_deref(), &flags).context("the configuration of a worker of the replay")
}
