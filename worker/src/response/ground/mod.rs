//! PURE: a model's sentence is held to the passages before a customer hears it: is what it says there, and said so?
//!
//! Nothing here understands. A sentence is supported when its words are mostly the passages', its quantities, dates,
//! names and addresses stand there, and the clause nearest to each of its own denies what it denies. What cannot be
//! checked, such as a language that no passage is written in, does not pass.

mod calendar;
mod claims;
mod courtesy;
mod numerals;
mod polarity;
mod quantities;
mod terms;
mod tokens;
mod verdict;

#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

pub use self::verdict::{Reason, Verdict};
use self::{
    courtesy::{Manner, manner},
    polarity::denies,
    quantities::{Quantity, Unit, is_free, quantities},
    terms::terms,
    tokens::{Token, clauses, tokens, without_number},
};
use super::injection;
use crate::text;

/// Share of a sentence's content that its passages must hold. Chosen with the two below on the test set's first part
/// (`claims.jsonl`): 0.4 lets inventions in, 0.6 loses a tenth of the paraphrases.
const COVERAGE_MIN: f32 = 0.5;

/// The same for a sentence of one or two words, and for any when the customer says what is to be said.
const SHORT_COVERAGE_MIN: f32 = 0.9;
const TOLD_COVERAGE_MIN: f32 = 0.8;

/// A clause is compared with the nearest one only where that is near: this share of its content is in it.
const NEAR_MIN: f32 = 0.5;

/// Clauses within this share of the nearest are as near as it.
const NEAR_SHARE: f32 = 0.9;

/// What a word in the rest of a clause's sentence is worth against one in the clause, and one in the title.
const SENTENCE_WORTH: f32 = 0.8;
const TITLE_WORTH: f32 = 0.3;

/// What the rest of the model's sentence is worth against the clause at hand.
const REST_WORTH: f32 = 0.25;

/// What a clause loses for a word of its own that is not said: of two that are equally near, the plainer is meant.
const SPARE_LOSS: f32 = 0.1;

/// A passage as it is shown to the model.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub title: &'a str,
    pub text: &'a str,
}

/// The passages of one answer, read.
pub struct Ground {
    passages: Vec<Arc<Reading>>,
    /// Names that the customer brought: they may be denied, not affirmed.
    asked_names: HashSet<String>,
    asked: HashSet<String>,
    /// The customer puts words into the model's mouth.
    is_told_what_to_say: bool,
    asked_quantities: Vec<Quantity>,
    weights: HashMap<String, f32>,
}

/// A passage, read once for however many sentences are held to it.
pub struct Reading {
    /// Normalised, title included.
    text: String,
    language: text::Language,
    terms: HashSet<String>,
    words: HashSet<String>,
    addresses: Vec<String>,
    clauses: Vec<Clause>,
}

/// A clause of a passage.
struct Clause {
    terms: HashSet<String>,
    /// Of the rest of its sentence.
    sentence: HashSet<String>,
    title: HashSet<String>,
    quantities: Vec<Quantity>,
    denies: bool,
}

impl Reading {
    pub fn of(shown: &Shown<'_>) -> Self {
        let whole = format!("{}\n{}", shown.title, shown.text);
        let (title, all) = (terms(&tokens(shown.title)), tokens(&whole));
        let mut clauses_read = Vec::new();
        for line in shown.text.lines() {
            for sentence in text::sentences(line) {
                let said = tokens(without_number(sentence));
                let sentence_terms = terms(&said);
                for clause in clauses(&said) {
                    clauses_read.push(Clause {
                        terms: terms(clause),
                        sentence: sentence_terms.clone(),
                        title: title.clone(),
                        quantities: quantities(clause),
                        denies: refuses(clause),
                    });
                }
            }
        }
        Self {
            text: text::normalise(&whole),
            language: text::language(shown.text),
            terms: terms(&all),
            words: all.iter().filter_map(Token::word).map(str::to_owned).collect(),
            addresses: claims::addresses(&whole),
            clauses: clauses_read,
        }
    }
}

impl Ground {
    pub fn new(passages: Vec<Arc<Reading>>, question: &str) -> Self {
        let mut counts: HashMap<String, f32> = HashMap::new();
        let all: Vec<&Clause> = passages.iter().flat_map(|passage| &passage.clauses).collect();
        for term in all.iter().flat_map(|clause| &clause.terms) {
            *counts.entry(term.clone()).or_default() += 1.0;
        }
        let total = all.len() as f32;
        let weights = counts.into_iter().map(|(term, count)| (term, (1.0 + total / count).ln())).collect();
        let asked = tokens(question);
        Self {
            passages,
            asked_names: asked.iter().filter_map(Token::word).map(str::to_owned).collect(),
            asked_quantities: quantities(&asked),
            asked: terms(&asked),
            is_told_what_to_say: injection::instructs(question) || claims::dictates(question),
            weights,
        }
    }

    /// How many passages there are.
    pub fn passages(&self) -> usize {
        self.passages.len()
    }

