//! Every subject with what travels on it and who does what there: the tables behind the AsyncAPI document.

use anyhow::Result;
use talkfleet_shared::{
    id::{BusUser, ConversationId, GatewayId, RequestId, TenantId},
    subject, topology,
};

/// Stands for any shard while an address is built.
const SHARD: u32 = u32::MAX;

/// A subject, what travels on it, and where it is kept.
pub(super) struct Channel {
    pub(super) name: &'static str,
    pub(super) address: String,
    pub(super) what: &'static str,
    pub(super) messages: &'static [&'static str],
    /// Wildcards under which it is read.
    pub(super) read_as: Vec<String>,
    pub(super) stream: Option<&'static str>,
}

/// Who does what on a channel.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) action: &'static str,
    pub(super) channel: &'static str,
    /// Which part of the fleet does it.
    pub(super) who: &'static str,
    pub(super) queue: Option<&'static str>,
    pub(super) what: &'static str,
    /// Messages that come back on the request's own reply subject.
    pub(super) replies: &'static [&'static str],
}

/// Every channel of the broker.
#[rustfmt::skip]
pub(super) fn channels() -> Result<Vec<Channel>> {
    let (tenant, conversation) = (TenantId::parse("TENANT")?, ConversationId::parse("CONVERSATION")?);
    let (gateway, request) = (GatewayId::parse("GATEWAY")?, RequestId::parse("REQUEST")?);
    let channel = |name, subject: String, what, messages| {
        Channel { name, address: template(&subject), what, messages, read_as: Vec::new(), stream: None }
    };
    Ok(vec![
        Channel {
            read_as: vec![
                subject::asks_of_shard(SHARD), subject::asks_of_tenant(&tenant), subject::every_ask(), subject::asks_of(SHARD, &tenant, &conversation), subject::every_asks_of(),
            ],
            stream: Some(topology::ASK),
            ..channel("ask", subject::ask(SHARD, &tenant, &conversation), "Messages of customers; the broker lets in one per conversation at a time.", &["ask"])
        },
        Channel {
            read_as: vec![subject::every_next_ask()], stream: Some(topology::ASK),
            ..channel("ask_next", subject::ask_next(SHARD, &tenant, &conversation), "The same for the workers of a candidate, beside the stable ones; a conversation has one open message on both together.", &["ask"])
        },
        Channel {
            read_as: vec![subject::every_tenant("direct")],
            ..channel("direct", subject::direct(&tenant), "Messages of the delivery classes journaled and fast: one of the workers takes each at once, or nobody does.", &["direct_ask"])
        },
        Channel {
            read_as: vec![subject::replies(&gateway)],
            ..channel("reply", subject::reply(&gateway, &request), "Frames of an answer while it is made.", &["frame"])
        },
        Channel {
            read_as: vec![subject::every_tenant("present")],
            ..channel("present", subject::present(&request), "Where gateways and workers say that they are there, in the words of the NATS services protocol (`$SRV.INFO`).", &[])
        },
        Channel {
            read_as: vec![subject::every_tenant("intent")],
            ..channel("intent", subject::intent(&tenant), "What does the customer want?", &["intent_request"])
        },
        Channel {
            read_as: vec![subject::every_tenant("retrieve")],
            ..channel("retrieve", subject::retrieve(&tenant), "What does the company know about it?", &["retrieve_request"])
        },
        Channel {
            read_as: vec![subject::every_tenant("history")],
            ..channel("history", subject::history(&tenant), "What was said in a conversation?", &["history_request"])
        },
        Channel {
            read_as: vec![subject::every_tenant("changed")],
            ..channel("changed", subject::changed(&tenant), "What the archive has just taken in; whoever keeps copies drops them.", &["archive_change"])
        },
        Channel {
            read_as: vec![subject::every_tenant("chat")],
            ..channel("chat", subject::chat(&tenant), "For plain NATS tools: `nats request chat.v1.chat.demo '{\"text\":\"Where is my parcel?\"}'`.", &["chat"])
        },
        Channel {
            read_as: vec![subject::turn_of_request(&tenant, &request), subject::turns_of_conversation(&tenant, &conversation), subject::turns_of_tenant(&tenant), subject::every_turn()],
            stream: Some(topology::TURNS),
            ..channel("turn", subject::turn(&tenant, &conversation, &request), "One record per ended turn; the first writer wins.", &["turn_record"])
        },
        Channel {
            stream: Some(topology::JOURNAL),
            ..channel("journal", subject::journal_of(tenant.as_str()), "The records' long memory, copied by the broker itself; for archive and replay.", &["turn_record"])
        },
        Channel {
            read_as: vec![subject::every_tenant("feedback")], stream: Some(topology::JOURNAL),
            ..channel("feedback", subject::feedback(&tenant), "What customers thought of answers.", &["feedback"])
        },
        Channel {
            read_as: vec![subject::cancels_of_tenant(&tenant), subject::every_cancel()], stream: Some(topology::CANCELS),
            ..channel("cancel", subject::cancel(&tenant, &request), "A wish to stop.", &["cancel"])
        },
        Channel {
            read_as: vec![subject::every_resume()],
            ..channel("resume", subject::resume(&tenant, &request), "A wish for the frames of a running turn, those so far and those to come.", &["resume"])
        },
        channel("burst", subject::burst(&tenant, &conversation), "Messages for a burst, to the gateway that gathers it.", &["handed_over"]),
        Channel {
            read_as: vec![subject::every_listening()],
            ..channel("listening", subject::listening(&tenant, &request), "Does anybody listen to this request?", &["listening"])
        },
        Channel {
            stream: Some(topology::AUDIT),
            ..channel("audit", subject::audit(), "What operators change: an entry before the deed and one after it. Nothing can be taken out.", &["audit_entry"])
        },
        Channel {
            read_as: vec![subject::every_tenant("dead")], stream: Some(topology::DEAD),
            ..channel("dead", subject::dead(Some(&tenant)), "What could not be processed; the tenant is `_` when it is not known.", &["dead_letter"])
        },
    ])
}

