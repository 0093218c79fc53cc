//! The desk as the gateway knows it: ask, come back, stop, look back, judge. Every face talks to the fleet through it.

/// Who is let in, and who is told to wait first.
mod door;

/// Taking a message: limits, the line of its conversation, the queue.
mod submit;

/// Messages that go past the queue.
mod direct;

/// Coming back to a request, on whichever gateway it began.
mod resume;

/// One request told to one client, until its one last frame.
mod story;

/// What an answer costs is debited.
mod bill;

/// A turn whose time is over and of which nobody has said how it ended.
mod expiry;

/// PURE: which frame is next, which is late, which is missing.
mod order;

/// What this process knows of the requests that it took.
mod ledger;

/// The line of messages that wait for their conversation's turn.
mod line;

/// PURE: how long a broker that does not take messages is waited for.
mod outage;

/// What a message does about an earlier one that is still open.
mod earlier;

/// Bursts that become one ask.
mod merge;

/// PURE: which messages are one burst, and when it is whole.
mod burst;

/// Who listens to which request here.
mod audience;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use talkfleet_shared::{
    bus::{Bus, BusError, CallError},
    chance,
    chat::{Ask, DeliveryClass, Feedback, Frame, HistoryReply, HistoryRequest, Outcome, Position, Problem, Verdict},
    error::Code,
    id::{ChannelId, ConversationId, GatewayId, RequestId, UserId},
    lifecycle::Shutdown,
    metrics::{self, Metrics},
    subject,
    telemetry::Trace,
};

pub use self::story::Frames;
use self::{
    audience::{Audience, Seat},
    ledger::Ledger,
    line::Lines,
    merge::Bursts,
    outage::SharedOutage,
};
use crate::{
    admit::{
        Allowance, Lane,
        gate::{Gates, Permit},
        limiter::{Account, Limiter},
    },
    auth::{Keyring, Principal},
    channels::ChannelPolicy,
    config::GatewayConfig,
    http::address::Network,
    peers::Peers,
    relay::Relay,
};

/// The most turns of a conversation that history shows, newest kept.
const HISTORY_TURNS_SHOWN: u32 = 200;

/// The longest reason of a verdict in characters.
pub const REASON_CHARS_MAX: usize = 1_000;

/// What a client at `after` is shown of frames as they come in, and where it stands then.
pub(crate) fn shown(after: Position, frames: &[Frame]) -> (Vec<Frame>, Position) {
    let mut order = order::Order::after(after);
    let shown = frames.iter().filter(|frame| order.judge(frame) == order::Next::Show).cloned().collect();
    (shown, order.position())
}

/// One message as a face hands it in, everything in it parsed.
#[derive(Debug, Clone)]
pub struct Submission {
    pub principal: Principal,
    /// None when it did not come over HTTP.
    pub address: Option<IpAddr>,
    /// None begins a conversation.
    pub conversation: Option<ConversationId>,
    pub ask: Ask,
    /// None for the usual one; out of bounds is refused.
    pub budget: Option<Duration>,
    pub idempotency_key: Option<String>,
    pub lane: Lane,
    /// Which face it came through, for the metrics: `http`, `sse`, `ws`, `openai`, `nats`.
    pub face: &'static str,
    /// Only how it ends is told: the frames before need not be sent.
    pub last_only: bool,
    pub trace: Trace,
}

impl Submission {
    /// On whose account it goes.
    fn account(&self) -> Account<'_> {
        Account { tenant: Some(&self.principal.tenant), user: self.ask.user.as_ref(), address: self.address }
    }
}

/// An accepted request and what is told of it.
#[derive(Debug)]
pub struct Story {
    pub request: RequestId,
    pub conversation: ConversationId,
    /// What is promised of it.
    pub delivery: DeliveryClass,
    /// What is left of the caller's limit, when there is one.
    pub allowance: Option<Allowance>,
    /// `accepted` first, then what the desk says, exactly one last.
    pub frames: Frames,
}

/// This side's half of every turn; one per process, shared by its faces.
pub struct Desk {
    bus: Bus,
    config: GatewayConfig,
    keyring: Keyring,
    limiter: Arc<Limiter>,
    gates: Gates,
    trusted_proxies: Vec<Network>,
    lines: Lines,
    bursts: Bursts,
    audience: Audience,
    ledger: Ledger,
    outage: SharedOutage,
    peers: Option<Peers>,
    relay: Arc<Relay>,
    shutdown: Shutdown,
}

impl Desk {
    /// Opens the desk without its faces: it hears what is said to it until `until` is asked, and takes nothing new once
    /// `shutdown` is.
    pub fn open(
        bus: Bus,
        config: GatewayConfig,
        peers: Option<Peers>,
        shutdown: Shutdown,
        until: &Shutdown,
    ) -> Arc<Self> {
        let gateway = bus.user().and_then(GatewayId::of_user).unwrap_or_default();
        let relay = Relay::new(gateway, config.turns.waiting_max);
        let desk = Arc::new(Self::new(bus, config, relay, peers, shutdown));
        until.spawn({
            let (desk, until) = (desk.clone(), until.clone());
            async move { desk.relay.deliver(&desk.bus, &until).await }
        });
        until.spawn({
            let (desk, until) = (desk.clone(), until.clone());
            async move { desk.audience.answer(&until).await }
        });
        until.spawn({
            let (desk, until) = (desk.clone(), until.clone());
            async move { desk.gates.watch_cpu(desk.config.admission.cpu_percent_max, &until).await }
        });
        desk
    }

