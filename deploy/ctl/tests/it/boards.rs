//! Every expression of every board, and every line of the runbook, on a real fleet that a real Prometheus scrapes.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::post,
};
use futures::future::join_all;
use serde_json::{Value, json};
use talkfleet::engines::Engine;
use talkfleet_shared::header;

use crate::{
    dead::publish,
    harness::{Desk, PATIENCE, Socket, cli, until},
};

const OBSERVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../observe");

/// How long everything that boards show may take to happen, at one round of it in a second or two.
const ROUNDS_WITHIN: Duration = Duration::from_secs(120);

/// Questions of the demo's articles.
const QUESTIONS: [&str; 3] = ["How long does delivery take?", "How do I track my parcel?", "Can I pay in instalments?"];

/// A model that fails, says what it was shown, and says what nobody wrote, in turns.
async fn model() -> String {
    let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(Arc::<AtomicUsize>::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn complete(State(calls): State<Arc<AtomicUsize>>, Json(request): Json<Value>) -> Response {
    let asked = request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let passage = asked.split("<<<\n").nth(1).unwrap().split("\n>>>").next().unwrap();
    let said = match calls.fetch_add(1, Ordering::Relaxed) % 4 {
        0 => return (StatusCode::INTERNAL_SERVER_ERROR, "overloaded").into_response(),
        1 => "It takes 97 days and costs 4711 dollars. [1]".to_owned(),
        _ => format!("{} [1]", passage.lines().max_by_key(|line| line.len()).unwrap()),
    };
    let words = json!({ "choices": [{ "index": 0, "delta": { "content": said }, "finish_reason": "stop" }] });
    let usage =
        json!({ "choices": [], "usage": { "prompt_tokens": 321, "completion_tokens": 12, "total_tokens": 333 } });
    let events = [words.to_string(), usage.to_string(), "[DONE]".to_owned()];
    Sse::new(futures::stream::iter(events.map(|data| Ok::<_, Infallible>(Event::default().data(data))))).into_response()
}

/// A program on the PATH.
fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A fleet with everything happening to it, and its Prometheus.
struct Watched {
    desk: Desk,
    prometheus: String,
    data: tempfile::TempDir,
    _child: tokio::process::Child,
}

impl Watched {
    /// None, with a sentence, where there is no Prometheus.
    async fn start() -> Option<Self> {
        let Some(program) = on_path("prometheus") else {
            println!(
                "skipped: no prometheus on the PATH; `apt-get download prometheus && dpkg-deb -x prometheus_*.deb .` has one in usr/bin"
            );
            return None;
        };
        let open = Desk::open().workers(0).own_database();
        let open = open.gateway_set("turns.waiting_max", 4).gateway_set("admission.concurrency_min", 4);
        let open = open.gateway_set("admission.concurrency_start", 4);
        let open = open.gateway_set("admission.dwell_ms", 0).gateway_set("limits.tenant_per_minute", 100_000);
        let open = open
            .worker_set("model.base_url", model().await)
            .worker_set("model.price.prompt", 2.0)
            .worker_set("model.price.completion", 8.0);
        let open = open.worker_set("model.breaker_failures", 1).worker_set("model.breaker_open_ms", 300);
        let open = open.worker_set("database.breaker_failures", 1).worker_set("database.breaker_open_ms", 500);
        let open = open.worker_set("plan.park_below", 1.0).worker_set("turn.slow_ms", 1);
        // Nobody takes spans there.
        let mut desk = open.worker_set("otel.endpoint", "http://127.0.0.1:1").start().await;
        let (status, _) = desk.post("/v1/chat", &json!({ "text": QUESTIONS[0], "deadline_ms": 500 })).await;
        assert_eq!(status, 504, "nobody works yet");
        let options = desk.options.clone();
        desk.fleet.add_worker(&options).await.unwrap();
        desk.fleet.ready(PATIENCE).await.unwrap();

        let data = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        configure(data.path(), &desk);
        let child = tokio::process::Command::new(program)
            .arg(format!("--config.file={}", data.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", data.path().join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let prometheus = format!("http://127.0.0.1:{port}");
        until("prometheus", || async {
            reqwest::get(format!("{prometheus}/-/ready")).await.ok()?.status().is_success().then_some(())
        })
        .await;
        Some(Self { desk, prometheus, data, _child: child })
    }

    /// What an expression gives: every value that is a number.
    async fn query(&self, expression: &str) -> Result<usize, String> {
        let at = format!("{}/api/v1/query", self.prometheus);
        let asked = reqwest::Url::parse_with_params(&at, [("query", expression)]).unwrap();
        let told: Value = reqwest::get(asked).await.unwrap().json().await.unwrap();
        let Some(series) = told["data"]["result"].as_array() else { return Err(told["error"].to_string()) };
        Ok(series.iter().filter(|series| series["value"][1] != "NaN").count())
    }

    /// One of everything that boards show.
    async fn round(&self) {
        let desk = &self.desk;
        for text in QUESTIONS {
            let answer = desk.post("/v1/chat", &json!({ "text": text, "conversation": "watched" })).await.1;
            for verdict in ["up", "down"] {
                desk.post("/v1/feedback", &json!({ "id": answer["id"], "verdict": verdict })).await;
            }
        }
        for _ in 0..2 {
            desk.get("/v1/conversations/watched").await;
        }
        desk.post_as("tf_nobody", "/v1/chat", &json!({ "text": QUESTIONS[0] })).await;
        desk.stream(0, &json!({ "text": QUESTIONS[1] })).await.rest().await;
        let mut socket = Socket::open(desk, 0).await;
        socket.ask("a", json!({ "text": QUESTIONS[2] })).await;
        socket.rest("a").await;
        // More than find room.
        let rush = json!({ "text": QUESTIONS[0] });
        join_all((0..16).map(|_| desk.post("/v1/chat", &rush))).await;
        let unread = format!("unread-{}", self.nanos());
        publish(desk, &unread, &[], "{}").await;
        publish(desk, &format!("late-{unread}"), &[(header::BUDGET_MS, "1")], "{\"text\":\"Where is my parcel?\"}")
            .await;
    }

    fn nanos(&self) -> u128 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
    }
}

/// The shipped configuration and rules, at a pace of seconds and with this fleet's ports.
fn configure(folder: &Path, desk: &Desk) {
    let read = |name: &str| std::fs::read_to_string(format!("{OBSERVE}/{name}")).unwrap();
    let quick =
        |text: String| text.replace("_interval: 15s", "_interval: 1s").replace(" interval: 15s", " interval: 1s");
    let shipped = quick(read("prometheus.yml")).replace("refresh_interval: 30s", "refresh_interval: 1s");
    let alerting = shipped.find("alerting:").unwrap()..shipped.find("scrape_configs:").unwrap();
    let mut config = shipped.clone();
    config.replace_range(alerting, "");
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    for name in ["targets", "rules"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    for name in ["rules/recording.yml", "rules/alerts.yml"] {
        std::fs::write(folder.join(name), quick(read(name))).unwrap();
    }
    let host = |url: &String| url.trim_start_matches("http://").to_owned();
    let target = |component: &str, urls: Vec<String>| json!({ "targets": urls.iter().map(host).collect::<Vec<_>>(), "labels": { "component": component } });
    let targets = json!([target("gateway", desk.fleet.admin_urls()), target("worker", desk.fleet.worker_urls())]);
    std::fs::write(folder.join("targets/fleet.yml"), targets.to_string()).unwrap();
}

/// The panels of every board: its title with the panel's, and its expressions or SQL.
fn panels() -> Vec<(String, String, bool)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(format!("{OBSERVE}/grafana/dashboards")).unwrap() {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let name = format!("{}: {}", board["title"].as_str().unwrap(), panel["title"].as_str().unwrap());
                let sql = target["rawSql"].as_str();
                let text = sql.or(target["expr"].as_str()).unwrap().to_owned();
                all.push((name, text, sql.is_some()));
            }
        }
    }
    assert!(all.len() > 50, "{}", all.len());
    all
}

#[tokio::test]
async fn every_expression_of_every_board_returns_a_series() {
    let Some(watched) = Watched::start().await else { return };
    let (sql, mut open): (Vec<_>, Vec<_>) = panels().into_iter().partition(|(_, _, sql)| *sql);
    watched.round().await;
    watched.desk.engines.kill(Engine::Postgres).unwrap();
    watched.round().await;
    until("a batch that is tried again", || async {
        (watched.query("sum(talkfleet_retries_total{target=\"archive\"})").await.unwrap() > 0).then_some(())
    })
    .await;
    watched.desk.engines.revive(Engine::Postgres).await.unwrap();
    let give_up = Instant::now() + ROUNDS_WITHIN;
    while !open.is_empty() {
        watched.round().await;
        let mut silent = Vec::new();
        for (name, expression, is_sql) in open {
            let found = watched.query(&expression.replace("$__rate_interval", "15s")).await;
            if found.unwrap_or_else(|error| panic!("{name}: {expression}: {error}")) == 0 {
                silent.push((name, expression, is_sql));
            }
        }
        open = silent;
        assert!(open.is_empty() || Instant::now() < give_up, "nothing to see: {open:#?}");
    }
    let rules: Value =
        reqwest::get(format!("{}/api/v1/rules", watched.prometheus)).await.unwrap().json().await.unwrap();
    for rule in rules["data"]["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
    {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    archive_boards(&watched, &sql).await;
}

/// The boards' role sees figures and no words.
async fn archive_boards(watched: &Watched, sql: &[(String, String, bool)]) {
    assert_eq!(sql.len(), 2);
    let mut connection =
        sqlx::PgPool::connect(&watched.desk.engines.database_url).await.unwrap().acquire().await.unwrap();
    let role = std::fs::read_to_string(format!("{OBSERVE}/grafana/role.sql")).unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(role)).execute(&mut *connection).await.unwrap();
    sqlx::raw_sql("set role talkfleet_boards").execute(&mut *connection).await.unwrap();
    for (name, text, _) in sql {
        let column = text.split("$__timeFilter(").nth(1).unwrap().split(')').next().unwrap();
        let text = text.replace(&format!("$__timeFilter({column})"), &format!("{column} > now() - interval '1 hour'"));
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(text)).fetch_all(&mut *connection).await;
        assert!(!rows.unwrap_or_else(|error| panic!("{name}: {error}")).is_empty(), "{name}");
    }
    for text in [
        "select question from turns",
        "select answer from turns",
        "select user_id from turns",
        "select reason from feedback",
    ] {
        let refused = sqlx::raw_sql(text).fetch_all(&mut *connection).await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{text}: {refused}");
    }
}

#[tokio::test]
async fn every_line_of_the_runbook_can_be_run() {
    let Some(watched) = Watched::start().await else { return };
    watched.round().await;
    let letter = until("a dead letter", || async {
        cli(&watched.desk, &["dead", "list", "--json"]).await[0]["example"].as_u64()
    })
    .await;
    let bin = watched.data.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_talkfleet"), bin.join("talkfleet")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let runbook = std::fs::read_to_string(format!("{OBSERVE}/runbook.md")).unwrap();
    let boxes = runbook.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines: Vec<&str> = boxes.flat_map(str::lines).collect();
    assert!(lines.len() > 60, "{}", lines.len());
    let mut failed = Vec::new();
    for line in lines {
        let command = tokio::process::Command::new("bash")
            .args(["-o", "pipefail", "-u", "-c", line])
            .env("PATH", &path)
            .env("TALKFLEET_NATS__URL", &watched.desk.engines.nats_url)
            .env("TALKFLEET_DATABASE__URL", &watched.desk.engines.database_url)
            .env("ADMIN", &watched.desk.fleet.admin_urls()[0])
            .env("PROMETHEUS", &watched.prometheus)
            .env("GATEWAY", watched.desk.url(""))
            .env("KEY", &watched.desk.key)
            .env("ID", letter.to_string())
            .stdin(std::process::Stdio::null())
            .output();
        let out =
            tokio::time::timeout(PATIENCE, command).await.unwrap_or_else(|_| panic!("{line} does not end")).unwrap();
        if !out.status.success() {
            failed.push(format!(
                "{line}\n{}{}",
                String::from_utf8_lossy(&out.stdout),
                String::from_utf8_lossy(&out.stderr)
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
