//! Tokens good and bad, held against keys that are read from files and from an address.

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{EncodingKey, Header, encode, jwk::Jwk};
use serde_json::json;

use super::*;
use crate::config::GatewayConfig;

const ISSUER: &str = "https://id.shop.example";
const NOW_MS: u64 = 1_800_000_000_000;
const NOW_S: u64 = NOW_MS / 1_000;

/// Somebody with a key of the curve P-256.
struct Signer {
    id: &'static str,
    key: EncodingKey,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self { id, key: EncodingKey::from_ec_der(pkcs8.as_ref()) }
    }

    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.into());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(Header { kid: Some(self.id.into()), ..Header::new(Algorithm::ES256) }, claims)
    }

    fn sign_as(&self, header: Header, claims: &Value) -> String {
        encode(&header, claims, &self.key).unwrap()
    }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "desk", "sub": "ann", "exp": NOW_S + 600 })
}

fn with(claim: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[claim] = value.into();
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

struct Desk {
    folder: tempfile::TempDir,
    jwt: Jwt,
}

impl Desk {
    async fn open(keys: &[Value], set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
        let file = file.display().to_string();
        let base = [
            ("jwt.shop.issuer", ISSUER),
            ("jwt.shop.audience", "desk"),
            ("jwt.shop.keys_file", &file),
            ("jwt.shop.tenant", "demo"),
            ("jwt.shop.algorithms", r#"["ES256", "RS256"]"#),
        ];
        let flags: Vec<_> = base.iter().chain(set).map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let jwt = Jwt::new(&GatewayConfig::load(None, &flags).unwrap().jwt);
        jwt.open().await.unwrap();
        Self { folder, jwt }
    }

    fn publish(&self, keys: &[Value]) {
        std::fs::write(self.folder.path().join("keys.json"), json!({ "keys": keys }).to_string()).unwrap();
    }

    fn verify(&self, token: &str) -> Result<Principal, Refused> {
        self.jwt.verify(token, NOW_MS).settled()
    }

    #[track_caller]
    fn refused(&self, token: &str, why: Refused) {
        assert_eq!(self.verify(token).map(|principal| principal.user), Err(why));
    }
}

#[tokio::test]
async fn a_good_token_names_its_tenant_and_user() {
    let signer = Signer::new("one");
    let desk = Desk::open(&[signer.public()], &[]).await;
    let principal = desk.verify(&signer.sign(&claims())).unwrap();
    assert_eq!(principal.tenant.as_str(), "demo");
    assert_eq!(principal.user.as_ref().map(|user| user.as_str()), Some("ann"));
    assert_eq!((principal.kind, principal.until_ms), (PrincipalKind::Customer, Some(NOW_MS + 630_000)));
    let many = with("aud", json!(["other", "desk"]));
    assert!(desk.verify(&signer.sign(&many)).is_ok(), "one of its audiences is ours");
    let unnamed = signer.sign_as(Header::new(Algorithm::ES256), &claims());
    assert!(desk.verify(&unnamed).is_ok(), "without a name of a key, each that fits is tried");
}

#[tokio::test]
async fn a_claim_may_name_the_tenant_and_another_the_user() {
    let signer = Signer::new("one");
    let set = [("jwt.shop.tenant", ""), ("jwt.shop.tenant_claim", "org"), ("jwt.shop.user_claim", "email")];
    let desk = Desk::open(&[signer.public()], &set).await;
    let mut claims = with("org", "acme");
    claims["email"] = "ann@shop.example".into();
    let principal = desk.verify(&signer.sign(&claims)).unwrap();
    assert_eq!(principal.tenant.as_str(), "acme");
    assert!(principal.user.is_some_and(|user| user.as_str().starts_with("sub-")));
    for wrong in [json!(7), json!("a.b"), json!("*"), json!(null)] {
        claims["org"] = wrong;
        desk.refused(&signer.sign(&claims), Refused::Stranger);
    }
}

#[tokio::test]
async fn what_is_not_meant_for_us_or_not_now_is_refused() {
    let signer = Signer::new("one");
    let desk = Desk::open(&[signer.public()], &[]).await;
    for claims in [
        with("iss", "https://id.other.example"),
        with("iss", json!([ISSUER])),
        with("aud", "another-service"),
        with("aud", json!([])),
        with("sub", ""),
        with("sub", 7),
        with("exp", "soon"),
        with("nbf", NOW_S + 31),
        with("nbf", "later"),
        without("iss"),
        without("aud"),
        without("sub"),
        without("exp"),
    ] {
        desk.refused(&signer.sign(&claims), Refused::Stranger);
    }
    desk.refused(&signer.sign(&with("exp", NOW_S - 30)), Refused::Stale);
    assert!(desk.verify(&signer.sign(&with("exp", NOW_S - 29))).is_ok(), "clocks differ by half a minute");
    assert!(desk.verify(&signer.sign(&with("nbf", NOW_S + 30))).is_ok());
}

#[tokio::test]
async fn a_forged_signature_is_refused_however_it_is_dressed() {
    let (signer, thief) = (Signer::new("one"), Signer::new("one"));
    let desk = Desk::open(&[signer.public()], &[]).await;
    let good = signer.sign(&claims());
    desk.refused(&thief.sign(&claims()), Refused::Stranger);
    let (head_and_claims, signature) = good.rsplit_once('.').unwrap();
    let (head, _) = head_and_claims.split_once('.').unwrap();
    let others = BASE64.encode(with("sub", "bob").to_string());
    desk.refused(&format!("{head}.{others}.{signature}"), Refused::Stranger);
    desk.refused(&format!("{head_and_claims}."), Refused::Stranger);
    desk.refused(&format!("{good}."), Refused::Stranger);
    desk.refused("..", Refused::Stranger);
    desk.refused("a.b.c", Refused::Stranger);
    // A key that the token brings along is not looked at.
    let mut header = Header { kid: Some("one".into()), ..Header::new(Algorithm::ES256) };
    header.jwk = serde_json::from_value(thief.public()).ok();
    header.jku = Some("https://evil.example/keys".into());
    desk.refused(&thief.sign_as(header, &claims()), Refused::Stranger);
    // What it says must be understood is not.
    let header = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::ES256) };
    desk.refused(&signer.sign_as(header, &claims()), Refused::Stranger);
}

