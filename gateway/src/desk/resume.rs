//! Coming back to a request: where is it, is it the caller's, and what has not been told yet. A stranger's id looks unknown.

use std::time::{Duration, Instant};

use talkfleet_shared::{
    bus::{ASK_GRACE, ResumeRequest},
    chat::{Frame, FrameBody, Position, Problem, TurnRecord},
    clock,
    error::Code,
    id::{ChannelId, ConversationId, RequestId},
    retry::Delays,
    spans::{Kind, key},
    telemetry::Trace,
    topology::Scale,
};

use super::{
    Desk, Frames, away,
    story::{Script, Tally},
    submit::REQUEST_SPAN,
    unix_ms,
};
use crate::{auth::Principal, relay::Inbox};

/// How long a request that nobody here knows may stay silent before it is called unknown.
const DOUBT: Duration = Duration::from_millis(1_500);

/// How often the record is looked for, and the owner asked again: an ask may lie on the queue until somebody takes it.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Where a request is.
pub(super) enum Found {
    Ended(Box<TurnRecord>),
    /// Nobody wrote down how it ended, and nobody will.
    Forgotten,
    Running(Running),
}

/// A request that may still be running, with an inbox for its frames.
pub(super) struct Running {
    pub inbox: Inbox,
    /// What came while it was looked for.
    pub early: Vec<Frame>,
    pub deadline: Instant,
    /// None when they are not known here.
    pub conversation: Option<ConversationId>,
    pub channel: Option<ChannelId>,
}

impl Desk {
    /// Everything of a request after a position, from whichever gateway it was asked.
    pub async fn resume(&self, principal: &Principal, request: &RequestId, after: Position) -> Result<Frames, Problem> {
        match self.find(principal, request, after).await? {
            Found::Ended(record) => Ok(Frames::ended(&record, after)),
            Found::Forgotten => Ok(Frames::expired(request, after)),
            Found::Running(running) => {
                let trace = self.bus.tracer().sample(Trace::start(&mut rand::rng()));
                let span = self.bus.tracer().span(trace, REQUEST_SPAN, Kind::Server).with(key::FACE, "resume");
                let seat = self.seat(principal, request, running.channel.as_ref());
                let tally = Tally::new(self.metrics().clone(), "resume", clock::now(), request.clone(), span, seat);
                Ok(self.follow(principal, request, after, running, None, tally))
            }
        }
    }

    /// Tells a running turn to a client that joins it.
    pub(super) fn follow(
        &self,
        principal: &Principal,
        request: &RequestId,
        after: Position,
        running: Running,
        opening: Option<Frame>,
        tally: Tally,
    ) -> Frames {
        let class = running.channel.as_ref().map(|channel| self.config.channels.policy(channel).delivery);
        let class = class.unwrap_or_default();
        Frames::running(Script {
            bus: self.bus.clone(),
            inbox: running.inbox,
            tenant: principal.tenant.clone(),
            conversation: running.conversation,
            request: request.clone(),
            user: principal.acts_for().cloned(),
            opening,
            early: running.early,
            after,
            deadline: running.deadline,
            patience: Delays::new(LOOK.0, LOOK.1),
            came_back: true,
            class,
            last_only: false,
            place: None,
            tally,
        })
    }

    /// Finds a request of the caller; 404 when it is not theirs or not at all, 410 when it is too old to know.
    pub(super) async fn find(
        &self,
        principal: &Principal,
        request: &RequestId,
        after: Position,
    ) -> Result<Found, Problem> {
        if let Some(record) = self.record_of(principal, request).await? {
            return Ok(Found::Ended(record));
        }
        let age = age(request, unix_ms(), Duration::from_millis(self.config.turns.budget_ms_max));
        // The address is fresh: frames of a request that is being told to somebody else never come here.
        let inbox = self.open_inbox(RequestId::new())?;
        if age != Age::Gone
            && let Some((deadline, conversation, channel)) = self.known(principal, request).await?
        {
            let conversation = Some(conversation);
            return Ok(Found::Running(Running { inbox, early: Vec::new(), deadline, conversation, channel }));
        }
        match age {
            Age::Young => self.ask_around(principal, request, after, inbox).await,
            // The other gateways would know it, were it not made up.
            Age::Over if self.peers.is_some() => Err(Problem::new(Code::NotFound)),
            Age::Over => Ok(Found::Forgotten),
            Age::Gone => Err(Problem::new(Code::NotResumable)),
        }
    }

