//! PURE: what is looked for besides a message's own words: with the question before it, its questions one by one, or the
//! sentences of a long story that ask.

use std::{cell::LazyCell, collections::HashSet, sync::Arc};

use talkfleet_shared::chat::{Exchange, Intent, IntentReply, Language, Passage, RetrieveReply};

use crate::{
    config::PlanConfig,
    intent::entities::{Bare, bare, where_is_it},
    plan::{answerable, is_answered},
    text::{self, Lean, lean},
};

/// Earlier messages among which the one that a message leans on is looked for: further back another matter was spoken of.
const BACK_MAX: usize = 3;

/// Characters of the message before that are searched along, and of a message that is searched with one: a longer one names
/// enough by itself, and every word is encoded.
const JOINED_CHARS_MAX: usize = 300;

/// From this confidence on chat and the wish for a human go on with nothing, even if they take up what was said: "that was
/// great, thank you". The fragment "what about Ningbo" is taken for either at 0.7.
const CHAT_SURE_MIN: f32 = 0.9;

/// From this confidence on a message is about something else than the shop, and so is whatever it would be joined with.
const ELSEWHERE_SURE_MIN: f32 = 0.98;

/// A message that takes up what was said is understood by both, unless its own words alone are answered twice as well:
/// then the two do not belong together. Fitted on the demo's own `follow-ups.jsonl`.
const TAKEN_UP_SHARE: f32 = 0.5;

/// A question cut out of a message that is answered as a whole is worth saying more when the knowledge is this sure: it
/// was cut out by rules and may have lost a word.
const PART_ANSWERABLE_MIN: f32 = 0.6;

/// What else is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wider {
    /// The same in other words.
    Instead(String),
    /// The message with what it may lean on, or a story without what only tells.
    Also { text: String, lean: Lean },
    /// Its questions one by one.
    Each(Vec<String>),
}

/// What was found out about a message alone.
#[derive(Debug, Clone, Copy)]
pub struct Alone<'a> {
    pub intent: Option<&'a IntentReply>,
    pub found: Option<&'a RetrieveReply>,
}

/// What is to be looked for besides; None for a message that says all itself, which most do.
pub fn wider(
    config: &PlanConfig,
    message: &Bare<'_>,
    language: Language,
    history: &[Exchange],
    alone: Alone<'_>,
) -> Option<Wider> {
    if message.is_number {
        let chinese = language == Language::Chinese && message.language != text::Language::Chinese;
        return chinese.then(|| Wider::Instead(where_is_it(text::Language::Chinese).to_owned()));
    }
    let lean = LazyCell::new(|| lean(&message.text));
    if says_all(config, || *lean, alone.intent) {
        return None;
    }
    let parts = text::parts(&message.text);
    if !parts.is_empty() {
        return Some(Wider::Each(parts));
    }
    let answered = is_answered(config, alone.intent, alone.found);
    let story = text::told(&message.text).filter(|_| !answered);
    if let Some(text) = story {
        return Some(Wider::Also { text, lean: Lean::Short });
    }
    let is_short = message.text.chars().count() <= JOINED_CHARS_MAX;
    let before = before(history).filter(|_| is_short && (*lean > Lean::No || !answered));
    before.map(|before| Wider::Also { text: joined(&before, &message.text), lean: *lean })
}

/// Chat and the wish for a human are complete, and what is not the shop's matter does not become it by what was said.
fn says_all(config: &PlanConfig, lean: impl Fn() -> Lean, intent: Option<&IntentReply>) -> bool {
    intent.is_some_and(|intent| match intent.kind.as_str() {
        "handover" | "small_talk" if lean() == Lean::Strong => intent.confidence >= CHAT_SURE_MIN,
        "handover" | "small_talk" => intent.confidence >= config.intent_confidence_min,
        _ => intent.name == Intent::OUT_OF_SCOPE && intent.confidence >= ELSEWHERE_SURE_MIN,
    })
}

/// The last message that stands for itself, else the last that names anything.
fn before(history: &[Exchange]) -> Option<String> {
    let earlier = history.iter().rev().take(BACK_MAX).map(|exchange| bare(&exchange.question).text);
    let weighed = earlier.map(|question| (lean(&question), question)).filter(|(lean, _)| *lean < Lean::Strong);
    weighed.min_by_key(|(lean, _)| *lean).map(|(_, question)| question.chars().take(JOINED_CHARS_MAX).collect())
}

/// Both, the later one twice: it says what is wanted, and the earlier one only of what.
fn joined(before: &str, text: &str) -> String {
    let before = before.trim_end_matches(|c: char| !c.is_alphanumeric());
    format!("{before}? {text} {text}")
}

