//! The admin port: `/livez`, `/readyz` (which says what is missing) and `/metrics`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse, routing::get,
};
use tokio::net::TcpListener;

use crate::{lifecycle::Shutdown, metrics::Metrics};

/// What a process needs to be of use, and whether it has it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>);

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a part is there.
    pub fn up(&self, part: &'static str) {
        self.set(part, Ok(()));
    }

    /// Notes that a part is missing, and why in a few words without secrets.
    pub fn down(&self, part: &'static str, why: impl Into<String>) {
        self.set(part, Err(why.into()));
    }

    fn set(&self, part: &'static str, state: Result<(), String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, state);
    }

    /// What is missing; empty when the process is ready.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter_map(|(part, state)| Some((*part, state.clone().err()?))).collect()
    }

    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
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
        .with_state(health)
        .route("/metrics", get(scrape).with_state(metrics));
    axum::serve(listener, app).with_graceful_shutdown(async move { until.asked().await }).await
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let missing = health.missing();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": missing.is_empty(), "missing": missing })))
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
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
        assert!(health.is_ready());
    }
}
