//! A trained model: it reads a message with the cheapest tier that is sure enough.

use serde::{Deserialize, Serialize};

use super::calibrate::{Judgement, Validation, Verdict};
use super::cascade::Cascade;
use super::fusion::Fusion;
use super::parts::{KNOWN, LEAD, NEAREST, Parts, SIGNS, Voices, three_best};
use super::tier::{Choice, Message, Tier};
use super::{Candidate, Classified, Kind};
use crate::text::{self, Script};

/// Words of a message, Chinese characters counting half, up to which it says too little to be judged by the held-out
/// texts' standard: hardly any of them is so short.
const SHORT_WORDS_MAX: f32 = 3.0;

/// A short message is unfounded when less than this share of it was ever taught, and no example is nearer than this
/// cosine: whatever class it then resembles most, it resembles by chance.
const KNOWN_MIN: f32 = 0.6;
const NEAR_MIN: f32 = 0.5;

/// What is left of the confidence in an unfounded message.
const UNFOUNDED: f32 = 0.5;

/// An immutable model; share it by `Arc`, and swap the `Arc` for a new one.
pub struct IntentModel {
    pub(super) classes: Vec<Class>,
    pub(super) parts: Parts,
    pub(super) fusion: Fusion,
    /// By tier.
    pub(super) judgements: [Judgement; 3],
    pub(super) cascade: Cascade,
    pub(super) validation: Validation,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) kind: Kind,
}

impl IntentModel {
    /// Recognises a message. It is encoded only for the tiers that are asked.
    pub fn read(&self, message: &Message<'_>, choice: Choice) -> Classified {
        let mut voices = self.parts.listen(message.text());
        let short = is_short(message.text());
        loop {
            let found = self.judge(&voices, short);
            let decides = match choice {
                Choice::Cascade => !found.unfounded && self.cascade.decides(voices.tier, found.margin),
                Choice::Always(tier) => voices.tier >= tier,
            };
            if decides || !self.parts.listen_on(&mut voices, message) {
                return self.tell(found, voices.tier);
            }
        }
    }

    /// Names of the intents that it tells apart.
    pub fn intents(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.name.as_str())
    }

    /// Whether it makes use of embeddings.
    pub fn uses_embeddings(&self) -> bool {
        self.parts.multilingual.is_some()
    }

    /// The tiers that it was trained for.
    pub fn tiers(&self) -> impl Iterator<Item = Tier> {
        Tier::ALL.into_iter().filter(|tier| *tier == Tier::Words || self.parts.embedded(*tier).is_some())
    }

    fn judge(&self, voices: &Voices, short: bool) -> Found {
        let tier = voices.tier;
        let reading = self.parts.read(voices, tier, &self.fusion);
        let mut verdict = self.judgements[tier as usize].verdict(&reading.signs);
        let unfounded = short && is_unfounded(&reading.signs);
        if unfounded {
            verdict.confidence *= UNFOUNDED;
            verdict.in_scope *= UNFOUNDED;
            verdict.recognised = false;
        }
        if short && !verdict.recognised {
            // What it resembles says nothing of so few words.
            verdict.confidence = verdict.confidence.min(verdict.in_scope);
        }
        Found { margin: verdict.margin(reading.signs[LEAD]), verdict, unfounded, scores: reading.scores }
    }

    fn tell(&self, found: Found, tier: Tier) -> Classified {
        let Found { verdict: Verdict { confidence, in_scope, recognised }, scores, .. } = found;
        let order = three_best(&scores);
        let best = &self.classes[order[0]];
        let candidates = order.iter().map(|class| Candidate {
            name: self.classes[*class].name.clone(),
            confidence: confidence * (scores[*class] - scores[order[0]]).exp(),
        });
        Classified {
            intent: recognised.then(|| best.name.clone()),
            confidence,
            in_scope,
            candidates: candidates.collect(),
            kind: recognised.then_some(best.kind),
            tier,
            lead: order.get(1).map_or(f32::INFINITY, |second| scores[order[0]] - scores[*second]),
        }
    }
}

/// One tier's reading of a message, judged.
struct Found {
    verdict: Verdict,
    margin: f32,
    unfounded: bool,
    scores: Vec<f32>,
}

/// Nothing in it was taught, and nothing near to it: by words alone the nearest example is not known.
fn is_unfounded(signs: &[f32; SIGNS]) -> bool {
    signs[KNOWN] < KNOWN_MIN && NEAREST.iter().all(|sign| signs[*sign] < NEAR_MIN)
}

