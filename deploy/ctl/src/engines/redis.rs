//! Redis or Valkey: one password, an append-only file under the data folder.
use super::child::Recipe;
use super::error::EngineError;
use super::find::Program;
use super::home::{Home, Secrets, write_private};
use super::packages::Engine;
use super::ready::Ready;

pub(super) fn recipe(home: &Home, program: &Program, port: u16, secrets: &Secrets) -> Result<Recipe, EngineError> {
    recipe_with(home, program, port, secrets, "")
}

/// With further lines of configuration.
pub(super) fn recipe_with(
    home: &Home,
    program: &Program,
    port: u16,
    secrets: &Secrets,
    settings: &str,
) -> Result<Recipe, EngineError> {
    let folder = home.folder(Engine::Redis);
    let path = folder.join("redis.conf");
    let text = configuration(port, secrets) + settings;
    write_private(&path, text.as_bytes()).map_err(EngineError::folder(&path))?;
    Ok(Recipe {
        engine: Engine::Redis,
        program: program.path.clone(),
        args: vec!["redis.conf".into()],
        folder,
        handle: None,
        run_as: None,
        log: home.log(Engine::Redis),
        ready: Ready::Redis { port, password: secrets.redis.clone() },
        stop: rustix::process::Signal::TERM,
    })
}

pub(super) fn url(port: u16, secrets: &Secrets) -> String {
    format!("redis://:{}@127.0.0.1:{port}/0", secrets.redis)
}

/// Appended and synced every second: what a killed machine may lose of the memory is mended from PostgreSQL. Without
/// snapshots, which would write the same twice. Paths are relative to the folder in which the server runs.
fn configuration(port: u16, secrets: &Secrets) -> String {
    let password = &secrets.redis;
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir ./\nappendonly yes\nappendfsync everysec\nsave \"\"\n\
         daemonize no\nlogfile \"\"\nloglevel notice\n"
    )
}
