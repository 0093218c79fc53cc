//! Every stream, consumer, bucket and object store, once; `talkfleet topology apply` makes the broker agree with this file.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    consumer::{self, AckPolicy, DeliverPolicy, pull},
    kv,
    stream::{Compression, Config, DiscardPolicy, RetentionPolicy, Source, StorageType, SubjectTransform},
};

use crate::{bus::Lane, envelope::BODY_BYTES_MAX, subject};

/// Asks that wait or are being answered; a work queue with one open message per conversation.
pub const ASK: &str = "ASK";
/// One record per ended turn, first writer wins.
pub const TURNS: &str = "TURNS";
/// The records' long memory, for archive and replay, with customers' feedback.
pub const JOURNAL: &str = "JOURNAL";
/// Wishes to stop.
pub const CANCELS: &str = "CANCELS";
/// Messages that could not be processed.
pub const DEAD: &str = "DEAD";
/// What operators changed; nothing can be taken from it.
pub const AUDIT: &str = "AUDIT";
/// What the broker says about asks that were delivered too often.
pub const ADVISORIES: &str = "ADVISORIES";

/// The response role's durable consumer on [`ASK`].
pub const RESPONSE: &str = "response";
/// The same for the workers of a candidate, beside the stable ones: see [`crate::release`].
pub const RESPONSE_NEXT: &str = "response_next";
/// The archive role's durable consumer on [`JOURNAL`].
pub const ARCHIVE: &str = "archive";
/// The reaper's durable consumer on [`ADVISORIES`].
pub const REAPER: &str = "reaper";

/// API keys, hashed.
pub const KEYS: &str = "KEYS";
/// Which version of each tenant's intents and knowledge is current.
pub const CATALOG: &str = "CATALOG";
/// Conversations that a person has taken from the bot.
pub const OWNERS: &str = "OWNERS";
/// Which conversations a candidate answers: see [`crate::release`].
pub const RELEASE: &str = "RELEASE";
/// Whom the desk has forgotten, as salted digests.
pub const FORGOTTEN: &str = "FORGOTTEN";
/// Trained intent models.
pub const MODELS: &str = "MODELS";

/// How long a conversation stays a person's who never gives it back: longer than a weekend with its holidays.
pub const OWNERS_AGE: Duration = Duration::from_secs(7 * 86_400);

/// Deliveries of one ask before it is set aside.
pub const DELIVERIES_MAX: i64 = 4;

/// Waits before each redelivery; the first takes the place of the ack wait and begins again with each keep-alive, so a
/// killed worker costs three seconds and what it had made. An election, in which none is heard, mostly takes longer.
pub const REDELIVERY_WAITS: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(20)];

/// A retry under the same id within this window is stored once.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(60);

/// The longest that an ask may lie, longer than any deadline with its redeliveries.
pub const ASK_AGE_MAX: Duration = Duration::from_secs(300);

/// How long it can be told who changed what: a year's review with its delay.
pub const AUDIT_AGE: Duration = Duration::from_secs(400 * 86_400);

/// What the audit log may hold, some hundred thousand deeds, which the broker sets aside on its disk; full, it takes none,
/// and operators are told so: nobody can wash an entry out by adding others.
const AUDIT_BYTES_MAX: i64 = 256 << 20;

/// The figures that differ between one box and a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Copies of each stream: 1 on a single node, 3 on a cluster.
    pub replicas: usize,
    /// Open conversations that may wait at once.
    pub asks_max: i64,
    /// Turns that are kept for resume, about 550 B of broker memory each.
    pub turns_max: i64,
    /// How long an outcome can be fetched.
    pub turns_age: Duration,
    /// How long the journal remembers.
    pub journal_age: Duration,
    pub journal_bytes_max: i64,
    /// Turns that may be running at once over all response workers.
    pub running_max: i64,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            replicas: 1,
            asks_max: 20_000,
            turns_max: 400_000,
            turns_age: Duration::from_secs(3_600),
            journal_age: Duration::from_secs(7 * 86_400),
            journal_bytes_max: 8 << 30,
            running_max: 10_000,
        }
    }
}

