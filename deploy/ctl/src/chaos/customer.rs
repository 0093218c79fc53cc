//! A customer as a good client of the API is one: the same key for every try, resume after every break, one answer shown.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Bytes;
use eventsource_stream::Eventsource;
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use talkfleet_shared::chat::{Frame, FrameBody, Position};

use super::ledger::{Knock, Outcome, Turn};

/// How long a customer goes on after the budget: a resumed answer, a gateway that comes back.
const GIVE_UP_AFTER: Duration = Duration::from_secs(25);

/// How long a gateway may take to begin to answer before another is tried.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a stream may be silent; keep-alives come every two seconds here.
const SILENCE_MAX: Duration = Duration::from_secs(8);

/// The longest wait between two tries, whatever the server would like.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How customers reach the desk.
#[derive(Clone)]
pub(super) struct Door {
    http: reqwest::Client,
    gateways: Arc<Vec<String>>,
    key: Arc<str>,
    next: Arc<AtomicUsize>,
}

/// What one try came to.
enum Try {
    Ended(Outcome),
    /// The stream broke, or never began.
    Again(String, Duration),
    Refused(String),
}

impl Door {
    pub(super) fn new(gateways: Vec<String>, key: &str) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(2)).build()?;
        Ok(Self { http, gateways: Arc::new(gateways), key: key.into(), next: Arc::default() })
    }

    /// Another gateway each time, as a balancer that knows nothing would.
    pub(super) fn gateway(&self) -> &str {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        &self.gateways[number % self.gateways.len()]
    }

    /// Asks until there is an outcome or no sense in going on; `accepted` is told when the desk has taken the message.
    pub(super) async fn ask(&self, turn: &mut Turn, text: &str, budget: Duration, mut accepted: impl FnMut()) {
        let body = json!({ "text": text, "conversation": turn.conversation, "deadline_ms": budget.as_millis() as u64 });
        let (begun, mut shown) = (Instant::now(), Shown::default());
        while begun.elapsed() < budget + GIVE_UP_AFTER {
            let tried = match shown.request.clone() {
                None => {
                    let (at, mut let_in) = (Instant::now(), None);
                    let mut heard = || {
                        let_in.get_or_insert_with(Instant::now);
                        accepted();
                    };
                    let tried = self.post(&turn.key, &body, &mut shown, &mut heard).await;
                    let refused = let_in.is_none() && !matches!(tried, Try::Ended(_));
                    turn.knocks.push(Knock { at, waited: let_in.unwrap_or_else(Instant::now) - at, refused });
                    tried
                }
                Some(request) => self.resume(&request, &mut shown, &mut accepted).await,
            };
            turn.accepted |= shown.request.is_some();
            match tried {
                Try::Ended(outcome) => {
                    turn.outcome = outcome;
                    break;
                }
                Try::Refused(why) => {
                    turn.errors.push(why);
                    turn.outcome = Outcome::Refused;
                    break;
                }
                Try::Again(why, wait) => {
                    turn.errors.push(why);
                    tokio::time::sleep(wait.min(WAIT_MAX)).await;
                }
            }
        }
        turn.ended = Some(Instant::now());
        turn.last_frames = shown.lasts;
        turn.restarts = shown.restarts;
        turn.restarted = shown.restarted;
        turn.text = shown.text;
        turn.words = shown.words;
    }

    async fn post(&self, key: &str, body: &Value, shown: &mut Shown, accepted: &mut impl FnMut()) -> Try {
        let sent = self.http.post(format!("{}/v1/chat", self.gateway())).header("idempotency-key", key).json(body);
        self.read(sent, shown, accepted, &[408, 409, 429, 500, 503]).await
    }

    async fn resume(&self, request: &str, shown: &mut Shown, accepted: &mut impl FnMut()) -> Try {
        let url = format!("{}/v1/chat/{request}/stream?after={}", self.gateway(), shown.at);
        // A request that was accepted exists; a gateway that does not know it yet is asked again.
        self.read(self.http.get(url), shown, accepted, &[404, 408, 429, 500, 503]).await
    }

    async fn read(
        &self,
        sent: reqwest::RequestBuilder,
        shown: &mut Shown,
        accepted: &mut impl FnMut(),
        passing: &[u16],
    ) -> Try {
        let sent = sent.bearer_auth(&self.key).header("accept", "text/event-stream").send();
        let answered = match tokio::time::timeout(HEAD_TIMEOUT, sent).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) if error.is_connect() => return again("connect"),
            Ok(Err(_)) => return again("broken"),
            Err(_) => return again("silent"),
        };
        if !answered.status().is_success() {
            return refused(answered, passing).await;
        }
        let mut events = pin!(never_silent(answered).eventsource());
        let mut outcome = None;
        while let Some(event) = events.next().await {
            let Ok(event) = event else { return outcome.map_or_else(|| again("broken"), Try::Ended) };
            let Ok(frame) = serde_json::from_str::<Frame>(&event.data) else {
                // A problem in mid-stream, such as a gateway that goes away.
                return outcome.map_or_else(|| again(&code(&event.data)), Try::Ended);
            };
            if shown.request.is_none() {
                accepted();
            }
            outcome = shown.show(frame).or(outcome);
        }
        outcome.map_or_else(|| again("cut"), Try::Ended)
    }
}

