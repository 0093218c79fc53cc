//! Who calls: API keys from a watched bucket, visitors of the chat page from signed tokens; both end as one `Principal`.

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
    keys::{self, KEY_BYTES_MAX, KeyRecord},
    lifecycle::Shutdown,
    retry::Delays,
    topology,
};

use crate::visitor::{self, Signer, Token};

/// Where the gateways keep the secret that signs visitors' tokens, beside the keys; no key's hash looks like it.
const VISITOR_SECRET: &str = "visitor-secret";

/// How soon a broken watch is opened again: a revoked key must be out within a second.
const REOPEN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(800));

/// Somebody who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    /// The visitor's own id; None for an API key, which speaks for all of its tenant's users.
    pub user: Option<UserId>,
    pub kind: PrincipalKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A company's server or app, with an API key.
    Key,
    /// A person on the chat page: bound to the conversations that they began.
    Visitor,
}

impl Principal {
    /// Whether a conversation is within reach; what is not looks as if it did not exist.
    pub fn owns(&self, conversation: &ConversationId) -> bool {
        match (self.kind, &self.user) {
            (PrincipalKind::Key, _) => true,
            (PrincipalKind::Visitor, Some(user)) => visitor::began(user, conversation),
            (PrincipalKind::Visitor, None) => false,
        }
    }

    /// The user on whose behalf alone this principal acts.
    pub fn acts_for(&self) -> Option<&UserId> {
        match self.kind {
            PrincipalKind::Key => None,
            PrincipalKind::Visitor => self.user.as_ref(),
        }
    }

    /// An id for a conversation that this principal begins.
    pub fn new_conversation(&self) -> ConversationId {
        self.acts_for().map_or_else(ConversationId::new, visitor::new_conversation)
    }

    /// The conversation that a first message under an idempotency key begins: its retry lands there too.
    pub fn conversation_for(&self, key: &str) -> ConversationId {
        let conversation = ConversationId::from_idempotency_key(&self.tenant, key);
        self.acts_for().map_or_else(|| conversation.clone(), |user| visitor::own(user, &conversation))
    }
}

/// Every key that is valid now; None until the bucket was read once: nobody is called a stranger before.
#[derive(Default)]
pub struct Keyring(RwLock<Option<Keys>>);

#[derive(Default)]
struct Keys {
    records: HashMap<String, KeyRecord>,
    signer: Option<Signer>,
}

impl Keyring {
    /// Who sent this bearer token. Looked up by digest, so that the time it takes tells nothing about other keys.
    pub fn authenticate(&self, bearer: Option<&str>, now_ms: u64) -> Result<Principal, Problem> {
        let refused = || Problem::new(Code::Unauthenticated);
        let token = bearer.filter(|token| token.len() <= visitor::TOKEN_BYTES_MAX).ok_or_else(refused)?;
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.as_ref().ok_or_else(|| Problem::new(Code::BrokerAway).retry_after_ms(1_000))?;
        if token.starts_with(visitor::TOKEN_PREFIX) {
            let token = keys.signer.as_ref().and_then(|signer| signer.open(token, now_ms)).ok_or_else(refused)?;
            return Ok(Principal { tenant: token.tenant, user: Some(token.user), kind: PrincipalKind::Visitor });
        }
        let known = (token.len() <= KEY_BYTES_MAX).then(|| keys.records.get(&keys::hash(token))).flatten();
        let tenant = known.ok_or_else(refused)?.tenant.clone();
        Ok(Principal { tenant, user: None, kind: PrincipalKind::Key })
    }

    /// A token for a new visitor; None as long as the secret has not arrived.
    pub fn admit_visitor(&self, tenant: TenantId, expires_at_ms: u64) -> Option<(UserId, String)> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let user = visitor::new_user();
        let token = keys.as_ref()?.signer.as_ref()?.seal(&Token { tenant, user: user.clone(), expires_at_ms });
        Some((user, token))
    }

    fn replace(&self, fresh: Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
    }

    fn change(&self, entry: Entry) {
        if let Some(keys) = self.0.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
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
        let ring = Keyring::default();
        ring.replace(Keys::default());
        ring.change(entry(&keys::hash("tf_good"), Some(r#"{"tenant":"demo","name":"n","created_at_ms":1}"#)));
        ring.change(entry(VISITOR_SECRET, Some("0123456789abcdef0123456789abcdef")));
        ring
    }

    #[track_caller]
    fn refused(bearer: Option<&str>) {
        assert_eq!(ring().authenticate(bearer, 0).unwrap_err().code, Code::Unauthenticated, "{bearer:?}");
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
        assert_eq!(refused.code, Code::BrokerAway);
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
}
