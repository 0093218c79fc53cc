//! PURE: the keys by which an issuer's tokens are verified, each for the algorithms that it is made for and no others.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};

/// Bytes of a file of keys, or of a secret's.
pub(super) const KEYS_BYTES_MAX: usize = 64 * 1024;

/// Keys of one issuer: two while they change, and some to spare.
const KEYS_MAX: usize = 32;

/// The shortest secret in bytes: as long as the hash that it keys (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// An issuer's keys.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    key: DecodingKey,
    /// Those of the allowed ones that it is made for.
    algorithms: Vec<Algorithm>,
}

impl KeySet {
    /// A JWKS (RFC 7517). Keys that are for something else are left out; a secret has no business among public keys.
    pub(super) fn public(json: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(json)
            .map_err(|error| format!("it is no set of keys (JWKS): line {} column {}", error.line(), error.column()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("it holds {} keys, at most {KEYS_MAX}", set.keys.len()));
        }
        let keys: Vec<Key> = set.keys.iter().filter_map(|jwk| key_of(jwk, allowed)).collect();
        if keys.is_empty() {
            return Err("it holds no key for the configured algorithms".into());
        }
        Ok(Self(keys))
    }

    /// A secret that both sides know.
    pub(super) fn secret(text: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let secret = text.trim_ascii_end();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!("the secret has {} bytes; give {SECRET_BYTES_MIN} or more", secret.len()));
        }
        Ok(Self(vec![Key { id: None, key: DecodingKey::from_secret(secret), algorithms: allowed.to_vec() }]))
    }

    /// The keys that may have signed a token whose head says this. The head is the sender's word: it chooses among keys
    /// and never what a key is used for.
    pub(super) fn fitting(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &DecodingKey> {
        let named = move |key: &&Key| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
        let fits = move |key: &&Key| key.algorithms.contains(&algorithm);
        self.0.iter().filter(named).filter(fits).map(|key| &key.key)
    }
}

fn key_of(jwk: &Jwk, allowed: &[Algorithm]) -> Option<Key> {
    let common = &jwk.common;
    if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let stated = match common.key_algorithm {
        Some(algorithm) => Some(Algorithm::try_from(algorithm).ok()?),
        None => None,
    };
    let made_for = made_for(&jwk.algorithm).iter().copied();
    let fits = |algorithm: &Algorithm| allowed.contains(algorithm) && stated.is_none_or(|stated| stated == *algorithm);
    let algorithms: Vec<Algorithm> = made_for.filter(fits).collect();
    let key = DecodingKey::from_jwk(jwk).ok().filter(|_| !algorithms.is_empty())?;
    Some(Key { id: common.key_id.clone(), key, algorithms })
}

/// What a key's shape is good for; nothing of a public key is ever a secret.
fn made_for(shape: &AlgorithmParameters) -> &'static [Algorithm] {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match shape {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"one","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

    #[track_caller]
    fn check(keys: &str, allowed: &[Algorithm], expected: Result<usize, &str>) {
        let set = KeySet::public(format!("{{\"keys\":[{keys}]}}").as_bytes(), allowed);
        match (set, expected) {
            (Ok(set), Ok(count)) => assert_eq!(set.0.len(), count),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (set, _) => panic!("{keys}: {set:?}"),
        }
    }

    #[test]
    fn a_key_is_for_what_it_is_made_for() {
        let all = [Algorithm::ES256, Algorithm::ES384, Algorithm::RS256];
        check(EC, &all, Ok(1));
        check(EC, &[Algorithm::RS256], Err("no key for the configured"));
        check(&EC.replace("}", ",\"use\":\"enc\"}"), &all, Err("no key"));
        check(&EC.replace("}", ",\"alg\":\"ES384\"}"), &all, Err("no key"));
        check(r#"{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}"#, &[Algorithm::HS256], Err("no key"));
        check(&format!("{EC},{{\"kty\":\"new\"}}"), &all, Ok(1));
        check(&[EC; 33].join(","), &all, Err("at most 32"));
        check("nonsense", &all, Err("no set of keys"));
    }

    #[test]
    fn the_head_chooses_among_keys_and_nothing_else() {
        let two = format!("{{\"keys\":[{EC},{}]}}", EC.replace("one", "two"));
        let set = KeySet::public(two.as_bytes(), &[Algorithm::ES256]).unwrap();
        let fitting = |id, algorithm| set.fitting(id, algorithm).count();
        assert_eq!(fitting(Some("one"), Algorithm::ES256), 1);
        assert_eq!(fitting(None, Algorithm::ES256), 2);
        assert_eq!(fitting(Some("three"), Algorithm::ES256), 0);
        assert_eq!(fitting(Some("one"), Algorithm::HS256), 0);
    }

    #[test]
    fn a_secret_is_long_and_ends_before_its_line_does() {
        let secret = |text: &[u8]| KeySet::secret(text, &[Algorithm::HS256]);
        assert!(secret(b"short\n").unwrap_err().contains("give 32 or more"));
        assert_eq!(secret(&[b'x'; 32]).unwrap().fitting(Some("any"), Algorithm::HS256).count(), 1);
        assert!(secret(&[&[b'x'; 31][..], b"\n\n"].concat()).is_err());
    }
}
