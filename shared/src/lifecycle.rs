//! Start, stop and drain: one token says 'stop taking work', and a grace time bounds how long finishing may take.

use std::{error::Error, future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    panics,
    telemetry::{self, LogConfig},
};

/// Handed to every task that must end: `asked()` when work shall stop, `tasks` to wait for.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to stop taking work.
    pub fn ask(&self) {
        self.token.cancel();
    }

    pub fn is_asked(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until somebody asked.
    pub async fn asked(&self) {
        self.token.cancelled().await;
    }

    /// A shutdown of a part: it follows its parent, and can be asked alone.
    pub fn part(&self) -> Self {
        Self { token: self.token.child_token(), tasks: TaskTracker::new() }
    }

    /// Runs a task that [`Shutdown::drained`] waits for.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits for every task, at most for `grace`; false when some were still running.
    pub async fn drained(&self, grace: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

/// Signals this close together are one wish: `timeout` and some supervisors signal a process and its group.
const SAME_WISH: Duration = Duration::from_millis(500);

/// Asks for shutdown on SIGTERM or Ctrl-C; a second signal ends the process at once.
pub fn on_signals(shutdown: Shutdown) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut asked_at: Option<tokio::time::Instant> = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match asked_at.map(|first| first.elapsed()) {
                None => {
                    asked_at = Some(tokio::time::Instant::now());
                    tracing::info!("stopping: finishing what has begun");
                    shutdown.ask();
                }
                Some(since) if since < SAME_WISH => {}
                Some(_) => {
                    tracing::warn!("asked twice to stop: leaving without finishing");
                    std::process::exit(130);
                }
            }
        }
    });
    Ok(())
}

/// A service's whole life in a process of its own: it logs, first what its configuration should not stay like, runs on
/// every core, and stops when a signal asks.
pub fn serve<F, E>(
    log: &LogConfig,
    warnings: &[String],
    service: impl FnOnce(Shutdown) -> F,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    F: Future<Output = Result<(), E>>,
    E: Error + Send + Sync + 'static,
{
    telemetry::init(log)?;
    panics::without_words();
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let shutdown = Shutdown::new();
        on_signals(shutdown.clone())?;
        Ok(service(shutdown).await?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_follows_its_parent_and_is_waited_for() {
        let parent = Shutdown::new();
        let part = parent.part();
        let watcher = part.clone();
        part.spawn(async move { watcher.asked().await });
        assert!(!part.drained(Duration::from_millis(20)).await);
        parent.ask();
        assert!(part.drained(Duration::from_secs(5)).await);
    }
}
