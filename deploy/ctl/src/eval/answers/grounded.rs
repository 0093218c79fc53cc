//! PURE: whether an answer says only what its passages say: each sentence is quoted, or its words and all of its numbers stand
//! there. It does not understand: what is turned round in the same words passes.

use std::collections::HashSet;

use talkfleet_worker::text::{self, Script};

/// Share of a sentence's words that must stand in the passages, where it is no quotation.
const WORDS_MIN: f64 = 0.6;

/// The sentences of an answer that its passages do not support.
pub fn unsupported(answer: &str, passages: &[&str]) -> Vec<String> {
    let sources: Vec<String> = passages.iter().map(|passage| squeezed(passage)).collect();
    let known = Words::of(&passages.join("\n"));
    let sentences = text::sentences(answer);
    let bare = sentences.into_iter().filter(|sentence| {
        let plain = without_marks(sentence);
        let own = squeezed(&plain);
        !own.is_empty() && !sources.iter().any(|source| source.contains(&own)) && !known.support(&plain)
    });
    bare.map(str::to_owned).collect()
}

/// Letters and digits alone, in their normal form: quoting changes spaces and stops.
fn squeezed(text: &str) -> String {
    text::normalise(text).chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Without the marks that point at passages, such as `[1]`.
fn without_marks(sentence: &str) -> String {
    let mut out = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('[') {
        match after.split_once(']').filter(|(mark, _)| mark.len() <= 2 && mark.chars().all(|c| c.is_ascii_digit())) {
            Some((_, beyond)) => {
                out.push_str(before);
                rest = beyond;
            }
            None => {
                out.push_str(before);
                out.push('[');
                rest = after;
            }
        }
    }
    out + rest
}

/// What a text is made of.
struct Words {
    words: HashSet<String>,
    numbers: HashSet<String>,
}

impl Words {
    fn of(text: &str) -> Self {
        let normal = text::normalise(text);
        let (mut words, mut numbers) = (HashSet::new(), HashSet::new());
        for run in text::runs(&normal) {
            match run.script {
                Script::Word if run.text.chars().any(|c| c.is_ascii_digit()) => {}
                Script::Word => {
                    words.insert(stem(run.text).to_owned());
                }
                Script::Han => {
                    let chars: Vec<char> = run.text.chars().collect();
                    words.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>()));
                }
            }
        }
        // `1,200` and `1200` are one number, `5.` at the end of a sentence is 5.
        let digits = normal.split(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ','));
        for number in digits.map(|digits| digits.trim_matches(['.', ',']).replace(',', "")) {
            if number.chars().any(|c| c.is_ascii_digit()) {
                numbers.insert(number);
            }
        }
        Self { words, numbers }
    }

    fn support(&self, sentence: &str) -> bool {
        let own = Self::of(sentence);
        let shared = own.words.intersection(&self.words).count();
        own.numbers.is_subset(&self.numbers) && shared as f64 >= WORDS_MIN * own.words.len() as f64
    }
}

fn stem(word: &str) -> &str {
    let cut = |end: &&'static str| word.strip_suffix(*end).filter(|rest| rest.chars().count() > 2);
    ["ing", "ed", "es", "s"].iter().find_map(cut).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETURNS: &str =
        "Returns\nGoods may be sent back within 30 days. The refund of 1,200 yuan arrives within five working days.";

    #[track_caller]
    fn check(answer: &str, expected: &[&str]) {
        assert_eq!(unsupported(answer, &[RETURNS, "满99元免运费。不满99元收运费10元。"]), expected);
    }

    #[test]
    fn what_is_quoted_or_reworded_is_supported() {
        check("Goods may be sent back within 30 days.", &[]);
        check("You may send goods back within 30 days [1].", &[]);
        check("The refund is 1200 yuan.", &[]);
        check("满99元免运费。", &[]);
        check("运费满99元免。", &[]);
        check("", &[]);
    }

    #[test]
    fn what_is_invented_is_named() {
        check("Goods may be sent back within 60 days.", &["Goods may be sent back within 60 days."]);
        check("不满88元收运费10元。", &["不满88元收运费10元。"]);
        check(
            "Goods may be sent back within 30 days. Every toaster has a lifetime warranty.",
            &["Every toaster has a lifetime warranty."],
        );
    }
}
