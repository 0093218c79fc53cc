//! Every header of ours, spelled once.

/// The broker's own: a second publish under the same id within the window is stored once.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The broker's own: refuse unless the subject's last sequence is this one; 0 means 'I am the first writer'.
pub const EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
/// The broker's own: on which subjects that last sequence is looked for, instead of the message's own.
pub const EXPECTED_LAST_SUBJECT_SEQUENCE_OF: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
/// The broker's own: drop the message after this long.
pub const TTL: &str = "Nats-TTL";

pub const CONTENT_TYPE: &str = "Content-Type";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// The request's id; it equals the message id.
pub const REQUEST: &str = "Talkfleet-Request";
/// Where frames go, since a stored message loses its reply subject; honoured only in the shape of our reply subjects.
pub const REPLY_TO: &str = "Talkfleet-Reply-To";
/// How long the whole turn may take, in milliseconds from the moment that the broker stored it; on a question to a role, how
/// long its caller waits.
pub const BUDGET_MS: &str = "Talkfleet-Budget-Ms";
/// On an ask that goes past the queue: its conversation, which elsewhere stands in the subject.
pub const CONVERSATION: &str = "Talkfleet-Conversation";
/// On an ask that goes past the queue: its delivery class, `journaled` or `fast`.
pub const DELIVERY: &str = "Talkfleet-Delivery";
/// On an ask: it begins its conversation, so that there is nothing to remember.
pub const OPENING: &str = "Talkfleet-Opening";
/// The version of the body's shape.
pub const SCHEMA: &str = "Talkfleet-Schema";
/// On what a client sends: `batch` when nobody waits for the answer; it comes after those for whom somebody does.
pub const PRIORITY: &str = "Talkfleet-Priority";
/// Who is on whose behalf cancelling or resuming: only their own requests are found.
pub const USER: &str = "Talkfleet-User";
/// On `chat.v1.chat.<tenant>`: `frames` asks for every frame instead of the final answer alone. On an ask: `last` says that
/// whoever waits wants the last one alone; the others are sent only when that takes long.
pub const STREAM: &str = "Talkfleet-Stream";
/// On a dead letter: why it was set aside.
pub const REASON: &str = "Talkfleet-Reason";
/// On a dead letter: the subject that it was taken from.
pub const ORIGIN: &str = "Talkfleet-Origin";
/// On a dead letter: how often it had been delivered.
pub const ATTEMPT: &str = "Talkfleet-Attempt";
/// On a dead letter: the same for every message of one cause.
pub const FINGERPRINT: &str = "Talkfleet-Fingerprint";
/// On a dead letter: the errors that led there, outermost first, as a JSON array.
pub const CHAIN: &str = "Talkfleet-Chain";
/// On a dead letter: when it was stored and what is known of its deliveries, as a JSON object.
pub const HISTORY: &str = "Talkfleet-History";
/// On a dead letter: which process set it aside, `<program>/<version>/<id of this run>`.
pub const WORKER: &str = "Talkfleet-Worker";
/// On an ask: the dead letter that it is asked again for.
pub const REDRIVE_OF: &str = "Talkfleet-Redrive-Of";
/// On a service's reply: the code of the problem in its body.
pub const PROBLEM: &str = "Talkfleet-Problem";
