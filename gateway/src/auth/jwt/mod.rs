//! Tokens of others: JSON Web Tokens of the issuers that the configuration names, each held against that issuer's keys.
//!
//! What a token says of itself chooses the issuer and, among that issuer's keys, one; never an algorithm that was not
//! allowed, never a key that it brings along.

/// Every key of the configuration.
mod config;

/// PURE: keys, and what each is good for.
mod keys;

/// PURE: a subject becomes an identifier.
mod user;

/// The one client of identity providers.
mod fetch;

/// Where keys come from, and when they are read anew.
mod source;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, Validation, dangerous::insecure_decode_claims, decode, decode_header, errors::ErrorKind,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use talkfleet_shared::id::TenantId;

pub use self::config::JwtConfig;
use self::{
    config::{IssuerConfig, Whose},
    fetch::Fetcher,
    keys::KeySet,
    source::Reader,
};
use super::{Principal, PrincipalKind, Refused};

/// Tokens that were found good are remembered, twice over, so that each costs one signature.
const KNOWN_MAX: usize = 10_000;

/// The issuers, their keys as they are now, and the tokens that were found good.
#[derive(Default)]
pub(crate) struct Jwt {
    issuers: Vec<Issuer>,
    fetcher: Fetcher,
    known: Mutex<[HashMap<[u8; 32], Known>; 2]>,
}

struct Issuer {
    name: String,
    config: IssuerConfig,
    keys: RwLock<KeySet>,
    reader: Reader,
}

#[derive(Clone)]
struct Known {
    principal: Principal,
    /// Unix milliseconds, with what clocks may differ by.
    until_ms: u64,
}

/// What became of a token that was looked at.
pub(crate) enum Verdict {
    Good(Principal),
    Refused(Refused),
    /// It names a key that its issuer did not have when the keys were last read.
    UnknownKey {
        issuer: usize,
    },
}

impl Verdict {
    pub(crate) fn settled(self) -> Result<Principal, Refused> {
        match self {
            Self::Good(principal) => Ok(principal),
            Self::Refused(refused) => Err(refused),
            Self::UnknownKey { .. } => Err(Refused::Stranger),
        }
    }
}

/// What chooses the issuer; nothing else is read before the signature was checked.
#[derive(Deserialize)]
struct Issued {
    iss: String,
}

impl Jwt {
    pub(super) fn new(config: &JwtConfig) -> Self {
        let issuers = config.issuers.iter().map(|(name, config)| Issuer {
            name: name.clone(),
            config: config.clone(),
            keys: RwLock::default(),
            reader: Reader::default(),
        });
        let fetcher = if config.fetches() { Fetcher::new() } else { Fetcher::default() };
        Self { issuers: issuers.collect(), fetcher, known: Mutex::default() }
    }

    /// Every issuer signs with this secret; for fuzz targets, which read no files.
    pub(crate) fn with_secret(config: &JwtConfig, secret: &[u8]) -> Result<Self, String> {
        let jwt = Self::new(config);
        for issuer in &jwt.issuers {
            jwt.replace(issuer, KeySet::secret(secret, &issuer.config.algorithms)?);
        }
        Ok(jwt)
    }

    /// Whether these bytes are a set of keys for the usual algorithms.
    pub(crate) fn is_key_set(json: &[u8]) -> bool {
        KeySet::public(json, &[Algorithm::RS256, Algorithm::ES256]).is_ok()
    }

