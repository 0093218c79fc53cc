//! Whom scenarios drive: a fleet that is started for them, or one that runs already.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{
    args::Args,
    cost::Process,
    fleet::{Fleet, Ground, Layout, address_of, broker},
    measure::{Plan, Target, measure},
    report::Run,
};
use crate::{connect::read_ready, engines::Terminal};

pub(super) struct Bench {
    pub(super) args: Args,
    /// What runs already.
    aimed: Option<Target>,
    /// What is started here, once a scenario needs it.
    own: Option<Fleet>,
    /// What was started last.
    stood_on: Option<Ground>,
    data: PathBuf,
    /// Removed with it.
    _temporary: tempfile::TempDir,
}

impl Bench {
    pub(super) async fn open(args: Args) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let data = args.fleet.data.clone().unwrap_or_else(|| temporary.path().to_owned());
        let data = std::path::absolute(&data).with_context(|| format!("{} is no folder", data.display()))?;
        let aimed = if args.is_aimed() { Some(aim(&args).await?) } else { None };
        Ok(Self { args, aimed, own: None, stood_on: None, data, _temporary: temporary })
    }

    /// What the arguments ask to be started.
    pub(super) fn ground(&self) -> Ground {
        let fleet = &self.args.fleet;
        Ground {
            gateways: fleet.gateways.into(),
            workers: fleet.workers.into(),
            layout: if fleet.roles_apart { Layout::Apart } else { Layout::Together },
            gateway_set: fleet.gateway_set.clone(),
            worker_set: fleet.worker_set.clone(),
        }
    }

    /// Makes sure that such a fleet runs, unless one is aimed at.
    pub(super) async fn stand_on(&mut self, ground: Ground) -> Result<()> {
        if self.aimed.is_some() || self.own.as_ref().is_some_and(|fleet| fleet.ground == ground) {
            return Ok(());
        }
        self.close().await;
        self.stood_on = Some(ground.clone());
        self.own = Some(Fleet::start(&self.data, ground, &Terminal::default()).await?);
        Ok(())
    }

    /// The fleet that was started here.
    pub(super) fn fleet(&self) -> Result<&Fleet> {
        self.own.as_ref().context("no fleet was started for this scenario")
    }

    pub(super) fn target(&self) -> Result<&Target> {
        match (&self.aimed, &self.own) {
            (Some(target), _) => Ok(target),
            (None, Some(fleet)) => Ok(fleet.target()),
            (None, None) => bail!("nothing was started to be driven"),
        }
    }

    /// Those whose cost is counted.
    pub(super) fn processes(&self) -> Vec<Process> {
        let named = self.args.target.pid.iter().map(|(name, pid)| Process::new(name.clone(), *pid));
        self.own.iter().flat_map(Fleet::processes).chain(named).collect()
    }

    /// Measures a plan on it.
    pub(super) async fn measure(&self, name: impl Into<String>, plan: &Plan) -> Result<Run> {
        let deaths = self.own.as_ref().map_or(0, Fleet::deaths);
        let measured = measure(self.target()?, plan, self.processes()).await?;
        if self.own.as_ref().map_or(0, Fleet::deaths) > deaths {
            bail!("a process of the fleet died under the load; give --data DIR and look into its logs");
        }
        Ok(Run::new(name, measured))
    }

    /// Where scenarios may leave what they need.
    pub(super) fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// What answers, in a few words.
    pub(super) fn what(&self) -> String {
        match &self.stood_on {
            Some(ground) => format!("own fleet of {ground}"),
            None => "a fleet that ran already".into(),
        }
    }

    pub(super) async fn close(&mut self) {
        if let Some(fleet) = self.own.take() {
            fleet.stop().await;
        }
    }
}

/// The fleet that the arguments name.
async fn aim(args: &Args) -> Result<Target> {
    let target = &args.target;
    let ready = target.ready_file.as_deref().map(read_ready).transpose()?;
    let urls = match &ready {
        Some(ready) if ready.gateways.is_empty() => vec![ready.gateway.clone()],
        Some(ready) => ready.gateways.clone(),
        None => target.target.clone(),
    };
    let mut gateways = Vec::new();
    for url in &urls {
        let parsed = reqwest::Url::parse(url).with_context(|| format!("{url} is no URL; give http://host:port"))?;
        if parsed.scheme() != "http" {
            bail!("{url}: the load generator speaks plain HTTP; aim it at the gateway itself, as http://host:port");
        }
        let host = parsed.host_str().with_context(|| format!("{url} names no host"))?;
        gateways.push(address_of(host.trim_matches(['[', ']']), parsed.port().unwrap_or(80)).await?);
    }
    let key = ready.as_ref().map(|ready| ready.api_key.clone()).or(target.key.clone());
    let nats = ready.map(|ready| ready.nats).or(target.nats.clone());
    let broker = match nats {
        Some(url) => Some(broker(&url).await?),
        None => None,
    };
    Ok(Target { gateways, key: key.unwrap_or_default(), tenant: target.tenant.clone(), broker })
}
