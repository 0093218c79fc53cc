//! Who asks what: the demo's own questions in English and Chinese, by customers who come once or write on after a thought.

use std::{cmp::Reverse, collections::BinaryHeap};

use clap::ValueEnum;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Questions that nobody trained on, and how people go on after an answer.
const QUESTIONS: &str = include_str!("../../../../schemas/demo/questions.jsonl");
const FOLLOW_UPS: &str = include_str!("../../../../schemas/demo/follow-ups.jsonl");

/// In which languages customers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Languages {
    En,
    Zh,
    Both,
}

/// How customers are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Manners {
    pub(super) languages: Languages,
    /// The share of messages that belong to a conversation which was begun before, from 0 to 1.
    pub(super) follow_share: f64,
    /// How long they think before they write on, on average.
    pub(super) think_ms: u64,
}

/// A message; its texts are JSON strings, quotes included, and ids are told apart among all senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) customer: u64,
    /// Its place within the conversation.
    pub(super) turn: u32,
    text: usize,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    language: String,
}

/// Everybody who may ask.
#[derive(Debug)]
pub(super) struct Customers {
    manners: Manners,
    texts: Vec<String>,
    /// So many of the texts begin a conversation; the rest goes on with one.
    beginnings: usize,
    /// Who thinks, by the moment at which they will have thought enough: customer and turn.
    thinking: BinaryHeap<Reverse<(u64, u64, u32)>>,
    next: u64,
    step: u64,
}

impl Customers {
    /// The customers of one of several senders.
    pub(super) fn new(manners: Manners, place: usize, of: usize) -> Self {
        let mut texts = texts_in(QUESTIONS, manners.languages);
        let beginnings = texts.len();
        texts.extend(texts_in(FOLLOW_UPS, manners.languages));
        let (next, step) = (place as u64, of.max(1) as u64);
        Self { manners, texts, beginnings, thinking: BinaryHeap::new(), next, step }
    }

    /// Who writes now: somebody who has thought enough, else somebody new.
    pub(super) fn next(&mut self, now_us: u64, rng: &mut impl Rng) -> Message {
        let ready = self.thinking.peek().is_some_and(|Reverse((at, ..))| *at <= now_us);
        let waited = if ready { self.thinking.pop() } else { None };
        let (customer, turn) = match waited {
            Some(Reverse((_, customer, turn))) => (customer, turn),
            None => {
                self.next += self.step;
                (self.next - self.step, 0)
            }
        };
        let goes_on = turn > 0 && self.beginnings < self.texts.len();
        let range = if goes_on { self.beginnings..self.texts.len() } else { 0..self.beginnings };
        let text = if range.is_empty() { 0 } else { rng.random_range(range) };
        Message { customer, turn, text }
    }

    /// Somebody heard an answer, and may write on.
    pub(super) fn answered(&mut self, message: Message, now_us: u64, rng: &mut impl Rng) {
        if rng.random::<f64>() < self.manners.follow_share {
            let think = -(1.0 - rng.random::<f64>()).ln() * self.manners.think_ms as f64 * 1e3;
            self.thinking.push(Reverse((now_us + think as u64, message.customer, message.turn + 1)));
        }
    }

    /// The text as a JSON string.
    pub(super) fn text(&self, message: Message) -> &str {
        self.texts.get(message.text).map_or("\"\"", String::as_str)
    }
}

/// The texts of a demo file in these languages, as JSON strings.
fn texts_in(lines: &str, languages: Languages) -> Vec<String> {
    let spoken = |line: &Line| match languages {
        Languages::En => line.language == "en",
        Languages::Zh => line.language == "zh",
        Languages::Both => true,
    };
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.filter(spoken).filter_map(|line| serde_json::to_string(&line.text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn customers(languages: Languages, follow_share: f64) -> Customers {
        Customers::new(Manners { languages, follow_share, think_ms: 10 }, 0, 1)
    }

    #[test]
    fn every_line_of_the_demo_is_a_text_in_its_language() {
        let (en, zh) = (texts_in(QUESTIONS, Languages::En).len(), texts_in(QUESTIONS, Languages::Zh).len());
        assert_eq!(en + zh, QUESTIONS.lines().count());
        assert!(en > 50 && zh > 50 && texts_in(FOLLOW_UPS, Languages::Zh).len() > 10);
        let mut rng = StdRng::seed_from_u64(1);
        let mut zh = customers(Languages::Zh, 0.0);
        let message = zh.next(0, &mut rng);
        let text: String = serde_json::from_str(zh.text(message)).unwrap();
        assert!(text.chars().any(|c| c > '\u{2E80}'), "{text}");
    }

    proptest! {
        #[test]
        fn a_conversation_goes_on_only_after_its_answer_and_in_order(share in 0.0..0.9f64, seed: u64) {
            let (mut rng, mut all) = (StdRng::seed_from_u64(seed), customers(Languages::Both, share));
            let mut turns = std::collections::HashMap::new();
            let mut followed = 0;
            for step in 0..2_000u64 {
                let now = step * 1_000;
                let message = all.next(now, &mut rng);
                let expected = turns.entry(message.customer).or_insert(0);
                prop_assert_eq!(message.turn, *expected);
                *expected += 1;
                followed += u64::from(message.turn > 0);
                all.answered(message, now + 500, &mut rng);
            }
            prop_assert!((followed as f64 / 2_000.0 - share).abs() < 0.08, "{followed} of 2000, meant {share}");
        }

        #[test]
        fn senders_have_customers_of_their_own(of in 1usize..5) {
            let mut seen = std::collections::HashSet::new();
            for place in 0..of {
                let mut own = Customers::new(Manners { languages: Languages::En, follow_share: 0.0, think_ms: 1 }, place, of);
                let mut rng = StdRng::seed_from_u64(3);
                for _ in 0..50 {
                    prop_assert!(seen.insert(own.next(0, &mut rng).customer));
                }
            }
        }
    }
}
