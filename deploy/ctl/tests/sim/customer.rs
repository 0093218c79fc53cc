//! A customer of the simulation: the same key for every try, another gateway after every break, one answer shown.

use std::time::{Duration, Instant};

use futures::StreamExt;
use talkfleet_gateway::{
    admit::Lane,
    auth::Principal,
    desk::{Frames, Submission},
};
use talkfleet_shared::{
    chance,
    chat::{Ask, Frame, FrameBody, MessageText, Position, Problem},
    clock,
    error::Code,
    id::{ChannelId, ConversationId, RequestId, TenantId},
    telemetry::Trace,
};

use crate::world::{Gateway, World};

/// How long a customer comes back: the budget, the faults and an outage or two.
const GIVE_UP_AFTER: Duration = Duration::from_secs(240);

/// How long a message waits for one that is answered and not settled yet.
const PATIENT_AT_LEAST: Duration = Duration::from_secs(5);

/// How long a customer waits before trying again.
const AGAIN_MS: (u64, u64) = (20, 800);

/// What one customer was told of one message.
#[derive(Debug, Clone)]
pub struct Told {
    pub key: String,
    pub conversation: ConversationId,
    pub channel: ChannelId,
    /// No other message of the conversation is open as long as this one is.
    pub alone: bool,
    /// When it was first sent, and when the customer heard that it was accepted; numbers of the world's events.
    pub sent_no: u64,
    pub accepted_no: Option<u64>,
    pub request: Option<RequestId>,
    pub last: Option<FrameBody>,
    pub restarts: u64,
    pub violations: Vec<String>,
    /// What the desk said when it did not take the message for good.
    pub refused: Option<Problem>,
    text: String,
    at: Position,
}

/// How a customer behaves with one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Patient,
    /// Hangs up in the middle and comes back for the rest.
    HangsUp,
    /// Wishes it to stop.
    Cancels,
}

pub fn principal() -> Principal {
    Principal::of_key(TenantId::parse("demo").unwrap())
}

impl Told {
    pub fn new(world: &World, key: String, conversation: ConversationId) -> Self {
        Self {
            key,
            conversation,
            channel: ChannelId::web(),
            alone: false,
            sent_no: world.event(),
            accepted_no: None,
            request: None,
            last: None,
            restarts: 0,
            violations: Vec::new(),
            refused: None,
            text: String::new(),
            at: Position::default(),
        }
    }

    /// Shows a frame as a page would, and holds it against what was shown before.
    fn show(&mut self, world: &World, frame: Frame) {
        world.tell(format!("{} is told {}.{} {}", self.key, frame.attempt, frame.seq, frame.body.name()));
        let mut wrong = |what: String| self.violations.push(format!("{}: {what}", self.key));
        if self.request.as_ref().is_some_and(|request| *request != frame.request) {
            wrong(format!("a frame of another request, {}", frame.request));
        }
        if self.last.is_some() {
            wrong(format!("'{}' after the last frame", frame.body.name()));
        }
        if let FrameBody::Accepted { conversation, .. } = &frame.body {
            if *conversation != self.conversation {
                wrong(format!("accepted in conversation {conversation}"));
            }
            self.request.get_or_insert(frame.request);
            self.accepted_no.get_or_insert_with(|| world.event());
            return;
        }
        let next = if frame.attempt == self.at.attempt || self.at.attempt == 0 { self.at.seq + 1 } else { 1 };
        if frame.attempt < self.at.attempt || frame.seq != next {
            wrong(format!("frame {} after {}", frame.position(), self.at));
        }
        self.at = frame.position();
        match &frame.body {
            FrameBody::Restart => {
                self.text.clear();
                self.restarts += 1;
            }
            FrameBody::Delta { text } => self.text.push_str(text),
            FrameBody::Done { answer } if answer.text != self.text => {
                let violation = format!("{}: read '{}', and the answer is '{}'", self.key, self.text, answer.text);
                self.violations.push(violation);
            }
            FrameBody::Cancelled { text, .. } if *text != self.text => {
                let violation =
                    format!("{}: read '{}', and '{text}' was said until it was stopped", self.key, self.text);
                self.violations.push(violation);
            }
            _ => {}
        }
        if frame.body.is_last() {
            self.last = Some(frame.body);
        }
    }