#[tokio::test]
async fn no_algorithm_but_the_allowed_ones_of_the_key_counts() {
    let signer = Signer::new("one");
    let public = signer.public();
    let desk = Desk::open(std::slice::from_ref(&public), &[]).await;
    let payload = BASE64.encode(claims().to_string());
    for none in ["none", "None", "NONE", ""] {
        let head = BASE64.encode(json!({ "alg": none, "kid": "one" }).to_string());
        desk.refused(&format!("{head}.{payload}."), Refused::Stranger);
    }
    // The public key, in each way in which it is written, as if it were a secret that both sides know.
    let raw = |part: &str| BASE64.decode(public[part].as_str().unwrap()).unwrap();
    for secret in [raw("x"), [raw("x"), raw("y")].concat(), public.to_string().into_bytes()] {
        for kid in [Some("one".to_owned()), None] {
            let header = Header { kid, ..Header::new(Algorithm::HS256) };
            let confused = encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
            desk.refused(&confused, Refused::Stranger);
        }
    }
    // An algorithm that is allowed, for a key of another kind.
    let head = BASE64.encode(json!({ "alg": "RS256", "kid": "one" }).to_string());
    desk.refused(&format!("{head}.{payload}.{}", BASE64.encode([7; 256])), Refused::Stranger);
}

#[tokio::test]
async fn an_rsa_key_verifies_and_is_no_secret() {
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pair = RsaKeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let part = |big: &[u8]| BASE64.encode(big);
    let n = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let e = pair.public_key().exponent().big_endian_without_leading_zero().to_vec();
    let desk = Desk::open(&[json!({ "kty": "RSA", "kid": "rsa", "n": part(&n), "e": part(&e) })], &[]).await;
    let head = BASE64.encode(json!({ "alg": "RS256", "kid": "rsa" }).to_string());
    let message = format!("{head}.{}", BASE64.encode(claims().to_string()));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    assert!(desk.verify(&format!("{message}.{}", BASE64.encode(&signature))).is_ok());
    signature[9] ^= 1;
    desk.refused(&format!("{message}.{}", BASE64.encode(&signature)), Refused::Stranger);
    for secret in [n.as_slice(), part(&n).as_bytes(), pair.public_key().as_ref()] {
        let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::HS256) };
        desk.refused(&encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap(), Refused::Stranger);
    }
}

