//! Where NATS is, and how to be let in.

use std::borrow::Cow;

use serde::Deserialize;

use super::{TlsFiles, Url};
use crate::{bus::Lane, id::BusUser};

/// The `[nats]` section of both services.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// One or several addresses, separated by commas.
    pub url: Url,
    /// Empty takes the user within the address, else what the process does; see [`NatsConfig::user`].
    pub user: String,
    /// A credentials file; empty for none.
    pub credentials_file: String,
    /// A file with the seed of an NKEY; empty for none.
    pub nkey_file: String,
    pub ca_file: String,
    pub cert_file: String,
    pub key_file: String,
    pub shards: u32,
    pub replicas: usize,
    /// How long a publish may wait for the broker's ack.
    pub publish_timeout_ms: u64,
    /// How long a role may take to answer.
    pub call_timeout_ms: u64,
    /// Empty for the live fleet; else the lane of a replay.
    pub lane: String,
}

impl NatsConfig {
    /// One line for each impossible value.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.tls().problems();
        let mut wrong = |bad: bool, line: String| {
            if bad {
                problems.push(line);
            }
        };
        let schemes = ["nats://", "tls://", "ws://", "wss://"];
        let addresses = || self.url.reveal().split(',').map(str::trim);
        let is_address = |url: &str| schemes.iter().any(|scheme| url.starts_with(scheme));
        wrong(!addresses().all(is_address), format!("nats.url '{}' should look like nats://host:4222", self.url));
        let has_user = self.url.reveal().contains('@');
        let ways = [(has_user, "a user in nats.url"), (!self.credentials_file.is_empty(), "nats.credentials_file")];
        let ways = ways.into_iter().chain([(!self.nkey_file.is_empty(), "nats.nkey_file")]);
        let ways: Vec<&str> = ways.filter(|(given, _)| *given).map(|(_, name)| name).collect();
        wrong(ways.len() > 1, format!("{} are given; the broker takes one of them", ways.join(" and ")));
        if let Err(error) = BusUser::parse(&self.user)
            && !self.user.is_empty()
        {
            wrong(true, format!("nats.user '{}' {error}", self.user));
        }
        wrong(self.shards == 0 || self.shards > 64, format!("nats.shards is {}; give 1 to 64", self.shards));
        wrong(![1, 3, 5].contains(&self.replicas), format!("nats.replicas is {}; give 1, 3 or 5", self.replicas));
        wrong(
            self.publish_timeout_ms == 0 || self.call_timeout_ms == 0,
            "nats.publish_timeout_ms and nats.call_timeout_ms must be above 0".into(),
        );
        if let Err(error) = Lane::parse(&self.lane) {
            wrong(true, format!("nats.lane '{}' is no lane; {error}, or leave it empty for the live fleet", self.lane));
        }
        problems
    }

    /// Files that hold secrets, by key.
    pub fn secret_files(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("nats.credentials_file", &self.credentials_file),
            ("nats.nkey_file", &self.nkey_file),
            ("nats.key_file", &self.key_file),
        ]
    }

    /// The files of its TLS.
    pub fn tls(&self) -> TlsFiles<'_> {
        let Self { ca_file, cert_file, key_file, .. } = self;
        TlsFiles { section: "nats", ca_file, cert_file, key_file }
    }

    /// Who we are at the broker, so that answers come to inboxes that nobody else may read: what is configured, else the
    /// user within the address, else `role`.
    pub fn user(&self, role: &str) -> Option<BusUser> {
        let within = || {
            let address = self.url.reveal().split(',').find(|url| url.contains('@'))?;
            let (user, _) = address.split_once("://")?.1.rsplit_once('@')?;
            Some(Cow::from(user.split_once(':').map_or(user, |(user, _)| user)))
        };
        let configured = (!self.user.is_empty()).then(|| Cow::from(&*self.user));
        BusUser::parse(&configured.or_else(within).unwrap_or(role.into())).ok()
    }

    /// The same, as the user that it is known by where none is told.
    pub fn named(&self, role: &str) -> Self {
        Self { user: self.user(role).map_or_else(String::new, String::from), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GATEWAY_DEFAULTS, section};

    fn config(change: impl FnOnce(&mut NatsConfig)) -> NatsConfig {
        let mut config: NatsConfig = section(GATEWAY_DEFAULTS, "nats").unwrap();
        change(&mut config);
        config
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut NatsConfig), expected: &str) {
        let problems = config(change).problems().join("\n");
        assert!(problems.contains(expected), "{problems}");
    }

    #[test]
    fn ways_of_being_let_in_exclude_one_another() {
        assert_eq!(config(|_| {}).problems(), Vec::<String>::new());
        refused(
            |nats| (nats.nkey_file, nats.credentials_file) = ("a.nk".into(), "a.creds".into()),
            "nats.credentials_file and nats.nkey_file are given",
        );
        refused(
            |nats| (nats.url, nats.nkey_file) = (Url::new("nats://a:geheim@b:4222"), "a.nk".into()),
            "a user in nats.url and nats.nkey_file are given",
        );
        refused(|nats| nats.cert_file = "a.pem".into(), "nats.key_file is not");
        refused(|nats| nats.user = "a.b".into(), "nats.user 'a.b'");
    }

    #[test]
    fn the_inbox_is_the_users() {
        let user = |url: &str, user: &str| {
            let config = config(|nats| (nats.url, nats.user) = (Url::new(url), user.into()));
            config.user("gateway").map(|user| user.to_string())
        };
        assert_eq!(user("nats://a:4222", "").as_deref(), Some("gateway"));
        assert_eq!(user("nats://a:4222,nats://desk:p%40ss@b:4222", "").as_deref(), Some("desk"));
        assert_eq!(user("nats://desk:p@b:4222", "gateway-1").as_deref(), Some("gateway-1"));
        assert_eq!(user("nats://odd.user:p@b:4222", ""), None);
    }
}
