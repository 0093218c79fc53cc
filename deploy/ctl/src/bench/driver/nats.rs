//! The NATS client protocol as far as `nats request` needs it: connect, one inbox, publish, a reply.

use serde_json::json;

use super::{
    http1::Malformed,
    verdict::{of_code, of_status, word_after},
};
use crate::bench::tally::Verdict;

/// A line of the protocol; nats-server's own default is 4 KiB.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What the server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    Ping,
    Pong,
    /// To what it was said, its headers (if any) and its body.
    Message(&'a [u8], &'a [u8], &'a [u8]),
    Error(&'a [u8]),
    /// INFO, +OK.
    Other,
}

/// The operation that bytes begin with and how long it is; None when it is not there as a whole.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(usize, Heard<'_>)>, Malformed> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let fits = bytes.len() <= LINE_BYTES_MAX;
        return if fits { Ok(None) } else { Err(Malformed("a line has no end")) };
    };
    let (line, body) = (bytes[..end].trim_ascii_end(), end + 1);
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let heard = match words.next().unwrap_or_default() {
        b"PING" => Heard::Ping,
        b"PONG" => Heard::Pong,
        b"-ERR" => Heard::Error(line),
        b"MSG" => return message(bytes, body, &words.collect::<Vec<_>>(), false),
        b"HMSG" => return message(bytes, body, &words.collect::<Vec<_>>(), true),
        _ => Heard::Other,
    };
    Ok(Some((body, heard)))
}

/// `MSG <subject> <sid> [reply] <bytes>` and `HMSG <subject> <sid> [reply] <header bytes> <bytes>`.
fn message<'a>(
    bytes: &'a [u8],
    from: usize,
    words: &[&'a [u8]],
    has_headers: bool,
) -> Result<Option<(usize, Heard<'a>)>, Malformed> {
    let number = |back: usize| {
        let word = words.len().checked_sub(back).and_then(|at| words.get(at))?;
        std::str::from_utf8(word).ok()?.parse::<usize>().ok().filter(|size| *size <= LINE_BYTES_MAX * 64)
    };
    let total = number(1).ok_or(Malformed("a message without a size"))?;
    let headers = if has_headers { number(2).ok_or(Malformed("a message without a size"))? } else { 0 };
    let subject = *words.first().ok_or(Malformed("a message without a subject"))?;
    let end = from + total;
    if bytes.len() < end + 2 {
        return Ok(None);
    }
    let split = (from + headers).min(end);
    Ok(Some((end + 2, Heard::Message(subject, &bytes[from..split], &bytes[split..end]))))
}

/// What a client says first: who it is, where it listens, and a ping whose pong says that all of it was heard.
pub(super) fn greeting(user: Option<(&str, &str)>, inbox: &str) -> Vec<u8> {
    let mut connect = json!({
        "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "echo": false,
        "name": "talkfleet-bench", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some((user, password)) = user {
        connect["user"] = user.into();
        connect["pass"] = password.into();
    }
    format!("CONNECT {connect}\r\nSUB {inbox}.* 1\r\nPING\r\n").into_bytes()
}

/// What a reply means: a service's refusals stand in its headers.
pub(super) fn verdict(headers: &[u8], body: &[u8]) -> Verdict {
    if headers.starts_with(b"NATS/1.0 503") {
        return Verdict::Failed("nobody listens".into());
    }
    let status = word_after(headers, b"Nats-Service-Error-Code: ").and_then(|word| std::str::from_utf8(word).ok());
    let Some(status) = status.and_then(|word| word.parse().ok()) else { return Verdict::Answered };
    let has_retry_after = word_after(body, b"\"retry_after_ms\":").is_some();
    match of_status(status, has_retry_after) {
        Verdict::Failed(_) => of_code(word_after(body, b"\"code\":\"").unwrap_or_default(), has_retry_after),
        verdict => verdict,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAID: &[u8] =
        b"INFO {}\r\nPONG\r\nMSG i.1 1 2\r\nok\r\nHMSG i.2 1 12 14\r\nNATS/1.0\r\n\r\nok\r\n-ERR 'no'\r\nPING\r\n";

    #[test]
    fn operations_are_heard_one_by_one() {
        let (mut at, mut heard) = (0, Vec::new());
        while let Some((taken, one)) = read(&SAID[at..]).unwrap() {
            at += taken;
            heard.push(one);
        }
        let expected = [
            Heard::Other,
            Heard::Pong,
            Heard::Message(b"i.1", b"", b"ok"),
            Heard::Message(b"i.2", b"NATS/1.0\r\n\r\n", b"ok"),
            Heard::Error(b"-ERR 'no'"),
            Heard::Ping,
        ];
        assert_eq!(heard, expected);
        assert!(read(b"MSG a 1 x\r\n").is_err());
        assert!(read(b"MSG a 1 99999999999\r\n").is_err());
    }

    #[test]
    fn refusals_are_told_by_their_headers() {
        assert_eq!(verdict(b"NATS/1.0 503\r\n\r\n", b""), Verdict::Failed("nobody listens".into()));
        assert_eq!(verdict(b"NATS/1.0\r\nContent-Type: x\r\n\r\n", b"{}"), Verdict::Answered);
        let shed = verdict(b"NATS/1.0\r\nNats-Service-Error-Code: 503\r\n\r\n", b"{\"retry_after_ms\":5}");
        assert_eq!(shed, Verdict::Shed { has_retry_after: true });
        let bad = verdict(b"NATS/1.0\r\nNats-Service-Error-Code: 400\r\n\r\n", b"{\"code\":\"bad_text\"}");
        assert_eq!(bad, Verdict::Failed("bad_text".into()));
    }

    proptest! {
        #[test]
        fn an_operation_is_heard_only_when_it_is_whole(cut in 0usize..35) {
            let message = b"HMSG i.2 1 12 14\r\nNATS/1.0\r\n\r\nok\r\n";
            let cut = cut.min(message.len());
            prop_assert_eq!(read(&message[..cut]).unwrap().is_some(), cut == message.len());
        }

        #[test]
        fn strange_bytes_never_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[b"MSG ", &bytes[..]].concat());
        }
    }
}