#[tokio::test]
async fn a_secret_that_both_sides_know_is_one_way_and_a_short_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let path = file.display().to_string();
    let set =
        [("jwt.shop.keys_file", ""), ("jwt.shop.secret_file", path.as_str()), ("jwt.shop.algorithms", r#"["HS256"]"#)];
    let desk = Desk::open(&[], &set).await;
    let sign = |algorithm, secret: &[u8]| {
        encode(&Header::new(algorithm), &claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    assert!(desk.verify(&sign(Algorithm::HS256, b"0123456789abcdef0123456789abcdef")).is_ok());
    desk.refused(&sign(Algorithm::HS256, b"0123456789abcdef0123456789abcdeF"), Refused::Stranger);
    desk.refused(&sign(Algorithm::HS512, b"0123456789abcdef0123456789abcdef"), Refused::Stranger);
    desk.refused(&Signer::new("one").sign(&claims()), Refused::Stranger);
    std::fs::write(&file, "short").unwrap();
    let said = Jwt { issuers: desk.jwt.issuers, ..Jwt::default() }.open().await.unwrap_err();
    assert!(said.contains("jwt.shop") && said.contains("32 or more") && !said.contains("short"), "{said}");
}

#[tokio::test]
async fn an_oversized_token_is_not_looked_at() {
    let signer = Signer::new("one");
    let desk = Desk::open(&[signer.public()], &[("jwt.shop.token_bytes_max", "512")]).await;
    assert!(desk.jwt.takes(&signer.sign(&claims())));
    let fat = signer.sign(&with("pad", "x".repeat(512)));
    assert!(!desk.jwt.takes(&fat));
    desk.refused(&fat, Refused::Stranger);
    assert!(!Jwt::default().takes(&signer.sign(&claims())), "without issuers nothing is");
}

#[tokio::test]
async fn keys_change_while_tokens_of_both_are_about() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let desk = Desk::open(&[old.public()], &[]).await;
    let unknown = |token: &str| matches!(desk.jwt.verify(token, NOW_MS), Verdict::UnknownKey { .. });
    let (olds, news) = (old.sign(&claims()), new.sign(&claims()));
    assert!(desk.verify(&olds).is_ok() && unknown(&news));
    desk.publish(&[old.public(), new.public()]);
    assert!(desk.jwt.look_again(0).await, "a new name is worth a look");
    assert!(desk.verify(&olds).is_ok() && desk.verify(&news).is_ok());
    // Whoever makes up names has the file read once a second at most.
    assert!(!desk.jwt.look_again(0).await);
    assert!(desk.jwt.known(&olds, NOW_MS).is_some());
    desk.publish(&[new.public()]);
    desk.jwt.open().await.unwrap();
    assert!(desk.jwt.known(&olds, NOW_MS).is_none(), "what the old key found good is looked at again");
    assert!(unknown(&olds) && desk.verify(&news).is_ok());
}

#[tokio::test]
async fn a_broken_file_takes_nothing_away() {
    let signer = Signer::new("one");
    let desk = Desk::open(&[signer.public()], &[]).await;
    std::fs::write(desk.folder.path().join("keys.json"), "{").unwrap();
    for _ in 0..2 {
        assert!(desk.jwt.open().await.unwrap_err().contains("no set of keys"));
    }
    assert!(desk.verify(&signer.sign(&claims())).is_ok());
    std::fs::remove_file(desk.folder.path().join("keys.json")).unwrap();
    assert!(desk.jwt.open().await.unwrap_err().contains("cannot be read"));
    assert!(desk.verify(&signer.sign(&claims())).is_ok());
}

#[tokio::test]
async fn a_token_costs_one_signature_and_no_longer_than_it_is_good() {
    let signer = Signer::new("one");
    let desk = Desk::open(&[signer.public()], &[]).await;
    let token = signer.sign(&claims());
    assert!(desk.jwt.known(&token, NOW_MS).is_none());
    let principal = desk.verify(&token).unwrap();
    assert_eq!(desk.jwt.known(&token, NOW_MS), Some(principal));
    assert!(desk.jwt.known(&token, NOW_MS + 629_999).is_some());
    assert!(desk.jwt.known(&token, NOW_MS + 630_000).is_none());
}

#[tokio::test]
async fn keys_come_from_an_address_and_from_nowhere_that_it_points_to() {
    use axum::{Router, response::Redirect, routing::get};
    let signer = Signer::new("one");
    let keys = json!({ "keys": [signer.public()] }).to_string();
    let fat = "x".repeat(100_000);
    let provider = Router::new()
        .route("/keys", get(move || std::future::ready(keys.clone())))
        .route("/fat", get(move || std::future::ready(fat.clone())))
        .route("/moved", get(|| async { Redirect::temporary("/keys") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, provider).await });
    for (path, good) in [("/keys", true), ("/fat", false), ("/moved", false), ("/gone", false)] {
        let url = format!("{address}{path}");
        let desk = Desk::open(&[], &[("jwt.shop.keys_file", ""), ("jwt.shop.keys_url", &url)]).await;
        assert_eq!(desk.verify(&signer.sign(&claims())).is_ok(), good, "{path}");
    }
}
