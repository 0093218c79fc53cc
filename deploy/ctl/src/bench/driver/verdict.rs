//! What a status or a code of the desk means to whoever asked.

use talkfleet_shared::error::Code;

use crate::bench::tally::Verdict;

/// The verdict of an HTTP status.
pub(super) fn of_status(status: u16, has_retry_after: bool) -> Verdict {
    match status {
        200..=299 => Verdict::Answered,
        429 | 503 => Verdict::Shed { has_retry_after },
        504 => Verdict::Expired,
        _ => Verdict::Failed(format!("status {status}")),
    }
}

/// The verdict of one of the desk's codes.
pub(super) fn of_code(code: &[u8], has_retry_after: bool) -> Verdict {
    let known = Code::ALL.iter().find(|known| known.word().as_bytes() == code);
    match known.map(|code| of_status(code.status(), has_retry_after)) {
        Some(Verdict::Failed(_)) | None => Verdict::Failed(String::from_utf8_lossy(code).into_owned()),
        Some(verdict) => verdict,
    }
}

/// The letters, digits and underscores that stand behind the first place of a mark.
pub(super) fn word_after<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let rest = &bytes[at..];
    let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_judged_as_their_status() {
        assert_eq!(of_code(b"overloaded", true), Verdict::Shed { has_retry_after: true });
        assert_eq!(of_code(b"expired", false), Verdict::Expired);
        assert_eq!(of_code(b"turn_failed", false), Verdict::Failed("turn_failed".into()));
        assert_eq!(of_code(b"", false), Verdict::Failed(String::new()));
        assert_eq!(word_after(br#"{"a":1,"type":"done","x":2}"#, b"\"type\":\""), Some(&b"done"[..]));
        assert_eq!(word_after(b"abc", b"\"type\""), None);
    }
}
