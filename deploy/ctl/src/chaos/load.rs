//! A known load: conversations that begin at a steady rate, their messages sent as customers send them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::{sync::oneshot, task::JoinSet};

use super::{
    customer::Door,
    ledger::{Outcome, Turn},
    model::POISON,
};

/// Messages of a conversation.
const TURNS: usize = 4;

/// How long a customer thinks between being let in and writing on, in milliseconds; often shorter than an answer takes,
/// so that the next message waits for its turn.
const THINK_MS: std::ops::Range<u64> = 20..900;

const QUESTIONS: [&str; 10] = [
    "How long does delivery take?",
    "Where is my parcel?",
    "I want to return these shoes",
    "Can I pay in instalments?",
    "How do I change my address?",
    "快递什么时候到？",
    "怎么申请退货",
    "发票怎么开",
    "退款多久到账？",
    "优惠券怎么用",
];

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) lasts: Duration,
    /// Messages a second.
    pub(super) rate: f64,
    /// Messages that kill whoever answers them.
    pub(super) poison: usize,
    /// What the desk may take for a turn.
    pub(super) budget: Duration,
}

/// Sends everything and waits for every outcome.
pub(super) async fn send(door: &Door, run: &str, plan: Plan) -> Vec<Turn> {
    let began = Instant::now();
    let every = Duration::from_secs_f64(TURNS as f64 / plan.rate);
    let conversations = (plan.lasts.as_secs_f64() / every.as_secs_f64()) as u32;
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut talking = JoinSet::new();
    for number in 0..conversations {
        tokio::time::sleep_until((began + every * number).into()).await;
        let mut rng = StdRng::seed_from_u64(plan.seed ^ u64::from(number) << 20);
        // Spread over the run, each the first message of its conversation.
        let poisonous = plan.poison > 0 && (number + 1) % (conversations / plan.poison as u32).max(1) == 0;
        let texts = (0..TURNS).map(|turn| match QUESTIONS.choose(&mut rng) {
            Some(question) if poisonous && turn == 0 => format!("{question} {POISON}"),
            Some(question) => (*question).to_owned(),
            None => String::new(),
        });
        let (texts, thinks): (Vec<_>, _) = (texts.collect(), (0..TURNS).map(|_| rng.random_range(THINK_MS)).collect());
        talking.spawn(converse(door.clone(), format!("{run}-{number}"), texts, thinks, plan.budget, told.clone()));
    }
    while talking.join_next().await.is_some() {}
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *told)
}

/// One conversation: the next message leaves once the one before was let in, answered or not.
async fn converse(
    door: Door,
    name: String,
    texts: Vec<String>,
    thinks: Vec<u64>,
    budget: Duration,
    told: Arc<Mutex<Vec<Turn>>>,
) {
    let mut open = JoinSet::new();
    for (number, (text, think)) in texts.into_iter().zip(thinks).enumerate() {
        let (door, told) = (door.clone(), told.clone());
        let mut turn = Turn {
            conversation: name.clone(),
            number,
            key: format!("{name}-{number}"),
            issued: Instant::now(),
            ended: None,
            accepted: false,
            outcome: Outcome::Unknown,
            last_frames: 0,
            restarts: 0,
            restarted: None,
            text: String::new(),
            words: Vec::new(),
            errors: Vec::new(),
            knocks: Vec::new(),
        };
        let (let_in, heard) = oneshot::channel();
        let mut let_in = Some(let_in);
        open.spawn(async move {
            let accepted = || {
                if let Some(let_in) = let_in.take() {
                    // Who waited for it may have gone.
                    let _ = let_in.send(());
                }
            };
            door.ask(&mut turn, &text, budget, accepted).await;
            told.lock().unwrap_or_else(PoisonError::into_inner).push(turn);
        });
        // Ended without having been let in: the sender is gone, and the next message may go all the same.
        let _ = heard.await;
        tokio::time::sleep(Duration::from_millis(think)).await;
    }
    while open.join_next().await.is_some() {}
}