    /// Judges a sentence that cites these passages, from 0; one that cites none is held to all of them.
    pub fn judge(&self, sentence: &str, cited: &[usize]) -> Verdict {
        match manner(sentence) {
            Some(Manner::Courtesy) => return Verdict::Courtesy,
            Some(Manner::Bare) => return Verdict::Bare,
            Some(Manner::Ignorance) => return Verdict::Ignorance,
            None => {}
        }
        if cited.iter().any(|at| *at >= self.passages.len()) {
            return Verdict::Unsupported(Reason::Citation);
        }
        let all: Vec<&Reading> = self.passages.iter().map(AsRef::as_ref).collect();
        let named: Vec<&Reading> = cited.iter().filter_map(|at| self.passages.get(*at)).map(AsRef::as_ref).collect();
        let Err(reason) = self.hold(sentence, if cited.is_empty() { &all } else { &named }) else {
            return Verdict::Supported;
        };
        // Right, but not there.
        let elsewhere = !cited.is_empty() && self.hold(sentence, &all).is_ok();
        Verdict::Unsupported(if elsewhere { Reason::Citation } else { reason })
    }

    /// Judges only what can be compared across languages: amounts, dates, addresses, names in Latin letters, deeds.
    pub fn judge_facts(&self, sentence: &str, cited: &[usize]) -> Verdict {
        match self.judge(sentence, cited) {
            Verdict::Unsupported(Reason::Language | Reason::Words | Reason::Negation) => {}
            verdict => return verdict,
        }
        let known = |quantity: &Quantity| {
            let given = |clause: &Clause| clause.quantities.iter().any(|other| quantity.agrees(other));
            self.passages.iter().any(|passage| passage.clauses.iter().any(given))
        };
        let held = |address: &String| self.passages.iter().any(|passage| passage.addresses.contains(address));
        let named = |name: &String| self.passages.iter().any(|passage| passage.words.contains(name));
        match () {
            () if claims::tells_a_deed(sentence) => Verdict::Unsupported(Reason::Deed),
            () if !claims::addresses(sentence).iter().all(held) => Verdict::Unsupported(Reason::Address),
            () if !claims::names(sentence).iter().all(named) => Verdict::Unsupported(Reason::Name),
            () if !quantities(&tokens(without_number(sentence))).iter().all(known) => {
                Verdict::Unsupported(Reason::Quantity)
            }
            () => Verdict::Supported,
        }
    }

    fn hold(&self, sentence: &str, passages: &[&Reading]) -> Result<(), Reason> {
        let sentence = without_number(sentence);
        let language = text::language(sentence);
        let spoken: Vec<&Reading> = passages.iter().copied().filter(|passage| passage.language == language).collect();
        if spoken.is_empty() {
            return Err(Reason::Language);
        }
        let said = tokens(sentence);
        if claims::tells_a_deed(sentence) {
            return Err(Reason::Deed);
        }
        let known = |address: &String| spoken.iter().any(|passage| passage.addresses.contains(address));
        if !claims::addresses(sentence).iter().all(known) {
            return Err(Reason::Address);
        }
        let texts: String = spoken.iter().map(|passage| passage.text.as_str()).collect::<Vec<_>>().join("\n");
        if claims::asks_a_secret(sentence, &texts) {
            return Err(Reason::Secret);
        }
        self.names(sentence, &said, &spoken)?;
        self.words(&said, &spoken)?;
        if claims::is_boundless(sentence, &texts) {
            return Err(Reason::Words);
        }
        self.amounts(&said, &spoken)?;
        self.denials(&said, &spoken)
    }

    /// What is named stands in the passages; what only the customer named may be denied.
    fn names(&self, sentence: &str, said: &[Token], passages: &[&Reading]) -> Result<(), Reason> {
        let denied = denies(said);
        let known = |name: &String| {
            let single = name.strip_suffix('s').unwrap_or(name);
            let held = |words: &HashSet<String>| words.contains(name) || words.contains(single);
            passages.iter().any(|passage| held(&passage.words)) || (denied && held(&self.asked_names))
        };
        if claims::names(sentence).iter().all(known) { Ok(()) } else { Err(Reason::Name) }
    }

    /// Most of what is said is the passages' own; words that only the customer brought count against it, and half as much
    /// when they are denied: "We do not take Bitcoin."
    fn words(&self, said: &[Token], passages: &[&Reading]) -> Result<(), Reason> {
        let terms = terms(said);
        let held = |term: &&String| passages.iter().any(|passage| passage.terms.contains(*term));
        let own = terms.iter().filter(held).count() as f32;
        let strange = terms.iter().filter(|term| !held(term) && !self.asked.contains(*term)).count() as f32;
        let asked = (terms.len() as f32 - own - strange) * if denies(said) { 0.5 } else { 1.0 };
        let least = match terms.len() {
            // Of a short sentence every word counts: "Refund approved."
            0..=2 => SHORT_COVERAGE_MIN,
            _ if self.is_told_what_to_say => TOLD_COVERAGE_MIN,
            _ => COVERAGE_MIN,
        };
        let enough = own > 0.0 && own / (own + strange + asked) >= least;
        if enough { Ok(()) } else { Err(Reason::Words) }
    }