    async fn record_of(&self, principal: &Principal, request: &RequestId) -> Result<Option<Box<TurnRecord>>, Problem> {
        let record = self.bus.read_record(&principal.tenant, None, request).await.map_err(|error| away(&error))?;
        match record {
            Some(record) if principal.owns(&record.conversation) => Ok(Some(Box::new(record))),
            Some(_) => Err(Problem::new(Code::NotFound)),
            None => Ok(None),
        }
    }

    /// The deadline, conversation and channel of a request that this process or another gateway took.
    async fn known(
        &self,
        principal: &Principal,
        request: &RequestId,
    ) -> Result<Option<(Instant, ConversationId, Option<ChannelId>)>, Problem> {
        let (conversation, deadline, channel) = match (self.ledger.recall(&principal.tenant, request), &self.peers) {
            // An id from an idempotency key tells no age, its deadline does.
            (Some(known), _) if known.is_gone(clock::now()) && principal.owns(&known.conversation) => {
                return Err(Problem::new(Code::NotResumable));
            }
            (Some(known), _) => (known.conversation, known.deadline, Some(known.channel)),
            (None, Some(peers)) => match peers.recall(&principal.tenant, request).await {
                Some(note) => {
                    let left_ms = note.deadline_at_ms.saturating_sub(unix_ms()).min(self.config.turns.budget_ms_max);
                    (note.conversation, clock::now() + Duration::from_millis(left_ms), note.channel)
                }
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        match principal.owns(&conversation) {
            true => Ok(Some((deadline, conversation, channel))),
            false => Err(Problem::new(Code::NotFound)),
        }
    }

    /// Asks the fleet whether somebody runs this request; the first frame, or its record, is the proof.
    async fn ask_around(
        &self,
        principal: &Principal,
        request: &RequestId,
        after: Position,
        mut inbox: Inbox,
    ) -> Result<Found, Problem> {
        let wish = ResumeRequest {
            tenant: principal.tenant.clone(),
            request: request.clone(),
            user: principal.acts_for().cloned(),
            after,
            reply_to: inbox.subject(),
        };
        self.bus.resume(&wish).await.map_err(|error| away(&error))?;
        let longest = Duration::from_millis(self.config.turns.budget_ms_max);
        let mut delays = Delays::new(LOOK.0, LOOK.1);
        let doubt = clock::now() + DOUBT;
        while clock::now() < doubt {
            let delay = delays.next_delay().min(doubt.saturating_duration_since(clock::now()));
            match tokio::time::timeout(delay, inbox.next()).await {
                Ok(Some(frame)) => {
                    let left = match &frame.body {
                        FrameBody::Accepted { conversation, .. } if !principal.owns(conversation) => break,
                        FrameBody::Accepted { deadline_ms, .. } => Duration::from_millis(*deadline_ms).min(longest),
                        _ => longest,
                    };
                    let conversation = match &frame.body {
                        FrameBody::Accepted { conversation, .. } => Some(conversation.clone()),
                        _ => None,
                    };
                    let (early, deadline) = (vec![frame], clock::now() + left);
                    return Ok(Found::Running(Running { inbox, early, deadline, conversation, channel: None }));
                }
                Ok(None) => return Err(Problem::new(Code::Draining)),
                Err(_) => {
                    if let Some(record) = self.record_of(principal, request).await? {
                        return Ok(Found::Ended(record));
                    }
                }
            }
        }
        Err(Problem::new(Code::NotFound))
    }
}

/// How old a request is, by its id.
#[derive(Debug, PartialEq, Eq)]
enum Age {
    /// It may lie on the queue or be running.
    Young,
    /// Its time is over, but a record of it would still be kept.
    Over,
    /// Not even a record would be kept.
    Gone,
}

fn age(request: &RequestId, now_ms: u64, budget_max: Duration) -> Age {
    // An id from an idempotency key tells no time, so it may be young.
    let age_ms = request.made_at_ms().map_or(0, |made_at_ms| now_ms.saturating_sub(made_at_ms));
    match Duration::from_millis(age_ms) {
        age if age <= budget_max + ASK_GRACE => Age::Young,
        age if age <= Scale::default().turns_age => Age::Over,
        _ => Age::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_how_old_its_request_is() {
        let request = RequestId::new();
        let made = request.made_at_ms().unwrap();
        let budget_max = Duration::from_secs(120);
        for (after_s, expected) in [(0, Age::Young), (180, Age::Young), (181, Age::Over), (3_601, Age::Gone)] {
            assert_eq!(age(&request, made + after_s * 1_000, budget_max), expected, "{after_s} s");
        }
        assert_eq!(age(&request, 0, budget_max), Age::Young, "a clock that runs behind makes nothing old");
        assert_eq!(age(&RequestId::parse("i0123").unwrap(), made, budget_max), Age::Young);
    }
}
