//! One request told to one client: frames as they come, what was lost fetched from the turn's owner or its record, one last.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream::BoxStream};
use talkfleet_shared::{
    bus::{Bus, ResumeRequest},
    chat::{DeliveryClass, Frame, FrameBody, Position, Problem, TurnRecord},
    clock,
    error::Code,
    id::{ConversationId, RequestId, TenantId, UserId},
    metrics::{Face, FaceOutcome, Metrics},
    retry::Delays,
    spans::{Kind, Span, key},
};

use super::{
    audience::Seat,
    bill::Bill,
    line::Place,
    order::{Next, Order},
};
use crate::{admit::gate::Permit, relay::Inbox};

/// How long after its deadline a turn may still end by its worker's hand; then this gateway says that it expired.
const DEADLINE_GRACE: Duration = Duration::from_secs(2);

/// How long after that a broker is waited for that takes no record, since it elects a leader; then the client is told to
/// come back for the outcome.
const OUTAGE_MAX: Duration = Duration::from_secs(12);

/// How long a frame may be missing before the record is read.
const GAP_PATIENCE: Duration = Duration::from_millis(300);

/// How often in a row the owner of a turn that no queue keeps may leave a question unanswered before it is given up.
const SILENCES_MAX: u32 = 2;

/// A request that took this long is worth a line in the log.
const SLOW: Duration = Duration::from_secs(10);

/// The frames of one request for one client; dropping it says that nobody waits, which is a wish to stop only where the
/// channel says so.
pub struct Frames {
    told: BoxStream<'static, Frame>,
    cut: Arc<OnceLock<Code>>,
    /// Room, and what it costs; None for what was accepted before.
    permit: Option<Permit>,
    bill: Option<Bill>,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("cut", &self.cut).finish_non_exhaustive()
    }
}

impl Stream for Frames {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        let told = self.told.poll_next_unpin(context);
        if let Poll::Ready(Some(frame)) = &told {
            self.hear(frame);
        }
        told
    }
}

impl Frames {
    /// After the end: why there was no last frame, when this process had to go away; the client resumes elsewhere.
    pub fn cut(&self) -> Option<Problem> {
        self.cut.get().map(|code| Problem::new(*code).retry_after_ms(super::jittered_ms(1_000)))
    }

    /// A request that was accepted just now: it keeps its room until its last frame, and then is paid for.
    pub(super) fn admitted(self, mut permit: Permit, bill: Option<Bill>) -> Self {
        permit.accepted();
        Self { permit: Some(permit), bill, ..self }
    }

    fn hear(&mut self, frame: &Frame) {
        // Whoever reads slowly holds no room that others wait for.
        self.permit.take_if(|permit| permit.hear(frame));
        if let Some(bill) = &mut self.bill {
            bill.hear(frame);
        }
    }

    /// A turn that has ended, told from its record.
    pub(super) fn ended(record: &TurnRecord, after: Position) -> Self {
        let rest = Order::after(after).rest(record);
        Self { told: futures::stream::iter(rest).boxed(), cut: Arc::default(), permit: None, bill: None }
    }

    /// A turn that has ended, told to a client that sends it anew under the same idempotency key.
    pub(super) fn retold(record: &TurnRecord) -> Self {
        let conversation = record.conversation.clone();
        // Its deadline is over: nothing is left to wait for.
        let body = FrameBody::Accepted { conversation, deadline_ms: 0, delivery: DeliveryClass::Durable };
        let opening = Frame { request: record.request.clone(), attempt: record.attempt, seq: 0, body };
        let all = std::iter::once(opening).chain(record.frames(Position::default()));
        Self {
            told: futures::stream::iter(all.collect::<Vec<_>>()).boxed(),
            cut: Arc::default(),
            permit: None,
            bill: None,
        }
    }

    /// A turn that expired without anybody having noticed.
    pub(super) fn expired(request: &RequestId, after: Position) -> Self {
        let last = Order::after(after).closing(request, expired());
        Self { told: futures::stream::iter([last]).boxed(), cut: Arc::default(), permit: None, bill: None }
    }

    /// A turn that may still be running.
    pub(super) fn running(script: Script) -> Self {
        let cut = Arc::new(OnceLock::new());
        Self { told: tell(script, cut.clone()).boxed(), cut, permit: None, bill: None }
    }
}

