//! Where an issuer's keys come from: read at the start, whenever they change, and when a token names one that is new.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use talkfleet_shared::{admin::Health, clock, lifecycle::Shutdown};
use tokio::io::AsyncReadExt;

use super::{
    Issuer, Jwt,
    config::Source,
    keys::{KEYS_BYTES_MAX, KeySet},
};

/// How often a file is looked at: a key that leaked is out within seconds of leaving it.
const FILE_EVERY: Duration = Duration::from_secs(2);

/// How soon an address that failed is asked again.
const FAILED_EVERY: Duration = Duration::from_secs(10);

/// The least between two readings that tokens ask for: whoever makes up names of keys makes us read no more often.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// What `/readyz` calls issuers whose keys cannot be read.
const PART: &str = "jwt";

/// What is remembered of an issuer's readings.
#[derive(Default)]
pub(super) struct Reader {
    /// What was read last, and was good.
    seen: Mutex<Option<Bytes>>,
    /// When somebody last had the keys read because a token named a new one.
    asked: Mutex<Option<Instant>>,
    /// One reading at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Jwt {
    /// Reads every issuer's keys. An address may not answer yet, but a file that cannot be read is a mistake, and named.
    pub(crate) async fn open(&self) -> Result<(), String> {
        for issuer in &self.issuers {
            match (self.read(issuer).await, issuer.config.source()) {
                (Err(why), Some(Source::KeysUrl(_))) => tell(issuer, &why),
                (read, _) => drop(read.map_err(|why| format!("jwt.{}: {why}", issuer.name))?),
            }
        }
        Ok(())
    }

    /// Keeps the keys as their sources have them, until shutdown; `health`'s `jwt` says whose could not be read.
    pub(crate) async fn follow(&self, health: &Health, shutdown: &Shutdown) {
        let mut due: Vec<Instant> = vec![clock::now(); self.issuers.len()];
        let mut failed: Vec<Option<String>> = vec![None; self.issuers.len()];
        while let Some(next) = due.iter().min().copied() {
            tokio::select! {
                () = shutdown.asked() => return,
                () = tokio::time::sleep_until(next.into()) => {}
            }
            let now = clock::now();
            for ((issuer, due), failed) in
                self.issuers.iter().zip(&mut due).zip(&mut failed).filter(|((_, due), _)| **due <= now)
            {
                let why = self.read(issuer).await.err();
                *due = clock::now() + issuer.wait(why.is_some());
                // What was read last goes on to hold.
                if let Some(why) = why.as_ref().filter(|why| failed.as_ref() != Some(*why)) {
                    tell(issuer, why);
                }
                *failed = why;
            }
            let lacking: Vec<&str> = self
                .issuers
                .iter()
                .zip(&failed)
                .filter(|(_, why)| why.is_some())
                .map(|(issuer, _)| issuer.name.as_str())
                .collect();
            match lacking.is_empty() {
                true => health.up(PART),
                false => health.lacks(PART, format!("keys could not be read anew: {}", lacking.join(", "))),
            }
        }
    }

    /// Reads an issuer's keys because a token named one that is not among them; whether that was worth while.
    pub(crate) async fn look_again(&self, issuer: usize) -> bool {
        let Some(issuer) = self.issuers.get(issuer) else { return false };
        let now = clock::now();
        {
            let mut asked = issuer.reader.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|at| now.saturating_duration_since(at) < ASKED_EVERY) {
                return false;
            }
            *asked = Some(now);
        }
        self.read(issuer).await.unwrap_or(false)
    }

    /// Whether there is something new.
    async fn read(&self, issuer: &Issuer) -> Result<bool, String> {
        let _turn = issuer.reader.turn.lock().await;
        let Some(source) = issuer.config.source() else { return Ok(false) };
        let bytes = match source {
            Source::KeysFile(path) | Source::SecretFile(path) => file(path).await?,
            Source::KeysUrl(url) => self.fetcher.fetch(url).await?,
        };
        if issuer.reader.seen.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&bytes) {
            return Ok(false);
        }
        let allowed = &issuer.config.algorithms;
        let keys = match source {
            Source::SecretFile(_) => KeySet::secret(&bytes, allowed)?,
            Source::KeysFile(_) | Source::KeysUrl(_) => KeySet::public(&bytes, allowed)?,
        };
        self.replace(issuer, keys);
        *issuer.reader.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
        tracing::info!(issuer = issuer.name, "the keys were read");
        Ok(true)
    }
}

impl Issuer {
    /// How long until the keys are read again.
    fn wait(&self, failed: bool) -> Duration {
        match self.config.source() {
            Some(Source::KeysUrl(_)) if failed => FAILED_EVERY,
            Some(Source::KeysUrl(_)) => Duration::from_secs(self.config.keys_refresh_s),
            _ => FILE_EVERY,
        }
    }
}

fn tell(issuer: &Issuer, why: &str) {
    tracing::warn!(issuer = issuer.name, why, "the keys could not be read");
}

async fn file(path: &Path) -> Result<Bytes, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    file.take(KEYS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    match bytes.len() > KEYS_BYTES_MAX {
        true => Err(format!("{} has more than {KEYS_BYTES_MAX} bytes", path.display())),
        false => Ok(bytes.into()),
    }
}
