//! One connection, on which one message at a time is asked.

use std::{io, net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    events::{self, Event, Events},
    face::{Asker, Face},
    http1::{Malformed, Part, Response},
    nats,
    verdict::{of_status, word_after},
    ws::{self, Opcode},
};
use crate::bench::{tally::Verdict, traffic::Message};

/// Room for what comes: an answer with its citations fits.
const READ_BYTES: usize = 4 * 1024;

/// A connection and what was read from it but not yet understood.
pub(super) struct Lane {
    stream: TcpStream,
    host: String,
    inbox: String,
    held: Vec<u8>,
    at: usize,
    out: Vec<u8>,
    body: Vec<u8>,
    asked: u64,
}

/// What a message came to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) first_frame: Option<Instant>,
    pub(super) first_text: Option<Instant>,
    /// The connection takes another message.
    pub(super) is_reusable: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Nothing came at all: on a connection that had been idle, the far side may have closed it before it was used.
    #[error("cut before an answer ({0})")]
    Silent(io::ErrorKind),
    #[error("cut in mid-answer")]
    Cut,
    #[error("no protocol: {0}")]
    Malformed(#[from] Malformed),
    #[error("no connection ({0})")]
    Unreachable(io::ErrorKind),
    #[error("the opening was refused with {0}")]
    Refused(String),
}

impl Lane {
    pub(super) async fn open(asker: &Asker, address: SocketAddr, inbox: String) -> Result<Self, Broken> {
        let stream = TcpStream::connect(address).await.map_err(|error| Broken::Unreachable(error.kind()))?;
        // It is written as a whole; waiting for more would only delay it. That it cannot be set is no reason to stop.
        let _ = stream.set_nodelay(true);
        let (held, out, body) = (Vec::new(), Vec::new(), Vec::new());
        let mut lane = Self { stream, host: address.to_string(), inbox, held, at: 0, out, body, asked: 0 };
        lane.out = asker.opening(&lane.host, &lane.inbox);
        if !lane.out.is_empty() {
            lane.write().await?;
        }
        match asker.face {
            Face::Ws => lane.upgraded().await?,
            Face::Nats => lane.greeted().await?,
            Face::Http | Face::Sse | Face::Openai => {}
        }
        Ok(lane)
    }

    pub(super) async fn ask(&mut self, asker: &Asker, message: Message, text: &str) -> Result<Answer, Broken> {
        self.asked += 1;
        self.out.clear();
        let (out, body) = (&mut self.out, &mut self.body);
        asker.message(out, body, (&self.host, &self.inbox), (message, text, self.asked));
        self.write().await?;
        match asker.face {
            Face::Http | Face::Openai => self.response().await,
            Face::Sse => self.stream_of_events().await,
            Face::Ws => self.story().await,
            Face::Nats => self.reply().await,
        }
    }

    async fn write(&mut self) -> Result<(), Broken> {
        self.stream.write_all(&self.out).await.map_err(|error| Broken::Silent(error.kind()))
    }

