//! The release before this one, run beside it: every face answers, records and histories of either are read by the other.
//!
//! Its gateway and worker lie in the folder that TALKFLEET_PREVIOUS_BIN names; `deploy/check/previous.sh` builds them.

use std::{path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use talkfleet_shared::{
    chat::{Frame, FrameBody, TurnRecord},
    id::{ConversationId, TenantId},
};
use tokio::process::{Child, Command};

use crate::harness::{Desk, Frames, Socket, command, until};

/// Where the previous release's programs lie; None where nobody built them.
fn previous() -> Option<PathBuf> {
    std::env::var_os("TALKFLEET_PREVIOUS_BIN").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// A program of the release before, killed with its test.
struct Old {
    _child: Child,
    http: String,
}

impl Old {
    async fn start(desk: &Desk, bin: &std::path::Path, program: &str, roles: Option<&str>) -> Self {
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (http, admin) = (port(), port());
        let options = &desk.options;
        let mut set = vec![
            ("nats.url", options.nats.clone()),
            ("redis.url", options.redis.clone()),
            ("admin.listen", format!("127.0.0.1:{admin}")),
        ];
        match roles {
            None => set.push(("http.listen", format!("127.0.0.1:{http}"))),
            Some(_) => {
                set.push(("database.url", options.database.clone()));
                set.push(("models.encoder_dir", options.encoder.display().to_string()));
                let transformer = options.transformer.as_ref();
                set.extend(transformer.map(|folder| ("models.transformer_dir", folder.display().to_string())));
            }
        }
        let log = std::fs::File::create(desk.data.path().join(format!("old-{program}.log"))).unwrap();
        let mut command = Command::new(bin.join(program));
        command.args(roles.iter().flat_map(|roles| ["--roles", roles]));
        command.args(set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
        let child = command.spawn().unwrap();
        let ready = || async {
            let answered = reqwest::get(format!("http://127.0.0.1:{admin}/readyz")).await.ok()?;
            answered.status().is_success().then_some(())
        };
        until("the old program", ready).await;
        Self { _child: child, http: format!("http://127.0.0.1:{http}") }
    }
}

/// One gateway, old or new, as clients see it.
struct At<'a> {
    url: &'a str,
    key: &'a str,
}

impl At<'_> {
    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        reqwest::Client::new().post(format!("{}{path}", self.url)).bearer_auth(self.key).json(body)
    }

    async fn ask(&self, talk: &str, text: &str) -> Value {
        let answered = self.post("/v1/chat", &json!({ "text": text, "conversation": talk })).send().await.unwrap();
        let (status, answer) = (answered.status(), answered.json::<Value>().await.unwrap());
        assert_eq!((status.as_u16(), &answer["kind"]), (200, &json!("answer")), "{answer}");
        answer
    }

    async fn history(&self, talk: &str) -> Vec<String> {
        let url = format!("{}/v1/conversations/{talk}", self.url);
        let told = reqwest::Client::new().get(url).bearer_auth(self.key).send().await.unwrap();
        let told: Value = told.json().await.unwrap_or_default();
        let turns = told["turns"].as_array().cloned().unwrap_or_default();
        turns.iter().map(|turn| turn["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// JSON, SSE, the OpenAI-style face and a WebSocket, in one conversation; the ids in order.
    async fn every_face(&self, talk: &str) -> Vec<String> {
        let mut ids = vec![self.ask(talk, "How long does delivery take?").await["id"].as_str().unwrap().to_owned()];
        let body = json!({ "text": "Can I pay in instalments?", "conversation": talk });
        let frames =
            Frames::read(self.post("/v1/chat", &body).header("accept", "text/event-stream")).await.rest().await;
        ids.push(done(&frames));
        let body =
            json!({ "model": "talkfleet", "messages": [{ "role": "user", "content": "How do I return an item?" }] });
        let completion: Value = self.post("/v1/chat/completions", &body).send().await.unwrap().json().await.unwrap();
        assert!(
            completion["choices"][0]["message"]["content"].as_str().is_some_and(|text| !text.is_empty()),
            "{completion}"
        );
        let mut socket = Socket::at(self.url, self.key).await;
        socket.ask("a", json!({ "text": "When do I get my refund?", "conversation": talk })).await;
        ids.push(done(&socket.rest("a").await));
        ids
    }
}

#[track_caller]
fn done(frames: &[Frame]) -> String {
    let last = frames.last().unwrap();
    assert!(matches!(last.body, FrameBody::Done { .. }), "{last:?}");
    last.request.to_string()
}

async fn records(desk: &Desk, talk: &str) -> Vec<TurnRecord> {
    let tenant = TenantId::parse("demo").unwrap();
    desk.bus.records_of(&tenant, &ConversationId::parse(talk).unwrap()).await.unwrap()
}

/// The ids of a conversation's turns as a gateway tells them, once so many are archived.
async fn told(at: &At<'_>, talk: &str, ids: &[String]) {
    until("the history", || async { (at.history(talk).await == ids).then_some(()) }).await;
}

#[tokio::test]
async fn old_and_new_work_side_by_side() {
    let Some(bin) = previous() else {
        eprintln!("skipped: build the previous release with deploy/check/previous.sh and set TALKFLEET_PREVIOUS_BIN");
        return;
    };
    let mut desk = Desk::open().start().await;
    let (new_url, key) = (desk.url(""), desk.key.clone());
    let old_gateway = Old::start(&desk, &bin, "talkfleet-gateway", None).await;
    let [old, new] = [&old_gateway.http, &new_url].map(|url| At { url, key: &key });

    // The gateways first: an old one before a new worker.
    let of_old = old.every_face("old-gateway").await;
    let by_new = records(&desk, "old-gateway").await;
    assert!(by_new.iter().all(|record| record.versions.release == "stable"), "answered by the new worker");
    told(&new, "old-gateway", &of_old).await;

    // The workers first: a new gateway before an old worker; nobody else answers, archives or looks back.
    let old_worker = Old::start(&desk, &bin, "talkfleet-worker", Some("intent,retrieval,response,archive")).await;
    desk.fleet.drain_worker(0).await;
    let of_new = new.every_face("new-gateway").await;
    let by_old = records(&desk, "new-gateway").await;
    assert_eq!(by_old.len(), of_new.len());
    assert!(by_old.iter().all(|record| record.versions.release.is_empty()), "answered by the old worker");
    told(&new, "new-gateway", &of_new).await;
    told(&old, "new-gateway", &of_new).await;
    told(&old, "old-gateway", &of_old).await;

    // Each goes on telling what the other began: a request of one gateway, resumed on the other from the first frame.
    for (from, to, talk) in [(&old, &new, "resumed-on-new"), (&new, &old, "resumed-on-old")] {
        let id = from.ask(talk, "What does the warranty cover?").await["id"].as_str().unwrap().to_owned();
        let url = format!("{}/v1/chat/{id}/stream?after=0.0", to.url);
        let frames = Frames::read(reqwest::Client::new().get(url).bearer_auth(&key)).await.rest().await;
        assert_eq!(done(&frames), id);
    }

    // Mixed, as in the middle of a rollout: conversations go on through whichever gateway and worker.
    desk.fleet.add_worker(&desk.options.clone()).await.unwrap();
    desk.fleet.ready(crate::harness::PATIENCE).await.unwrap();
    let (mut by, mut ids) = ([0, 0], Vec::new());
    for turn in 0..24 {
        let at = if turn % 2 == 0 { &old } else { &new };
        ids.push(at.ask("mixed", "How long does delivery take?").await["id"].as_str().unwrap().to_owned());
    }
    let written = records(&desk, "mixed").await;
    assert_eq!(written.iter().map(|record| record.request.to_string()).collect::<Vec<_>>(), ids, "one each, in order");
    written.iter().for_each(|record| by[usize::from(record.versions.release == "stable")] += 1);
    assert!(by[0] > 0 && by[1] > 0, "{by:?} by the old and the new worker");
    told(&old, "mixed", &ids).await;
    told(&new, "mixed", &ids).await;

    // A gateway that knows no releases keeps a candidate out: it would let a second message of a conversation in.
    let mut options = desk.options.clone();
    options.roles = vec!["response".to_owned()];
    options.worker_set.push(("release.name".into(), "next".into()));
    desk.fleet.add_worker(&options).await.unwrap();
    let args = ["release", "share", "5%", "--gate", "nowhere"];
    let refused = || async {
        let (ok, _, complaint) = command(&desk, &args).await;
        (!ok && complaint.contains("1 of 2 gateways are of a build that knows no releases")).then_some(())
    };
    until("the old gateway to be noticed", refused).await;
    drop((old_gateway, old_worker));
    let (ok, _, complaint) = command(&desk, &args).await;
    assert!(!ok && complaint.contains("nowhere"), "{complaint}");
}
