//! Starts one engine until it is ready, and gets out of the way of what only needs a moment or another port.
use std::time::Duration;

use super::child::{Child, Recipe};
use super::error::EngineError;
use super::find::Program;
use super::home::{Home, Secrets};
use super::packages::Engine;
use super::{EngineOptions, nats, postgres, redis};

/// After a kill the backends of PostgreSQL live on for a moment and hold its memory.
const LINGER_TRIES_MAX: usize = 20;
const LINGER_WAIT: Duration = Duration::from_millis(250);
/// Several fleets that start at once may choose the same port.
const PORT_TRIES_MAX: usize = 5;

pub(super) struct Launched {
    pub(super) recipe: Recipe,
    pub(super) child: Child,
    pub(super) url: String,
    pub(super) monitor: Option<String>,
    /// The broker's address for a replay's workers.
    pub(super) shadow: Option<String>,
}

/// Starts what the recipe says and waits until it answers.
pub(super) async fn launch(home: &Home, recipe: &Recipe) -> Result<Child, EngineError> {
    for _ in 0..LINGER_TRIES_MAX {
        match once(home, recipe).await {
            Err(EngineError::Failed { gist, .. }) if lingers(&gist) => tokio::time::sleep(LINGER_WAIT).await,
            result => return result,
        }
    }
    once(home, recipe).await
}

/// Starts an engine of this home on the port asked for, or on a free one.
pub(super) async fn engine(
    engine: Engine,
    program: &Program,
    home: &Home,
    secrets: &Secrets,
    options: &EngineOptions,
) -> Result<Launched, EngineError> {
    let place = match engine {
        Engine::Postgres => {
            let place = postgres::Place::prepare(home)?;
            postgres::make_cluster(home, &place, program, secrets).await?;
            Some(place)
        }
        Engine::Nats | Engine::Redis => None,
    };
    for _ in 0..PORT_TRIES_MAX {
        let (recipe, url, monitor, shadow) = match (engine, &place) {
            (Engine::Nats, _) => {
                let client = home.port(engine, "nats", options.nats_port)?;
                let monitor = home.port(engine, "nats-monitor", options.nats_monitor_port)?;
                let ports = nats::Ports { client, monitor };
                let recipe = nats::recipe(home, program, &ports, secrets, options.nats_sync_always)?;
                let monitor = format!("http://127.0.0.1:{monitor}");
                (recipe, nats::url(client, secrets), Some(monitor), Some(nats::shadow_url(client, secrets)))
            }
            (Engine::Postgres, Some(place)) => {
                let port = home.port(engine, "postgres", options.postgres_port)?;
                (postgres::recipe(home, place, program, port), postgres::url(port, secrets), None, None)
            }
            (Engine::Redis | Engine::Postgres, _) => {
                let port = home.port(engine, "redis", options.redis_port)?;
                (redis::recipe(home, program, port, secrets)?, redis::url(port, secrets), None, None)
            }
        };
        match launch(home, &recipe).await {
            // The next round sees the port taken and chooses another, or says that the one asked for is taken.
            Err(EngineError::Failed { gist, .. }) if port_is_taken(&gist) => {}
            Ok(child) => return Ok(Launched { recipe, child, url, monitor, shadow }),
            Err(other) => return Err(other),
        }
    }
    Err(EngineError::NoFreePort { engine })
}

async fn once(home: &Home, recipe: &Recipe) -> Result<Child, EngineError> {
    let mut child = Child::spawn(recipe)?;
    home.note_child(recipe.engine, child.id())?;
    child.until_ready(recipe).await?;
    Ok(child)
}

fn lingers(gist: &str) -> bool {
    gist.contains("shared memory block") || gist.contains("postmaster.pid")
}

fn port_is_taken(gist: &str) -> bool {
    gist.to_ascii_lowercase().contains("address already in use")
}