    /// Every quantity stands in a passage, in the clause that speaks of the same thing.
    fn amounts(&self, said: &[Token], passages: &[&Reading]) -> Result<(), Reason> {
        let all: Vec<&Clause> = passages.iter().flat_map(|passage| &passage.clauses).collect();
        let sentence_terms = terms(said);
        let supported =
            |quantity: &Quantity| all.iter().any(|clause| clause.quantities.iter().any(|other| quantity.agrees(other)));
        let any_supported = quantities(said).iter().any(&supported);
        for clause in clauses(said) {
            let own = terms(clause);
            for quantity in quantities(clause) {
                if !supported(&quantity) {
                    // The customer's own number beside one of ours: "¥150 is below ¥199".
                    let theirs = self.asked_quantities.iter().any(|other| quantity.agrees(other));
                    if theirs && any_supported && quantity.unit != Unit::Date {
                        continue;
                    }
                    return Err(Reason::Quantity);
                }
                if !self.is_there(&quantity, &own, &sentence_terms, &all) {
                    return Err(Reason::Quantity);
                }
            }
        }
        Ok(())
    }

    /// Whether the clause that gives this quantity is about what is said, and none that gives another is more so.
    fn is_there(
        &self,
        quantity: &Quantity,
        own: &HashSet<String>,
        sentence: &HashSet<String>,
        all: &[&Clause],
    ) -> bool {
        let spare = |clause: &Clause| clause.terms.difference(sentence).map(|term| self.weight(term)).sum::<f32>();
        let nearness = |clause: &Clause| {
            self.nearness(own, clause) + REST_WORTH * self.nearness(sentence, clause) - SPARE_LOSS * spare(clause)
        };
        let (mut best, mut opposed, mut rival) = (f32::NEG_INFINITY, true, f32::NEG_INFINITY);
        for clause in all {
            let near = nearness(clause);
            let giving: Vec<&Quantity> = clause.quantities.iter().filter(|other| quantity.agrees(other)).collect();
            if giving.is_empty() {
                let same_kind = clause.quantities.iter().any(|other| other.unit == quantity.unit);
                rival = if same_kind && quantity.unit != Unit::Plain { rival.max(near) } else { rival };
            } else if near >= best {
                opposed = giving.iter().all(|other| quantity.opposes(other)) && (near > best || opposed);
                best = near;
            }
        }
        !opposed && rival <= best
    }

    /// Each clause denies what the nearest one of the passages denies.
    fn denials(&self, said: &[Token], passages: &[&Reading]) -> Result<(), Reason> {
        let all: Vec<&Clause> = passages.iter().flat_map(|passage| &passage.clauses).collect();
        let sentence = terms(said);
        let affirmed = !clauses(said).into_iter().any(refuses);
        if affirmed && all.iter().any(|clause| clause.denies && self.is_within(clause, &sentence)) {
            return Err(Reason::Negation);
        }
        for clause in clauses(said) {
            let own = terms(clause);
            let whole: f32 = own.iter().map(|term| self.weight(term)).sum();
            // That something costs nothing is an amount, and was compared as one.
            if own.len() < 2 || (is_free(clause) && !denies(clause)) {
                continue;
            }
            if all.iter().all(|other| self.nearness(&own, other) < NEAR_MIN * whole) {
                continue;
            }
            let nearness = |other: &Clause| self.nearness(&own, other) + REST_WORTH * self.nearness(&sentence, other);
            let near: Vec<(f32, bool)> = all.iter().map(|other| (nearness(other), other.denies)).collect();
            let best = near.iter().map(|(near, _)| *near).fold(0.0, f32::max);
            let denied = refuses(clause);
            if !near.iter().any(|(near, denies)| *near >= NEAR_SHARE * best && *denies == denied) {
                return Err(Reason::Negation);
            }
        }
        Ok(())
    }

    /// Whether all that a clause says is among these terms.
    fn is_within(&self, clause: &Clause, terms: &HashSet<String>) -> bool {
        clause.terms.len() >= 2 && clause.terms.is_subset(terms)
    }

    /// The weight of these terms that a clause holds, by rarity.
    fn nearness(&self, terms: &HashSet<String>, clause: &Clause) -> f32 {
        let worth = |term: &String| {
            let share = match () {
                () if clause.terms.contains(term) => 1.0,
                () if clause.sentence.contains(term) => SENTENCE_WORTH,
                () if clause.title.contains(term) => TITLE_WORTH,
                () => 0.0,
            };
            share * self.weight(term)
        };
        terms.iter().map(worth).sum()
    }

    /// What is in no passage weighs as much as what is there once.
    fn weight(&self, term: &str) -> f32 {
        self.weights.get(term).copied().unwrap_or(2.0)
    }
}

/// Whether a clause denies something, or that it costs anything.
fn refuses(clause: &[Token]) -> bool {
    denies(clause) || is_free(clause)
}
