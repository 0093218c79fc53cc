//! Every subject, built only from parsed ids; `chat.v1.<what>.<tenant>…`, so that a break is a new version token.

use crate::id::{BusUser, ConversationId, GatewayId, RequestId, TenantId};

/// What every subject of ours begins with.
pub const PREFIX: &str = "chat.v1";

/// What every subject of a replay begins with, followed by its lane.
pub const SHADOW: &str = "shadow";

/// Where the broker sends answers to questions.
pub const INBOX: &str = "_INBOX";

/// Where a user's answers come to, and nobody else's.
pub fn inbox_of(user: &BusUser) -> String {
    format!("{INBOX}.{user}")
}

/// The word of the dead letters.
pub const DEAD: &str = "dead";

/// A customer's message: `chat.v1.ask.<shard>.<tenant>.<conversation>`.
pub fn ask(shard: u32, tenant: &TenantId, conversation: &ConversationId) -> String {
    format!("{PREFIX}.ask.{shard}.{tenant}.{conversation}")
}

/// A customer's message for the candidate's workers: `chat.v1.ask_next.<shard>.<tenant>.<conversation>`.
pub fn ask_next(shard: u32, tenant: &TenantId, conversation: &ConversationId) -> String {
    format!("{PREFIX}.ask_next.{shard}.{tenant}.{conversation}")
}

/// The asks of a conversation, whoever is to answer them.
pub fn asks_of(shard: u32, tenant: &TenantId, conversation: &ConversationId) -> String {
    format!("{PREFIX}.*.{shard}.{tenant}.{conversation}")
}

/// Where processes say that they are there: not in the inbox of whoever asks, since nobody may speak into an operator's.
pub fn present(asked: &RequestId) -> String {
    format!("{PREFIX}.present.{asked}")
}

/// Every ask of a conversation, whoever is to answer them; what a gateway looks for before it stops one.
pub fn every_asks_of() -> String {
    format!("{PREFIX}.*.*.*.*")
}

/// An ask's subject as the stable workers take it, and those of its whole conversation.
pub fn asked_again(origin: &str) -> Option<(String, String)> {
    parse_ask(origin)?;
    let place = origin.strip_prefix(PREFIX)?.splitn(3, '.').nth(2)?;
    Some((format!("{PREFIX}.ask.{place}"), format!("{PREFIX}.*.{place}")))
}

/// Every ask of a shard.
pub fn asks_of_shard(shard: u32) -> String {
    format!("{PREFIX}.ask.{shard}.*.*")
}

/// Every ask of a tenant.
pub fn asks_of_tenant(tenant: &TenantId) -> String {
    format!("{PREFIX}.ask.*.{tenant}.*")
}

/// Every ask but the candidate's; with those, what the stream of asks captures.
pub fn every_ask() -> String {
    format!("{PREFIX}.ask.*.*.*")
}

/// Every ask for the candidate's workers.
pub fn every_next_ask() -> String {
    format!("{PREFIX}.ask_next.*.*.*")
}

/// A customer's message that goes to a worker at once, past the queue.
pub fn direct(tenant: &TenantId) -> String {
    format!("{PREFIX}.direct.{tenant}")
}

/// The tenant and conversation of an ask's subject.
pub fn parse_ask(subject: &str) -> Option<(TenantId, ConversationId)> {
    let rest = subject.strip_prefix(PREFIX)?;
    let mut tokens = rest.strip_prefix(".ask.").or_else(|| rest.strip_prefix(".ask_next."))?.split('.');
    let shard = tokens.next()?;
    // As [`ask`] writes it: `+3` and `03` are subjects of nobody.
    shard.parse::<u32>().ok().filter(|number| number.to_string() == shard)?;
    let tenant = TenantId::parse(tokens.next()?).ok()?;
    let conversation = ConversationId::parse(tokens.next()?).ok()?;
    tokens.next().is_none().then_some((tenant, conversation))
}

/// The intent role's service.
pub fn intent(tenant: &TenantId) -> String {
    format!("{PREFIX}.intent.{tenant}")
}

/// The retrieval role's service.
pub fn retrieve(tenant: &TenantId) -> String {
    format!("{PREFIX}.retrieve.{tenant}")
}

/// The archive role's service: a conversation's turns.
pub fn history(tenant: &TenantId) -> String {
    format!("{PREFIX}.history.{tenant}")
}

/// What the archive has just taken in, for whoever keeps copies: `chat.v1.changed.<tenant>`.
pub fn changed(tenant: &TenantId) -> String {
    format!("{PREFIX}.changed.{tenant}")
}

/// The ingress for people with a plain NATS tool.
pub fn chat(tenant: &TenantId) -> String {
    format!("{PREFIX}.chat.{tenant}")
}

/// A role's or face's subject for every tenant, as its service listens on it.
pub fn every_tenant(what: &str) -> String {
    format!("{PREFIX}.{what}.*")
}

/// The tenant at the end of `chat.v1.<what>.<tenant>`.
pub fn parse_tenant(subject: &str) -> Option<TenantId> {
    let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
    let (_, tenant) = rest.split_once('.')?;
    TenantId::parse(tenant).ok()
}

/// Where the frames of a request go: `chat.v1.reply.<gateway>.<request>`.
pub fn reply(gateway: &GatewayId, request: &RequestId) -> String {
    format!("{PREFIX}.reply.{gateway}.{request}")
}

/// Every reply to a gateway.
pub fn replies(gateway: &GatewayId) -> String {
    format!("{PREFIX}.reply.{gateway}.*")
}

/// Whether a reply-to header has the shape of our reply subjects: nobody can point frames elsewhere.
pub fn is_reply(subject: &str) -> bool {
    let Some(rest) = subject.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(".reply.")) else { return false };
    match rest.split_once('.') {
        Some((gateway, request)) => GatewayId::parse(gateway).is_ok() && RequestId::parse(request).is_ok(),
        None => false,
    }
}

