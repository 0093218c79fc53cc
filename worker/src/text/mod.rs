//! Text before any model sees it: one normal form for matching, the language by script, sentences and words.

mod han;

/// PURE: whether a message leans on the one before.
mod lean;

/// PURE: the questions in a message.
mod parts;

mod sentences;
mod words;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

pub use lean::{Lean, lean};
pub use parts::{PARTS_MAX, parts, told};
pub use sentences::sentences;
pub use words::{Run, Script, is_han, runs};

/// What a text is written in, as far as its script tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Mostly Latin letters. French is "English" here: the desk has no third language to answer in.
    #[default]
    English,
    Chinese,
    /// Another script, or no letters at all ("12345", "👍"): the caller keeps the conversation's language.
    Other,
}

impl Language {
    /// BCP 47's primary tag, as the knowledge base and the intent files spell it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
            Self::Other => "und",
        }
    }
}

/// The form in which two texts are compared: NFKC (full-width becomes half-width), lower case, traditional Han as
/// simplified, invisible characters gone, white space single. Never shown to anybody.
pub fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut space = false;
    for c in text.chars().filter(|c| !invisible(*c)).nfkc().flat_map(char::to_lowercase) {
        if c.is_whitespace() || c.is_control() {
            space = !out.is_empty();
            continue;
        }
        if std::mem::take(&mut space) {
            out.push(' ');
        }
        out.push(han::simplified(straight(c)));
    }
    out
}

/// The language by script share. A Han character weighs as much as a Latin word: "iPhone 15 多少钱" is Chinese,
/// "what does 你好 mean" is English.
pub fn language(text: &str) -> Language {
    let (mut han, mut latin_words, mut others) = (0_u32, 0_u32, 0_u32);
    let mut inside_latin = false;
    for c in text.chars().filter(|c| !invisible(*c)) {
        let latin = latin_letter(c);
        latin_words += u32::from(latin && !inside_latin);
        inside_latin = latin || (inside_latin && matches!(c, '\'' | '’' | '-'));
        if is_han(c) {
            han += 1;
        } else if c.is_alphabetic() && !latin {
            others += 1;
        }
    }
    // Kana and Hangul stand among Han characters, so a third of other letters already means Japanese or Korean.
    if others > 0 && others * 2 >= han && others >= latin_words {
        Language::Other
    } else if han > 0 && han >= latin_words {
        Language::Chinese
    } else if latin_words > 0 {
        Language::English
    } else {
        Language::Other
    }
}

/// Zero-width and bidirectional controls: they hide text from a matcher and change nothing that a customer sees.
fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Curly quotes are typed by phones and not by people: "don’t" and "don't" are one word.
fn straight(c: char) -> char {
    match c {
        '‘' | '’' | 'ʼ' | '´' => '\'',
        '“' | '”' => '"',
        '–' | '—' | '‐' | '‑' => '-',
        other => other,
    }
}

fn latin_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
        || matches!(c, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ') && c.is_alphabetic()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, normal: &str) {
        assert_eq!(normalise(text), normal);
        assert_eq!(normalise(normal), normal, "normalising twice changes nothing");
    }

    #[test]
    fn one_form_for_matching() {
        check("  Where’s\tmy\n ORDER？ ", "where's my order?");
        check("ＨＬ－１２３４", "hl-1234");
        check("re\u{200b}fund\u{202e}", "refund");
        check("退貨運費誰付", "退货运费谁付");
        check("", "");
    }

    #[track_caller]
    fn check_language(text: &str, expected: Language) {
        assert_eq!(language(text), expected, "{text}");
    }

    #[test]
    fn language_by_script() {
        check_language("Where is my parcel?", Language::English);
        check_language("我的包裹在哪里", Language::Chinese);
        check_language("iPhone 15 多少钱", Language::Chinese);
        check_language("请问 refund policy 在哪里", Language::Chinese);
        check_language("what does 你好 mean", Language::English);
        check_language("ｈｅｌｌｏ", Language::English);
        check_language("荷物はどこですか", Language::Other);
        check_language("Где мой заказ", Language::Other);
        check_language("12345 👍", Language::Other);
        check_language("", Language::Other);
    }

    proptest::proptest! {
        #[test]
        fn normalising_is_idempotent(text in ".{0,60}") {
            let once = normalise(&text);
            proptest::prop_assert_eq!(normalise(&once), once);
        }
    }
}
