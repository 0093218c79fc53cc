//! The three binaries as an operator starts and stops them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use talkfleet::connect::{Ready, read_ready};
use talkfleet_shared::chat::FrameBody;

use crate::{
    harness::{Desk, built, until},
    model::{Model, said},
};

/// Everything that our own code has to say.
const LOUD: &str = "info,talkfleet_shared=trace,talkfleet_gateway=trace,talkfleet_worker=trace";

/// A child that is killed should its test fail.
pub(crate) struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(program: &Path, args: &[String], log: &Path) -> Self {
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

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    /// SIGTERM, then the exit code. Twice, as `timeout` sends it to a process and its group: that is one wish.
    fn terminate(&mut self, within: Duration) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid, &pid]).status().unwrap().success());
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
    let (data_flag, ready_flag) = (folder.display().to_string(), ready_file.display().to_string());
    let args = ["up", "--data", &data_flag, "--ready-file", &ready_flag, "--gateways", "2", "--workers", "2"];
    let args = args.map(str::to_owned);
    for round in 0..2 {
        let since = Instant::now();
        let mut up = Process::start(Path::new(env!("CARGO_BIN_EXE_talkfleet")), &args, &log);
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
    let roles = ["intent,retrieval", "intent,retrieval", "response", "response,archive"];
    let mut processes: Vec<Process> =
        roles.iter().enumerate().map(|(number, roles)| worker(&desk, number, roles, &[])).collect();
    let mut addresses = Vec::new();
    for number in 0..2 {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        addresses.push(format!("127.0.0.1:{port}"));
        let set = [
            ("nats.url", desk.options.nats.as_str()),
            ("redis.url", &desk.options.redis),
            ("http.listen", &addresses[number]),
            ("admin.listen", "127.0.0.1:0"),
            ("log.filter", LOUD),
        ];
        let log = desk.data.path().join(format!("gateway{number}.log"));
        processes.push(Process::start(&binary("talkfleet-gateway"), &settings(&set), &log));
    }
    for address in &addresses {
        until("an answer through the processes", || async {
            let sent = reqwest::Client::new().post(format!("http://{address}/v1/chat")).bearer_auth(&desk.key);
            let answer: Value = sent.json(&json!({ "text": "怎么退货" })).send().await.ok()?.json().await.ok()?;
            let cited = answer["citations"][0]["url"] == "/zh/help/start-a-return";
            (cited && answer["degraded"] == json!([])).then_some(())
        })
        .await;
    }
    let secret = json!({ "text": "My name is Zebulon Quokka, where is parcel 739-104-Z?", "user": "zebulon-7" });
    let sent = reqwest::Client::new().post(format!("http://{}/v1/chat", addresses[0])).bearer_auth(&desk.key);
    assert_eq!(sent.json(&secret).send().await.unwrap().status(), 200);
    for process in &mut processes {
        assert_eq!(process.terminate(Duration::from_secs(30)), Some(0));
    }
    for log in ["worker0", "worker1", "worker2", "worker3", "gateway0", "gateway1"] {
        let said = std::fs::read_to_string(desk.data.path().join(format!("{log}.log"))).unwrap();
        assert!(said.contains("INFO"), "{log} says something: {said}");
        assert!(!said.contains("no sentence encoder"), "it lies where `up` puts it: {said}");
        let password = desk.options.nats.split(['/', ':', '@']).nth(4).unwrap();
        for private in ["Quokka", "739-104-Z", "zebulon", "怎么退货", desk.key.as_str(), password] {
            assert!(!said.contains(private), "{log} tells {private}: {said}");
        }
    }
}

#[tokio::test]
async fn a_worker_killed_in_mid_answer_is_replaced_and_one_answer_is_shown() {
    let model = Model::start(false).await;
    let desk = Desk::open().workers(0).start().await;
    let slow = [("model.base_url", model.url.as_str()), ("model.api_key", "\"not-a-real-key\"")];
    let roles = "intent,retrieval,response,archive";
    let mut doomed = worker(&desk, 0, roles, &slow);
    model.say(1);
    let mut frames = desk.stream(0, &json!({ "text": "How long does delivery take?" })).await;
    let mut seen = Vec::new();
    while said(&seen).is_empty() {
        seen.push(frames.next().await.unwrap());
    }
    doomed.kill();
    let _other = worker(&desk, 1, roles, &[]);
    seen.extend(frames.rest().await);
    let names: Vec<_> = seen.iter().map(|frame| frame.body.name()).collect();
    assert_eq!(names.iter().filter(|name| **name == "restart").count(), 1, "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "done").count(), 1, "{names:?}");
    let FrameBody::Done { answer } = &seen.last().unwrap().body else { panic!("{names:?}") };
    assert_eq!((said(&seen), seen.last().unwrap().attempt), (answer.text.clone(), 2));
}

/// A worker of this desk in a process of its own.
pub(crate) fn worker(desk: &Desk, number: usize, roles: &str, set: &[(&str, &str)]) -> Process {
    let usual = [
        ("nats.url", desk.options.nats.as_str()),
        ("redis.url", &desk.options.redis),
        ("database.url", &desk.options.database),
        ("admin.listen", "127.0.0.1:0"),
        ("log.filter", LOUD),
    ];
    let args = [vec!["--roles".into(), roles.into()], settings(&usual), settings(set)].concat();
    Process::start(&binary("talkfleet-worker"), &args, &desk.data.path().join(format!("worker{number}.log")))
}

fn settings(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect()
}

/// The binary of another package.
fn binary(name: &str) -> PathBuf {
    built();
    Path::new(env!("CARGO_BIN_EXE_talkfleet")).with_file_name(name)
}

#[test]
fn who_has_read_enough_hears_no_complaint() {
    let piped = format!("{} completions bash | head -1", env!("CARGO_BIN_EXE_talkfleet"));
    let out = Command::new("bash").args(["-o", "pipefail", "-c", &piped]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "_talkfleet() {");
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
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
