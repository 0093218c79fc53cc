//! The figures of this room, measured on public sets and on the demo: `cargo test --release -p talkfleet-worker --lib
//! intent::figures -- --ignored --nocapture`, with `FIGURES=hwu64,demo` for some of them; `train.jsonl:test.jsonl` names files
//! of one's own. What is said of every line of the file `FIGURES_ASK` is printed besides.

use std::{path::PathBuf, time::Instant};

use super::random::Random;
use super::{Candidate, Choice, Example, IntentModel, IntentSet, Message, Tier, parse, train};
use crate::encoder::Encoders;

const PARTS: usize = 5;

fn public(set: &str, part: &str) -> IntentSet {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/intents").join(set);
    let read = |part: &str| std::fs::read_to_string(folder.join(format!("{part}.jsonl"))).ok();
    let mut found = parse(&read(part).unwrap()).unwrap();
    if let Some(outside) = read(&format!("oos_{part}")) {
        found.out_of_scope = parse(&outside).unwrap().out_of_scope;
    }
    found
}

/// CPU time of this thread so far.
fn thread_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1000.0
}

/// CPU time of the whole process so far.
fn process_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[derive(Default)]
struct Tally {
    asked: f64,
    right: f64,
    /// Right and recognised.
    kept: f64,
    declined_rightly: f64,
    outside: f64,
    escalated: f64,
    by_words: f64,
    us: f64,
    /// Confidence and truth.
    sure: Vec<(f32, bool)>,
}

impl Tally {
    fn ask(&mut self, model: &IntentModel, encoders: &Encoders, text: &str, truth: Option<&str>, choice: Choice) {
        let before = thread_us();
        let found = model.read(&Message::new(text, encoders), choice);
        self.us += thread_us() - before;
        let best = found.candidates[0].name.as_str();
        match truth {
            Some(truth) => {
                self.asked += 1.0;
                self.right += f64::from(best == truth);
                self.kept += f64::from(found.intent.as_deref() == Some(truth));
                self.sure.push((found.confidence, best == truth));
                self.escalated += f64::from(found.tier == Tier::Transformer);
                self.by_words += f64::from(found.tier == Tier::Words);
            }
            None => {
                self.outside += 1.0;
                self.declined_rightly += f64::from(found.intent.is_none());
            }
        }
    }

    /// Expected calibration error in fifteen bins of equal width.
    fn ece(&self) -> f64 {
        let mut bins = [(0.0, 0.0, 0.0); 15];
        for (confidence, right) in &self.sure {
            let bin = &mut bins[((confidence * 15.0) as usize).min(14)];
            *bin = (bin.0 + 1.0, bin.1 + f64::from(*confidence), bin.2 + f64::from(*right));
        }
        bins.iter().map(|(_, sure, right)| (sure - right).abs()).sum::<f64>() / self.asked
    }

    fn row(&self, name: &str) {
        let share = |of: f64, all: f64| 100.0 * of / all.max(1.0);
        println!(
            "  {name:<13} right {:5.2}  recognised rightly {:5.2}  out of scope declined {:5.1}  ECE {:.3}  by words {:5.1}  by transformer {:5.1}  {:7.1} us",
            share(self.right, self.asked),
            share(self.kept, self.asked),
            share(self.declined_rightly, self.outside),
            self.ece(),
            share(self.by_words, self.asked),
            share(self.escalated, self.asked),
            self.us / (self.asked + self.outside),
        );
    }
}

const CHOICES: [(&str, Choice); 4] = [
    ("words", Choice::Always(Tier::Words)),
    ("multilingual", Choice::Always(Tier::Multilingual)),
    ("always", Choice::Always(Tier::Transformer)),
    ("cascade", Choice::Cascade),
];

fn trained(name: &str, set: &IntentSet, encoders: &Encoders) -> IntentModel {
    let (since, cpu) = (Instant::now(), process_seconds());
    let model = train(set, encoders, &mut |_| {}).unwrap();
    println!(
        "{name}: {} examples, trained in {:.1} s ({:.1} s CPU), {} bytes; {:?} {:?}",
        set.examples.len(),
        since.elapsed().as_secs_f64(),
        process_seconds() - cpu,
        model.to_bytes().unwrap().len(),
        model.validation(),
        model.fusion,
    );
    model
}

fn measure(name: &str, set: &IntentSet, test: &IntentSet, encoders: &Encoders) {
    let model = trained(name, set, encoders);
    for (name, choice) in CHOICES {
        let mut tally = Tally::default();
        for example in &test.examples {
            tally.ask(&model, encoders, &example.text, Some(&example.intent), choice);
        }
        for text in &test.out_of_scope {
            tally.ask(&model, encoders, text, None, choice);
        }
        tally.row(name);
    }
    ask_file(&model, encoders);
}