/// Who does what, in the order of a turn.
#[rustfmt::skip]
pub(super) const OPERATIONS: &[Operation] = &[
    Operation { name: "publishAsk", action: "send", channel: "ask", who: "gateway", queue: None, replies: &[], what: "Only the broker's PubAck means 'accepted'. Frames come to the subject in Talkfleet-Reply-To." },
    Operation { name: "publishNextAsk", action: "send", channel: "ask_next", who: "gateway", queue: None, replies: &[], what: "For conversations of the candidate's share; refused while another message of the conversation is open." },
    Operation { name: "takeNextAsk", action: "receive", channel: "ask_next", who: "response", queue: None, replies: &[], what: "By the durable consumer `response_next`, by workers of the candidate." },
    Operation { name: "sayPresent", action: "send", channel: "present", who: "gateway", queue: None, replies: &[], what: "When an operator asks who is there; workers do the same." },
    Operation { name: "hearPresent", action: "receive", channel: "present", who: "operator", queue: None, replies: &[], what: "By `talkfleet release`, before a share is given." },
    Operation { name: "takeAsk", action: "receive", channel: "ask", who: "response", queue: None, replies: &[], what: "By the durable consumer `response`; the taker owns the turn until it is settled." },
    Operation { name: "sendDirect", action: "send", channel: "direct", who: "gateway", queue: None, replies: &[], what: "On channels whose delivery is journaled or fast; without a responder the broker says so on the subject of the frames." },
    Operation { name: "takeDirect", action: "receive", channel: "direct", who: "response", queue: Some("response"), replies: &[], what: "Answered at once, or refused with `overloaded`; nothing brings it to another worker." },
    Operation { name: "sendFrames", action: "send", channel: "reply", who: "response", queue: None, replies: &[], what: "Numbered without gaps within an attempt; exactly one last frame." },
    Operation { name: "receiveFrames", action: "receive", channel: "reply", who: "gateway", queue: None, replies: &[], what: "A higher attempt voids all of an earlier one; nothing follows a last frame." },
    Operation { name: "callIntent", action: "send", channel: "intent", who: "response", queue: None, replies: &["intent_reply", "problem"], what: "Idempotent; without an answer in time the turn degrades." },
    Operation { name: "answerIntent", action: "receive", channel: "intent", who: "intent", queue: Some("intent"), replies: &["intent_reply", "problem"], what: "A worker in any language may take this role." },
    Operation { name: "callRetrieve", action: "send", channel: "retrieve", who: "response", queue: None, replies: &["retrieve_reply", "problem"], what: "Idempotent; without an answer in time the turn degrades." },
    Operation { name: "answerRetrieve", action: "receive", channel: "retrieve", who: "retrieve", queue: Some("retrieve"), replies: &["retrieve_reply", "problem"], what: "A worker in any language may take this role; deploy/workers/python is one." },
    Operation { name: "callHistory", action: "send", channel: "history", who: "gateway", queue: None, replies: &["history_reply", "problem"], what: "Oldest first; empty when there is no such conversation." },
    Operation { name: "answerHistory", action: "receive", channel: "history", who: "archive", queue: Some("history"), replies: &["history_reply", "problem"], what: "From the archive's database." },
    Operation { name: "tellChanged", action: "send", channel: "changed", who: "archive", queue: None, replies: &[], what: "After each batch that the database has taken; at most once, so that copies expire as well." },
    Operation { name: "hearChanged", action: "receive", channel: "changed", who: "archive", queue: None, replies: &[], what: "Every archive worker drops its copies of these conversations, and knows that they exist." },
    Operation { name: "answerChat", action: "receive", channel: "chat", who: "ingress", queue: Some("chat"), replies: &["answer", "frame", "problem"], what: "Hands the message to the queue like a gateway and answers in the format of the question." },
    Operation { name: "writeTurn", action: "send", channel: "turn", who: "response", queue: None, replies: &[], what: "Refused (error 10071) when a record exists: read that one and tell it again." },
    Operation { name: "writeExpired", action: "send", channel: "turn", who: "gateway", queue: None, replies: &[], what: "When a turn's time is over and nobody has written how it ended; a record that exists is told instead." },
    Operation { name: "readTurn", action: "receive", channel: "turn", who: "gateway", queue: None, replies: &[], what: "By direct get, to resume or to fetch an outcome." },
    Operation { name: "readJournal", action: "receive", channel: "journal", who: "archive", queue: None, replies: &[], what: "By the durable consumer `archive`." },
    Operation { name: "sendFeedback", action: "send", channel: "feedback", who: "gateway", queue: None, replies: &[], what: "Waits for the broker's PubAck." },
    Operation { name: "readFeedback", action: "receive", channel: "feedback", who: "archive", queue: None, replies: &[], what: "By the durable consumer `archive`." },
    Operation { name: "sendCancel", action: "send", channel: "cancel", who: "gateway", queue: None, replies: &[], what: "Kept ten minutes for a worker that takes the ask up later." },
    Operation { name: "hearCancel", action: "receive", channel: "cancel", who: "response", queue: None, replies: &[], what: "Every worker hears it; the owner of the turn acts." },
    Operation { name: "sendResume", action: "send", channel: "resume", who: "gateway", queue: None, replies: &[], what: "When the record does not exist yet." },
    Operation { name: "hearResume", action: "receive", channel: "resume", who: "response", queue: None, replies: &[], what: "Every worker hears it; the owner of the turn sends the frames to Talkfleet-Reply-To." },
    Operation { name: "handOver", action: "send", channel: "burst", who: "gateway", queue: None, replies: &["frame", "problem"], what: "On channels that merge. Without a responder, or with `not_found`, the message begins a burst of its own; `accepted` names the request that it is part of." },
    Operation { name: "takeOver", action: "receive", channel: "burst", who: "gateway", queue: Some("burst"), replies: &["frame", "problem"], what: "While a burst is gathered, and answered once it is accepted or refused." },
    Operation { name: "askListening", action: "send", channel: "listening", who: "gateway", queue: None, replies: &["listening"], what: "Before a request is stopped because its last client hung up here." },
    Operation { name: "answerListening", action: "receive", channel: "listening", who: "gateway", queue: None, replies: &["listening"], what: "Only by who knows of a listener; the others keep silent." },
    Operation { name: "noteDeed", action: "send", channel: "audit", who: "operator", queue: None, replies: &[], what: "What cannot be noted is not done." },
    Operation { name: "readAudit", action: "receive", channel: "audit", who: "operator", queue: None, replies: &[], what: "`talkfleet audit list`, or whatever keeps a copy elsewhere." },
    Operation { name: "setAside", action: "send", channel: "dead", who: "response", queue: None, replies: &[], what: "The message as it was, with the reason." },
    Operation { name: "readDeadLetters", action: "receive", channel: "dead", who: "operator", queue: None, replies: &[], what: "To look at them and to send them again." },
    Operation { name: "hearSocket", action: "receive", channel: "socket", who: "gateway", queue: None, replies: &[], what: "Only `socket_wish`; a message that is none is answered with a problem." },
    Operation { name: "tellSocket", action: "send", channel: "socket", who: "gateway", queue: None, replies: &[], what: "Only `socket_told`; frames of several answers may be mixed, each in its own order." },
];