/// The address at the end of a reply's subject: the request's id, or a token of its own for a client that came back.
pub fn parse_reply(subject: &str) -> Option<RequestId> {
    RequestId::parse(subject.rsplit('.').next()?).ok()
}

/// The turn's record: `chat.v1.turn.<tenant>.<conversation>.<request>`.
pub fn turn(tenant: &TenantId, conversation: &ConversationId, request: &RequestId) -> String {
    format!("{PREFIX}.turn.{tenant}.{conversation}.{request}")
}

/// A request's record when its conversation is not at hand.
pub fn turn_of_request(tenant: &TenantId, request: &RequestId) -> String {
    format!("{PREFIX}.turn.{tenant}.*.{request}")
}

/// Every record of a conversation.
pub fn turns_of_conversation(tenant: &TenantId, conversation: &ConversationId) -> String {
    format!("{PREFIX}.turn.{tenant}.{conversation}.*")
}

/// Every record of a tenant.
pub fn turns_of_tenant(tenant: &TenantId) -> String {
    format!("{PREFIX}.turn.{tenant}.*.*")
}

/// Every record; the source of the journal.
pub fn every_turn() -> String {
    format!("{PREFIX}.turn.*.*.*")
}

/// A tenant's journal, where the broker copies the records.
pub fn journal_of(tenant: &str) -> String {
    format!("{PREFIX}.journal.{tenant}")
}

/// What customers thought of answers.
pub fn feedback(tenant: &TenantId) -> String {
    format!("{PREFIX}.feedback.{tenant}")
}

/// A wish to stop: `chat.v1.cancel.<tenant>.<request>`.
pub fn cancel(tenant: &TenantId, request: &RequestId) -> String {
    format!("{PREFIX}.cancel.{tenant}.{request}")
}

/// Every wish to stop of a tenant's customers.
pub fn cancels_of_tenant(tenant: &TenantId) -> String {
    format!("{PREFIX}.cancel.{tenant}.*")
}

/// Every wish to stop.
pub fn every_cancel() -> String {
    format!("{PREFIX}.cancel.*.*")
}

/// Asks whoever owns a running turn for its frames so far and those to come: `chat.v1.resume.<tenant>.<request>`.
pub fn resume(tenant: &TenantId, request: &RequestId) -> String {
    format!("{PREFIX}.resume.{tenant}.{request}")
}

/// Every wish to resume.
pub fn every_resume() -> String {
    format!("{PREFIX}.resume.*.*")
}

/// Messages for the burst of a conversation, where a gateway gathers one: `chat.v1.burst.<tenant>.<conversation>`.
pub fn burst(tenant: &TenantId, conversation: &ConversationId) -> String {
    format!("{PREFIX}.burst.{tenant}.{conversation}")
}

/// Asks the gateways whether anybody listens to a request: `chat.v1.listening.<tenant>.<request>`.
pub fn listening(tenant: &TenantId, request: &RequestId) -> String {
    format!("{PREFIX}.listening.{tenant}.{request}")
}

/// Every such question.
pub fn every_listening() -> String {
    format!("{PREFIX}.listening.*.*")
}

/// The tenant and request of `chat.v1.<cancel|resume|listening>.<tenant>.<request>`.
pub fn parse_request(subject: &str) -> Option<(TenantId, RequestId)> {
    let mut tokens = subject.strip_prefix(PREFIX)?.strip_prefix('.')?.split('.').skip(1);
    let tenant = TenantId::parse(tokens.next()?).ok()?;
    let request = RequestId::parse(tokens.next()?).ok()?;
    tokens.next().is_none().then_some((tenant, request))
}

/// What could not be processed: `chat.v1.dead.<tenant>`; `_` when the tenant is not known.
pub fn dead(tenant: Option<&TenantId>) -> String {
    format!("{PREFIX}.{DEAD}.{}", tenant.map_or("_", TenantId::as_str))
}

/// What operators change; it is nobody's in particular.
pub fn audit() -> String {
    format!("{PREFIX}.audit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_is_read_back_from_its_subject() {
        let (tenant, conversation) = (TenantId::parse("demo").unwrap(), ConversationId::parse("c-1").unwrap());
        let read = Some((tenant.clone(), conversation.clone()));
        assert_eq!(parse_ask(&ask(3, &tenant, &conversation)), read);
        assert_eq!(parse_ask(&ask_next(3, &tenant, &conversation)), read);
        let again = asked_again(&ask_next(3, &tenant, &conversation)).unwrap();
        assert_eq!(again, (ask(3, &tenant, &conversation), asks_of(3, &tenant, &conversation)));
        for subject in [
            "chat.v1.ask.x.demo.c",
            "chat.v1.ask.+3.demo.c",
            "chat.v1.ask.03.demo.c",
            "chat.v1.ask_.0.demo.c",
            "chat.v1.ask.0.demo",
            "chat.v1.ask.0.demo.c.d",
            "chat.v2.ask.0.demo.c",
        ] {
            assert_eq!(parse_ask(subject), None, "{subject}");
        }
    }

    #[test]
    fn only_our_reply_subjects_are_honoured() {
        let subject = reply(&GatewayId::parse("g1").unwrap(), &RequestId::parse("r1").unwrap());
        assert!(is_reply(&subject));
        for subject in
            ["$JS.API.STREAM.DELETE.ASK", "chat.v1.reply.g", "chat.v1.reply.g.r.s", "chat.v1.reply.*.r", "_INBOX.a"]
        {
            assert!(!is_reply(subject), "{subject}");
        }
    }
}
