//! Who calls: API keys from a watched bucket, visitors of the chat page from signed tokens, customers of a company from
//! tokens of its own (JWT); all end as one `Principal`.

/// Tokens of others.
pub(crate) mod jwt;

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use talkfleet_shared::{
    bus::{Bus, BusError, Entry},
    chat::Problem,
    error::Code,
    id::{ConversationId, TenantId, UserId},
    keys::{self, KEY_BYTES_MAX, KeyRecord, VISITOR_SECRET},
    lifecycle::Shutdown,
    retry::Delays,
    topology,
};

use self::jwt::{Jwt, JwtConfig};
use crate::visitor::{self, Mark, Signer, Token};

/// How soon a broken watch is opened again: a revoked key must be out within a second.
const REOPEN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(800));

/// Somebody who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    /// The visitor's or customer's own id; None for an API key, which speaks for all of its tenant's users.
    pub user: Option<UserId>,
    pub kind: PrincipalKind,
    /// When the token expires, in Unix milliseconds; None for an API key, which holds until it is revoked.
    pub until_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A company's server or app, with an API key.
    Key,
    /// A person on the chat page: bound to the conversations that they began.
    Visitor,
    /// A company's customer, whom the company itself has let in (JWT): bound to the conversations that they began.
    Customer,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The keys are not known yet: nobody is called a stranger before.
    NotYet,
    /// There is no token.
    Nothing,
    /// It was good once, and is too old: whoever sent it did not guess.
    Stale,
    /// Nobody knows it.
    Stranger,
}

impl Refused {
    /// The word for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotYet => "not_yet",
            Self::Nothing => "nothing",
            Self::Stale => "stale",
            Self::Stranger => "stranger",
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotYet => Self::new(Code::BrokerAway).retry_after_ms(1_000),
            Refused::Nothing | Refused::Stranger => Self::new(Code::Unauthenticated),
            Refused::Stale => Self::because(Code::Unauthenticated, "This token has expired; get a new one."),
        }
    }
}

/// What is known of a token for the price of a digest.
pub(crate) enum Glance {
    Known(Principal),
    Refused(Refused),
    /// Its signature would have to be checked, which costs a hundred times as much.
    Costly,
}

impl Principal {
    /// Whether a conversation is within reach; what is not looks as if it did not exist.
    pub fn owns(&self, conversation: &ConversationId) -> bool {
        match (self.mark(), &self.user) {
            (None, _) => true,
            (Some(mark), Some(user)) => mark.began(user, conversation),
            (Some(_), None) => false,
        }
    }

    /// An API key: it speaks for all of its tenant's users.
    pub fn of_key(tenant: TenantId) -> Self {
        Self { tenant, user: None, kind: PrincipalKind::Key, until_ms: None }
    }

    /// Whether two tokens are the same somebody's.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.tenant, &self.user, self.kind) == (&other.tenant, &other.user, other.kind)
    }

    /// How the conversations are marked that this principal is bound to.
    fn mark(&self) -> Option<Mark> {
        match self.kind {
            PrincipalKind::Key => None,
            PrincipalKind::Visitor => Some(Mark::Visitor),
            PrincipalKind::Customer => Some(Mark::Customer),
        }
    }

    fn bound(&self) -> Option<(Mark, &UserId)> {
        self.mark().zip(self.user.as_ref())
    }

    /// The user on whose behalf alone this principal acts.
    pub fn acts_for(&self) -> Option<&UserId> {
        match self.kind {
            PrincipalKind::Key => None,
            PrincipalKind::Visitor | PrincipalKind::Customer => self.user.as_ref(),
        }
    }

    /// An id for a conversation that this principal begins.
    pub fn new_conversation(&self) -> ConversationId {
        self.bound().map_or_else(ConversationId::new, |(mark, user)| mark.new_conversation(user))
    }

    /// The conversation that a first message under an idempotency key begins: its retry lands there too.
    pub fn conversation_for(&self, key: &str) -> ConversationId {
        let conversation = ConversationId::from_idempotency_key(&self.tenant, key);
        self.bound().map_or_else(|| conversation.clone(), |(mark, user)| mark.own(user, &conversation))
    }

    /// An idempotency key as it is theirs alone: two people who choose the same one must not meet. A space stands in no
    /// key, and in no identifier.
    pub fn own_key(&self, key: &str) -> String {
        match self.bound() {
            None => key.to_owned(),
            Some((Mark::Visitor, user)) => format!("{user} {key}"),
            Some((Mark::Customer, user)) => format!("customer {user} {key}"),
        }
    }
}

/// Every key that is valid now, and whose tokens are taken besides.
#[derive(Default)]
pub struct Keyring {
    /// None until the bucket was read once.
    keys: RwLock<Option<Keys>>,
    jwt: Jwt,
}

