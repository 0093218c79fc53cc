//! Speed, memory and updates at 10,000 and 100,000 passages: the real ones many times over, with changed words and moved
//! embeddings.

use std::time::Instant;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::super::{Embeddings, Knowledge, Passage, Tier, Tuning};
use super::sets::{self, Set};
use super::{cpu_s, process_cpu_s};
use crate::encoder::Encoder;
use crate::retrieval::Question;
use crate::text::Language;

/// Share of a passage's words that are changed in each copy.
const CHANGED: f64 = 0.3;

fn resident_mb() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0 / 1e6
}

/// A text with some of its words, or characters in Chinese, taken from others.
fn changed(text: &str, others: &[&str], language: Language, rng: &mut SmallRng) -> String {
    let other = |rng: &mut SmallRng| others[rng.random_range(0..others.len())];
    if language == Language::Chinese {
        let change = |c: char| if rng.random_bool(CHANGED) { other(rng).chars().next().unwrap_or(c) } else { c };
        return text.chars().map(change).collect();
    }
    let words = text.split(' ').map(|word| if rng.random_bool(CHANGED) { other(rng) } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// An embedding moved towards another one and a little at random.
fn moved(embedding: &[f32], other: &[f32], rng: &mut SmallRng) -> Vec<f32> {
    let raw: Vec<f32> =
        embedding.iter().zip(other).map(|(a, b)| a + 0.4 * b + 0.02 * (rng.random::<f32>() * 2.0 - 1.0)).collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.iter().map(|x| x / length).collect()
}

/// That many passages in documents of two, made of the sets' own.
fn many(count: usize, sets: &[&Set]) -> Vec<(Passage, Vec<f32>)> {
    let rng = &mut SmallRng::seed_from_u64(7);
    let real: Vec<(&Passage, &[f32])> = sets
        .iter()
        .flat_map(|set| &set.passages)
        .filter_map(|(passage, embeddings)| Some((passage, embeddings.multilingual.as_deref()?)))
        .collect();
    let language = sets[0].language;
    let texts: Vec<&str> = real.iter().map(|(passage, _)| passage.text.as_str()).collect();
    let others: Vec<&str> = match language {
        Language::Chinese => texts.iter().flat_map(|text| text.char_indices().map(|(at, _)| &text[at..])).collect(),
        _ => texts.iter().flat_map(|text| text.split(' ')).collect(),
    };
    (0..count)
        .map(|number| {
            let (passage, embedding) = real[number % real.len()];
            let first = number < real.len();
            let text = if first { passage.text.clone() } else { changed(&passage.text, &others, language, rng) };
            let embedding = match first {
                true => embedding.to_vec(),
                false => moved(embedding, real[rng.random_range(0..real.len())].1, rng),
            };
            let (id, document) = (format!("p{number}"), format!("d{}", number / 2));
            (Passage { id, document, text, ..passage.clone() }, embedding)
        })
        .collect()
}

fn put(knowledge: &mut Knowledge, passages: &[(Passage, Vec<f32>)]) {
    for pair in passages.chunks(2) {
        let embedded = |(passage, embedding): &(Passage, Vec<f32>)| {
            (passage.clone(), Embeddings { multilingual: Some(embedding.clone()), transformer: None })
        };
        knowledge.upsert(&pair[0].0.document, pair.iter().map(embedded).collect(), Vec::new()).unwrap();
    }
}

#[test]
#[ignore = "minutes of figures; see mod.rs"]
fn large() {
    let encoder = Encoder::load(&crate::encoder::cached()).unwrap();
    let all = sets::all(sets::Readers { multilingual: &encoder, transformer: None });
    for language in [Language::English, Language::Chinese] {
        let own: Vec<&Set> = all.iter().filter(|set| set.language == language).collect();
        for count in [10_000, 100_000] {
            let passages = many(count, &own);
            measure(language, &passages, &own, &encoder);
        }
    }
}

fn measure(language: Language, passages: &[(Passage, Vec<f32>)], sets: &[&Set], encoder: &Encoder) {
    let (before, start) = (resident_mb(), process_cpu_s());
    let mut knowledge = Knowledge::default();
    put(&mut knowledge, passages);
    let index = knowledge.snapshot().unwrap();
    let built = process_cpu_s() - start;
    let kb = (resident_mb() - before) * 1e3 / passages.len() as f64;
    println!(
        "{} {}: built in {built:.1} s CPU ({:.0} passages/s), {kb:.1} kB a passage resident",
        passages.len(),
        language.tag(),
        passages.len() as f64 / built
    );
    let questions: Vec<_> = sets.iter().flat_map(|set| &set.questions).step_by(7).collect();
    for (name, tier) in [("words", Tier::Words), ("multilingual", Tier::Multilingual), ("fused", Tier::Fused)] {
        let mut took: Vec<f64> = Vec::new();
        let start = cpu_s();
        for question in &questions {
            let asked = Question {
                text: &question.text,
                language,
                multilingual: Some(&question.embedding),
                transformer: None,
                encoder: None,
            };
            // The shortest of five, by the clock: others share the machine.
            let once = || {
                let start = Instant::now();
                index.ask(&asked, tier, 4, &Tuning::default()).unwrap();
                start.elapsed().as_secs_f64() * 1e6
            };
            took.push((0..5).map(|_| once()).fold(f64::MAX, f64::min));
        }
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[(share * (took.len() - 1) as f64) as usize];
        let mean = (cpu_s() - start) * 1e6 / (5 * questions.len()) as f64;
        println!("   {name:13} {mean:6.0} µs CPU; by the clock p50 {:6.0}, p99 {:6.0}", at(0.5), at(0.99));
    }
    let start = cpu_s();
    questions.iter().take(200).for_each(|question| drop(encoder.encode(&question.text)));
    println!("   embedding     {:6.0} µs CPU", (cpu_s() - start) * 1e6 / questions.len().min(200) as f64);
    two_passes(&index, &questions);
    update(&mut knowledge, passages);
}

/// How many of the ten nearest of all the first pass lets through.
fn two_passes(index: &super::super::Index, questions: &[&sets::Question]) {
    let (mut found, mut wanted, mut passed) = (0, 0, 0);
    for question in questions.iter().take(200) {
        let rows = &index.multilingual;
        let mut cosines: Vec<(usize, f32)> =
            (0..index.entries.len()).filter_map(|slot| Some((slot, rows.cosine(slot, &question.embedding)?))).collect();
        cosines.select_nth_unstable_by(9, |a, b| b.1.total_cmp(&a.1));
        let near = rows.near(&question.embedding, rows.enough(), |_| true);
        found += cosines[..10].iter().filter(|(slot, _)| near.contains(slot)).count();
        wanted += 10;
        passed += near.len();
    }
    println!(
        "   the ten nearest of an exact scan are among the {} that pass for {:.2} %",
        passed / questions.len().min(200),
        100.0 * f64::from(found as u32) / f64::from(wanted)
    );
}

/// What one changed document costs.
fn update(knowledge: &mut Knowledge, passages: &[(Passage, Vec<f32>)]) {
    let held: Vec<_> = (0..3).map(|_| knowledge.snapshot().unwrap()).collect();
    let mut took = Vec::new();
    let cpu = process_cpu_s();
    for pair in passages.chunks(2).take(20) {
        let start = Instant::now();
        put(knowledge, pair);
        drop(knowledge.snapshot().unwrap());
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let cpu_ms = (process_cpu_s() - cpu) * 1e3 / 20.0;
    println!(
        "   an update and its snapshot: {cpu_ms:.1} ms CPU; by the clock {:.1} ms, {:.1} at worst",
        took[10], took[19]
    );
    drop(held);
}
