//! Whose tokens are taken besides our own: a table for each issuer, over what holds for all of them.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::Deserialize;
use serde_json::{Map, Value};
use talkfleet_shared::{
    config::Url,
    id::{TenantId, UserId},
};

/// The name of the table whose values hold for every issuer that has none of its own.
const DEFAULT: &str = "default";

/// The longest prefix of users' ids: a digest of what it stands before still makes an id.
const PREFIX_CHARS_MAX: usize = 16;

/// Clocks that differ by more are to be set.
const LEEWAY_S_MAX: u64 = 300;

/// Bounds for the longest token that is looked at, in bytes: some claims at least, and what a head may hold.
const TOKEN_BYTES: (usize, usize) = (256, 16_384);

/// Every issuer by its name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, Map<String, Value>>")]
pub struct JwtConfig {
    pub(super) issuers: BTreeMap<String, IssuerConfig>,
}

/// One issuer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerConfig {
    pub(super) issuer: String,
    pub(super) audience: String,
    keys_file: String,
    keys_url: Url,
    pub(super) keys_refresh_s: u64,
    secret_file: String,
    pub(super) algorithms: Vec<Algorithm>,
    tenant: String,
    tenant_claim: String,
    pub(super) user_claim: String,
    pub(super) user_prefix: String,
    pub(super) leeway_s: u64,
    pub(super) token_bytes_max: usize,
}

/// Where the keys of an issuer lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source<'a> {
    /// A file of public keys.
    KeysFile(&'a Path),
    /// An address of public keys.
    KeysUrl(&'a str),
    /// A file with a secret that both sides know.
    SecretFile(&'a Path),
}

/// For which tenant an issuer speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    One(TenantId),
    /// The one that the claim names: this issuer speaks for all of them.
    Claimed(&'a str),
}

impl TryFrom<BTreeMap<String, Map<String, Value>>> for JwtConfig {
    type Error = String;

    fn try_from(mut tables: BTreeMap<String, Map<String, Value>>) -> Result<Self, String> {
        let default = tables.remove(DEFAULT).unwrap_or_default();
        let mut issuers = BTreeMap::new();
        for (name, own) in tables {
            let mut whole = default.clone();
            whole.extend(own);
            let issuer = serde_json::from_value(whole.into()).map_err(|error| format!("jwt.{name}: {error}"))?;
            issuers.insert(name, issuer);
        }
        // What holds for all is read as well when there is nobody, so that a wrong key in it is named.
        serde_json::from_value::<IssuerConfig>(default.into()).map_err(|error| format!("jwt.{DEFAULT}: {error}"))?;
        Ok(Self { issuers })
    }
}

impl IssuerConfig {
    /// None unless exactly one of the three is given.
    pub(super) fn source(&self) -> Option<Source<'_>> {
        match [self.keys_file.as_str(), self.keys_url.reveal(), self.secret_file.as_str()] {
            [file, "", ""] if !file.is_empty() => Some(Source::KeysFile(Path::new(file))),
            ["", url, ""] if !url.is_empty() => Some(Source::KeysUrl(url)),
            ["", "", secret] if !secret.is_empty() => Some(Source::SecretFile(Path::new(secret))),
            _ => None,
        }
    }

    /// None unless exactly one of the two is given, and good.
    pub(super) fn whose(&self) -> Option<Whose<'_>> {
        match (self.tenant.as_str(), self.tenant_claim.as_str()) {
            (tenant, "") => TenantId::parse(tenant).ok().map(Whose::One),
            ("", claim) => Some(Whose::Claimed(claim)),
            _ => None,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, line: String| {
            if !holds {
                problems.push(line);
            }
        };
        must(!self.issuer.is_empty(), "issuer is empty; give what the tokens' claim iss says".into());
        must(!self.audience.is_empty(), "audience is empty; tokens that are meant for others would be taken".into());
        let source = self.source();
        must(source.is_some(), "give one of keys_file, keys_url and secret_file".into());
        if let Some(Source::KeysUrl(url)) = source {
            must(is_private(url), format!("keys_url '{}' should begin with https://", self.keys_url));
        }
        must(!self.algorithms.is_empty(), "algorithms is empty; no token would be taken".into());
        must(self.keys_refresh_s > 0, "keys_refresh_s must be above 0".into());
        let wants_secret = matches!(source, Some(Source::SecretFile(_)));
        let fits = |algorithm: &Algorithm| (algorithm.family() == AlgorithmFamily::Hmac) == wants_secret;
        must(
            source.is_none() || self.algorithms.iter().all(fits),
            "algorithms: HS256, HS384 and HS512 go with secret_file, all others with keys_file or keys_url".into(),
        );
        must(self.whose().is_some(), "give tenant, a tenant's name, or tenant_claim, the claim that names it".into());
        must(!self.user_claim.is_empty(), "user_claim is empty; give the claim that names the user".into());
        let prefix = &self.user_prefix;
        must(
            prefix.is_empty() || prefix.len() <= PREFIX_CHARS_MAX && UserId::parse(prefix).is_ok(),
            format!("user_prefix '{prefix}' is not 1 to {PREFIX_CHARS_MAX} letters, digits, '_' or '-'"),
        );
        must(
            self.leeway_s <= LEEWAY_S_MAX,
            format!("leeway_s is {}; give at most {LEEWAY_S_MAX}, and set the clocks", self.leeway_s),
        );
        let (least, most) = TOKEN_BYTES;
        must(
            (least..=most).contains(&self.token_bytes_max),
            format!("token_bytes_max is {}; give {least} to {most}", self.token_bytes_max),
        );
        problems
    }
}

impl JwtConfig {
    /// Whether any keys come from an address.
    pub(super) fn fetches(&self) -> bool {
        self.issuers.values().any(|issuer| matches!(issuer.source(), Some(Source::KeysUrl(_))))
    }

    /// One line for each impossible value, naming its key.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut issuers = HashSet::new();
        for (name, issuer) in &self.issuers {
            problems.extend(issuer.problems().into_iter().map(|line| format!("jwt.{name}.{line}")));
            if !issuers.insert(&issuer.issuer) {
                problems.push(format!("jwt.{name}.issuer '{}' has a table already", issuer.issuer));
            }
            for (other, theirs) in self.issuers.range(..name.clone()) {
                let apart = |a: &str, b: &str| !a.starts_with(b) && !b.starts_with(a);
                if meet(issuer, theirs) && !apart(&issuer.user_prefix, &theirs.user_prefix) {
                    problems.push(format!(
                        "jwt.{name} and jwt.{other} may speak for the same tenant, so that their users could be taken for \
                         one another; give each a user_prefix that is not how the other's begins"
                    ));
                }
            }
        }
        problems
    }
}

