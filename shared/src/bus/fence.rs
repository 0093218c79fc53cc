//! What the broker lets a replay's workers do: their lane, and reading what is current; nothing that a customer would notice.

use serde::Serialize;

use super::rights;
use crate::{
    subject::{self, INBOX},
    topology,
    topology::Scale,
};

/// The user of a replay's workers.
pub const SHADOW_USER: &str = "shadow";

/// The permissions of a user, in the words of nats-server's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rights {
    pub publish: Rules,
    pub subscribe: Rules,
}

/// Subjects that are allowed, less those that are denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    pub allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// What a replay's workers may do at the broker.
///
/// They create no stream, since one can publish in the server's name. Wildcards stand for whole tokens, so that a lane's
/// streams cannot be named by what they begin with: every stream is allowed and the live ones are denied by name.
pub fn fence() -> Rights {
    let shadow = format!("{}.>", subject::SHADOW);
    let api = |what: &str| format!("$JS.API.{what}");
    let [catalog, models] = [format!("KV_{}", topology::CATALOG), format!("OBJ_{}", topology::MODELS)];
    // Whoever plays the lane's traffic is answered, whatever user that is; the live fleet is not.
    let mut allow = vec![shadow.clone(), format!("{INBOX}.>"), "$JS.ACK.>".into(), "$JS.FC.>".into()];
    allow.extend(["STREAM.INFO.*", "CONSUMER.INFO.*.*", "CONSUMER.MSG.NEXT.*.*"].map(api));
    allow.extend(["STREAM.MSG.GET.*", "STREAM.MSG.DELETE.*", "DIRECT.GET.>"].map(api));
    for read in [&catalog, &models] {
        // With and without the consumer's name in the subject.
        allow.extend(
            ["CREATE.{}", "CREATE.{}.>", "DELETE.{}.*"]
                .map(|how| api(&format!("CONSUMER.{}", how.replace("{}", read)))),
        );
    }
    let mut deny = vec![format!("{}.>", subject::PREFIX), "$KV.>".into(), "$O.>".into()];
    for stream in live() {
        deny.extend([format!("$JS.ACK.{stream}.>"), format!("$JS.ACK.*.*.{stream}.>")]);
        deny.push(api(&format!("STREAM.MSG.DELETE.{stream}")));
        if stream != catalog && stream != models {
            deny.push(api(&format!("CONSUMER.MSG.NEXT.{stream}.>")));
            deny.push(api(&format!("STREAM.MSG.GET.{stream}")));
            deny.extend([api(&format!("DIRECT.GET.{stream}")), api(&format!("DIRECT.GET.{stream}.>"))]);
        }
    }
    deny.extend(rights::fleet().map(|user| format!("{INBOX}.{user}.>")));
    let hears = Rules { allow: vec![shadow, format!("{INBOX}.{SHADOW_USER}.>"), "$SRV.>".into()], deny: Vec::new() };
    Rights { publish: Rules { allow, deny }, subscribe: hears }
}

/// Every stream of the live fleet, with those behind its buckets and object stores.
fn live() -> Vec<String> {
    let scale = Scale::default();
    let streams = topology::streams(scale).into_iter().map(|stream| stream.name);
    let buckets = topology::buckets(scale).into_iter().map(|bucket| format!("KV_{}", bucket.bucket));
    let objects = topology::object_stores(scale).into_iter().map(|store| format!("OBJ_{}", store.bucket));
    streams.chain(buckets).chain(objects).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_stream_is_behind_the_fence() {
        let fence = fence();
        for stream in live() {
            assert!(fence.publish.deny.contains(&format!("$JS.ACK.{stream}.>")), "{stream}");
            assert!(fence.publish.deny.contains(&format!("$JS.API.STREAM.MSG.DELETE.{stream}")), "{stream}");
        }
        for stream in [topology::ASK, topology::TURNS, topology::JOURNAL, "KV_KEYS"] {
            assert!(fence.publish.deny.contains(&format!("$JS.API.DIRECT.GET.{stream}.>")), "{stream}");
        }
        let writes = ["STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE"];
        assert!(!fence.publish.allow.iter().any(|subject| writes.iter().any(|write| subject.contains(write))));
    }
}
