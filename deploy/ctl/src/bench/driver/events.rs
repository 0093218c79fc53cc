//! Server-sent events: which of them came, and how the last one ends the message.

use crate::bench::tally::Verdict;

use super::verdict::{of_code, word_after};

/// A line is kept up to here: an event's name, and the code at the beginning of a problem.
const KEPT_BYTES: usize = 512;

/// What an event was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Any frame but those below.
    Frame,
    /// A piece of the answer.
    Text,
    /// The last frame.
    Last(Verdict),
}

/// The stream as far as it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
}

impl Events {
    /// Reads more of it; `heard` is told every event.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut heard: impl FnMut(Event)) {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..at]);
            bytes = &bytes[at + 1..];
            let line = std::mem::take(&mut self.line);
            if let Some(event) = self.line(line.strip_suffix(b"\r").unwrap_or(&line)) {
                heard(event);
            }
            self.line = line;
            self.line.clear();
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if let Some(name) = line.strip_prefix(b"event:") {
            self.name.clear();
            self.name.extend_from_slice(name.trim_ascii());
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.data.clear();
            self.data.extend_from_slice(data.trim_ascii());
        } else if line.is_empty() && !self.name.is_empty() {
            let event = event(&self.name, &self.data);
            self.name.clear();
            return Some(event);
        }
        None
    }
}

/// An event by the name of its frame.
pub(super) fn event(name: &[u8], data: &[u8]) -> Event {
    match name {
        b"delta" => Event::Text,
        b"done" => Event::Last(Verdict::Answered),
        b"expired" => Event::Last(Verdict::Expired),
        b"cancelled" => Event::Last(Verdict::Failed("cancelled".into())),
        b"failed" | b"problem" | b"draining" => {
            let has_retry_after = word_after(data, b"\"retry_after_ms\":").is_some();
            Event::Last(of_code(word_after(data, b"\"code\":\"").unwrap_or_default(), has_retry_after))
        }
        _ => Event::Frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": hello\nid: 1.0\nevent: accepted\ndata: {}\n\nevent: delta\ndata: {\"a\":1}\n\n\
        event: done\r\ndata: {}\r\n\r\n";

    #[test]
    fn events_are_heard_however_they_are_cut() {
        let expected = [Event::Frame, Event::Text, Event::Last(Verdict::Answered)];
        for size in 1..STREAM.len() {
            let (mut events, mut heard) = (Events::default(), Vec::new());
            STREAM.chunks(size).for_each(|piece| events.read(piece, |event| heard.push(event)));
            assert_eq!(heard, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_failure_is_told_by_its_code() {
        let (mut events, mut heard) = (Events::default(), Vec::new());
        let stream = b"event: failed\ndata: {\"body\":{\"type\":\"failed\",\"problem\":{\"code\":\"overloaded\",\"retry_after_ms\":7}}}\n\n";
        events.read(stream, |event| heard.push(event));
        assert_eq!(heard, [Event::Last(Verdict::Shed { has_retry_after: true })]);
    }
}