    /// More bytes; false when the far side has closed.
    async fn more(&mut self) -> Result<bool, io::ErrorKind> {
        if self.at == self.held.len() {
            self.held.clear();
        } else {
            self.held.drain(..self.at);
        }
        self.at = 0;
        self.held.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.held).await.map_err(|error| error.kind())?;
        Ok(read > 0)
    }

    /// More bytes of an answer that must not end here.
    async fn must_go_on(&mut self, has_begun: bool) -> Result<(), Broken> {
        match self.more().await {
            Ok(true) => Ok(()),
            _ if has_begun || !self.held.is_empty() => Err(Broken::Cut),
            Ok(false) => Err(Broken::Silent(io::ErrorKind::UnexpectedEof)),
            Err(kind) => Err(Broken::Silent(kind)),
        }
    }

    /// The next part of a response; its body's bytes end at `self.at`.
    async fn part(&mut self, response: &mut Response) -> Result<Part, Broken> {
        loop {
            if let Some((taken, part)) = response.next(&self.held[self.at..])? {
                self.at += taken;
                return Ok(part);
            }
            if response.ends_by_closing() {
                match self.more().await {
                    Ok(true) => continue,
                    Ok(false) => return Ok(Part::End),
                    Err(_) => return Err(Broken::Cut),
                }
            }
            self.must_go_on(response.status > 0).await?;
        }
    }

    async fn response(&mut self) -> Result<Answer, Broken> {
        let mut response = Response::new();
        while self.part(&mut response).await? != Part::End {}
        let verdict = of_status(response.status, response.has_retry_after);
        Ok(Answer { verdict, first_frame: None, first_text: None, is_reusable: response.keeps_alive })
    }

    async fn stream_of_events(&mut self) -> Result<Answer, Broken> {
        let (mut response, mut events, mut story) = (Response::new(), Events::default(), Story::default());
        loop {
            match self.part(&mut response).await? {
                Part::Body(bytes) if response.status == 200 => {
                    events.read(&self.held[self.at - bytes..self.at], |event| story.hears(event));
                }
                Part::End => break,
                Part::Head | Part::Body(_) | Part::Between => {}
            }
        }
        let verdict = match (response.status, story.last.take()) {
            (200, Some(last)) => last,
            (200, None) => Verdict::Failed("no last frame".into()),
            (status, _) => of_status(status, response.has_retry_after),
        };
        Ok(story.answer(verdict, response.keeps_alive))
    }

    async fn upgraded(&mut self) -> Result<(), Broken> {
        let mut response = Response::new();
        while self.part(&mut response).await? != Part::End {}
        match response.status {
            101 => Ok(()),
            status => Err(Broken::Refused(format!("status {status}"))),
        }
    }

    /// The frames of one message over a socket.
    async fn story(&mut self) -> Result<Answer, Broken> {
        let mut story = Story::default();
        loop {
            let mut pong = None;
            while let Some((taken, heard)) = ws::read(&self.held[self.at..])? {
                self.at += taken;
                match heard {
                    ws::Heard::Text(text) => {
                        if let Some(event) = said(text) {
                            story.hears(event);
                        }
                    }
                    ws::Heard::Ping(payload) => pong = Some(payload.to_vec()),
                    ws::Heard::Close => return Err(Broken::Cut),
                    ws::Heard::Other => {}
                }
            }
            if let Some(payload) = pong {
                self.out.clear();
                ws::write(&mut self.out, Opcode::Pong, &payload);
                self.write().await?;
            }
            if let Some(last) = story.last.take() {
                return Ok(story.answer(last, true));
            }
            self.must_go_on(story.first_frame.is_some()).await?;
        }
    }

    async fn greeted(&mut self) -> Result<(), Broken> {
        loop {
            while let Some((taken, heard)) = nats::read(&self.held[self.at..])? {
                self.at += taken;
                match heard {
                    nats::Heard::Pong => return Ok(()),
                    nats::Heard::Error(said) => return Err(Broken::Refused(String::from_utf8_lossy(said).into())),
                    _ => {}
                }
            }
            self.must_go_on(false).await?;
        }
    }

    async fn reply(&mut self) -> Result<Answer, Broken> {
        let wanted = format!("{}.{}", self.inbox, self.asked);
        loop {
            let (mut pinged, mut found) = (false, None);
            while let Some((taken, heard)) = nats::read(&self.held[self.at..])? {
                self.at += taken;
                match heard {
                    nats::Heard::Message(to, headers, body) if to == wanted.as_bytes() => {
                        found = Some(nats::verdict(headers, body));
                    }
                    nats::Heard::Error(said) => return Err(Broken::Refused(String::from_utf8_lossy(said).into())),
                    nats::Heard::Ping => pinged = true,
                    _ => {}
                }
            }
            if pinged {
                self.out.clear();
                self.out.extend_from_slice(b"PONG\r\n");
                self.write().await?;
            }
            if let Some(verdict) = found {
                return Ok(Answer { verdict, first_frame: None, first_text: None, is_reusable: true });
            }
            self.must_go_on(false).await?;
        }
    }
}

/// What a socket's text tells of the message under way.
fn said(text: &[u8]) -> Option<Event> {
    if text.starts_with(br#"{"type":"problem""#) {
        return Some(events::event(b"problem", text));
    }
    let name = word_after(text, br#""body":{"type":""#)?;
    Some(events::event(name, text))
}

/// The frames of a message, and when they came.
#[derive(Default)]
struct Story {
    first_frame: Option<Instant>,
    first_text: Option<Instant>,
    last: Option<Verdict>,
}

impl Story {
    fn hears(&mut self, event: Event) {
        let now = || Some(Instant::now());
        self.first_frame = self.first_frame.or_else(now);
        match event {
            Event::Frame => {}
            Event::Text => self.first_text = self.first_text.or_else(now),
            Event::Last(verdict) => self.last = Some(verdict),
        }
    }

    fn answer(self, verdict: Verdict, is_reusable: bool) -> Answer {
        Answer { verdict, first_frame: self.first_frame, first_text: self.first_text, is_reusable }
    }
}