fn is_short(text: &str) -> bool {
    let text = text::normalise(text);
    let words = text::runs(&text).map(|run| match run.script {
        Script::Han => run.text.chars().count() as f32 / 2.0,
        Script::Word => 1.0,
    });
    words.sum::<f32>() <= SHORT_WORDS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Encoders;
    use crate::intent::{ArtefactError, Example, IntentSet, train};

    fn set() -> IntentSet {
        let examples = [
            (
                "refund",
                [
                    "where is my refund",
                    "I want my money back",
                    "refund please",
                    "退款什么时候到",
                    "我要退款",
                    "钱还没退",
                ],
            ),
            ("track", ["where is my parcel", "track my order", "has it shipped", "包裹到哪了", "查快递", "发货了吗"]),
            ("hello", ["hello", "hi there", "good morning", "你好", "您好", "早上好"]),
        ];
        let examples = examples.iter().flat_map(|(intent, texts)| {
            texts.iter().map(|text| Example { text: (*text).to_owned(), intent: (*intent).to_owned() })
        });
        IntentSet { examples: examples.collect(), ..IntentSet::default() }
    }

    #[test]
    fn the_cheapest_tier_that_is_sure_decides_and_chinese_stops_before_the_transformer() {
        let encoders = Encoders::cached();
        let mut model = train(&set(), &encoders, &mut |_| {}).unwrap();
        assert_eq!(model.tiers().collect::<Vec<_>>(), Tier::ALL);
        let tier = |model: &IntentModel, text: &str, choice| model.read(&Message::new(text, &encoders), choice).tier;
        assert_eq!(tier(&model, "我要退款", Choice::Always(Tier::Transformer)), Tier::Multilingual);
        assert_eq!(tier(&model, "parcel", Choice::Always(Tier::Words)), Tier::Words);
        model.cascade = Cascade::default();
        assert_eq!(tier(&model, "where is my parcel", Choice::Cascade), Tier::Transformer);
        let embedding = vec![0.0; 3];
        let message = Message::bare("parcel").with_embedding(&embedding);
        assert_eq!(model.read(&message, Choice::Cascade).tier, Tier::Words, "an embedding of another kind");
    }

    #[test]
    fn it_recognises_and_repeats_itself() {
        let model = train(&set(), &Encoders::default(), &mut |_| {}).unwrap();
        let read = |text| model.read(&Message::bare(text), Choice::Cascade);
        let found = read("Where is my REFUND?");
        assert_eq!(found.candidates[0].name, "refund", "{found:?}");
        assert!(found.candidates.windows(2).all(|pair| pair[0].confidence >= pair[1].confidence));
        assert!((0.0..=1.0).contains(&found.confidence));
        assert_eq!(read("包裹到哪了").candidates[0].name, "track");
        let again = train(&set(), &Encoders::default(), &mut |_| {}).unwrap();
        assert!(model.to_bytes() == again.to_bytes(), "the same set trains the same model, to the byte");
        assert!(read("").confidence.is_finite());
    }

    #[test]
    fn an_artefact_returns_the_same_model_or_says_why_not() {
        let encoders = Encoders::cached();
        let model = train(&set(), &encoders, &mut |_| {}).unwrap();
        let bytes = model.to_bytes().unwrap();
        let again = IntentModel::from_bytes(&bytes).unwrap();
        for tier in Tier::ALL {
            let read = |model: &IntentModel| model.read(&Message::new("parcel?", &encoders), Choice::Always(tier));
            assert_eq!(read(&again), read(&model));
            assert_eq!(read(&again).tier, tier);
        }
        assert!(again.uses_embeddings());
        let error = |bytes: &[u8]| IntentModel::from_bytes(bytes).err();
        assert_eq!(error(b"hello"), Some(ArtefactError::NotAModel));
        assert_eq!(error(&bytes[..5]), Some(ArtefactError::Damaged("it ends early")));
        assert_eq!(error(&bytes[..bytes.len() - 1]), Some(ArtefactError::Damaged("its checksum differs")));
        let mut newer = bytes;
        newer[4] = 9;
        assert_eq!(error(&newer), Some(ArtefactError::OtherVersion(9)));
    }

    #[test]
    fn a_word_that_nobody_taught_convinces_nobody() {
        let model = train(&set(), &Encoders::cached(), &mut |_| {}).unwrap();
        for text in ["zweb flurn", "呃喵"] {
            let found = model.read(&Message::new(text, &Encoders::cached()), Choice::Cascade);
            assert!(found.intent.is_none() && found.confidence <= UNFOUNDED, "{text}: {found:?}");
        }
        let known = model.read(&Message::new("refund please", &Encoders::cached()), Choice::Cascade);
        assert_eq!(known.intent.as_deref(), Some("refund"), "{known:?}");
    }

    #[test]
    fn short_is_what_is_said_in_three_words() {
        for (text, short) in [
            ("not helpful", true),
            ("that is it.", true),
            ("穿过一次", true),
            ("where is my order", false),
            ("怎么退款给我", true),
            ("我的包裹到哪里了", false),
        ] {
            assert_eq!(is_short(text), short, "{text}");
        }
    }

    #[test]
    fn one_intent_is_no_choice() {
        let mut set = set();
        set.examples.truncate(6);
        assert!(train(&set, &Encoders::default(), &mut |_| {}).is_err());
    }
}
