//! Certificates from files, read anew when these change: the connection that used the old ones is replaced.

use std::{
    fs, io,
    sync::{PoisonError, RwLock, Weak},
};

use redis::{ClientTlsConfig, ErrorKind, RedisError, RedisResult, TlsCertificates};

use super::{RENEW_EVERY, RedisPlace, RedisTimes, Way};

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    ca: Option<Vec<u8>>,
    /// Certificate and key.
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Pem {
    /// None when no file is named; the system's own authorities are trusted then.
    pub(super) fn read(place: &RedisPlace) -> RedisResult<Option<Self>> {
        if !place.is_tls() || !place.has_files() {
            return Ok(None);
        }
        let read = |key: &'static str, file: &String| match file.is_empty() {
            true => Ok(None),
            false => fs::read(file).map(Some).map_err(|why| unreadable(key, file, &why)),
        };
        let ca = read("redis.ca_file", &place.ca_file)?;
        let own = read("redis.cert_file", &place.cert_file)?.zip(read("redis.key_file", &place.key_file)?);
        Ok(Some(Self { ca, own }))
    }

    pub(super) fn certificates(&self) -> TlsCertificates {
        let own = self.own.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        TlsCertificates { client_tls: own, root_cert: self.ca.clone() }
    }
}

fn unreadable(key: &'static str, file: &str, why: &io::Error) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, key, format!("'{file}' cannot be read: {why}")))
}

/// Replaces the connection whenever the files hold something else, until nobody has it any more.
///
/// Files that are no certificates, such as a half that is not yet followed by the other, leave the one before in its place.
pub(super) async fn renew(way: Weak<RwLock<Way>>, place: RedisPlace, times: RedisTimes, mut used: Pem) {
    let mut refused = None;
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let Some(way) = way.upgrade() else { return };
        let found = match Pem::read(&place) {
            Ok(Some(found)) if found != used && refused.as_ref() != Some(&found) => found,
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(%error, "Redis keeps its certificates");
                continue;
            }
        };
        match Way::open(&place, times, Some(&found)) {
            Ok(fresh) => {
                *way.write().unwrap_or_else(PoisonError::into_inner) = fresh;
                used = found;
                tracing::info!("Redis is connected with new certificates");
            }
            Err(error) => {
                tracing::warn!(%error, "the new certificates for Redis cannot be used; the old ones stay");
                refused = Some(found);
            }
        }
    }
}
