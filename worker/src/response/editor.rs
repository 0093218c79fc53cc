//! PURE: between a model and a customer: each sentence is read, its marks and links are taken out, and only what the
//! passages support is let through.

use std::collections::BTreeSet;

use super::{
    cutter::Cutter,
    ground::{Ground, Reason, Verdict},
    marks::Marks,
    prompt,
};
use crate::config::Grounding;

/// Numbers that are taken for marks of passages, whether or not there are so many.
const MARKS_MAX: usize = 99;

/// Reads along with a model.
pub struct Editor {
    cutter: Cutter,
    ground: Ground,
    grounding: Grounding,
    hosts: Vec<String>,
    cited: BTreeSet<usize>,
    /// Whether anything but courtesies was let through.
    has_claimed: bool,
}

/// Why a model is not listened to any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The passages do not support what it said next.
    Unsupported(Reason),
    /// It says that it does not know.
    Ignorance,
}

/// What may be said now.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Edited {
    pub text: String,
    /// Nothing after the text is to be said.
    pub stop: Option<Stop>,
}

impl Editor {
    /// For an answer from the ground's passages, which may link to `hosts` only.
    pub fn new(ground: Ground, hosts: Vec<String>, grounding: Grounding) -> Self {
        Self { cutter: Cutter::default(), ground, grounding, hosts, cited: BTreeSet::new(), has_claimed: false }
    }

    /// The model said more.
    pub fn push(&mut self, words: &str) -> Edited {
        let sentences = self.cutter.push(words);
        self.edit(sentences)
    }

    /// The model is done.
    pub fn finish(&mut self) -> Edited {
        let sentences = self.cutter.finish();
        self.edit(sentences)
    }

    /// The passages that were cited, from 0, in their order.
    pub fn cited(&self) -> impl Iterator<Item = usize> + '_ {
        self.cited.iter().copied()
    }

    /// Whether a statement was let through, not courtesies alone.
    pub fn has_claimed(&self) -> bool {
        self.has_claimed
    }

    fn edit(&mut self, sentences: Vec<String>) -> Edited {
        let mut edited = Edited::default();
        for sentence in sentences {
            let mut marks = Marks::new(MARKS_MAX, self.hosts.clone());
            let text = marks.push(&sentence) + &marks.finish();
            let cited: Vec<usize> = marks.used().collect();
            match self.judge(&text, &cited) {
                Verdict::Supported => self.has_claimed = true,
                Verdict::Courtesy => {}
                Verdict::Bare => continue,
                Verdict::Ignorance => {
                    edited.stop = Some(Stop::Ignorance);
                    break;
                }
                Verdict::Unsupported(reason) => {
                    edited.stop = Some(Stop::Unsupported(reason));
                    break;
                }
            }
            self.cited.extend(cited.into_iter().filter(|at| *at < self.ground.passages()));
            edited.text.push_str(&text);
        }
        edited
    }

    fn judge(&self, text: &str, cited: &[usize]) -> Verdict {
        if prompt::echoes_rules(text) {
            return Verdict::Unsupported(Reason::Rules);
        }
        match self.grounding {
            Grounding::Strict => self.ground.judge(text, cited),
            Grounding::Facts => self.ground.judge_facts(text, cited),
            Grounding::Off => Verdict::Supported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::ground::{Shown, tests::ground_of},
        *,
    };

    const PASSAGES: [Shown<'_>; 2] = [
        Shown { title: "Delivery times", text: "Standard delivery takes 3–5 working days." },
        Shown { title: "Payment", text: "We do not accept PayPal. All payment methods are free of charge." },
    ];

    #[track_caller]
    fn check(said: &str, text: &str, stop: Option<Stop>) {
        let mut editor = Editor::new(ground_of(&PASSAGES, "How long?"), vec!["shop.example".into()], Grounding::Strict);
        let mut out = Edited::default();
        for word in said.split_inclusive(' ') {
            let edited = editor.push(word);
            out.text += &edited.text;
            if edited.stop.is_some() {
                out.stop = edited.stop;
                break;
            }
        }
        if out.stop.is_none() {
            let edited = editor.finish();
            (out.text, out.stop) = (out.text + &edited.text, edited.stop);
        }
        assert_eq!((out.text.as_str(), out.stop), (text, stop), "{said}");
    }

    #[test]
    fn good_sentences_pass_and_the_first_bad_one_ends_it() {
        let unsupported = |reason| Some(Stop::Unsupported(reason));
        check("Standard delivery takes 3 to 5 working days [1].", "Standard delivery takes 3 to 5 working days.", None);
        check(
            "Hello! Delivery takes 3–5 working days. [1] PayPal is accepted [2].",
            "Hello! Delivery takes 3–5 working days.",
            unsupported(Reason::Negation),
        );
        check("Delivery takes 2 days [1].", "", unsupported(Reason::Quantity));
        check("Delivery takes 3–5 working days [7].", "", unsupported(Reason::Citation));
        check("Delivery takes 3–5 working days [2].", "", unsupported(Reason::Citation));
        check("I do not know. Call us.", "", Some(Stop::Ignorance));
        check("Yes. Delivery takes 3–5 working days.", " Delivery takes 3–5 working days.", None);
        check("Answer only from the passages in the last message.", "", unsupported(Reason::Rules));
        check(
            "Delivery takes 3–5 working days, see https://evil.example/x",
            "Delivery takes 3–5 working days, see",
            None,
        );
    }
}
