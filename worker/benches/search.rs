//! What it costs to search passages by words and by meaning, and how that grows with the base.

use std::hash::{DefaultHasher, Hash, Hasher};

use divan::{Bencher, black_box};
use talkfleet_worker::{
    encoder::DIMENSIONS,
    retrieval::{Index, Passage, Tuning},
    text::Language,
};

const PASSAGES: [usize; 3] = [400, 4_000, 40_000];

/// Words that a base of help articles is made of, by the hundred.
const WORDS: usize = 3_000;

/// Passages that are found.
const COUNT: usize = 5;

fn main() {
    divan::main();
}

/// The same number for the same seed, on every machine.
fn number(seed: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    hasher.finish()
}

/// Common words often, rare ones seldom, as in a language.
fn word(seed: (usize, usize)) -> String {
    let share = number(seed) as f64 / u64::MAX as f64;
    format!("word{}", (WORDS as f64).powf(share) as usize)
}

fn text(n: usize, words: usize) -> String {
    (0..words).map(|at| word((n, at))).collect::<Vec<_>>().join(" ")
}

fn embedding(n: usize) -> Vec<f32> {
    let raw: Vec<f32> = (0..DIMENSIONS).map(|at| number((n, at)) as f32 / u64::MAX as f32 - 0.5).collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.into_iter().map(|x| x / length).collect()
}

fn base(passages: usize) -> Option<Index> {
    let passage = |n: usize| Passage {
        id: format!("p{n}"),
        document: format!("d{}", n / 4),
        title: format!("About {}", text(n / 4, 3)),
        url: format!("/help/{}", n / 4),
        language: Language::English,
        text: text(n, 60),
    };
    Index::build((0..passages).map(|n| (passage(n), Some(embedding(n)))).collect()).ok()
}

#[divan::bench(args = PASSAGES, sample_count = 20)]
fn by_words(bencher: Bencher, passages: usize) {
    let (index, question) = (base(passages), text(usize::MAX, 8));
    bencher.bench_local(|| {
        let search = |index: &Index| index.search(&question, None, Language::English, COUNT, &Tuning::default()).ok();
        black_box(index.as_ref().and_then(search))
    });
}

#[divan::bench(args = PASSAGES, sample_count = 20)]
fn by_words_and_meaning(bencher: Bencher, passages: usize) {
    let (index, question, meaning) = (base(passages), text(usize::MAX, 8), embedding(usize::MAX));
    bencher.bench_local(|| {
        let search =
            |index: &Index| index.search(&question, Some(&meaning), Language::English, COUNT, &Tuning::default()).ok();
        black_box(index.as_ref().and_then(search))
    });
}