#[derive(Default)]
struct Keys {
    records: HashMap<String, KeyRecord>,
    signer: Option<Signer>,
}

impl Keyring {
    pub(crate) fn new(jwt: &JwtConfig) -> Self {
        Self { jwt: Jwt::new(jwt), ..Self::default() }
    }

    /// Tokens of others.
    pub(crate) fn jwt(&self) -> &Jwt {
        &self.jwt
    }

    /// Who sent this bearer token, whatever it costs to find out.
    pub fn authenticate(&self, bearer: Option<&str>, now_ms: u64) -> Result<Principal, Refused> {
        match self.glance(bearer, now_ms) {
            Glance::Known(principal) => Ok(principal),
            Glance::Refused(refused) => Err(refused),
            Glance::Costly => self.jwt.verify(bearer.unwrap_or_default(), now_ms).settled(),
        }
    }

    /// Who sent a token whose signature has to be checked; when it names a key of its issuer that is new here, the keys
    /// are read once more.
    pub(crate) async fn look_at(&self, token: &str, now_ms: u64) -> Result<Principal, Refused> {
        match self.jwt.verify(token, now_ms) {
            jwt::Verdict::UnknownKey { issuer } if self.jwt.look_again(issuer).await => self.jwt.verify(token, now_ms),
            verdict => verdict,
        }
        .settled()
    }

    /// What is known of this bearer token for the price of a digest.
    pub(crate) fn glance(&self, bearer: Option<&str>, now_ms: u64) -> Glance {
        let Some(token) = bearer else { return Glance::Refused(Refused::Nothing) };
        match self.own(token, now_ms) {
            Ok(principal) => return Glance::Known(principal),
            Err(Refused::Stranger) => {}
            Err(refused) => return Glance::Refused(refused),
        }
        match self.jwt.known(token, now_ms) {
            Some(principal) => Glance::Known(principal),
            None if self.jwt.takes(token) => Glance::Costly,
            None => Glance::Refused(Refused::Stranger),
        }
    }

