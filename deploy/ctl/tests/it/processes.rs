//! The three binaries as an operator starts and stops them.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use talkfleet::connect::{Ready, read_ready};

use crate::harness::{Desk, until};

/// A child that is killed should its test fail.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(program: &str, args: &[&str], log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        Self(
            Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    /// SIGTERM, then the exit code.
    fn terminate(&mut self, within: Duration) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let give_up = Instant::now() + within;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if Instant::now() > give_up => panic!("still running"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// What `up` tells once everything is ready; the engines and the encoder may have to be fetched first.
async fn ready_within(up: &mut Process, file: &Path, log: &Path) -> Ready {
    let give_up = Instant::now() + Duration::from_secs(180);
    loop {
        if let Ok(ready) = read_ready(file) {
            return ready;
        }
        let said = || std::fs::read_to_string(log).unwrap();
        assert!(up.0.try_wait().unwrap().is_none() && Instant::now() < give_up, "{}", said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Children of a process, by /proc.
fn children(pid: u32) -> Vec<u32> {
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let parent = |stat: String| stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|child| stat(*child).and_then(parent) == Some(pid)).collect()
}

#[tokio::test]
async fn up_opens_the_desk_and_closes_it_without_leaving_anybody() {
    let data = tempfile::tempdir().unwrap();
    let (ready_file, log) = (data.path().join("told.json"), data.path().join("up.log"));
    let folder = data.path().join("data");
    let args = [
        "up",
        "--data",
        folder.to_str().unwrap(),
        "--ready-file",
        ready_file.to_str().unwrap(),
        "--gateways",
        "2",
        "--workers",
        "2",
    ];
    let mut first_conversation = None;
    for round in 0..2 {
        let since = Instant::now();
        let mut up = Process::start(env!("CARGO_BIN_EXE_talkfleet"), &args, &log);
        let ready = ready_within(&mut up, &ready_file, &log).await;
        if round == 1 {
            assert!(since.elapsed() < Duration::from_secs(20), "a second start took {:?}", since.elapsed());
        }
        assert_eq!(ready.gateways.len(), 2);
        let body = json!({ "text": "How long does delivery take?", "conversation": "kept" });
        let sent = reqwest::Client::new()
            .post(format!("{}/v1/chat", ready.gateway))
            .bearer_auth(&ready.api_key)
            .json(&body)
            .send()
            .await
            .unwrap();
        let answer: Value = sent.json().await.unwrap();
        assert_eq!(answer["kind"], "answer", "{answer}");
        let history = reqwest::Client::new()
            .get(format!("{}/v1/conversations/kept", ready.gateway))
            .bearer_auth(&ready.api_key)
            .send()
            .await
            .unwrap();
        let history: Value = history.json().await.unwrap();
        assert_eq!(history["turns"].as_array().unwrap().len(), round + 1, "{history}");
        first_conversation.get_or_insert(answer["conversation"].clone());
        let left = children(up.0.id());
        assert!(!left.is_empty());
        assert_eq!(up.terminate(Duration::from_secs(40)), Some(0), "{}", std::fs::read_to_string(&log).unwrap());
        until("the end of every child", || async {
            left.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        })
        .await;
        assert!(!ready_file.exists());
    }
}

#[tokio::test]
async fn gateways_and_workers_run_as_processes_of_their_own() {
    let desk = Desk::open().workers(0).start().await;
    let bin = Path::new(env!("CARGO_BIN_EXE_talkfleet")).parent().unwrap().to_owned();
    let (gateway, worker) = (bin.join("talkfleet-gateway"), bin.join("talkfleet-worker"));
    // This package's tests build only its own binary; the others may be missing or of yesterday.
    let build = ["build", "--quiet", "--workspace", "--bins"];
    let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
    assert!(Command::new(env!("CARGO")).args(build).args(profile).status().unwrap().success());
    let set = |pairs: &[(&str, &str)]| {
        pairs.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect::<Vec<_>>()
    };
    let (nats, redis, database) =
        (desk.options.nats.as_str(), desk.options.redis.as_str(), desk.options.database.as_str());
    let encoder = desk.options.encoder.display().to_string();
    let mut processes = Vec::new();
    for (number, roles) in ["intent,retrieval", "intent,retrieval", "response", "response,archive"].iter().enumerate() {
        let flags = set(&[
            ("nats.url", nats),
            ("redis.url", redis),
            ("database.url", database),
            ("models.encoder_dir", &encoder),
            ("admin.listen", "127.0.0.1:0"),
        ]);
        let args: Vec<&str> = ["--roles", roles].into_iter().chain(flags.iter().map(String::as_str)).collect();
        processes.push(Process::start(
            worker.to_str().unwrap(),
            &args,
            &desk.data.path().join(format!("worker{number}.log")),
        ));
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let flags =
        set(&[("nats.url", nats), ("redis.url", redis), ("http.listen", &listen), ("admin.listen", "127.0.0.1:0")]);
    let args: Vec<&str> = flags.iter().map(String::as_str).collect();
    processes.push(Process::start(gateway.to_str().unwrap(), &args, &desk.data.path().join("gateway.log")));
    until("an answer through the processes", || async {
        let sent = reqwest::Client::new()
            .post(format!("http://{listen}/v1/chat"))
            .bearer_auth(&desk.key)
            .json(&json!({ "text": "怎么退货" }))
            .send()
            .await
            .ok()?;
        let answer: Value = sent.json().await.ok()?;
        (answer["citations"][0]["url"] == "/zh/help/start-a-return" && answer["degraded"] == json!([])).then_some(())
    })
    .await;
    for process in &mut processes {
        assert_eq!(process.terminate(Duration::from_secs(30)), Some(0));
    }
}

#[tokio::test]
async fn a_wrong_configuration_is_named_and_nothing_starts() {
    let bin = Path::new(env!("CARGO_BIN_EXE_talkfleet")).parent().unwrap().to_owned();
    let run = |program: &str, args: &[&str]| {
        let out = Command::new(bin.join(program)).args(args).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, said) = run("talkfleet", &["up", "--gateway-set", "http.lisen=127.0.0.1:1", "--data", "/proc/nowhere"]);
    assert_ne!(code, Some(0));
    assert!(said.lines().count() <= 3 && !said.contains("panicked"), "{said}");
    let (code, said) = run("talkfleet", &["ask", "hello", "--gateway", "http://127.0.0.1:9", "--api-key", "tf_x"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot be reached"), "{said}");
}