    fn new(bus: Bus, config: GatewayConfig, relay: Arc<Relay>, peers: Option<Peers>, shutdown: Shutdown) -> Self {
        Self {
            keyring: Keyring::new(&config.jwt),
            limiter: Arc::new(Limiter::new(config.limits, peers.as_ref().map(Peers::buckets), bus.metrics().clone())),
            gates: Gates::new(&config.admission, config.turns.waiting_max, bus.metrics()),
            trusted_proxies: config.http.trusted_proxies.iter().filter_map(|text| Network::parse(text)).collect(),
            lines: Lines::default(),
            bursts: Bursts::default(),
            audience: Audience::new(bus.clone(), shutdown.clone()),
            ledger: Ledger::default(),
            outage: SharedOutage::default(),
            bus,
            config,
            peers,
            relay,
            shutdown,
        }
    }

    pub fn config(&self) -> &GatewayConfig {
        &self.config
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        self.bus.metrics()
    }

    /// Asked once this process shall take nothing new; open streams still finish.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Those who wait for frames here.
    pub(crate) fn relay(&self) -> &Relay {
        &self.relay
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// A visitor of the chat page with their token and when it expires in Unix milliseconds; 404 when there is no page.
    pub async fn admit_visitor(&self, address: Option<IpAddr>) -> Result<(UserId, String, u64), Problem> {
        let tenant = self.config.web.tenant().ok_or_else(|| Problem::new(Code::NotFound))?;
        self.limiter.admit(Account { tenant: Some(&tenant), user: None, address }).await?;
        let expires_at_ms = unix_ms() + self.config.web.visitor_life().as_millis() as u64;
        let (user, token) = self.keyring.admit_visitor(tenant, expires_at_ms).ok_or_else(broker_away)?;
        Ok((user, token, expires_at_ms))
    }

    /// Those whose word is taken for a client's address.
    pub(crate) fn trusted_proxies(&self) -> &[Network] {
        &self.trusted_proxies
    }

    /// Room for a message, or 503; nothing is published before.
    async fn enter(&self, submission: &Submission, class: DeliveryClass) -> Result<Permit, Problem> {
        let budget = submission.budget.unwrap_or(Duration::from_millis(self.config.turns.budget_ms));
        self.gates.of(class).enter(&submission.principal.tenant, submission.lane, budget).await
    }

    /// What holds for a message's channel.
    fn policy(&self, submission: &Submission) -> ChannelPolicy {
        self.config.channels.policy(&submission.ask.channel)
    }

    /// A place to listen from; None where hanging up means nothing.
    fn seat(&self, principal: &Principal, request: &RequestId, channel: Option<&ChannelId>) -> Option<Seat> {
        let policy = channel.map(|channel| self.config.channels.policy(channel));
        self.audience.seat(policy, &principal.tenant, request, principal.acts_for())
    }

    /// Stops a request; doing so twice, or after its end, changes nothing.
    pub async fn cancel(&self, principal: &Principal, request: &RequestId) -> Result<(), Problem> {
        if let resume::Found::Running(_) = self.find(principal, request, Default::default()).await? {
            let wish = self.bus.cancel(&principal.tenant, request, principal.acts_for());
            wish.await.map_err(|error| away(&error))?;
        }
        Ok(())
    }

    /// The turns of a conversation, oldest first.
    pub async fn history(&self, principal: &Principal, conversation: &ConversationId) -> Result<HistoryReply, Problem> {
        if !principal.owns(conversation) {
            return Err(Problem::new(Code::NotFound));
        }
        let question = HistoryRequest { conversation: conversation.clone(), turns_max: HISTORY_TURNS_SHOWN };
        let trace = Trace::start(&mut rand::rng());
        let asked = self.bus.call(subject::history(&principal.tenant), &question, trace, Duration::MAX);
        let reply: HistoryReply = asked.await.map_err(|error| match error {
            CallError::Problem(problem) => problem,
            error => {
                tracing::warn!(%error, "the archive did not answer");
                Problem::new(Code::HistoryAway).retry_after_ms(jittered_ms(1_000))
            }
        })?;
        if reply.turns.is_empty() { Err(Problem::new(Code::NotFound)) } else { Ok(reply) }
    }

    /// Notes what a customer thought of an answer.
    pub async fn feedback(
        &self,
        principal: &Principal,
        request: &RequestId,
        verdict: Verdict,
        reason: Option<String>,
    ) -> Result<(), Problem> {
        let record = self.bus.read_record(&principal.tenant, None, request).await.map_err(|error| away(&error))?;
        let record = record.filter(|record| principal.owns(&record.conversation));
        let record = record.ok_or_else(|| Problem::because(Code::NotFound, "There is no answer under that id."))?;
        let kind = match &record.outcome {
            Outcome::Answered { answer } => answer.kind.name(),
            Outcome::Failed { .. } | Outcome::Expired { .. } | Outcome::Cancelled { .. } => "none",
        };
        let feedback = Feedback {
            tenant: principal.tenant.clone(),
            request: request.clone(),
            user: principal.user.clone().or(record.ask.user),
            verdict,
            reason: reason.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect()),
            given_at_ms: unix_ms(),
        };
        self.bus.write_feedback(&feedback).await.map_err(|error| away(&error))?;
        self.metrics().feedback.get_or_create(&metrics::Verdict { verdict: verdict.name(), kind }).inc();
        Ok(())
    }
}

/// The broker cannot be asked: logged here, once; the caller reads that the outcome is unknown.
fn away(error: &BusError) -> Problem {
    tracing::warn!(%error, "the broker could not be asked");
    broker_away()
}

fn broker_away() -> Problem {
    Problem::new(Code::BrokerAway).retry_after_ms(jittered_ms(1_000))
}

/// Between half and one and a half of a wait, so that those who were refused together do not come back together.
fn jittered_ms(wait_ms: u64) -> u64 {
    chance::between(wait_ms / 2, wait_ms + wait_ms / 2)
}

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