/// The bytes as they come; keep-alives are bytes too, so whoever sends none for long has gone.
fn never_silent(answered: reqwest::Response) -> impl Stream<Item = io::Result<Bytes>> {
    let bytes = Box::pin(answered.bytes_stream());
    stream::unfold(Some(bytes), |bytes| async {
        let mut bytes = bytes?;
        match tokio::time::timeout(SILENCE_MAX, bytes.next()).await {
            Ok(piece) => Some((piece?.map_err(io::Error::other), Some(bytes))),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
}

fn again(why: &str) -> Try {
    Try::Again(why.to_owned(), Duration::from_millis(150))
}

fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let named = body["code"].as_str().or_else(|| body["problem"]["code"].as_str());
    named.unwrap_or("problem").to_owned()
}

/// What a refusal says of trying again decides.
async fn refused(answered: reqwest::Response, passing: &[u16]) -> Try {
    let status = answered.status().as_u16();
    let wait = answered.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let body = answered.text().await.unwrap_or_default();
    match passing.contains(&status) {
        true => Try::Again(code(&body), Duration::from_secs(wait.unwrap_or(1))),
        false => Try::Refused(code(&body)),
    }
}

/// What the customer sees on the page.
#[derive(Default)]
struct Shown {
    request: Option<String>,
    at: Position,
    text: String,
    lasts: u32,
    restarts: u32,
    restarted: Option<Instant>,
    words: Vec<Instant>,
}

impl Shown {
    /// Shows a frame; the outcome when it was the last.
    fn show(&mut self, frame: Frame) -> Option<Outcome> {
        self.request.get_or_insert_with(|| frame.request.to_string());
        self.at = frame.position();
        if frame.body.is_last() {
            self.lasts += 1;
        }
        match frame.body {
            FrameBody::Restart => {
                self.text.clear();
                self.restarts += 1;
                self.restarted.get_or_insert_with(Instant::now);
                None
            }
            FrameBody::Delta { text } => {
                self.words.push(Instant::now());
                self.text.push_str(&text);
                None
            }
            FrameBody::Done { answer } => {
                let whole = answer.text == self.text;
                self.text = answer.text;
                Some(if whole { Outcome::Answered } else { Outcome::Torn })
            }
            FrameBody::Failed { .. } => Some(Outcome::Failed),
            FrameBody::Expired { .. } => Some(Outcome::Expired),
            FrameBody::Cancelled { .. } => Some(Outcome::Cancelled),
            _ => None,
        }
    }
}
