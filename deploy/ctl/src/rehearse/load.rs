//! The day's customers: each asks one question when it is due, whether or not those before were answered.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    day::{Day, HOURS},
    verdict::{Fate, Told},
};

const QUESTIONS: [&str; 6] = [
    "How long does delivery take?",
    "How do I return an item?",
    "Can I pay in instalments?",
    "How do I change my address?",
    "How long is the warranty?",
    "When do I get my refund?",
];

/// How long a customer waits beyond the deadline before giving up: the outcome comes with it.
const BEYOND: Duration = Duration::from_secs(10);

/// Who asks whom, how long, and how often; times are the cluster's unless they are a [`Duration`].
#[derive(Clone)]
pub(super) struct Customers {
    pub(super) gateway: String,
    pub(super) key: String,
    pub(super) day: Day,
    pub(super) day_s: f64,
    pub(super) speedup: f64,
    pub(super) budget: Duration,
    pub(super) seed: u64,
}

impl Customers {
    /// Sends the whole day and waits until everybody has heard of an outcome.
    pub(super) async fn live(self) -> Vec<Told> {
        let http = reqwest::Client::builder().timeout(self.budget + BEYOND).build().unwrap_or_default();
        let (told, began) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
        let (mut rng, mut asking, mut at_s) = (StdRng::seed_from_u64(self.seed), JoinSet::new(), 0.0);
        loop {
            let rate = self.day.rate(at_s / self.day_s * HOURS).max(1e-6);
            at_s += -(1.0 - rng.random::<f64>()).ln() / rate;
            if at_s >= self.day_s {
                break;
            }
            tokio::time::sleep_until((began + Duration::from_secs_f64(at_s / self.speedup)).into()).await;
            let question = format!("{} ({})", QUESTIONS[rng.random_range(0..QUESTIONS.len())], rng.random::<u32>());
            let (customer, http, told) = (self.clone(), http.clone(), told.clone());
            asking.spawn(async move {
                let begun = Instant::now();
                let fate = customer.ask(&http, &question).await;
                let took_s = begun.elapsed().as_secs_f64() * customer.speedup;
                told.lock().unwrap_or_else(PoisonError::into_inner).push(Told { at_s, took_s, fate });
            });
            while asking.try_join_next().is_some() {}
        }
        while asking.join_next().await.is_some() {}
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *told)
    }

    async fn ask(&self, http: &reqwest::Client, question: &str) -> Fate {
        let body = json!({ "text": question, "deadline_ms": self.budget.as_millis() as u64 });
        let sent = http.post(format!("{}/v1/chat", self.gateway)).bearer_auth(&self.key).json(&body).send().await;
        let Ok(answered) = sent else { return Fate::Lost };
        let status = answered.status().as_u16();
        let Ok(body) = answered.json::<Value>().await else { return Fate::Lost };
        match status {
            200 if body["text"].is_string() => Fate::Answered,
            429 | 503 => Fate::Refused,
            504 => Fate::Expired,
            _ => {
                tracing::warn!(status, code = body["code"].as_str(), "a message has neither answer nor refusal");
                Fate::Lost
            }
        }
    }
}
