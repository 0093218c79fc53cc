//! Decides which program each engine runs from: named by the operator, on the PATH, in the cache, or fetched.
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::cache::{self, Cache};
use super::error::EngineError;
use super::find::{self, Needs, Program};
use super::identity::Identity;
use super::packages::{self, Engine, Package};
use super::progress::Progress;
use super::{Programs, Sources, fetch};

/// Where root keeps a copy that PostgreSQL's unprivileged id can reach, should the cache lie below a private home.
const SYSTEM_CACHE: &str = "/var/cache/talkfleet";

/// Where an engine's program stands, before anything is fetched.
pub(super) enum Stand {
    Installed(Program),
    Package { package: Box<Package>, passed_over: Vec<String> },
}

pub(super) async fn stand(
    engine: Engine,
    programs: &Programs,
    sources: &Sources,
    needs: Needs,
) -> Result<Stand, EngineError> {
    if let Some(named) = programs.of(engine) {
        return find::check(engine, named, &sources.path, needs).await.map(Stand::Installed);
    }
    let passed_over = if sources.packages_only {
        Vec::new()
    } else {
        let search = find::on_path(engine, &sources.path, needs).await?;
        match search.found {
            Some(program) => return Ok(Stand::Installed(program)),
            None => search.passed_over,
        }
    };
    let package = packages::package(engine.key()).map_err(|fault| match fault {
        EngineError::Missing { what, reason, install, .. } => {
            EngineError::Missing { what, reason, install, passed_over: passed_over.clone() }
        }
        other => other,
    })?;
    match needs.made_by {
        Some(made_by) if package.major != Some(made_by) => Err(EngineError::OtherCluster { made_by, passed_over }),
        _ => Ok(Stand::Package { package: Box::new(package), passed_over }),
    }
}

/// What is fetched with the engines, so that the whole size is said at once.
#[derive(Default)]
pub(super) struct Besides {
    pub(super) needed: Vec<Package>,
    /// What can be done without when it cannot be had.
    pub(super) wished: Vec<Package>,
}

/// A program for each of `engines`, in their order; whatever has to be fetched is fetched in one go, `besides` too.
pub(super) async fn programs(
    engines: &[(Engine, Needs)],
    besides: Besides,
    programs: &Programs,
    sources: &Sources,
    progress: &dyn Progress,
) -> Result<Vec<Program>, EngineError> {
    let stands = engines.iter().map(|(engine, needs)| stand(*engine, programs, sources, *needs));
    let stands = futures::future::try_join_all(stands).await?;
    let (mut wanted, mut all_passed_over) = (Vec::new(), Vec::new());
    for stand in &stands {
        if let Stand::Package { package, passed_over } = stand {
            wanted.push(Package::clone(package));
            all_passed_over.extend(passed_over.iter().cloned());
        }
    }
    let cache = Cache::new(&sources.cache);
    for unfit in all_passed_over.iter().filter(|_| wanted.iter().any(|package| !cache.is_whole(package))) {
        progress.line(&format!("Passed over: {unfit}"));
    }
    wanted.extend(besides.needed);
    let all = [wanted.as_slice(), &besides.wished].concat();
    match fetch::fetch(&all, sources, &all_passed_over, progress).await {
        Err(fault) if !besides.wished.is_empty() => {
            // What is left may be whole already, and then nothing is asked of pip again.
            fetch::fetch(&wanted, sources, &all_passed_over, progress).await?;
            progress.line(&format!("going on without {}: {fault}", fetch::titles(&besides.wished)));
        }
        fetched => fetched?,
    }
    let found = stands.into_iter().zip(engines).map(|(stand, (engine, needs))| async move {
        match stand {
            Stand::Installed(program) => Ok(program),
            Stand::Package { package, .. } => packaged(*engine, &package, sources, *needs).await,
        }
    });
    futures::future::try_join_all(found).await
}

async fn packaged(engine: Engine, package: &Package, sources: &Sources, needs: Needs) -> Result<Program, EngineError> {
    let home = Cache::new(&sources.cache).home(package);
    let program = match engine {
        Engine::Nats => home.join("nats-server"),
        Engine::Redis => home.join("valkey-server"),
        Engine::Postgres => reachable(package, home, sources, needs.run_as).await?,
    };
    find::check(engine, &program, &sources.path, needs).await
}

/// The package's home itself if `run_as` can walk there, else that of a copy in a public place.
async fn reachable(
    package: &Package,
    home: PathBuf,
    sources: &Sources,
    run_as: Option<Identity>,
) -> Result<PathBuf, EngineError> {
    if Identity::reaches(run_as, &home) {
        return Ok(home);
    }
    let temporary = std::env::temp_dir().join("talkfleet-cache");
    let public = [Path::new(SYSTEM_CACHE), &temporary].into_iter().find(|folder| is_public(folder, run_as));
    let public = public.ok_or_else(|| EngineError::Program {
        engine: Engine::Postgres,
        program: home,
        reason: "the unprivileged id that runs it cannot reach it; set TALKFLEET_CACHE to a folder open to all".into(),
    })?;
    let copy = Cache::new(public);
    if !copy.is_whole(package) {
        let _lock = copy.lock().await?;
        if !copy.is_whole(package) {
            copy.adopt(package, &Cache::new(&sources.cache))?;
        }
    }
    Ok(copy.home(package))
}

/// Root starts programs from there, so it must be root's own and closed to the writing of others.
fn is_public(folder: &Path, run_as: Option<Identity>) -> bool {
    let ours = |found: fs::Metadata| {
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
    };
    cache::create_public_dir(folder).is_ok()
        && fs::symlink_metadata(folder).is_ok_and(ours)
        && Identity::reaches(run_as, folder)
}
