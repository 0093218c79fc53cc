//! PURE: where two texts differ, word by word, and character by character where words are not set apart.

use schemars::JsonSchema;
use serde::Serialize;

/// Words beyond which the middle of two texts is shown as replaced as a whole: the comparison costs their product.
const WORDS_MAX: usize = 1_200;

/// What stays between changes this many times as long stays by accident, up to so many characters.
const ACCIDENT: usize = 2;
const ACCIDENT_CHARS_MAX: usize = 24;

/// A stretch of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "is", content = "text", rename_all = "snake_case")]
pub enum Piece {
    Same(String),
    /// In the first text only.
    Gone(String),
    /// In the second text only.
    New(String),
}

/// The shortest way from `a` to `b` in words (the longest common subsequence stays).
pub fn diff(a: &str, b: &str) -> Vec<Piece> {
    let (a, b) = (words(a), words(b));
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (mid_a, mid_b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let mut pieces = Pieces::default();
    pieces.kept(&a[..head]);
    if mid_a.len().max(mid_b.len()) > WORDS_MAX {
        pieces.dropped(mid_a);
        pieces.added(mid_b);
    } else {
        pieces.middle(mid_a, mid_b);
    }
    pieces.kept(&a[a.len() - tail..]);
    tidy(pieces.0)
}

/// Takes what is the same by accident into the changes around it: spaces and commas, or a word or two between much longer
/// changes. Whoever reads wants to see what was replaced, not the least that could have been.
fn tidy(pieces: Vec<Piece>) -> Vec<Piece> {
    let long = |text: &str| text.chars().count();
    let mut tidied: Vec<Piece> = Vec::new();
    // What has gone and come since the last stretch that stays.
    let (mut gone, mut new) = (String::new(), String::new());
    let mut rest = pieces.into_iter().peekable();
    while let Some(piece) = rest.next() {
        match piece {
            Piece::Gone(text) => gone += &text,
            Piece::New(text) => new += &text,
            Piece::Same(text) => {
                let between = rest.peek().is_some() && !(gone.is_empty() && new.is_empty());
                let words = text.chars().any(char::is_alphanumeric);
                let little = long(&text) <= ACCIDENT_CHARS_MAX && long(&text) * ACCIDENT < long(&gone).max(long(&new));
                if between && (little || !words) {
                    gone += &text;
                    new += &text;
                } else {
                    flush(&mut tidied, &mut gone, &mut new);
                    tidied.push(Piece::Same(text));
                }
            }
        }
    }
    flush(&mut tidied, &mut gone, &mut new);
    tidied
}

fn flush(tidied: &mut Vec<Piece>, gone: &mut String, new: &mut String) {
    let pieces = [Piece::Gone(std::mem::take(gone)), Piece::New(std::mem::take(new))];
    let said = |piece: &Piece| matches!(piece, Piece::Gone(text) | Piece::New(text) if !text.is_empty());
    tidied.extend(pieces.into_iter().filter(said));
}

#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn kept(&mut self, words: &[&str]) {
        match self.0.last_mut() {
            Some(Piece::Same(text)) => text.extend(words.iter().copied()),
            _ if words.is_empty() => {}
            _ => self.0.push(Piece::Same(words.concat())),
        }
    }

    fn dropped(&mut self, words: &[&str]) {
        match self.0.last_mut() {
            Some(Piece::Gone(text)) => text.extend(words.iter().copied()),
            _ if words.is_empty() => {}
            _ => self.0.push(Piece::Gone(words.concat())),
        }
    }

    fn added(&mut self, words: &[&str]) {
        match self.0.last_mut() {
            Some(Piece::New(text)) => text.extend(words.iter().copied()),
            _ if words.is_empty() => {}
            _ => self.0.push(Piece::New(words.concat())),
        }
    }

    fn middle(&mut self, a: &[&str], b: &[&str]) {
        let common = common_lengths(a, b);
        let width = b.len() + 1;
        let (mut i, mut j) = (0, 0);
        // What goes is gathered until something stays, so that it stands before what comes.
        let (mut gone, mut new) = (0, 0);
        while i < a.len() && j < b.len() {
            if a[i] == b[j] {
                self.dropped(&a[gone..i]);
                self.added(&b[new..j]);
                self.kept(&a[i..=i]);
                (i, j) = (i + 1, j + 1);
                (gone, new) = (i, j);
            } else if common[(i + 1) * width + j] >= common[i * width + j + 1] {
                i += 1;
            } else {
                j += 1;
            }
        }
        self.dropped(&a[gone..]);
        self.added(&b[new..]);
    }
}

