//! Asks the desk over NATS, as a gateway does, and reads the record of each turn for the passages that it saw.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{StreamExt, stream};
use talkfleet_shared::{
    bus::{AskHeaders, Bus, Mailbox},
    chat::{Answer, Ask, FrameBody, Passage, Usage},
    id::{ConversationId, GatewayId, RequestId, TenantId},
    subject,
    telemetry::Trace,
};
use tokio::sync::oneshot;

use super::data::Question;
use crate::eval::progress::bar;

/// How long after the deadline a last frame may still come: a killed worker's turn is delivered again after five seconds.
const LAST_FRAME_GRACE: Duration = Duration::from_secs(8);

/// How it is asked.
#[derive(Debug, Clone)]
pub struct Pace {
    pub tenant: TenantId,
    pub in_flight: usize,
    pub deadline: Duration,
}

/// What came of one question.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub answer: Option<Answer>,
    /// Why there is no answer.
    pub problem: String,
    /// What the turn saw of the knowledge.
    pub passages: Vec<Passage>,
    pub usage: Option<Usage>,
    /// From the question to the last frame.
    pub latency_ms: f64,
}

/// Requests that wait for their last frame.
type Waiting = Arc<Mutex<HashMap<RequestId, oneshot::Sender<FrameBody>>>>;

/// Asks everything, each question in a conversation of its own.
pub async fn ask(bus: &Bus, questions: &[Question], pace: &Pace) -> Result<Vec<Asked>> {
    let (gateway, waiting) = (GatewayId::new(), Waiting::default());
    let mailbox = bus.mailbox(&gateway).await?;
    let listener = tokio::spawn(listen(mailbox, waiting.clone()));
    let bar = bar("asking", questions.len() as u64);
    let one = |question: &Question| {
        let (bus, gateway, waiting, bar) = (bus.clone(), gateway.clone(), waiting.clone(), bar.clone());
        let (text, pace) = (Ask::new(question.text.clone()), pace.clone());
        async move {
            let asked = ask_one(&bus, &gateway, &waiting, text, &pace).await;
            bar.inc(1);
            asked
        }
    };
    let asked = stream::iter(questions.iter().map(one)).buffered(pace.in_flight).collect().await;
    bar.finish_and_clear();
    listener.abort();
    Ok(asked)
}

async fn ask_one(bus: &Bus, gateway: &GatewayId, waiting: &Waiting, text: Ask, pace: &Pace) -> Asked {
    let (request, conversation) = (RequestId::new(), ConversationId::new());
    let headers = AskHeaders {
        reply_to: subject::reply(gateway, &request),
        request: request.clone(),
        budget: pace.deadline,
        trace: Trace::start(&mut rand::rng()),
        last_only: false,
        opening: false,
    };
    let (sender, last_frame) = oneshot::channel();
    // The mailbox entry comes first: an answer may be faster than the broker's ack.
    lock(waiting).insert(request.clone(), sender);
    let since = Instant::now();
    let refused = |problem: String| Asked { problem, ..Asked::default() };
    if let Err(error) = bus.submit(&pace.tenant, &conversation, &text, &headers).await {
        lock(waiting).remove(&request);
        return refused(error.to_string());
    }
    let Ok(Ok(body)) = tokio::time::timeout(pace.deadline + LAST_FRAME_GRACE, last_frame).await else {
        lock(waiting).remove(&request);
        return refused("nobody answered in time".into());
    };
    let latency_ms = since.elapsed().as_secs_f64() * 1e3;
    // The record is stored before the last frame is sent.
    let record = bus.read_record(&pace.tenant, Some(&conversation), &request).await.ok().flatten();
    let (passages, usage) = record.map(|record| (record.passages, record.usage)).unwrap_or_default();
    let (answer, problem) = match body {
        FrameBody::Done { answer } => (Some(*answer), String::new()),
        FrameBody::Failed { problem } | FrameBody::Expired { problem } => (None, problem.message),
        _ => (None, "it was cancelled".into()),
    };
    let usage = usage.or_else(|| answer.as_ref()?.usage.clone());
    Asked { answer, problem, passages, usage, latency_ms }
}

async fn listen(mut mailbox: Mailbox, waiting: Waiting) {
    while let Some(frame) = mailbox.next().await {
        if !frame.body.is_last() {
            continue;
        }
        if let Some(sender) = lock(&waiting).remove(&frame.request) {
            // Whoever gave up waiting does not hear it.
            let _ = sender.send(frame.body);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
