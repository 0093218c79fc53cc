//! Tables for people, written from the code: every error code.

use std::fmt::Write;

use talkfleet_shared::error::{Code, Retry};

/// Every error code, as Markdown.
pub(super) fn errors() -> String {
    let mut out = String::from(
        "<!-- Written by `talkfleet schema write` from shared/src/error.rs. -->\n\
         # Error codes\n\n\
         One code per failure, the same word in HTTP problems, WebSocket and SSE frames, replies over NATS, logs and metrics. \
         Words are never reused; a new failure gets a new word.\n\n\
         | code | HTTP status | WebSocket close | try again? | what it says |\n\
         |---|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let again = match code.retry() {
            Retry::Never => "no",
            Retry::Later => "later, as `Retry-After` says",
            Retry::SameId => "yes, under the same id or key",
        };
        let _ = writeln!(out, "| `{code}` | {} | {} | {again} | {} |", code.status(), code.close(), code.sentence());
    }
    out
}