fn expired() -> FrameBody {
    FrameBody::Expired { problem: Problem::new(Code::Expired) }
}

/// Its worker died and nobody else has the message.
fn lost() -> FrameBody {
    FrameBody::Failed { problem: Problem::new(Code::WorkerAway).retry_after_ms(super::jittered_ms(1_000)) }
}

/// What is needed to tell a running turn.
pub(super) struct Script {
    pub bus: Bus,
    pub inbox: Inbox,
    pub tenant: TenantId,
    /// None when it is not known here.
    pub conversation: Option<ConversationId>,
    pub request: RequestId,
    /// On whose behalf alone frames may be asked for.
    pub user: Option<UserId>,
    /// `accepted`, for a client that hears of the request for the first time.
    pub opening: Option<Frame>,
    /// What came while it was found out where the turn is.
    pub early: Vec<Frame>,
    pub after: Position,
    pub deadline: Instant,
    /// How long nothing may come before it is asked what became of the turn.
    pub patience: Delays,
    /// Whether frames are sent elsewhere unless its owner is asked, again and again, for them.
    pub came_back: bool,
    /// What is promised of it.
    pub class: DeliveryClass,
    /// The last frame is wanted alone: unless it takes long, the others are not sent.
    pub last_only: bool,
    /// In the conversation's line, where nobody else keeps its order.
    pub place: Option<Place>,
    pub tally: Tally,
}

impl Script {
    /// What to do with a frame; where the last one is wanted alone, none before it is missed.
    fn judge(&self, order: &mut Order, frame: &Frame) -> Next {
        if self.last_only && frame.body.is_last() { Next::Show } else { order.judge(frame) }
    }

    async fn record(&self) -> Option<TurnRecord> {
        match self.bus.read_record(&self.tenant, None, &self.request).await {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(request.id = %self.request, %error, "the record could not be read");
                None
            }
        }
    }

    /// Asks the turn's owner for everything after a position; when it cannot be asked, the record tells it later.
    async fn ask_owner(&self, after: Position) {
        let wish = ResumeRequest {
            tenant: self.tenant.clone(),
            request: self.request.clone(),
            user: self.user.clone(),
            after,
            reply_to: self.inbox.subject(),
        };
        if let Err(error) = self.bus.resume(&wish).await {
            tracing::debug!(request.id = %self.request, %error, "the owner could not be asked");
        }
    }
}

enum Heard {
    Frame(Frame),
    Nothing,
    Closing,
}

fn tell(mut script: Script, cut: Arc<OnceLock<Code>>) -> impl Stream<Item = Frame> + Send {
    async_stream::stream! {
        let _place = script.place.take();
        let mut order = Order::after(script.after);
        if let Some(opening) = script.opening.take() {
            yield opening;
        }
        let mut early = std::mem::take(&mut script.early).into_iter();
        let mut quiet_until = clock::now() + script.patience.next_delay();
        let alarm = tokio::time::sleep_until(quiet_until.into());
        tokio::pin!(alarm);
        let (mut asked_at, mut silences) = (None, 0);
        loop {
            let heard = match early.next() {
                Some(frame) => Heard::Frame(frame),
                None => tokio::select! {
                    biased;
                    frame = script.inbox.next() => frame.map_or(Heard::Closing, Heard::Frame),
                    () = &mut alarm => Heard::Nothing,
                },
            };
            let mut look = false;
            match heard {
                Heard::Frame(frame) => {
                    silences = 0;
                    match script.judge(&mut order, &frame) {
                    Next::Show => {
                        script.tally.shown(&frame);
                        let last = frame.body.is_last();
                        yield frame;
                        if last {
                            return;
                        }
                        // The alarm stays as it is set: moving it for every frame would cost more than it is worth.
                        quiet_until = clock::now() + GAP_PATIENCE;
                    }
                    Next::Drop => {}
                    Next::Missing if asked_at != Some(order.position()) => {
                        asked_at = Some(order.position());
                        script.ask_owner(order.position()).await;
                        alarm.as_mut().reset((clock::now() + GAP_PATIENCE).into());
                    }
                    Next::Missing => {}
                    Next::Ended => look = true,
                    }
                }
                Heard::Nothing => {
                    look = true;
                    silences += 1;
                }
                Heard::Closing => {
                    script.tally.over();
                    let _ = cut.set(Code::Draining);
                    return;
                }
            }
            if !look {
                continue;
            }
            if script.class != DeliveryClass::Fast && let Some(record) = script.record().await {
                for frame in order.rest(&record) {
                    script.tally.shown(&frame);
                    yield frame;
                }
                return;
            }
            let now = clock::now();
            let over_at = script.deadline + DEADLINE_GRACE;
            if !script.class.is_durable() && (now >= over_at || silences > SILENCES_MAX) {
                let body = if now >= over_at { expired() } else { lost() };
                let last = order.closing(&script.request, body);
                script.tally.shown(&last);
                yield last;
                return;
            }
            if now >= over_at {
                if let Some(record) = script.expire().await {
                    for frame in order.rest(&record) {
                        script.tally.shown(&frame);
                        yield frame;
                    }
                    return;
                }
                if now >= over_at + OUTAGE_MAX {
                    script.tally.over();
                    let _ = cut.set(Code::BrokerAway);
                    return;
                }
            }
            if script.came_back || now >= quiet_until {
                script.ask_owner(order.position()).await;
            }
            let next = clock::now() + script.patience.next_delay();
            alarm.as_mut().reset(if now < over_at { next.min(over_at) } else { next }.into());
        }
    }
}

