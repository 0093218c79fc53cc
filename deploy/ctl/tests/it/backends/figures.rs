//! Figures of pgvector beside memory: how well it finds on XQuAD, and what a search costs in 10,000 passages.
//!
//! `cargo test --test it backends::figures -- --ignored --nocapture`, with the labelled data beside the repository. CPU is
//! that of this process and of all of PostgreSQL's, from the system's own books (ticks of 10 ms over all searches).

use std::{fs, path::Path, time::Instant};

use serde::Deserialize;
use talkfleet::engines::Engine;
use talkfleet_shared::metrics::Metrics;
use talkfleet_worker::{
    catalog::Backend,
    store::{Change, Document},
    text,
};

use super::{Base, config, document, encoder, postgres_with_vectors, store};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/retrieval");

/// Sentences of the labelled sets as passages of their own: enough real text of both languages.
const PASSAGES: usize = 10_000;

/// Searches that are timed, and how often all of them are.
const SEARCHES: usize = 200;
const ROUNDS: usize = 3;

#[derive(Deserialize)]
struct Text {
    id: String,
    title: String,
    text: String,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    document: String,
}

fn read<T: for<'a> Deserialize<'a>>(set: &str, file: &str) -> Vec<T> {
    let text = fs::read_to_string(Path::new(DATA).join(set).join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ways to search, by name and settings.
const WAYS: [(&str, &[(&str, &str)]); 3] = [
    ("memory", &[("retrieval.backend", "memory")]),
    ("pgvector, one by one", &[("retrieval.backend", "pgvector"), ("retrieval.graph_from", "1000000000")]),
    ("pgvector, graph", &[("retrieval.backend", "pgvector"), ("retrieval.graph_from", "1")]),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, minutes long; needs the labelled data"]
async fn figures() {
    let data = tempfile::tempdir().unwrap();
    let engines = postgres_with_vectors(&data).await;
    let (store, encoder) = (store(&engines).await, encoder().await);
    for set in ["xquad_en", "xquad_zh"] {
        let texts: Vec<Text> = read(set, "documents.jsonl");
        let questions: Vec<Asked> = read(set, "questions.jsonl");
        let put = |text: &Text| document(&encoder, &text.id, &text.title, &[&text.text], &[]);
        let put: Vec<Document> = texts.iter().map(put).collect();
        let embedded = |asked: Asked| (encoder.encode(&asked.question), asked);
        let questions: Vec<(Vec<f32>, Asked)> = questions.into_iter().map(embedded).collect();
        for (name, settings) in WAYS {
            let mut base = Base::open(
                &store,
                Backend::new(&config(settings), &store, Metrics::new("worker")).unwrap(),
                set,
                &encoder,
            )
            .await;
            if base.loaded.passages() == 0 {
                base.change(put.clone(), &[]).await;
            }
            let (recall, ndcg) = quality(&base, &questions).await;
            println!(
                "{set}  {name:<22} recall@5 {recall:.2} %  nDCG@10 {ndcg:.2}  {} passages",
                base.loaded.passages()
            );
        }
    }
    let (documents, questions) = large(&encoder);
    let started = Instant::now();
    for part in documents.chunks(500) {
        let tenant = talkfleet_shared::id::TenantId::parse("large").unwrap();
        store.change_knowledge(&tenant, &Change { put: part.to_vec(), ..Change::default() }).await.unwrap();
    }
    println!("large: {} passages written in {:.1} s", documents.len(), started.elapsed().as_secs_f64());
    let server = engines.pids()[&Engine::Postgres];
    for (name, settings) in WAYS {
        let started = Instant::now();
        let base = Base::open(
            &store,
            Backend::new(&config(settings), &store, Metrics::new("worker")).unwrap(),
            "large",
            &encoder,
        )
        .await;
        println!("large  {name:<22} ready after {:.1} s", started.elapsed().as_secs_f64());
        cost(name, &base, &questions, server).await;
    }
    engines.stop().await;
}

async fn quality(base: &Base, questions: &[(Vec<f32>, Asked)]) -> (f64, f64) {
    let (mut found, mut gain) = (0.0, 0.0);
    for (embedding, asked) in questions {
        let language = text::language(&asked.question);
        let hits = base.hits_of(&asked.question, Some(embedding), language, 10).await.unwrap();
        let Some(place) = hits.iter().position(|hit| hit.passage.document == asked.document) else { continue };
        found += f64::from(u8::from(place < 5));
        gain += 1.0 / ((place + 2) as f64).log2();
    }
    let all = questions.len() as f64;
    (100.0 * found / all, 100.0 * gain / all)
}

/// Sentences as documents of one passage each, and questions about them with their embeddings.
fn large(encoder: &talkfleet_worker::encoder::Encoder) -> (Vec<Document>, Vec<(String, Vec<f32>)>) {
    let mut documents = Vec::new();
    for set in ["xquad_en", "xquad_zh", "stackfaq", "cmrc2018_dev"] {
        for one in read::<Text>(set, "documents.jsonl") {
            for (place, sentence) in text::sentences(&one.text).into_iter().enumerate() {
                documents.push((format!("{set}-{}-{place}", one.id), one.title.clone(), sentence.to_owned()));
            }
        }
    }
    documents.truncate(PASSAGES);
    let documents = documents.iter().map(|(id, title, text)| document(encoder, id, title, &[text], &[])).collect();
    let mut questions = Vec::new();
    for set in ["xquad_en", "xquad_zh"] {
        let asked = read::<Asked>(set, "questions.jsonl").into_iter().step_by(11).take(SEARCHES / 2);
        questions.extend(asked.map(|asked| (asked.question.clone(), encoder.encode(&asked.question))));
    }
    (documents, questions)
}

async fn cost(name: &str, base: &Base, questions: &[(String, Vec<f32>)], server: u32) {
    let (mut ours, mut theirs, mut median, mut tail) = (f64::MAX, f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..=ROUNDS {
        let before = (cpu_ms(std::process::id()), family_cpu_ms(server));
        let mut times = Vec::new();
        for (question, embedding) in questions {
            let started = Instant::now();
            let language = text::language(question);
            base.hits_of(question, Some(embedding), language, 4).await.unwrap();
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
        }
        times.sort_by(f64::total_cmp);
        let each = questions.len() as f64;
        ours = ours.min((cpu_ms(std::process::id()) - before.0) / each);
        theirs = theirs.min((family_cpu_ms(server) - before.1) / each);
        median = median.min(times[times.len() / 2]);
        tail = tail.min(times[times.len() * 99 / 100]);
    }
    println!(
        "large  {name:<22} CPU a search: worker {ours:.2} ms, PostgreSQL {theirs:.2} ms; latency p50 {median:.2} ms, \
         p99 {tail:.2} ms"
    );
}

/// User and system time of a process and of its children that have ended; ticks are 10 ms on Linux.
fn cpu_ms(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after.split(' ').skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    ticks * 10.0
}

/// The same of a process with all that it started.
fn family_cpu_ms(parent: u32) -> f64 {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let children = children.split(' ').filter_map(|child| child.trim().parse().ok());
    cpu_ms(parent) + children.map(family_cpu_ms).sum::<f64>()
}
