//! What spans say of themselves, in OpenTelemetry's words where it has them; never what somebody said.

pub const MESSAGING_SYSTEM: &str = "messaging.system";
pub const MESSAGING_OPERATION: &str = "messaging.operation.name";
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// The stream, or the subject's kind: a subject itself holds ids.
pub const MESSAGING_DESTINATION: &str = "messaging.destination.name";
pub const MESSAGING_CONSUMER: &str = "messaging.consumer.group.name";
pub const MESSAGE: &str = "messaging.message.id";
pub const MESSAGES: &str = "messaging.batch.message_count";

pub const CONVERSATION: &str = "gen_ai.conversation.id";
pub const MODEL_OPERATION: &str = "gen_ai.operation.name";
pub const MODEL: &str = "gen_ai.request.model";
pub const TOKENS_IN: &str = "gen_ai.usage.input_tokens";
pub const TOKENS_OUT: &str = "gen_ai.usage.output_tokens";

/// A word of `schemas/errors.md`, or of the kind of failure.
pub const ERROR: &str = "error.type";

/// How often the message was delivered, this time included.
pub const ATTEMPT: &str = "talkfleet.attempt";
pub const FACE: &str = "talkfleet.face";
pub const CLASS: &str = "talkfleet.delivery";
pub const OUTCOME: &str = "talkfleet.outcome";
pub const ANSWER_KIND: &str = "talkfleet.answer.kind";
pub const RUNG: &str = "talkfleet.rung";
pub const FRAMES: &str = "talkfleet.frames";
/// How long the first word was waited for.
pub const FIRST_FRAME_MS: &str = "talkfleet.first_frame_ms";
/// `home` when it was called within the process, else `bus`.
pub const CALLED: &str = "talkfleet.called";