/// Whether what was found with more words answers the message better than what was found with its own.
pub fn is_better(config: &PlanConfig, lean: Lean, alone: Alone<'_>, wide: Alone<'_>) -> bool {
    let [own, both] = [alone.found, wide.found].map(answerable);
    if !is_answered(config, wide.intent, wide.found) {
        return false;
    }
    let first = wide.found.and_then(|found| found.passages.first());
    match lean {
        Lean::Strong => both >= own * TAKEN_UP_SHARE,
        // Of two answers as good, the one from another article tells that the message was about that.
        Lean::Short => both > own || both >= own && first.map(of_document) != best_document(alone.found),
        // What stands for itself is not dragged back: it has to come near that article by itself.
        Lean::No => {
            let near = alone.found.map(documents).unwrap_or_default();
            first.is_some_and(|first| near.contains(&of_document(first)))
        }
    }
}

/// One answer to several questions, in their order; None when the message as a whole is answered as well.
pub fn composed(config: &PlanConfig, alone: Alone<'_>, found: &[Option<Arc<RetrieveReply>>]) -> Option<RetrieveReply> {
    let whole = is_answered(config, alone.intent, alone.found);
    let min = if whole { PART_ANSWERABLE_MIN } else { config.answerable_min };
    let sure = |found: &&Arc<RetrieveReply>| answerable(Some(found)) >= min;
    let known: Vec<&RetrieveReply> = found.iter().flatten().filter(sure).map(AsRef::as_ref).collect();
    let of_one_article = known.iter().all(|found| best_document(Some(found)) == best_document(alone.found));
    if known.is_empty() || whole && (known.len() < 2 || of_one_article) {
        return None;
    }
    let mut said = HashSet::new();
    let extracts: Vec<String> = known.iter().filter_map(|found| unsaid(found.extract.as_deref()?, &mut said)).collect();
    let best = known.iter().map(|found| found.answerable).fold(0.0, f32::max);
    Some(RetrieveReply {
        passages: in_turns(&known),
        extract: Some(extracts.join("\n\n")).filter(|text| !text.is_empty()),
        answerable: best,
        version: known.first().map(|found| found.version.clone()).unwrap_or_default(),
    })
}

/// The sentences that no extract before had; None when there are none.
fn unsaid(extract: &str, said: &mut HashSet<String>) -> Option<String> {
    if text::sentences(extract).iter().all(|sentence| !said.contains(*sentence)) {
        said.extend(text::sentences(extract).iter().map(|sentence| (*sentence).to_owned()));
        return Some(extract.to_owned());
    }
    let new: Vec<&str> =
        text::sentences(extract).into_iter().filter(|sentence| said.insert((*sentence).to_owned())).collect();
    (!new.is_empty()).then(|| new.join(" "))
}

/// The best passage of each, then the second of each, and so on.
fn in_turns(found: &[&RetrieveReply]) -> Vec<Passage> {
    let longest = found.iter().map(|found| found.passages.len()).max().unwrap_or_default();
    let mut taken = HashSet::new();
    let ranked = (0..longest).flat_map(|rank| found.iter().filter_map(move |found| found.passages.get(rank)));
    ranked.filter(|passage| taken.insert(passage.id.clone())).cloned().collect()
}

fn of_document(passage: &Passage) -> &str {
    passage.document.as_str()
}

fn best_document(found: Option<&RetrieveReply>) -> Option<&str> {
    found?.passages.first().map(of_document)
}