    /// Who sent a token of ours. Looked up by digest, so that the time it takes tells nothing about other keys.
    fn own(&self, token: &str, now_ms: u64) -> Result<Principal, Refused> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.as_ref().ok_or(Refused::NotYet)?;
        if token.starts_with(visitor::TOKEN_PREFIX) {
            let token = keys.signer.as_ref().and_then(|signer| signer.open(token)).ok_or(Refused::Stranger)?;
            let Token { tenant, user, expires_at_ms } = token;
            let principal =
                Principal { tenant, user: Some(user), kind: PrincipalKind::Visitor, until_ms: Some(expires_at_ms) };
            return if now_ms < expires_at_ms { Ok(principal) } else { Err(Refused::Stale) };
        }
        let known = (token.len() <= KEY_BYTES_MAX).then(|| keys.records.get(&keys::hash(token))).flatten();
        known.map(|record| Principal::of_key(record.tenant.clone())).ok_or(Refused::Stranger)
    }

    /// A token for a new visitor; None as long as the secret has not arrived.
    pub fn admit_visitor(&self, tenant: TenantId, expires_at_ms: u64) -> Option<(UserId, String)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let user = visitor::new_user();
        let token = keys.as_ref()?.signer.as_ref()?.seal(&Token { tenant, user: user.clone(), expires_at_ms });
        Some((user, token))
    }

    /// A ring that knows these entries of the bucket.
    pub(crate) fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut keys = Keys::default();
        entries.into_iter().for_each(|entry| keys.apply(entry));
        Self { keys: RwLock::new(Some(keys)), ..Self::default() }
    }

    fn replace(&self, fresh: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
    }

    fn change(&self, entry: Entry) {
        if let Some(keys) = self.keys.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            keys.apply(entry);
        }
    }

    /// Keeps the ring as the bucket is, until shutdown; `health`'s `keys` says whether it does.
    pub async fn follow(&self, bus: &Bus, shutdown: &Shutdown) {
        let mut delays = Delays::new(REOPEN.0, REOPEN.1);
        loop {
            let why = tokio::select! {
                () = shutdown.asked() => return,
                ended = self.follow_once(bus, &mut delays) => ended.err().map_or("the watch ended".into(), |e| e.to_string()),
            };
            bus.health().down("keys", why.clone());
            tracing::warn!(why, "the watch on the keys broke; opening it again");
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    async fn follow_once(&self, bus: &Bus, delays: &mut Delays) -> Result<(), BusError> {
        // Written first, so that the watch brings at least one entry and its end can be seen.
        let secret = visitor::new_secret(&mut rand::rng());
        bus.put_new(topology::KEYS, VISITOR_SECRET, secret.into()).await?;
        let mut watch = bus.watch(topology::KEYS).await?;
        let mut fresh = Keys::default();
        while let Some(entry) = watch.next().await {
            let whole = entry.pending == 0;
            fresh.apply(entry);
            if whole {
                break;
            }
        }
        self.replace(fresh);
        bus.health().up("keys");
        delays.reset();
        while let Some(entry) = watch.next().await {
            self.change(entry);
        }
        Ok(())
    }
}

impl Keys {
    fn apply(&mut self, entry: Entry) {
        if entry.key == VISITOR_SECRET {
            self.signer = entry.value.and_then(|secret| Signer::new(&secret));
            return;
        }
        match entry.value.map(|value| serde_json::from_slice(&value)) {
            Some(Ok(record)) => {
                self.records.insert(entry.key, record);
            }
            Some(Err(_)) => tracing::warn!("an entry of the bucket KEYS is no key record; it is not honoured"),
            None => {
                self.records.remove(&entry.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: Option<&str>) -> Entry {
        Entry { key: key.into(), value: value.map(|v| v.to_owned().into()), revision: 1, pending: 0 }
    }

    fn ring() -> Keyring {
        Keyring::of([
            entry(&keys::hash("tf_good"), Some(r#"{"tenant":"demo","name":"n","created_at_ms":1}"#)),
            entry(VISITOR_SECRET, Some("0123456789abcdef0123456789abcdef")),
        ])
    }

    #[track_caller]
    fn refused(bearer: Option<&str>) {
        let refused = ring().authenticate(bearer, 0).unwrap_err();
        assert_eq!(Problem::from(refused).code, Code::Unauthenticated, "{bearer:?}");
    }

    #[test]
    fn a_key_names_its_tenant() {
        let principal = ring().authenticate(Some("tf_good"), 0).unwrap();
        assert_eq!((principal.tenant.as_str(), principal.kind), ("demo", PrincipalKind::Key));
        refused(None);
        refused(Some(""));
        refused(Some("tf_bad"));
        refused(Some(&"x".repeat(10_000)));
        refused(Some(&keys::hash("tf_good")));
        refused(Some("tfv_a.b"));
    }

    #[test]
    fn a_revoked_key_is_out() {
        let ring = ring();
        ring.change(entry(&keys::hash("tf_good"), None));
        assert!(ring.authenticate(Some("tf_good"), 0).is_err());
    }

    #[test]
    fn nobody_is_a_stranger_before_the_keys_are_known() {
        let refused = Keyring::default().authenticate(Some("tf_good"), 0).unwrap_err();
        assert_eq!(Problem::from(refused).code, Code::BrokerAway);
    }

    #[test]
    fn a_visitor_reaches_only_what_they_began() {
        let ring = ring();
        let (_, token) = ring.admit_visitor(TenantId::parse("demo").unwrap(), 1_000).unwrap();
        let [a, b] = [token, ring.admit_visitor(TenantId::parse("demo").unwrap(), 1_000).unwrap().1]
            .map(|token| ring.authenticate(Some(&token), 999).unwrap());
        let conversation = a.new_conversation();
        assert!(a.owns(&conversation) && !b.owns(&conversation));
        assert!(!a.owns(&ConversationId::new()));
    }

    #[test]
    fn people_of_one_name_are_told_apart_by_who_let_them_in() {
        let person = |name: &str, kind| Principal {
            tenant: TenantId::parse("demo").unwrap(),
            user: UserId::parse(name).ok(),
            kind,
            until_ms: None,
        };
        let [visitor, customer] = [PrincipalKind::Visitor, PrincipalKind::Customer].map(|kind| person("ann", kind));
        let other = person("bob", PrincipalKind::Customer);
        for conversation in [customer.new_conversation(), customer.conversation_for("k")] {
            assert!(customer.owns(&conversation) && !visitor.owns(&conversation) && !other.owns(&conversation));
        }
        assert!(!customer.owns(&visitor.new_conversation()));
        let keys: Vec<_> = [&visitor, &customer, &other].iter().map(|person| person.own_key("k")).collect();
        assert!(keys[0] != keys[1] && keys[1] != keys[2], "{keys:?}");
        assert_eq!(Principal::of_key(customer.tenant).own_key("k"), "k");
    }

    #[test]
    fn a_token_that_was_good_is_told_from_a_guess() {
        let ring = ring();
        let (_, token) = ring.admit_visitor(TenantId::parse("demo").unwrap(), 1_000).unwrap();
        assert_eq!(ring.authenticate(Some(&token), 1_000).unwrap_err(), Refused::Stale);
        assert_eq!(ring.authenticate(Some(&format!("{token}x")), 999).unwrap_err(), Refused::Stranger);
        assert_eq!(ring.authenticate(None, 0).unwrap_err(), Refused::Nothing);
    }
}
