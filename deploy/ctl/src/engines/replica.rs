//! A streaming replica of a PostgreSQL, made from it while it runs: a child of its own that can be killed and revived.
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::child::{Child, Recipe};
use super::error::EngineError;
use super::find::Needs;
use super::home::Home;
use super::packages::Engine;
use super::progress::Progress;
use super::source::{self, Besides};
use super::{Programs, Sources, launch, postgres};

/// A running replica; dropping kills it.
pub struct PostgresReplica {
    pub url: String,
    recipe: Recipe,
    child: Mutex<Option<Child>>,
    /// Last, so that the folder is free only when nothing runs over it any more.
    home: Home,
}

impl PostgresReplica {
    /// Copies a primary of this machine, whose data lies under `primary`, into the folder `data`, and follows it.
    pub async fn follow(
        primary: &Path,
        primary_url: &str,
        data: &Path,
        sources: &Sources,
        progress: &dyn Progress,
    ) -> Result<PostgresReplica, EngineError> {
        // Made by the programs that made the primary.
        let made_by = postgres::needs(&primary.join(Engine::Postgres.key()))?.made_by;
        let wanted = [(Engine::Postgres, Needs { made_by, ..postgres::needs(&data.join(Engine::Postgres.key()))? })];
        let programs = source::programs(&wanted, Besides::default(), &Programs::default(), sources, progress).await?;
        let program = &programs[0];
        let home = Home::open(data)?;
        let place = postgres::Place::prepare(&home)?;
        postgres::copy_cluster(&home, &place, program, primary_url).await?;
        let port = home.fresh_port(Engine::Postgres, "postgres")?;
        let recipe = postgres::recipe(&home, &place, program, port);
        let child = launch::launch(&home, &recipe).await?;
        // The same user, password and database as the primary's, at another port.
        let url = postgres::url_at(primary_url, port);
        Ok(PostgresReplica { url, recipe, child: Mutex::new(Some(child)), home })
    }

    /// `kill -9`.
    pub fn kill(&self) {
        drop(self.child.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts it again over the same data.
    pub async fn revive(&self) -> Result<(), EngineError> {
        let child = launch::launch(&self.home, &self.recipe).await?;
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }
}
