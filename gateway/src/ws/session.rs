//! One socket: who is there, what they ask, what they are told, and every way in which it ends.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::{
    FutureExt, SinkExt, StreamExt,
    stream::{BoxStream, SelectAll},
};
use rand::Rng;
use talkfleet_shared::{chat::Problem, error::Code, metrics::Face};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::{
    FACE,
    manners::{Manners, Verdict},
    message::{self, Ref, Told, Wish},
    story,
};
use crate::{
    auth::Principal,
    config::WsConfig,
    desk::{Desk, unix_ms},
};

/// Frames that leave in one write: a burst of words costs 2 µs each together and 8 apart.
const BATCH: usize = 32;

/// Pings that a peer may leave unanswered before it is taken for dead.
const PINGS_MISSED_MAX: u32 = 2;

/// Idle sockets of a gateway that goes away are closed within this time, so that not all of them come back at once.
const FAREWELL_MS: u64 = 3_000;

/// How long the farewell may take to be written; a peer that does not read will not read this either.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// RFC 6455: the peer does not speak the protocol; no failure of ours has this code.
const PROTOCOL_ERROR: u16 = 1002;

/// One client on one socket.
pub(super) struct Session {
    desk: Arc<Desk>,
    config: WsConfig,
    socket: WebSocket,
    who: Option<Who>,
    address: Option<IpAddr>,
    manners: Manners,
    /// Everything that is still being told: an answer each, or a wish under way.
    stories: SelectAll<BoxStream<'static, Told>>,
    began: Instant,
    heard: Instant,
    pings_missed: u32,
}

/// Somebody, and the token that says so: it is looked at anew for each ask, since it can expire or be revoked meanwhile.
pub(super) struct Who {
    token: String,
    principal: Principal,
    /// When it expires; the socket is closed then, once everything that was asked before has been told.
    until: Option<Instant>,
}

impl Who {
    pub(super) fn new(principal: Principal, token: String) -> Self {
        let left = principal.until_ms.map(|until_ms| Duration::from_millis(until_ms.saturating_sub(unix_ms())));
        let until = left.and_then(|left| Instant::now().checked_add(left));
        Self { token, principal, until }
    }
}

/// How a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// We close it, with a code and its word.
    Close { code: u16, reason: &'static str },
    /// The peer closed it, or is gone.
    Gone,
}

impl End {
    fn of(code: Code) -> Self {
        Self::Close { code: code.close(), reason: code.word() }
    }
}

/// What can happen next.
enum Event {
    Heard(Option<Result<Message, axum::Error>>),
    Told(Told),
    PulseDue,
    Unauthenticated,
    Draining,
    Farewell,
}

impl Session {
    pub(super) fn new(desk: Arc<Desk>, socket: WebSocket, who: Option<Who>, address: Option<IpAddr>) -> Self {
        let config = desk.config().ws.clone();
        let manners = Manners::new(config.messages_per_second);
        let now = Instant::now();
        let stories = SelectAll::new();
        Self { desk, config, socket, who, address, manners, stories, began: now, heard: now, pings_missed: 0 }
    }

    /// Serves the socket until it ends.
    pub(super) async fn run(mut self) {
        let connections = self.desk.metrics().connections.get_or_create(&Face { face: FACE }).clone();
        connections.inc();
        if let Err(End::Close { code, reason }) = self.converse().await {
            // Whether or not the peer reads it, the socket is over.
            let _ = timeout(CLOSE_WAIT, self.close(code, reason)).await;
        }
        connections.dec();
    }

    async fn close(&mut self, code: u16, reason: &'static str) -> Result<(), axum::Error> {
        self.socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        // What the peer still sends is read until it closes its side: left unread, the kernel would answer it with a reset,
        // and the peer lose our last words.
        while let Some(Ok(_)) = self.socket.recv().await {}
        Ok(())
    }

