//! Every failure has one code; the code decides HTTP status, WebSocket close code, whether to retry, and what the user reads.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a caller may do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request will fail again.
    Never,
    /// Wait as `Retry-After` says, then send it again.
    Later,
    /// Send it again with the same idempotency key or id: it may have been accepted.
    SameId,
}

macro_rules! codes {
    ($($name:ident $word:literal $status:literal $close:literal $retry:ident $sentence:literal;)*) => {
        /// The code of a failure; the words are part of the public interface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code {$(
            #[doc = $sentence]
            #[serde(rename = $word)]
            $name,
        )*}

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word in problems, frames, logs and metric labels.
            pub const fn word(self) -> &'static str {
                match self {$(Self::$name => $word),*}
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self {$(Self::$name => $status),*}
            }

            /// The WebSocket close code, when this failure ends the socket.
            pub const fn close(self) -> u16 {
                match self {$(Self::$name => $close),*}
            }

            pub const fn retry(self) -> Retry {
                match self {$(Self::$name => Retry::$retry),*}
            }

            /// What the user reads when nothing more is known.
            pub const fn sentence(self) -> &'static str {
                match self {$(Self::$name => $sentence),*}
            }
        }
    };
}

codes! {
    // What the caller sent.
    BadJson            "bad_json"            400 1007 Never  "The body is not valid JSON of the documented shape.";
    BadText            "bad_text"            400 1007 Never  "The text must hold 1 to 4,000 characters and no control characters.";
    BadId              "bad_id"              400 1007 Never  "An identifier holds 1 to 64 letters, digits, '_' or '-'.";
    BadDeadline        "bad_deadline"        400 1007 Never  "The deadline lies outside the allowed range.";
    BadMetadata        "bad_metadata"        400 1007 Never  "Metadata holds at most 16 pairs of short texts.";
    BadHistory         "bad_history"         400 1007 Never  "The history holds at most 20 exchanges and must end with the customer's message.";
    BadIdempotencyKey  "bad_idempotency_key" 400 1007 Never  "An Idempotency-Key holds 1 to 128 visible ASCII characters.";
    BadPosition        "bad_position"        400 1007 Never  "Give the last frame seen as a number, or as attempt.seq.";
    BadFrame           "bad_frame"           400 1003 Never  "The socket takes text frames of the documented types.";
    UnsupportedMedia   "unsupported_media"   415 1003 Never  "Send Content-Type: application/json, uncompressed.";
    BodyTooLarge       "body_too_large"      413 1009 Never  "The body is larger than this server takes; shorten it.";
    HeadersTooLarge    "headers_too_large"   431 1009 Never  "The headers are larger than this server takes.";
    RequestTimeout     "request_timeout"     408 1008 Later  "The request did not arrive in time; send it again, faster.";
    NotFound           "not_found"           404 1008 Never  "There is nothing here under that name.";
    MethodNotAllowed   "method_not_allowed"  405 1008 Never  "This address does not know that method; see the Allow header.";
    Unauthenticated    "unauthenticated"     401 3000 Never  "Send a valid API key or token as 'Authorization: Bearer …'.";
    Forbidden          "forbidden"           403 3003 Never  "This key may not do that.";
    BadOrigin          "bad_origin"          403 3003 Never  "This page's origin is not on the list of allowed origins.";
    UnknownModel       "unknown_model"       404 1008 Never  "There is no such model; GET /v1/models lists them.";
    // How it meets what is already there.
    IdempotencyReuse   "idempotency_reuse"   409 1008 Never  "This Idempotency-Key was used with another body; choose a new one.";
    ConversationBusy   "conversation_busy"   409 1008 Later  "Too many messages of this conversation are waiting; wait for the answer.";
    NotResumable       "not_resumable"       410 1008 Never  "The frames of this request are no longer kept.";
    Cancelled          "cancelled"           409 1000 Never  "The request was cancelled.";
    // How much there is.
    TooManyRequests    "too_many_requests"   429 1013 Later  "Too many requests; wait as Retry-After says.";
    TooManyConnections "too_many_connections" 503 1013 Later "Too many connections; try again later.";
    Overloaded         "overloaded"          503 1013 Later  "The desk is full; try again as Retry-After says.";
    WorkerAway         "worker_away"         503 1013 Later  "No worker has this message any more; send it again as Retry-After says.";
    SlowConsumer       "slow_consumer"       503 1008 SameId "The frames were not read in time; resume after the last one seen.";
    // What broke here.
    BrokerAway         "broker_away"         503 1011 SameId "The queue cannot be reached, so the outcome is unknown; retry with the same Idempotency-Key.";
    Draining           "draining"            503 1012 SameId "This server is going away; reconnect and resume after the last frame seen.";
    HistoryAway        "history_away"        503 1011 Later  "The archive cannot be reached; try again later.";
    Expired            "expired"             504 1000 SameId "No answer was made before the deadline.";
    TurnFailed         "turn_failed"         502 1011 Never  "The desk could not answer this message.";
    Poison             "poison"              502 1011 Never  "This message could not be processed and was set aside.";
    Internal           "internal"            500 1011 Later  "Something went wrong here; try again later.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_an_error_with_its_own_word() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code}");
            assert!(matches!(code.close(), 1000..=1013 | 3000..=4999), "{code}");
            assert!(code.sentence().ends_with('.'), "{code}");
        }
    }

    #[test]
    fn whoever_may_come_back_later_is_told_so_by_a_fitting_status() {
        for code in Code::ALL.iter().filter(|code| code.retry() == Retry::Later) {
            assert!(matches!(code.status(), 408 | 409 | 429 | 500 | 503), "{code}");
        }
    }
}