/// For every pair of positions, how many words the rests have in common.
fn common_lengths(a: &[&str], b: &[&str]) -> Vec<u16> {
    let width = b.len() + 1;
    let mut common = vec![0u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    common
}

/// Words, runs of spaces, and every other character by itself; a mark that joins its neighbour stays with it.
fn words(text: &str) -> Vec<&str> {
    #[derive(PartialEq)]
    enum Sort {
        Letters,
        Space,
        Alone,
    }
    let sort = |c: char| match c {
        c if c.is_whitespace() => Sort::Space,
        c if c.is_alphanumeric() && !is_written_without_spaces(c) => Sort::Letters,
        _ => Sort::Alone,
    };
    let mut words = Vec::new();
    let (mut start, mut before, mut joined) = (0, None, false);
    for (at, c) in text.char_indices() {
        let now = sort(c);
        let goes_on = before.as_ref().is_some_and(|before| *before == now && now != Sort::Alone);
        if at > start && !goes_on && !joins(c) && !joined {
            words.push(&text[start..at]);
            start = at;
        }
        joined = c == '\u{200D}';
        before = if joins(c) { before } else { Some(now) };
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

/// Han, kana and their like.
fn is_written_without_spaces(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}' | '\u{0E00}'..='\u{0EFF}')
}

/// Combining marks, variation selectors, joiners, skin tones.
fn joins(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036F}' | '\u{200D}' | '\u{20D0}'..='\u{20FF}' | '\u{FE00}'..='\u{FE0F}' | '\u{1F3FB}'..='\u{1F3FF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expected: &str) {
        let shown = diff(a, b).into_iter().map(|piece| match piece {
            Piece::Same(text) => text,
            Piece::Gone(text) => format!("[-{text}-]"),
            Piece::New(text) => format!("[+{text}+]"),
        });
        assert_eq!(shown.collect::<String>(), expected);
    }

    #[test]
    fn what_differs_is_marked_word_by_word() {
        check("Refunds take five days.", "Refunds take seven days.", "Refunds take [-five-][+seven+] days.");
        check("退款将在五个工作日内到账。", "退款将在七个工作日内到账。", "退款将在[-五-][+七+]个工作日内到账。");
        check("same", "same", "same");
        check(
            "Refunds take five days.",
            "Ask a colleague for one.",
            "[-Refunds take five days-][+Ask a colleague for one+].",
        );
        check(
            "发票在账户的每个订单下方。",
            "收到商品后请在账户中打印。",
            "[-发票-][+收到商品后请+]在账户[-的每个订单下方-][+中打印+]。",
        );
        check("", "new", "[+new+]");
        check("gone", "", "[-gone-]");
        check("a b c", "a c", "a [-b -]c");
        check("cafe\u{301} x", "cafe x", "[-cafe\u{301}-][+cafe+] x");
        check("👩\u{200D}👩!", "👨\u{200D}👩!", "[-👩\u{200D}👩-][+👨\u{200D}👩+]!");
    }

    #[test]
    fn what_is_too_long_is_replaced_as_a_whole() {
        let (a, b) = ("a ".repeat(3_000), "b ".repeat(3_000));
        assert_eq!(diff(&format!("x {a}y"), &format!("x {b}y")).len(), 4);
    }

    proptest! {
        #[test]
        fn both_texts_can_be_read_out_of_it(a in "[ab 退款.]{0,30}", b in "[ab 退款.]{0,30}") {
            let (mut from, mut to) = (String::new(), String::new());
            for piece in diff(&a, &b) {
                match piece {
                    Piece::Same(text) => { from += &text; to += &text; }
                    Piece::Gone(text) => from += &text,
                    Piece::New(text) => to += &text,
                }
            }
            prop_assert_eq!(from, a);
            prop_assert_eq!(to, b);
        }
    }
}