    /// Whether anything is to be looked at: without issuers every such token is a stranger's, for free.
    pub(super) fn takes(&self, token: &str) -> bool {
        let longest = self.issuers.iter().map(|issuer| issuer.config.token_bytes_max).max().unwrap_or_default();
        token.len() <= longest && token.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Who sent a token that was found good before, for the price of a digest.
    pub(super) fn known(&self, token: &str, now_ms: u64) -> Option<Principal> {
        if self.issuers.is_empty() {
            return None;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = digest(token);
        let found = known.iter().find_map(|half| half.get(&digest)).filter(|known| now_ms < known.until_ms);
        found.map(|known| known.principal.clone())
    }

    /// Who sent this token, by its signature.
    pub(crate) fn verify(&self, token: &str, now_ms: u64) -> Verdict {
        let verdict = self.look_at(token, now_ms).unwrap_or_else(Verdict::Refused);
        if let Verdict::Good(principal) = &verdict {
            self.remember(token, principal);
        }
        verdict
    }

    fn look_at(&self, token: &str, now_ms: u64) -> Result<Verdict, Refused> {
        let stranger = |_| Refused::Stranger;
        let head = decode_header(token).map_err(stranger)?;
        // What a token says must be understood (RFC 7515, 4.1.11) is not.
        if head.crit.is_some() {
            return Err(Refused::Stranger);
        }
        let Issued { iss } = insecure_decode_claims(token).map_err(stranger)?;
        let (number, issuer) =
            self.issuers.iter().enumerate().find(|(_, issuer)| issuer.config.issuer == iss).ok_or(Refused::Stranger)?;
        if token.len() > issuer.config.token_bytes_max || !issuer.config.algorithms.contains(&head.alg) {
            return Err(Refused::Stranger);
        }
        let keys = issuer.keys.read().unwrap_or_else(PoisonError::into_inner);
        let validation = issuer.config.validation(head.alg);
        let mut fitting = keys.fitting(head.kid.as_deref(), head.alg).peekable();
        if fitting.peek().is_none() {
            return Ok(Verdict::UnknownKey { issuer: number });
        }
        for key in fitting {
            match decode::<Map<String, Value>>(token, key, &validation) {
                Ok(data) => return issuer.config.principal(&data.claims, now_ms).map(Verdict::Good),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(_) => return Err(Refused::Stranger),
            }
        }
        Err(Refused::Stranger)
    }

    fn remember(&self, token: &str, principal: &Principal) {
        let Some(until_ms) = principal.until_ms else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known[0].len() >= KNOWN_MAX {
            known.swap(0, 1);
            known[0].clear();
        }
        known[0].insert(digest(token), Known { principal: principal.clone(), until_ms });
    }

    /// New keys: what was found good by the old ones is looked at again.
    fn replace(&self, issuer: &Issuer, keys: KeySet) {
        *issuer.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().for_each(HashMap::clear);
    }
}

impl IssuerConfig {
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Times are held against the caller's clock, below.
        validation.validate_exp = false;
        validation
    }

    /// Who is meant by claims whose signature, issuer and audience are good.
    fn principal(&self, claims: &Map<String, Value>, now_ms: u64) -> Result<Principal, Refused> {
        let seconds = |claim: &str| claims.get(claim).map(|value| value.as_f64().ok_or(Refused::Stranger)).transpose();
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str).ok_or(Refused::Stranger);
        let expires = seconds("exp")?.ok_or(Refused::Stranger)?;
        let begins = seconds("nbf")?.unwrap_or(f64::MIN);
        let leeway = self.leeway_s as f64;
        let now = Duration::from_millis(now_ms).as_secs_f64();
        // A cast from a fraction ends at the bounds of what fits.
        let until_ms = ((expires + leeway) * 1_000.0) as u64;
        if now_ms >= until_ms {
            return Err(Refused::Stale);
        }
        if now + leeway < begins {
            return Err(Refused::Stranger);
        }
        let tenant = match self.whose() {
            Some(Whose::One(tenant)) => tenant,
            Some(Whose::Claimed(claim)) => TenantId::parse(text(claim)?).map_err(|_| Refused::Stranger)?,
            None => return Err(Refused::Stranger),
        };
        let user = user::user_id(&self.user_prefix, text(&self.user_claim)?).ok_or(Refused::Stranger)?;
        Ok(Principal { tenant, user: Some(user), kind: PrincipalKind::Customer, until_ms: Some(until_ms) })
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests;
