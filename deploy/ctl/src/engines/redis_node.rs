//! One Redis or Valkey by itself, with settings of its own: a child that can be killed and revived.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::child::{Child, Recipe};
use super::error::EngineError;
use super::find::{Needs, Program};
use super::home::{Home, Secrets};
use super::packages::Engine;
use super::progress::Progress;
use super::resp::{Answer, Resp};
use super::source::{self, Besides};
use super::{EngineOptions, launch, redis};

/// The program that servers of their own are started by.
#[derive(Clone)]
pub struct RedisProgram(Program);

impl RedisProgram {
    /// The one that a fleet would take.
    pub async fn find(options: &EngineOptions, progress: &dyn Progress) -> Result<RedisProgram, EngineError> {
        let wanted = [(Engine::Redis, Needs::default())];
        let mut programs =
            source::programs(&wanted, Besides::default(), &options.programs, &options.sources, progress).await?;
        Ok(RedisProgram(programs.remove(0)))
    }
}

/// A running server; dropping kills it.
pub struct RedisNode {
    pub port: u16,
    /// A second free port.
    pub bus: u16,
    recipe: Recipe,
    secrets: Secrets,
    child: Mutex<Option<Child>>,
    /// Last, so that the folder is free only when nothing runs over it any more.
    home: Home,
}

impl RedisNode {
    /// Starts a server over the folder `data`; `settings` are lines of its configuration, made for its ports and its folder.
    /// Without a password it makes one.
    pub async fn start(
        program: &RedisProgram,
        data: &Path,
        password: Option<&str>,
        settings: impl FnOnce(&RedisPlaceOnDisk<'_>) -> String,
    ) -> Result<RedisNode, EngineError> {
        let home = Home::open(data)?;
        let mut secrets = home.secrets()?;
        if let Some(password) = password {
            secrets.redis = password.to_owned();
        }
        let [port, bus] = [home.port(Engine::Redis, "redis", None)?, home.port(Engine::Redis, "redis-bus", None)?];
        let place = RedisPlaceOnDisk { port, bus, folder: &home.folder(Engine::Redis), password: &secrets.redis };
        let settings = settings(&place);
        let recipe = redis::recipe_with(&home, &program.0, port, &secrets, &settings)?;
        let child = launch::launch(&home, &recipe).await?;
        Ok(RedisNode { port, bus, recipe, secrets, child: Mutex::new(Some(child)), home })
    }

    /// The password of the user `default`.
    pub fn password(&self) -> &str {
        &self.secrets.redis
    }

    /// The folder in which it runs.
    pub fn folder(&self) -> PathBuf {
        self.home.folder(Engine::Redis)
    }

    /// Where it writes what it does.
    pub(super) fn log(&self) -> PathBuf {
        self.recipe.log.clone()
    }

    /// Asks a command as the user who may do everything.
    pub async fn ask(&self, command: &[&str]) -> io::Result<Answer> {
        Resp::connect(self.port, "default", self.password()).await?.ask(command).await
    }

    /// `kill -9`.
    pub fn kill(&self) {
        drop(self.child.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts it again over the same data and on the same port.
    pub async fn revive(&self) -> Result<(), EngineError> {
        let child = launch::launch(&self.home, &self.recipe).await?;
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }
}

/// What a server's settings may speak of.
pub struct RedisPlaceOnDisk<'a> {
    pub port: u16,
    /// A second free port.
    pub bus: u16,
    pub folder: &'a Path,
    pub password: &'a str,
}