/// The streams as they should be.
pub fn streams(scale: Scale) -> Vec<Config> {
    let base = |name: &str, subjects: &[String], description: &str| Config {
        name: name.into(),
        subjects: subjects.to_vec(),
        description: Some(description.into()),
        storage: StorageType::File,
        num_replicas: scale.replicas,
        ..Config::default()
    };
    vec![
        Config {
            retention: RetentionPolicy::WorkQueue,
            duplicate_window: DUPLICATE_WINDOW,
            max_age: ASK_AGE_MAX,
            max_messages: scale.asks_max,
            // Headers travel beside the body.
            max_message_size: BODY_BYTES_MAX as i32 + 8 * 1024,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages_per_subject: 1,
            allow_message_ttl: true,
            allow_direct: true,
            ..base(ASK, &[subject::every_ask(), subject::every_next_ask()], "Asks that wait or are being answered")
        },
        Config {
            max_age: scale.turns_age,
            max_messages: scale.turns_max,
            max_messages_per_subject: 1,
            discard: DiscardPolicy::Old,
            allow_direct: true,
            ..base(TURNS, &[subject::every_turn()], "One record per ended turn, first writer wins")
        },
        Config {
            max_age: scale.journal_age,
            max_bytes: scale.journal_bytes_max,
            discard: DiscardPolicy::Old,
            compression: Some(Compression::S2),
            allow_direct: true,
            sources: Some(vec![Source {
                name: TURNS.into(),
                subject_transforms: vec![SubjectTransform {
                    source: subject::every_turn(),
                    destination: subject::journal_of("{{wildcard(1)}}"),
                }],
                ..Source::default()
            }]),
            ..base(JOURNAL, &[subject::every_tenant("feedback")], "What came in and what was answered")
        },
        Config {
            max_age: Duration::from_secs(600),
            max_messages: 100_000,
            max_messages_per_subject: 1,
            storage: StorageType::Memory,
            allow_direct: true,
            ..base(CANCELS, &[subject::every_cancel()], "Wishes to stop")
        },
        Config {
            max_age: Duration::from_secs(30 * 86_400),
            max_bytes: 1 << 30,
            discard: DiscardPolicy::Old,
            allow_direct: true,
            ..base(DEAD, &[subject::every_tenant("dead")], "Messages that could not be processed")
        },
        Config {
            retention: RetentionPolicy::WorkQueue,
            max_age: Duration::from_secs(86_400),
            max_messages: 100_000,
            ..base(
                ADVISORIES,
                &[format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{ASK}.*")],
                "Asks that were delivered too often",
            )
        },
        Config {
            max_age: AUDIT_AGE,
            max_bytes: AUDIT_BYTES_MAX,
            discard: DiscardPolicy::New,
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            ..base(AUDIT, &[subject::audit()], "What operators changed")
        },
    ]
}

/// What one stream of a lane may hold at most: a replay reads the records as they come.
const LANE_BYTES_MAX: i64 = 256 << 20;

/// The streams of a lane; for the live fleet [`streams`].
///
/// A replay's are the same without the journal (and so without feedback) and the audit log, in memory and small: all of it
/// can be made again.
pub fn streams_of(lane: &Lane, scale: Scale) -> Vec<Config> {
    let live = streams(scale);
    if lane.is_live() {
        return live;
    }
    let advisories = |subject: &str| subject.replace(&format!(".{ASK}."), &format!(".{}.", lane.stream(ASK)));
    let shadow = |live: Config| Config {
        name: lane.stream(&live.name).into_owned(),
        subjects: live.subjects.iter().map(|subject| advisories(&lane.subject(subject.clone()))).collect(),
        description: live.description.map(|what| format!("{what} (lane {})", lane.name())),
        storage: StorageType::Memory,
        num_replicas: 1,
        max_bytes: LANE_BYTES_MAX,
        max_age: live.max_age.min(scale.turns_age),
        ..live
    };
    let is_shadowed = |stream: &Config| stream.sources.is_none() && stream.name != AUDIT;
    live.into_iter().filter(is_shadowed).map(shadow).collect()
}

/// The consumers of a lane, with the stream that each reads, by the name that it has in the live fleet.
pub fn consumers_of(lane: &Lane, scale: Scale) -> Vec<(&'static str, pull::Config)> {
    let wanted = consumers(scale).into_iter();
    // A replay's candidate has a lane to itself.
    let apart = |(stream, config): &(&str, pull::Config)| {
        lane.is_live() || *stream != JOURNAL && config.durable_name.as_deref() != Some(RESPONSE_NEXT)
    };
    let in_lane = |(stream, config): (&'static str, pull::Config)| {
        (stream, pull::Config { filter_subject: lane.subject(config.filter_subject), ..config })
    };
    wanted.filter(apart).map(in_lane).collect()
}

/// The buckets of a lane: none, since it reads the live ones.
pub fn buckets_of(lane: &Lane, scale: Scale) -> Vec<kv::Config> {
    if lane.is_live() { buckets(scale) } else { Vec::new() }
}

/// The object stores of a lane: none, since it reads the live ones.
pub fn object_stores_of(lane: &Lane, scale: Scale) -> Vec<async_nats::jetstream::object_store::Config> {
    if lane.is_live() { object_stores(scale) } else { Vec::new() }
}

/// The consumers as they should be, with the stream that each reads.
pub fn consumers(scale: Scale) -> Vec<(&'static str, pull::Config)> {
    let base = |name: &str| pull::Config {
        durable_name: Some(name.into()),
        ack_policy: AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        ..pull::Config::default()
    };
    // A work queue's consumers share no message; a consumer's filter is never changed, since what lies on an added
    // subject before the last delivery would be skipped: which queue an ask goes to is decided when it is published.
    let asks = |name: &str, filter_subject: String| pull::Config {
        filter_subject,
        max_deliver: DELIVERIES_MAX,
        ack_wait: REDELIVERY_WAITS[0],
        backoff: REDELIVERY_WAITS.to_vec(),
        max_ack_pending: scale.running_max,
        ..base(name)
    };
    vec![
        (ASK, asks(RESPONSE, subject::every_ask())),
        (ASK, asks(RESPONSE_NEXT, subject::every_next_ask())),
        (JOURNAL, pull::Config { ack_wait: Duration::from_secs(30), max_ack_pending: 20_000, ..base(ARCHIVE) }),
        (ADVISORIES, pull::Config { ack_wait: Duration::from_secs(10), ..base(REAPER) }),
    ]
}

/// The key-value buckets as they should be.
pub fn buckets(scale: Scale) -> Vec<kv::Config> {
    let base = |name: &str, history: i64| kv::Config {
        bucket: name.into(),
        history,
        num_replicas: scale.replicas,
        ..kv::Config::default()
    };
    vec![
        base(KEYS, 1),
        base(CATALOG, 10),
        base(RELEASE, 10),
        kv::Config { max_age: OWNERS_AGE, ..base(OWNERS, 1) },
        base(FORGOTTEN, 1),
    ]
}

/// The object stores as they should be.
pub fn object_stores(scale: Scale) -> Vec<async_nats::jetstream::object_store::Config> {
    vec![async_nats::jetstream::object_store::Config {
        bucket: MODELS.into(),
        num_replicas: scale.replicas,
        ..Default::default()
    }]
}

/// What of a stream differs from what it should be, one line each: `max_age: 3600 s on the broker, 7200 s wanted`.
///
/// Only what is written in [`streams`] is compared; what the broker adds by itself is its own business.
pub fn differences(actual: &Config, wanted: &Config) -> Vec<String> {
    let normal = |limit: i64| if limit <= 0 { -1 } else { limit };
    let rows = [
        ("subjects", actual.subjects.join(" "), wanted.subjects.join(" ")),
        ("retention", format!("{:?}", actual.retention), format!("{:?}", wanted.retention)),
        ("storage", format!("{:?}", actual.storage), format!("{:?}", wanted.storage)),
        ("discard", format!("{:?}", actual.discard), format!("{:?}", wanted.discard)),
        (
            "discard_new_per_subject",
            actual.discard_new_per_subject.to_string(),
            wanted.discard_new_per_subject.to_string(),
        ),
        ("max_age", format!("{:?}", actual.max_age), format!("{:?}", wanted.max_age)),
        ("max_msgs", normal(actual.max_messages).to_string(), normal(wanted.max_messages).to_string()),
        (
            "max_msgs_per_subject",
            normal(actual.max_messages_per_subject).to_string(),
            normal(wanted.max_messages_per_subject).to_string(),
        ),
        ("max_bytes", normal(actual.max_bytes).to_string(), normal(wanted.max_bytes).to_string()),
        ("replicas", actual.num_replicas.to_string(), wanted.num_replicas.to_string()),
        ("allow_direct", actual.allow_direct.to_string(), wanted.allow_direct.to_string()),
        ("deny_delete", actual.deny_delete.to_string(), wanted.deny_delete.to_string()),
        ("deny_purge", actual.deny_purge.to_string(), wanted.deny_purge.to_string()),
        ("allow_msg_ttl", actual.allow_message_ttl.to_string(), wanted.allow_message_ttl.to_string()),
    ];
    unlike(rows)
}

/// What of a consumer differs from what it should be, one line each.
pub fn consumer_differences(actual: &consumer::Config, wanted: &pull::Config) -> Vec<String> {
    let rows = [
        ("ack_wait", format!("{:?}", actual.ack_wait), format!("{:?}", wanted.ack_wait)),
        ("backoff", format!("{:?}", actual.backoff), format!("{:?}", wanted.backoff)),
        ("filter_subject", actual.filter_subject.clone(), wanted.filter_subject.clone()),
        ("max_deliver", actual.max_deliver.max(0).to_string(), wanted.max_deliver.max(0).to_string()),
    ];
    // 0 leaves it to the broker.
    let pending = Some(wanted.max_ack_pending).filter(|max| *max > 0);
    let pending = pending.map(|max| ("max_ack_pending", actual.max_ack_pending.to_string(), max.to_string()));
    unlike(rows.into_iter().chain(pending))
}

fn unlike(rows: impl IntoIterator<Item = (&'static str, String, String)>) -> Vec<String> {
    let unlike = rows.into_iter().filter(|(_, actual, wanted)| actual != wanted);
    unlike.map(|(name, actual, wanted)| format!("{name}: {actual} on the broker, {wanted} wanted")).collect()
}

/// Consumer settings by name, for checks of manifests, alerts and boards against this file.
pub fn consumer_names(scale: Scale) -> HashMap<String, &'static str> {
    consumers(scale).into_iter().filter_map(|(stream, config)| Some((config.durable_name?, stream))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_keeps_one_open_message_per_conversation() {
        let streams = streams(Scale::default());
        let ask = streams.iter().find(|stream| stream.name == ASK).unwrap();
        assert_eq!((ask.max_messages_per_subject, ask.discard_new_per_subject), (1, true));
        assert_eq!(ask.retention, RetentionPolicy::WorkQueue);
    }

    #[test]
    fn a_difference_names_the_setting_and_both_values() {
        let wanted = streams(Scale::default()).remove(1);
        let actual = Config { max_age: Duration::from_secs(60), ..wanted.clone() };
        assert_eq!(differences(&actual, &wanted), ["max_age: 60s on the broker, 3600s wanted"]);
        assert!(differences(&wanted, &wanted).is_empty());
    }

    #[test]
    fn a_lane_has_streams_of_its_own_and_no_journal() {
        let lane = Lane::parse("next").unwrap();
        let shadows = streams_of(&lane, Scale { replicas: 3, ..Scale::default() });
        let names: Vec<_> = shadows.iter().map(|stream| stream.name.as_str()).collect();
        assert!(names.contains(&"SHADOW_NEXT_ASK") && names.contains(&"SHADOW_NEXT_TURNS"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains(JOURNAL) || name.contains(AUDIT)), "{names:?}");
        let subjects = || shadows.iter().flat_map(|stream| &stream.subjects);
        let advisory = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.SHADOW_NEXT_ASK.*";
        assert!(subjects().all(|subject| subject.starts_with("shadow.next.") || subject == advisory));
        assert!(shadows.iter().all(|stream| stream.storage == StorageType::Memory && stream.num_replicas == 1));
        assert_eq!(streams_of(&Lane::default(), Scale::default()), streams(Scale::default()));
    }

    #[test]
    fn a_lane_has_no_candidate_beside_its_workers() {
        let names = |lane: &Lane| -> Vec<_> {
            let of = consumers_of(lane, Scale::default()).into_iter();
            of.map(|(_, config)| (config.durable_name.unwrap_or_default(), config.filter_subject)).collect()
        };
        let lane = Lane::parse("next").unwrap();
        let own = |name: &str, filter: &str| (name.to_owned(), filter.to_owned());
        assert_eq!(names(&lane), [own(RESPONSE, "shadow.next.ask.*.*.*"), own(REAPER, "")]);
        assert!(names(&Lane::default()).contains(&own(RESPONSE_NEXT, "chat.v1.ask_next.*.*.*")));
    }

    #[test]
    fn records_outlive_every_redelivery() {
        let redeliveries: Duration = REDELIVERY_WAITS.iter().sum();
        assert!(Scale::default().turns_age > ASK_AGE_MAX + redeliveries);
    }
}
