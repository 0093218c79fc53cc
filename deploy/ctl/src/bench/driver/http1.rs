//! One HTTP/1.1 response after another, read as it comes: what a load generator must know of it and no more.

/// A head that is longer than this is no head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A line with a chunk's size, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are missing.
    Length(u64),
    ChunkSize,
    /// So many bytes of the chunk are missing, its line's end not counted.
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// The body ends with the connection.
    UntilClosed,
    Done,
}

/// A response as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    state: State,
    pub(super) status: u16,
    pub(super) has_retry_after: bool,
    /// The connection may be used again afterwards.
    pub(super) keeps_alive: bool,
}

/// What a piece of bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    /// So many bytes of the body, which end the piece.
    Body(usize),
    /// Nothing that matters: a line between chunks, an interim response.
    Between,
    End,
}

/// What came is no HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

impl Response {
    pub(super) fn new() -> Self {
        Self { state: State::Head, status: 0, has_retry_after: false, keeps_alive: true }
    }

    /// The next part and how many bytes it took; None when more bytes are needed first.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Option<(usize, Part)>, Malformed> {
        match self.state {
            State::Head => self.head(bytes),
            State::Length(0) => Ok(Some(self.end())),
            State::Length(left) => Ok(self.body(bytes, left, State::Length)),
            State::UntilClosed => Ok((!bytes.is_empty()).then_some((bytes.len(), Part::Body(bytes.len())))),
            State::ChunkSize => self.chunk_size(bytes),
            State::Chunk(0) => {
                self.state = State::ChunkEnd;
                self.next(bytes)
            }
            State::Chunk(left) => Ok(self.body(bytes, left, State::Chunk)),
            State::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkSize;
                    Ok(Some((2, Part::Between)))
                }
                [] | [b'\r'] => Ok(None),
                _ => Err(Malformed("a chunk does not end with its line")),
            },
            State::Trailers => match line(bytes, HEAD_BYTES_MAX)? {
                None => Ok(None),
                Some(b"") => {
                    let (_, end) = self.end();
                    Ok(Some((2, end)))
                }
                Some(line) => Ok(Some((line.len() + 2, Part::Between))),
            },
            State::Done => Ok(Some((0, Part::End))),
        }
    }

    /// The far side has closed the connection: whether that is how this response ends.
    pub(super) fn ends_by_closing(&self) -> bool {
        matches!(self.state, State::UntilClosed | State::Done | State::Length(0))
    }

    fn end(&mut self) -> (usize, Part) {
        self.state = State::Done;
        (0, Part::End)
    }

    fn body(&mut self, bytes: &[u8], left: u64, state: fn(u64) -> State) -> Option<(usize, Part)> {
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.state = state(left - taken as u64);
        (taken > 0).then_some((taken, Part::Body(taken)))
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<(usize, Part)>, Malformed> {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            let fits = bytes.len() <= HEAD_BYTES_MAX;
            return if fits { Ok(None) } else { Err(Malformed("the head has no end")) };
        };
        let (head, taken) = (&bytes[..end], end + 4);
        let status = status(head).ok_or(Malformed("no HTTP/1.1 response"))?;
        // An interim response; 101 is the last one that a connection gives in HTTP.
        if (100..200).contains(&status) && status != 101 {
            return Ok(Some((taken, Part::Between)));
        }
        (self.status, self.keeps_alive) = (status, !head.starts_with(b"HTTP/1.0"));
        let (mut length, mut chunked) = (None, false);
        let mut rest = &head[find(head, b"\r\n").map_or(head.len(), |at| at + 2)..];
        while !rest.is_empty() {
            let end = find(rest, b"\r\n").unwrap_or(rest.len());
            let (name, value) = field(&rest[..end]);
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    length = Some(number(value, 10).ok_or(Malformed("a length that is no number"))?);
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    chunked = value.to_ascii_lowercase().ends_with(b"chunked");
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    self.keeps_alive = !value.eq_ignore_ascii_case(b"close");
                }
                11 if name.eq_ignore_ascii_case(b"retry-after") => self.has_retry_after = true,
                _ => {}
            }
            rest = rest.get(end + 2..).unwrap_or_default();
        }
        self.state = match (status, chunked, length) {
            (101 | 204 | 304, ..) => State::Length(0),
            (_, true, _) => State::ChunkSize,
            (_, false, Some(length)) => State::Length(length),
            (_, false, None) => State::UntilClosed,
        };
        self.keeps_alive &= self.state != State::UntilClosed;
        Ok(Some((taken, Part::Head)))
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> Result<Option<(usize, Part)>, Malformed> {
        let Some(line) = line(bytes, CHUNK_LINE_BYTES_MAX)? else { return Ok(None) };
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = number(digits.trim_ascii(), 16).ok_or(Malformed("a chunk's size is no number"))?;
        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
        Ok(Some((line.len() + 2, Part::Between)))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    // Looking for one byte is far cheaper than comparing windows at every place.
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == b'\r') {
        if bytes[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The line that bytes begin with, without its end.
fn line(bytes: &[u8], longest: usize) -> Result<Option<&[u8]>, Malformed> {
    match find(bytes, b"\r\n") {
        Some(at) => Ok(Some(&bytes[..at])),
        None if bytes.len() <= longest => Ok(None),
        None => Err(Malformed("a line has no end")),
    }
}

/// `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?;
    let digits = rest.get(..3)?;
    u16::try_from(number(digits, 10)?).ok().filter(|status| (100..600).contains(status))
}

fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    (&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii())
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_alphanumeric);
    plain.then(|| std::str::from_utf8(digits).ok()).flatten().and_then(|text| u64::from_str_radix(text, radix).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a response that comes in pieces: status, body, how often it may be used again, what is left over.
    fn read(pieces: &[&[u8]]) -> Result<(Response, Vec<u8>, Vec<u8>, bool), Malformed> {
        let (mut response, mut body, mut held, mut ended) = (Response::new(), Vec::new(), Vec::new(), false);
        for piece in pieces {
            held.extend_from_slice(piece);
            while !ended {
                let Some((taken, part)) = response.next(&held)? else { break };
                if let Part::Body(bytes) = part {
                    body.extend_from_slice(&held[taken - bytes..taken]);
                }
                ended = part == Part::End;
                held.drain(..taken);
            }
        }
        Ok((response, body, held, ended))
    }

    #[track_caller]
    fn check(text: &str, status: u16, body: &str, keeps_alive: bool, ended: bool) {
        let (response, read_body, _, has_ended) = read(&[text.as_bytes()]).unwrap();
        assert_eq!((response.status, response.keeps_alive, has_ended), (status, keeps_alive, ended), "{text}");
        assert_eq!(String::from_utf8_lossy(&read_body), body, "{text}");
    }

    #[test]
    fn awkward_responses_are_read() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, true);
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n",
            200,
            "ok!",
            true,
            true,
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            503,
            "",
            true,
            true,
        );
        check("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200, "", false, true);
        check("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", false, false);
        check("HTTP/1.0 200 OK\r\ncontent-length:1\r\n\r\nx", 200, "x", false, true);
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true, true);
        check(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            101,
            "",
            true,
            true,
        );
        let (response, ..) = read(&[b"HTTP/1.1 200 OK\r\n\r\nx"]).unwrap();
        assert!(response.ends_by_closing());
        let (response, _, left, _) =
            read(&[b"HTTP/1.1 429 Slow\r\nRETRY-AFTER: 2\r\nContent-Length: 1\r\n\r\nxHTTP"]).unwrap();
        assert!(response.has_retry_after && left == b"HTTP");
    }

    #[test]
    fn what_is_no_http_is_told() {
        for bad in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(read(&[bad.as_bytes()]).is_err(), "{bad}");
        }
        assert!(read(&[&vec![b'x'; HEAD_BYTES_MAX + 1]]).is_err());
    }

    proptest! {
        /// However a response is cut into pieces, it reads the same.
        #[test]
        fn pieces_do_not_matter(
            body in prop::collection::vec(any::<u8>(), 0..200), chunk in 1usize..50, chunked: bool,
            cuts in prop::collection::vec(0usize..500, 0..20),
        ) {
            let mut wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n".to_vec();
            if chunked {
                wire.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for part in body.chunks(chunk) {
                    wire.extend(format!("{:x}\r\n", part.len()).bytes());
                    wire.extend(part);
                    wire.extend(b"\r\n");
                }
                wire.extend(b"0\r\n\r\n");
            } else {
                wire.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                wire.extend(&body);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).chain([0, wire.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
            let (response, read_body, left, ended) = read(&pieces).unwrap();
            prop_assert!(ended && response.status == 200 && left.is_empty());
            prop_assert_eq!(read_body, body);
        }

        #[test]
        fn strange_bytes_never_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &bytes]);
            let _ = read(&[&bytes]);
        }
    }
}
