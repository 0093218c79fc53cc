//! The admin port: `/livez`, `/readyz` (which says what is missing) and `/metrics`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse, routing::get,
};
use tokio::net::TcpListener;

use crate::{
    lifecycle::Shutdown,
    metrics::{self, Metrics},
};

/// What a process makes use of, and whether it has it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Part>>>);

#[derive(Debug)]
enum Part {
    Up,
    /// Missing, and the process goes on with less.
    Lacking(String),
    /// Missing, and the process is of no use without.
    Down(String),
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a part is there.
    pub fn up(&self, part: &'static str) {
        self.set(part, Part::Up);
    }

    /// Notes that a part is missing without which the process is of no use, and why in a few words without secrets.
    pub fn down(&self, part: &'static str, why: impl Into<String>) {
        self.set(part, Part::Down(why.into()));
    }

    /// Notes that a part is missing without which the process goes on: it stays ready, since all of its kind lack the
    /// part at once and taking them away would turn a lesser service into none.
    pub fn lacks(&self, part: &'static str, why: impl Into<String>) {
        self.set(part, Part::Lacking(why.into()));
    }

    fn set(&self, part: &'static str, state: Part) {
        self.lock().insert(part, state);
    }

    /// What is missing, and why.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        let why = |state: &Part| match state {
            Part::Up => None,
            Part::Lacking(why) | Part::Down(why) => Some(why.clone()),
        };
        self.lock().iter().filter_map(|(part, state)| Some((*part, why(state)?))).collect()
    }

    /// Whether nothing is missing that the process is of no use without.
    pub fn is_ready(&self) -> bool {
        !self.lock().values().any(|state| matches!(state, Part::Down(_)))
    }

    /// Tells the same as metrics.
    fn show(&self, metrics: &Metrics) {
        for (part, state) in self.lock().iter() {
            let missing = match state {
                Part::Up => 0,
                Part::Lacking(_) => 1,
                Part::Down(_) => 2,
            };
            metrics.part_missing.get_or_create(&metrics::Part { part }).set(missing);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the admin port until shutdown has been asked and the process has drained.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
    until: Shutdown,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(health.clone())
        .route("/metrics", get(scrape).with_state((health, metrics)));
    axum::serve(listener, app).with_graceful_shutdown(async move { until.asked().await }).await
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let ready = health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": ready, "missing": health.missing() })))
}

async fn scrape(State((health, metrics)): State<(Health, Arc<Metrics>)>) -> impl IntoResponse {
    health.show(&metrics);
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing() {
        let health = Health::new();
        health.up("redis");
        health.down("nats", "connection refused");
        assert!(!health.is_ready());
        assert_eq!(health.missing(), BTreeMap::from([("nats", "connection refused".to_owned())]));
        health.up("nats");
        health.lacks("redis", "does not answer");
        assert!(health.is_ready(), "what it goes on without");
        let metrics = Metrics::new("test");
        health.show(&metrics);
        let text = metrics.text();
        assert!(text.contains("talkfleet_part_missing{part=\"redis\"} 1"), "{text}");
        assert!(text.contains("talkfleet_part_missing{part=\"nats\"} 0"), "{text}");
        assert_eq!(health.missing(), BTreeMap::from([("redis", "does not answer".to_owned())]));
    }
}
