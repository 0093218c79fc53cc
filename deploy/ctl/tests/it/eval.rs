//! `eval answers` asked of a running desk: what is labelled is counted, and a limit that is exceeded is an exit code.

use clap::Parser;
use serde_json::Value;
use talkfleet::cli::{self, Cli};

use crate::harness::Desk;

const QUESTIONS: &str = r#"{"question": "How long does delivery take?", "document": ["delivery-times", "express-delivery"]}
{"question": "Can I pay in instalments?", "expect": "answer"}
{"question": "hello there", "expect": "small_talk"}
{"question": "what is the capital of mongolia", "expect": "refusal"}
{"question": "你好", "expect": "handover"}
"#;

#[tokio::test]
async fn answers_of_a_running_desk_are_held_against_their_labels() {
    let desk = Desk::open().start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("questions.jsonl");
    std::fs::write(&file, QUESTIONS).unwrap();
    let (file, out) = (file.to_string_lossy().into_owned(), folder.path().join("out").to_string_lossy().into_owned());
    let ask = async |limits: &[&str]| {
        let line = [
            "talkfleet",
            "eval",
            "answers",
            "--json",
            "--questions",
            &file,
            "--out",
            &out,
            "--nats",
            &desk.engines.nats_url,
        ];
        let done = cli::run(Cli::try_parse_from(line.iter().chain(limits)).unwrap()).await;
        let report: Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("out/report.json")).unwrap()).unwrap();
        (format!("{done:?}") == format!("{:?}", std::process::ExitCode::SUCCESS), report)
    };
    let (passed, report) = ask(&[]).await;
    assert!(passed, "{report}");
    assert_eq!((report["questions"].as_u64(), report["failed"].as_u64()), (Some(5), Some(0)));
    assert_eq!(report["as_expected"].as_f64(), Some(0.8), "the label of the last is wrong on purpose: {report}");
    assert_eq!(report["citation_right"].as_f64(), Some(1.0), "{report}");
    assert_eq!(report["grounded"].as_f64(), Some(1.0), "what is quoted is supported: {report}");
    assert!(report["latency_p99_ms"].as_f64().unwrap() > 0.0);
    let (passed, report) = ask(&["--fail-on", "wrong_kind=10%"]).await;
    assert!(!passed, "one of five is more than a tenth: {report}");
    let page = std::fs::read_to_string(folder.path().join("out/index.html")).unwrap();
    assert!(page.contains("wrong_kind") && page.contains("你好"));
    assert!(report["remark"].is_null());
    let (_, report) = ask(&["--tenant", "ghost"]).await;
    assert_eq!(report["refused"], 5, "{report}");
    assert!(report["remark"].as_str().unwrap().contains("knowledge list --tenant ghost"), "{report}");
}