/// Counts one request of one face: when its first word came, how it ended, and that somebody waits meanwhile.
pub(super) struct Tally {
    metrics: Arc<Metrics>,
    face: &'static str,
    began: Instant,
    request: RequestId,
    /// From the acceptance on; sent before the request's own.
    relayed: Span,
    span: Span,
    frames: i64,
    spoke: bool,
    outcome: &'static str,
    code: Option<Code>,
    /// Where hanging up may stop the request.
    seat: Option<Seat>,
}

impl Tally {
    pub(super) fn new(
        metrics: Arc<Metrics>,
        face: &'static str,
        began: Instant,
        request: RequestId,
        mut span: Span,
        seat: Option<Seat>,
    ) -> Self {
        metrics.waiting.inc();
        span.set_text(key::MESSAGE, || request.to_string());
        let relayed = span.child("relay", Kind::Internal);
        let (spoke, outcome, code, frames) = (false, "left", None, 0);
        Self { metrics, face, began, request, relayed, span, frames, spoke, outcome, code, seat }
    }

    /// There is nothing to wait for here any more.
    fn over(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.over();
        }
    }

    fn shown(&mut self, frame: &Frame) {
        let face = Face { face: self.face };
        self.frames += 1;
        if !self.spoke {
            self.spoke = true;
            let waited = clock::since(self.began).as_secs_f64();
            self.metrics.first_frame_time.get_or_create(&face).observe(waited);
            self.relayed.set(key::FIRST_FRAME_MS, waited * 1_000.0);
        }
        (self.outcome, self.code) = match &frame.body {
            FrameBody::Done { .. } => ("answered", None),
            FrameBody::Failed { problem } => ("failed", Some(problem.code)),
            FrameBody::Expired { problem } => ("expired", Some(problem.code)),
            FrameBody::Cancelled { .. } => ("cancelled", None),
            _ => return,
        };
        self.over();
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let (face, took) = (self.face, clock::since(self.began));
        self.metrics.waiting.dec();
        self.relayed.set(key::FRAMES, self.frames);
        self.span.set(key::OUTCOME, self.outcome);
        if let Some(code) = self.code {
            self.span.set(key::ERROR, code.word());
            self.span.fail(code.word());
        }
        self.metrics.requests.get_or_create(&FaceOutcome { face, outcome: self.outcome }).inc();
        self.metrics.request_time.get_or_create(&Face { face }).observe(took.as_secs_f64());
        if self.code.is_some() || took >= SLOW {
            tracing::info!(
                request.id = %self.request, trace.id = self.span.trace().id(), face, outcome = self.outcome,
                code = self.code.map(Code::word), took_ms = took.as_millis() as u64,
                "a request failed or was slow"
            );
        }
    }
}