fn ask_file(model: &IntentModel, encoders: &Encoders) {
    let Some(file) = std::env::var_os("FIGURES_ASK") else { return };
    for text in std::fs::read_to_string(file).unwrap().lines() {
        let found = model.read(&Message::new(text, encoders), Choice::Cascade);
        let Candidate { name, confidence } = &found.candidates[0];
        println!("  {text:<34} {:<14} {name:<24} {confidence:.2} in scope {:.2}", found.tier.name(), found.in_scope);
        if found.intent.is_none() {
            println!("    declined");
        }
    }
}

/// A test of one's own: files with '+' between them.
fn own(files: &str) -> IntentSet {
    let mut all = IntentSet::default();
    for file in files.split('+') {
        let found = parse(&std::fs::read_to_string(file).unwrap()).unwrap();
        all.examples.extend(found.examples);
        all.intents.extend(found.intents);
        all.out_of_scope.extend(found.out_of_scope);
    }
    all
}

/// At most `shots` examples an intent, a share of them under a wrong intent.
fn subsample(set: &IntentSet, shots: usize, wrong: f32) -> IntentSet {
    let mut random = Random::new(shots as u64);
    let mut examples = set.examples.clone();
    random.shuffle(&mut examples);
    let mut taken = std::collections::HashMap::new();
    examples.retain(|example| {
        let count = taken.entry(example.intent.clone()).or_insert(0);
        *count += 1;
        *count <= shots
    });
    let intents: Vec<String> = set.intents.iter().map(|intent| intent.name.clone()).collect();
    for example in &mut examples {
        if random.unit() < wrong {
            example.intent = intents[(random.next() % intents.len() as u64) as usize].clone();
        }
    }
    IntentSet { examples, ..set.clone() }
}

fn demo(encoders: &Encoders) {
    let set = parse(include_str!("../../../schemas/demo/intents.yaml")).unwrap();
    let mut random = Random::new(1);
    let mut order: Vec<usize> = (0..set.examples.len()).collect();
    random.shuffle(&mut order);
    let part_of = |at: usize| order[at] % PARTS;
    let mut tallies: Vec<[Tally; 2]> = CHOICES.iter().map(|_| Default::default()).collect();
    for part in 0..PARTS {
        let mut rest = set.clone();
        let kept = |of: bool| {
            let chosen = set.examples.iter().enumerate().filter(move |(at, _)| (part_of(*at) == part) == of);
            chosen.map(|(_, example)| example.clone()).collect::<Vec<Example>>()
        };
        rest.examples = kept(false);
        rest.out_of_scope =
            set.out_of_scope.iter().enumerate().filter(|(at, _)| at % PARTS != part).map(|x| x.1.clone()).collect();
        let model = trained("demo", &rest, encoders);
        let outside: Vec<&String> =
            set.out_of_scope.iter().enumerate().filter(|(at, _)| at % PARTS == part).map(|x| x.1).collect();
        for ((_, choice), tallies) in CHOICES.iter().zip(&mut tallies) {
            let of = |text: &str| usize::from(crate::text::language(text) == crate::text::Language::Chinese);
            for example in kept(true) {
                tallies[of(&example.text)].ask(&model, encoders, &example.text, Some(&example.intent), *choice);
            }
            for text in &outside {
                tallies[of(text)].ask(&model, encoders, text, None, *choice);
            }
        }
    }
    for (language, name) in ["en", "zh"].into_iter().enumerate() {
        println!("demo, cross-validated, {name}");
        CHOICES.iter().zip(&tallies).for_each(|((name, _), tallies)| tallies[language].row(name));
    }
}

#[test]
#[ignore = "minutes; prints tables"]
fn figures() {
    let wanted = std::env::var("FIGURES").unwrap_or_else(|_| "banking77,hwu64,clinc150,small,demo".to_owned());
    let part = std::env::var("FIGURES_PART").unwrap_or_else(|_| "test".to_owned());
    let encoders = Encoders::cached();
    for name in wanted.split(',') {
        match name {
            "demo" => demo(&encoders),
            "demo-all" => {
                let set = parse(include_str!("../../../schemas/demo/intents.yaml")).unwrap();
                measure(name, &set, &IntentSet::default(), &encoders);
            }
            "small" => {
                for (name, shots, wrong) in ["banking77", "hwu64", "clinc150"]
                    .into_iter()
                    .flat_map(|name| [(name, 10, 0.0), (name, 30, 0.0), (name, 10, 0.1), (name, 30, 0.1)])
                {
                    let set = subsample(&public(name, "train"), shots, wrong);
                    measure(
                        &format!("{name}, {shots} an intent, {wrong} wrong"),
                        &set,
                        &public(name, &part),
                        &encoders,
                    );
                }
            }
            _ => match name.split_once(':') {
                Some((train, test)) => measure(name, &own(train), &own(test), &encoders),
                None => measure(name, &public(name, "train"), &public(name, &part), &encoders),
            },
        }
    }
}