    async fn converse(&mut self) -> Result<(), End> {
        if let Some(ready) = self.ready() {
            self.tell(ready).await?;
        }
        let desk = self.desk.clone();
        let authenticated_by = self.began + Duration::from_millis(self.config.auth_timeout_ms);
        let ping = Duration::from_millis(self.config.ping_ms);
        let mut pulse = interval_at(self.began + ping, ping);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut farewell = None;
        loop {
            let expiry = self.who.as_ref().and_then(|who| who.until);
            let event = tokio::select! {
                heard = self.socket.recv() => Event::Heard(heard),
                Some(told) = self.stories.next(), if !self.stories.is_empty() => Event::Told(told),
                _ = pulse.tick() => Event::PulseDue,
                () = sleep_until(authenticated_by), if self.who.is_none() => Event::Unauthenticated,
                () = until(expiry), if expiry.is_some() && self.stories.is_empty() => Event::Unauthenticated,
                () = desk.shutdown().asked(), if farewell.is_none() => Event::Draining,
                () = until(farewell), if farewell.is_some() && self.stories.is_empty() => Event::Farewell,
            };
            match event {
                Event::Heard(heard) => self.hear(heard).await?,
                Event::Told(told) => self.tell(told).await?,
                Event::PulseDue => self.feel_pulse(ping).await?,
                Event::Unauthenticated => return Err(End::of(Code::Unauthenticated)),
                Event::Draining => {
                    let wait_ms = rand::rng().random_range(0..=FAREWELL_MS);
                    farewell = Some(Instant::now() + Duration::from_millis(wait_ms));
                }
                Event::Farewell => return Err(End::of(Code::Draining)),
            }
        }
    }

