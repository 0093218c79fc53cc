//! How the broker lets us in by a file: an NKEY's seed or a credentials file, read anew for each connection, so that a key
//! can be changed while we run.

use std::{path::PathBuf, sync::Arc};

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use crate::config::NatsConfig;

/// What stands around the user's JWT and the seed in a credentials file.
const JWT: [&str; 2] = ["-----BEGIN NATS USER JWT-----", "------END NATS USER JWT------"];
const SEED: [&str; 2] = ["-----BEGIN USER NKEY SEED-----", "------END USER NKEY SEED------"];

/// The file that lets us in, by its kind.
#[derive(Debug, Clone)]
enum Login {
    Nkey(PathBuf),
    Credentials(PathBuf),
}

/// Options of a connection that is let in as configured; the error names the key and its file, never what is in there.
pub(super) async fn options(config: &NatsConfig) -> Result<ConnectOptions, String> {
    let login = match (&*config.nkey_file, &*config.credentials_file) {
        ("", "") => return Ok(ConnectOptions::new()),
        ("", file) => Login::Credentials(file.into()),
        (file, _) => Login::Nkey(file.into()),
    };
    // Tried once, so that a wrong file is told at the start and by its name.
    login.sign(b"nonce").await?;
    let login = Arc::new(login);
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let login = login.clone();
        async move { login.sign(&nonce).await.map_err(AuthError::new) }
    }))
}

impl Login {
    /// Who we are, proved by a signature of the broker's nonce.
    async fn sign(&self, nonce: &[u8]) -> Result<Auth, String> {
        let (key, path) = match self {
            Self::Nkey(path) => ("nats.nkey_file", path),
            Self::Credentials(path) => ("nats.credentials_file", path),
        };
        let shown = path.display();
        let text = tokio::fs::read_to_string(path).await;
        let text = text.map_err(|error| format!("{key}: the file {shown} cannot be read: {error}"))?;
        let wrong = |what: &str| format!("{key}: the file {shown} {what}");
        let mut auth = Auth::new();
        let seed = match self {
            Self::Nkey(_) => text.trim(),
            Self::Credentials(_) => {
                let jwt = between(&text, JWT).ok_or_else(|| wrong("holds no user's JWT"))?;
                auth.jwt = Some(jwt.to_owned());
                between(&text, SEED).ok_or_else(|| wrong("holds no seed"))?
            }
        };
        let pair = KeyPair::from_seed(seed).map_err(|_| wrong("holds no seed of an NKEY, which begins with SU"))?;
        auth.signature = Some(pair.sign(nonce).map_err(|_| wrong("holds a public key where its seed should be"))?);
        if auth.jwt.is_none() {
            auth.nkey = Some(pair.public_key());
        }
        Ok(auth)
    }
}

/// What stands between two lines.
fn between<'a>(text: &'a str, [begin, end]: [&str; 2]) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    let (within, _) = rest.split_once(end)?;
    Some(within.trim()).filter(|within| !within.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sign(login: fn(PathBuf) -> Login, content: &str) -> Result<Auth, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        login(file.path().to_owned()).sign(b"nonce").await
    }

    #[tokio::test]
    async fn a_seed_signs_and_junk_is_named_without_being_told() {
        let pair = KeyPair::new_user();
        let seed = pair.seed().unwrap();
        let auth = sign(Login::Nkey, &format!("{seed}\n")).await.unwrap();
        assert_eq!(auth.nkey, Some(pair.public_key()));
        pair.verify(b"nonce", &auth.signature.unwrap()).unwrap();

        let [[jwt, jwt_end], [key, key_end]] = [JWT, SEED];
        let creds = format!("{jwt}\neyJ0.a.b\n{jwt_end}\n\nkeep it secret\n\n{key}\n{seed}\n{key_end}\n");
        let auth = sign(Login::Credentials, &creds).await.unwrap();
        assert_eq!((auth.jwt.as_deref(), auth.nkey), (Some("eyJ0.a.b"), None));
        pair.verify(b"nonce", &auth.signature.unwrap()).unwrap();

        for (login, content, expected) in [
            (Login::Nkey as fn(PathBuf) -> Login, "geheim", "holds no seed of an NKEY"),
            (Login::Credentials, "geheim", "holds no user's JWT"),
            (Login::Credentials, &format!("{jwt}\ngeheim\n{jwt_end}\n"), "holds no seed"),
        ] {
            let Err(error) = sign(login, content).await else { panic!("{content} was taken") };
            assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
        }
    }
}