    /// Asks, and comes back until there is an outcome.
    pub async fn ask(mut self, world: &World, manner: Manner) -> Self {
        let give_up = clock::now() + GIVE_UP_AFTER;
        let mut hangs_up = manner == Manner::HangsUp;
        let mut cancels = manner == Manner::Cancels;
        while self.last.is_none() && self.refused.is_none() && clock::now() < give_up {
            let gateway = world.gateway();
            let turned = tokio::select! {
                biased;
                () = gateway.link.killed() => None,
                turned = self.turn_to(&gateway) => turned,
            };
            if let Some(frames) = turned {
                if let Some(request) = self.request.clone().filter(|_| std::mem::take(&mut cancels)) {
                    world.tell(format!("{} wishes to stop", self.key));
                    let principal = principal();
                    let wish = gateway.desk.cancel(&principal, &request);
                    let _ = tokio::time::timeout(Duration::from_secs(5), wish).await;
                }
                self.read(world, &gateway, frames, &mut hangs_up, give_up).await;
            }
            if self.last.is_none() {
                tokio::time::sleep(Duration::from_millis(chance::between(AGAIN_MS.0, AGAIN_MS.1))).await;
            }
        }
        self
    }

    /// Hears a request that somebody else asked, from its beginning.
    pub async fn overhear(mut self, world: &World, request: RequestId) -> Self {
        self.request = Some(request);
        self.ask(world, Manner::Patient).await
    }

    async fn turn_to(&mut self, gateway: &Gateway) -> Option<Frames> {
        let began = clock::now();
        let turned = match &self.request {
            Some(request) => gateway.desk.resume(&principal(), request, self.at).await,
            None => gateway.desk.submit(self.submission()).await.map(|story| {
                self.request = Some(story.request);
                story.frames
            }),
        };
        match turned {
            Ok(frames) => Some(frames),
            Err(problem) => {
                match problem.code {
                    // Whoever has read the answer may say the next thing, even on a channel that refuses while one is open.
                    Code::ConversationBusy if self.alone && clock::since(began) < PATIENT_AT_LEAST => {
                        self.violations.push(format!("{}: refused because of a message that was answered", self.key));
                    }
                    Code::BrokerAway | Code::Draining | Code::Overloaded | Code::ConversationBusy => {}
                    // A gateway that does not know of it yet is asked again.
                    Code::NotFound if self.request.is_some() => {}
                    _ => self.violations.push(format!("{}: refused with {}", self.key, problem.code.word())),
                }
                None
            }
        }
    }

    fn submission(&self) -> Submission {
        Submission {
            principal: principal(),
            address: None,
            conversation: Some(self.conversation.clone()),
            ask: Ask {
                channel: self.channel.clone(),
                ..Ask::new(MessageText::parse(&format!("What about {}?", self.key)).unwrap())
            },
            budget: None,
            idempotency_key: Some(self.key.clone()),
            lane: Lane::Interactive,
            face: "http",
            last_only: false,
            trace: Trace::start(&mut rand::rng()),
        }
    }

    async fn read(
        &mut self,
        world: &World,
        gateway: &Gateway,
        mut frames: Frames,
        hangs_up: &mut bool,
        give_up: Instant,
    ) {
        let mut until_hang_up = if std::mem::take(hangs_up) { chance::between(1, 5) } else { u32::MAX };
        while until_hang_up > 0 {
            tokio::select! {
                biased;
                () = gateway.link.killed() => return,
                frame = frames.next() => match frame {
                    Some(frame) => self.show(world, frame),
                    None => return,
                },
                () = tokio::time::sleep_until(give_up.into()) => return,
            }
            until_hang_up -= 1;
        }
    }
}
