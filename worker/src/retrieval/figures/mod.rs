//! What retrieval is worth and what it costs, on the public sets and the demo; run by hand:
//! `cargo test -p talkfleet-worker --lib retrieval::figures -- --ignored --nocapture`.

mod answerable;
mod large;
mod sets;

use sets::Set;

use super::{Index, Question, Tier, Tuning};
use crate::encoder::{Encoder, Transformer};

/// Seconds that this thread has been on a processor, in steps of the scheduler's tick: for many calls together.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Seconds that all threads of this process have.
fn process_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in hundredths.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// How well the right documents are found.
#[derive(Default)]
struct Quality {
    questions: f64,
    first: f64,
    among_five: f64,
    reciprocal: f64,
    gain: f64,
    cpu_s: f64,
}

impl Quality {
    fn count(&mut self, place: Option<usize>) {
        self.questions += 1.0;
        let Some(place) = place.filter(|place| *place < 10) else { return };
        self.first += f64::from(u8::from(place == 0));
        self.among_five += f64::from(u8::from(place < 5));
        self.reciprocal += 1.0 / (place + 1) as f64;
        self.gain += 1.0 / ((place + 2) as f64).log2();
    }

    fn line(&self) -> String {
        let share = |sum: f64| 100.0 * sum / self.questions.max(1.0);
        format!(
            "{:6.1} {:6.1} {:6.1} {:6.1} {:8.0}",
            share(self.first),
            share(self.among_five),
            share(self.reciprocal),
            share(self.gain),
            self.cpu_s * 1e6 / self.questions.max(1.0)
        )
    }
}

/// Asks a set's questions of an index; `tuned` says of which half.
fn quality(set: &Set, index: &Index, tier: Tier, tuning: &Tuning, encoder: &Encoder, tuned: bool) -> Quality {
    let mut quality = Quality::default();
    let start = cpu_s();
    for question in set.questions.iter().filter(|question| question.tuned == tuned && !question.documents.is_empty()) {
        let asked = Question {
            text: &question.text,
            language: sets::language(&question.text),
            multilingual: Some(&question.embedding),
            transformer: question.deep.as_deref(),
            encoder: Some(encoder),
        };
        let hits = index.ask(&asked, tier, 40, tuning).unwrap();
        let mut documents: Vec<&str> = Vec::new();
        for hit in &hits {
            if !documents.contains(&hit.passage.document.as_str()) {
                documents.push(&hit.passage.document);
            }
        }
        quality.count(documents.iter().position(|found| question.documents.iter().any(|right| right == found)));
    }
    quality.cpu_s = cpu_s() - start;
    quality
}

#[test]
#[ignore = "a minute of figures; see the file's first line"]
fn figures() {
    let encoder = Encoder::load(&crate::encoder::cached()).unwrap();
    let folder = crate::models::in_cache(&talkfleet_shared::config::cache_dir(), crate::models::TRANSFORMER);
    let transformer = folder.map(|folder| Transformer::load(&folder).unwrap());
    println!("reported half of the questions; nDCG and MRR at 10; CPU in µs a query, its embedding apart");
    println!("{:10} {:18} {:>6} {:>6} {:>6} {:>6} {:>8}", "set", "tier", "R@1", "R@5", "MRR", "nDCG", "CPU µs");
    let readers = sets::Readers { multilingual: &encoder, transformer: transformer.as_ref() };
    for set in sets::all(readers) {
        let index = set.index();
        for (name, tier) in Tier::ALL {
            let found = quality(&set, &index, tier, &Tuning::default(), &encoder, false);
            println!("{:10} {:18} {}", set.name, name, found.line());
        }
        for weight in [0.3, 0.4, 0.5, 0.6, 0.7, 0.8] {
            let tuning = Tuning { meaning_weight: weight, faq_meaning_weight: weight, ..Tuning::default() };
            let both = [true, false].map(|half| quality(&set, &index, Tier::Fused, &tuning, &encoder, half));
            println!("{:10} fused at {weight}       {}   (tuning half {})", set.name, both[1].line(), both[0].line());
        }
    }
}
