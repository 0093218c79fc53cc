//! Where Redis is, as the configuration says it, and what is wrong with that.

use crate::config::Url;

/// An address of one server, or addresses of a cluster's members; certificates for TLS from files.
#[derive(Debug, Clone, Default)]
pub struct RedisPlace {
    pub url: Url,
    pub cluster: bool,
    /// Empty for the system's own.
    pub ca_file: String,
    /// Empty for none.
    pub cert_file: String,
    /// Empty for none.
    pub key_file: String,
}

impl RedisPlace {
    /// Every address; one without a scheme takes the first one's, with its user and password.
    pub(super) fn addresses(&self) -> Vec<String> {
        let text = self.url.reveal();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let first = rest.split(',').next().unwrap_or_default();
        let user = first.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
        let whole = |part: &str| match part.contains("://") {
            true => part.to_owned(),
            false => format!("{scheme}://{user}{part}"),
        };
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(whole).collect()
    }

    /// Every server by itself, for whoever must ask each.
    pub fn servers(&self) -> Vec<Self> {
        let alone = |url: String| Self { url: Url::new(url), cluster: false, ..self.clone() };
        self.addresses().into_iter().map(alone).collect()
    }

    /// Whether TLS is spoken.
    pub(super) fn is_tls(&self) -> bool {
        self.url.reveal().starts_with("rediss://")
    }

    /// Whether any file is named.
    pub(super) fn has_files(&self) -> bool {
        [&self.ca_file, &self.cert_file, &self.key_file].iter().any(|file| !file.is_empty())
    }

    /// One line for each impossible value.
    pub fn problems(&self) -> Vec<String> {
        let (url, addresses) = (&self.url, self.addresses());
        let mut problems = Vec::new();
        let mut wrong = |bad: bool, text: String| {
            if bad {
                problems.push(text);
            }
        };
        let known = |url: &String| ["redis://", "rediss://", "unix://"].iter().any(|scheme| url.starts_with(scheme));
        wrong(
            addresses.is_empty() || !addresses.iter().all(known),
            format!("redis.url '{url}' should look like redis://host:6379, or rediss://host:6379 for TLS"),
        );
        wrong(
            addresses.len() > 1 && !self.cluster,
            "redis.url names several servers, as only a cluster has them; set redis.cluster = true".into(),
        );
        wrong(
            self.cluster && addresses.iter().any(|url| url.starts_with("unix://")),
            "redis.cluster is true; its members are reached by host and port, not by unix://".into(),
        );
        wrong(
            self.has_files() && !self.is_tls(),
            format!("redis.ca_file, cert_file and key_file are for TLS; write redis.url '{url}' with rediss://"),
        );
        wrong(
            self.cert_file.is_empty() != self.key_file.is_empty(),
            "redis.cert_file and redis.key_file go together; give both or neither".into(),
        );
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> RedisPlace {
        RedisPlace { url: Url::new(url), ..RedisPlace::default() }
    }

    #[test]
    fn later_addresses_take_what_the_first_one_says() {
        assert_eq!(
            place("rediss://ann:s%2C@a:1, b:2,redis://c:3").addresses(),
            ["rediss://ann:s%2C@a:1", "rediss://ann:s%2C@b:2", "redis://c:3"]
        );
        assert_eq!(place("redis://a,b").addresses(), ["redis://a", "redis://b"]);
        assert!(place("").addresses().is_empty());
    }

    #[track_caller]
    fn refused(place: RedisPlace, part: &str) {
        let problems = place.problems().join("\n");
        assert!(problems.contains(part) && !problems.contains("geheim"), "{problems}");
    }

    #[test]
    fn impossible_places_are_named() {
        refused(place("http://u:geheim@a"), "redis://host:6379");
        refused(place(""), "redis://host:6379");
        refused(place("redis://:geheim@a,b"), "redis.cluster = true");
        refused(RedisPlace { cluster: true, ..place("unix:///run/redis") }, "not by unix://");
        refused(RedisPlace { ca_file: "ca.pem".into(), ..place("redis://:geheim@a") }, "rediss://");
        refused(RedisPlace { cert_file: "c.pem".into(), ..place("rediss://a") }, "go together");
        assert!(RedisPlace { cluster: true, ..place("redis://a,b") }.problems().is_empty());
    }
}