    async fn hear(&mut self, heard: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let message = heard.ok_or(End::Gone)?.map_err(|error| end_of(&error))?;
        self.heard = Instant::now();
        self.pings_missed = 0;
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(End::of(Code::BadFrame)),
            Message::Close(_) => return Err(End::Gone),
            // The library has answered a ping already; both count against a flood.
            Message::Ping(_) | Message::Pong(_) => return self.count().map(|_| ()),
        };
        if text.len() > self.config.message_bytes_max {
            return Err(End::of(Code::BodyTooLarge));
        }
        if let Some(warning) = self.count()? {
            return self.tell(warning).await;
        }
        let reply = match message::parse(&text) {
            Ok(wish) => self.grant(wish).await?,
            Err(misunderstood) => Some(self.warn(misunderstood.reference, misunderstood.problem)?),
        };
        match reply {
            Some(told) => self.tell(told).await,
            None => Ok(()),
        }
    }

    /// Does what a client wants, or says why not.
    async fn grant(&mut self, wish: Wish) -> Result<Option<Told>, End> {
        match wish {
            Wish::Ping => Ok(Some(Told::Pong)),
            Wish::Auth { token } => self.authenticate(token).await.map(Some),
            Wish::Ask(wish) => match self.identify(self.config.asks_max) {
                Ok(principal) => self.follow(story::ask(self.desk.clone(), principal, self.address, *wish)),
                Err(problem) => self.refuse(Some(wish.reference), problem),
            },
            Wish::Resume { request, after, reference } => match self.identify(self.config.asks_max) {
                Ok(principal) => self.follow(story::resume(self.desk.clone(), principal, request, after, reference)),
                Err(problem) => self.refuse(reference, problem),
            },
            // Every open ask may be stopped, and impatiently once more.
            Wish::Cancel { request } => match self.identify(self.config.asks_max * 3) {
                Ok(principal) => self.follow(story::cancel(self.desk.clone(), principal, request)),
                Err(problem) => self.refuse(None, problem),
            },
        }
    }

    fn follow(&mut self, story: BoxStream<'static, Told>) -> Result<Option<Told>, End> {
        self.stories.push(story);
        Ok(None)
    }

    /// Who asks, if they still may, and there is room for one more.
    fn identify(&self, room: usize) -> Result<Principal, Problem> {
        let who = self.who.as_ref().ok_or_else(|| {
            Problem::because(Code::Unauthenticated, "Say who you are first: {\"type\": \"auth\", \"token\": …}.")
        })?;
        let principal = self.desk.authenticate(Some(&who.token))?;
        if self.stories.len() >= room {
            let why = format!("At most {} asks may be open on one socket; wait for an answer.", self.config.asks_max);
            return Err(Problem::because(Code::TooManyRequests, why));
        }
        Ok(principal)
    }

    fn refuse(&mut self, reference: Option<Ref>, problem: Problem) -> Result<Option<Told>, End> {
        if problem.code == Code::Unauthenticated {
            return self.warn(reference, problem).map(Some);
        }
        Ok(Some(Told::problem(reference, problem)))
    }

    /// A token at the beginning, or a fresh one for the same somebody.
    async fn authenticate(&mut self, token: String) -> Result<Told, End> {
        let admitted = self.desk.admit(Some(&token), self.address).await;
        let principal = admitted.map_err(|problem| End::of(problem.code))?;
        if self.who.as_ref().is_some_and(|who| !who.principal.is_same(&principal)) {
            return Err(End::of(Code::Forbidden));
        }
        self.who = Some(Who::new(principal, token));
        self.ready().ok_or(End::of(Code::Unauthenticated))
    }

    fn ready(&self) -> Option<Told> {
        let WsConfig { asks_max, message_bytes_max, ping_ms, .. } = self.config;
        let user = self.who.as_ref()?.principal.user.clone();
        Some(Told::Ready { user, asks_max, message_bytes_max, ping_ms })
    }

    fn count(&mut self) -> Result<Option<Told>, End> {
        match self.manners.hear(self.began.elapsed()) {
            Ok(()) => Ok(None),
            Err((code, Verdict::Warn)) => Ok(Some(Told::problem(None, Problem::new(code)))),
            Err((code, Verdict::Close)) => Err(End::of(code)),
        }
    }

    fn warn(&mut self, reference: Option<Ref>, problem: Problem) -> Result<Told, End> {
        match self.manners.blunder(self.began.elapsed()) {
            Verdict::Warn => Ok(Told::problem(reference, problem)),
            Verdict::Close => Err(End::of(problem.code)),
        }
    }

    async fn feel_pulse(&mut self, ping: Duration) -> Result<(), End> {
        if self.heard.elapsed() < ping {
            return Ok(());
        }
        if self.pings_missed >= PINGS_MISSED_MAX {
            return Err(End::of(Code::RequestTimeout));
        }
        self.pings_missed += 1;
        self.write(async |socket| socket.send(Message::Ping(Default::default())).await).await
    }

    /// Sends this, and whatever else is ready by now, in one write.
    async fn tell(&mut self, first: Told) -> Result<(), End> {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let Some(Some(more)) = self.stories.next().now_or_never() else { break };
            batch.push(more);
        }
        self.write(async |socket| {
            for told in batch {
                socket.feed(Message::text(told.json())).await?;
            }
            socket.flush().await
        })
        .await
    }

    /// A peer that does not read in time is let go: what it missed it can resume.
    async fn write(&mut self, write: impl AsyncFnOnce(&mut WebSocket) -> Result<(), axum::Error>) -> Result<(), End> {
        let write_timeout = Duration::from_millis(self.config.write_timeout_ms);
        match timeout(write_timeout, write(&mut self.socket)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::of(Code::SlowConsumer)),
        }
    }
}

/// Never, as long as there is no time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The library's failure as a close. Its error type is not ours to name, so its words are what tells the cases apart.
fn end_of(error: &axum::Error) -> End {
    let words = error.to_string();
    if words.starts_with("Space limit exceeded") {
        End::of(Code::BodyTooLarge)
    } else if words.starts_with("UTF-8 encoding error") {
        End::of(Code::BadText)
    } else if words.starts_with("WebSocket protocol error: Connection reset") || words.starts_with("IO error") {
        End::Gone
    } else {
        End::Close { code: PROTOCOL_ERROR, reason: Code::BadFrame.word() }
    }
}