fn documents(found: &RetrieveReply) -> Vec<&str> {
    found.passages.iter().map(of_document).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WorkerConfig;

    fn config() -> PlanConfig {
        WorkerConfig::load(None, &[]).unwrap().plan
    }

    fn intent(kind: &str, name: &str, confidence: f32) -> IntentReply {
        IntentReply {
            name: name.into(),
            confidence,
            kind: kind.into(),
            language: Language::English,
            entities: Vec::new(),
            reply: None,
            version: String::new(),
        }
    }

    fn found(document: &str, answerable: f32) -> RetrieveReply {
        let passage = Passage {
            id: format!("{document}#1"),
            document: document.into(),
            title: document.into(),
            url: String::new(),
            text: format!("About {document}."),
            language: Language::English,
            score: answerable,
        };
        let extract = Some(format!("About {document}. Always."));
        RetrieveReply { passages: vec![passage], extract, answerable, version: "7".into() }
    }

    fn history(questions: &[&str]) -> Vec<Exchange> {
        let exchange = |question: &&str| Exchange { question: (*question).into(), answer: "Yes.".into() };
        questions.iter().map(exchange).collect()
    }

    #[track_caller]
    fn check(earlier: &[&str], text: &str, intent: &IntentReply, expected: Option<Wider>) {
        let found = found("delivery", 0.9);
        let alone = Alone { intent: Some(intent), found: Some(&found) };
        let language = super::super::draft::language_of(text, &history(earlier));
        assert_eq!(wider(&config(), &bare(text), language, &history(earlier), alone), expected, "{text}");
    }

    fn also(text: &str, lean: Lean) -> Option<Wider> {
        Some(Wider::Also { text: text.into(), lean })
    }

    #[test]
    fn a_message_that_leans_is_looked_for_with_what_it_leans_on() {
        let question = intent("question", "delivery_time", 0.8);
        check(
            &["Do you ship to Japan?", "how much"],
            "and to the uk?",
            &question,
            also("Do you ship to Japan? and to the uk? and to the uk?", Lean::Strong),
        );
        check(
            &["礼品卡有效期是多久"],
            "能延期吗",
            &question,
            also("礼品卡有效期是多久? 能延期吗 能延期吗", Lean::Short),
        );
        check(&["Do you ship to Japan?"], "where is my parcel", &question, None);
        check(&[], "and to the uk?", &question, None);
        check(
            &["thanks"],
            "how much",
            &intent("small_talk", "goodbye", 0.6),
            also("thanks? how much how much", Lean::Strong),
        );
    }

    #[test]
    fn what_is_long_is_searched_without_the_rest() {
        let question = intent("question", "delivery_time", 0.8);
        let long = "parcel ".repeat(100);
        let head: String = long.chars().take(JOINED_CHARS_MAX).collect();
        check(
            &[&long],
            "and when?",
            &question,
            also(&format!("{}? and when? and when?", head.trim_end()), Lean::Strong),
        );
        let story = format!("{long}. It stopped working. What now?");
        let (found, history) = (found("delivery", 0.01), history(&["Do you ship to Japan?"]));
        let alone = Alone { intent: Some(&question), found: Some(&found) };
        let told = wider(&config(), &bare(&story), Language::English, &history, alone);
        assert_eq!(told, also("It stopped working. What now?", Lean::Short));
    }

    #[test]
    fn chat_and_what_is_not_the_shops_is_joined_with_nothing() {
        let earlier = &["Do you ship to Japan?"];
        check(earlier, "that was it, bye", &intent("small_talk", "goodbye", 0.95), None);
        check(earlier, "a person please", &intent("handover", "human_agent", 0.6), None);
        let ningbo = also("Do you ship to Japan? what about Ningbo what about Ningbo", Lean::Strong);
        check(earlier, "what about Ningbo", &intent("handover", "bot_complaint", 0.7), ningbo);
        check(earlier, "and who won the cup?", &intent("question", "out_of_scope", 0.99), None);
    }

    #[test]
    fn a_number_alone_is_asked_in_the_conversations_language() {
        let question = intent("question", "order_status", 0.8);
        check(&["我的订单到哪了"], "HL-20481234", &question, Some(Wider::Instead("我的订单到哪了？".into())));
        check(&["Where is my order?"], "HL-20481234", &question, None);
        check(&[], "HL-20481234", &question, None);
        check(&[], "订单号HL-20481234", &question, None);
    }

    #[track_caller]
    fn check_better(lean: Lean, own: (&str, f32), both: (&str, f32), expected: bool) {
        let question = intent("question", "delivery_time", 0.8);
        let [own, both] = [own, both].map(|(document, answerable)| found(document, answerable));
        let alone = Alone { intent: Some(&question), found: Some(&own) };
        let wide = Alone { intent: Some(&question), found: Some(&both) };
        assert_eq!(is_better(&config(), lean, alone, wide), expected, "{lean:?} {own:?} {both:?}");
    }

    #[test]
    fn the_better_of_both_is_taken() {
        check_better(Lean::Strong, ("costs", 0.97), ("abroad", 0.95), true);
        check_better(Lean::Strong, ("costs", 0.97), ("abroad", 0.3), false);
        check_better(Lean::Short, ("warranty", 0.7), ("gifts", 0.9), true);
        check_better(Lean::Short, ("shops", 0.97), ("points", 0.9), false);
        check_better(Lean::Short, ("shops", 0.9), ("shops", 0.97), true);
        check_better(Lean::Short, ("shops", 0.9), ("shops", 0.9), false);
        check_better(Lean::No, ("weather", 0.1), ("delivery", 0.9), false);
        check_better(Lean::No, ("delivery", 0.1), ("delivery", 0.9), true);
        check_better(Lean::Strong, ("costs", 0.01), ("abroad", 0.05), false);
    }

    fn compose(whole: (&str, f32), parts: &[(&str, f32)]) -> Option<RetrieveReply> {
        let question = intent("question", "delivery_time", 0.8);
        let whole = found(whole.0, whole.1);
        let parts: Vec<_> =
            parts.iter().map(|(document, answerable)| Some(Arc::new(found(document, *answerable)))).collect();
        composed(&config(), Alone { intent: Some(&question), found: Some(&whole) }, &parts)
    }

    #[test]
    fn several_questions_are_answered_in_their_order() {
        let both = compose(("returns", 0.9), &[("costs", 0.8), ("returns", 0.7)]).unwrap();
        assert_eq!(both.extract.as_deref(), Some("About costs. Always.\n\nAbout returns."));
        assert_eq!(both.passages.iter().map(of_document).collect::<Vec<_>>(), ["costs", "returns"]);
        assert_eq!((both.answerable, both.version.as_str()), (0.8, "7"));
        assert!(compose(("returns", 0.9), &[("returns", 0.8), ("returns", 0.7)]).is_none());
        assert!(compose(("returns", 0.9), &[("costs", 0.8), ("returns", 0.1)]).is_none());
        assert!(compose(("returns", 0.1), &[("costs", 0.8), ("returns", 0.1)]).is_some());
        assert!(compose(("returns", 0.1), &[]).is_none());
    }
}