/// Where the answers of a user of the broker come to.
pub(super) fn inbox() -> Result<String> {
    Ok(template(&subject::inbox_of(&BusUser::parse("USER")?)))
}

/// `chat.v1.turn.TENANT.…` as an address: `chat.v1.turn.{tenant}.…`.
pub(super) fn template(subject: &str) -> String {
    let token = |token: &str| match token {
        _ if token == SHARD.to_string() => "{shard}".to_owned(),
        _ if token.bytes().all(|byte| byte.is_ascii_uppercase()) => format!("{{{}}}", token.to_ascii_lowercase()),
        _ => token.to_owned(),
    };
    subject.split('.').map(token).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_parameters() {
        assert_eq!(template(&format!("chat.v1.ask.{SHARD}.TENANT.*")), "chat.v1.ask.{shard}.{tenant}.*");
    }

    #[test]
    fn every_operation_has_its_channel_and_every_channel_an_operation() {
        let mut names: Vec<_> = channels().unwrap().iter().map(|channel| channel.name).collect();
        names.push("socket");
        for operation in OPERATIONS {
            assert!(names.contains(&operation.channel), "{}", operation.name);
        }
        for name in names {
            assert!(OPERATIONS.iter().any(|operation| operation.channel == name), "{name}");
        }
    }
}