/// Whether two issuers may name users of one tenant.
fn meet(a: &IssuerConfig, b: &IssuerConfig) -> bool {
    match (a.whose(), b.whose()) {
        (Some(Whose::One(a)), Some(Whose::One(b))) => a == b,
        _ => true,
    }
}

/// Whoever can change keys on their way could sign for everybody; on one's own machine nobody sits in between.
fn is_private(url: &str) -> bool {
    url.starts_with("https://")
        || ["http://127.0.0.1", "http://localhost", "http://[::1]"]
            .iter()
            .any(|own| url.strip_prefix(own).is_some_and(|rest| rest.starts_with([':', '/'])))
}

#[cfg(test)]
mod tests {
    use crate::config::GatewayConfig;

    fn problems(pairs: &[(&str, &str)]) -> String {
        let flags: Vec<_> = pairs.iter().map(|(key, value)| (format!("jwt.{key}"), (*value).to_owned())).collect();
        GatewayConfig::load(None, &flags).map_or_else(|error| error.to_string(), |_| String::new())
    }

    const GOOD: [(&str, &str); 4] = [
        ("shop.issuer", "https://id.shop.example"),
        ("shop.audience", "desk"),
        ("shop.keys_file", "/etc/keys.json"),
        ("shop.tenant", "shop"),
    ];

    #[track_caller]
    fn refused(pairs: &[(&str, &str)], expected: &str) {
        let said = problems(&[&GOOD[..], pairs].concat());
        assert!(said.contains(expected), "{pairs:?}: {said}");
    }

    #[test]
    fn an_issuer_needs_four_values() {
        assert_eq!(problems(&GOOD), "");
        assert_eq!(problems(&[]), "");
        let said = problems(&[("shop.leeway_s", "5")]);
        for expected in ["shop.issuer", "shop.audience", "keys_file", "tenant_claim"] {
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn impossible_values_are_named() {
        refused(&[("shop.isuer", "x")], "unknown field `isuer`");
        refused(&[("default.audiense", "x")], "unknown field `audiense`");
        refused(&[("shop.algorithms", "[\"none\"]")], "unknown variant `none`");
        refused(&[("shop.algorithms", "[\"RS256\", \"HS256\"]")], "go with secret_file");
        refused(&[("shop.algorithms", "[]")], "algorithms is empty");
        refused(&[("shop.secret_file", "/etc/secret")], "one of keys_file");
        refused(&[("shop.keys_file", ""), ("shop.secret_file", "/etc/secret")], "go with secret_file");
        refused(&[("shop.keys_file", ""), ("shop.keys_url", "http://id.example/keys")], "should begin with https");
        refused(&[("shop.keys_file", ""), ("shop.keys_url", "http://localhost.example/keys")], "https");
        refused(&[("shop.tenant_claim", "org")], "tenant_claim");
        refused(&[("shop.tenant", "a.b")], "a tenant's name");
        refused(&[("shop.user_prefix", "a|b")], "user_prefix");
        refused(&[("shop.leeway_s", "3600")], "set the clocks");
        refused(&[("shop.token_bytes_max", "64")], "give 256 to 16384");
    }

    #[test]
    fn two_issuers_never_name_the_same_user() {
        let other = |issuer: &'static str, tenant: &'static str| {
            [
                ("app.issuer", issuer),
                ("app.audience", "desk"),
                ("app.keys_file", "/etc/app.json"),
                ("app.tenant", tenant),
            ]
        };
        refused(&other("https://id.app.example", "shop"), "may speak for the same tenant");
        refused(&other("https://id.shop.example", "app"), "has a table already");
        let both = [&GOOD[..], &other("https://id.app.example", "app")].concat();
        assert_eq!(problems(&both), "");
        let both = [&GOOD[..], &other("https://id.app.example", "shop")].concat();
        let apart = [&both[..], &[("app.user_prefix", "app-"), ("shop.user_prefix", "shop-")]].concat();
        assert_eq!(problems(&apart), "");
    }
}
