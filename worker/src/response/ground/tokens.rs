//! PURE: a sentence as words, numbers, single Han characters and marks, in its normal form; and the clauses it falls into.

use crate::text::{self, is_han};

/// A clause with fewer tokens says nothing by itself: it is read with the next.
const CLAUSE_TOKENS_MIN: usize = 3;

/// A piece of a normalised sentence.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Number(f64),
    /// Minutes after midnight, of a time written with a colon.
    Clock(f64),
    Word(String),
    Han(char),
    /// A mark; a dash between blanks is `—`, one inside a word or a range is `-`.
    Mark(char),
}

impl Token {
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    pub fn is_word(&self, words: &[&str]) -> bool {
        self.word().is_some_and(|word| words.contains(&word))
    }

    pub fn is_mark(&self, marks: &[char]) -> bool {
        matches!(self, Self::Mark(mark) if marks.contains(mark))
    }
}

/// The tokens of a text.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text::normalise(text).chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let end = match c {
            _ if c.is_whitespace() => at + 1,
            '0'..='9' => {
                let end = number_end(&chars, at);
                found.push(number(&chars[at..end]));
                end
            }
            _ if is_han(c) => {
                found.push(Token::Han(c));
                at + 1
            }
            _ if c.is_alphabetic() => {
                let end = word_end(&chars, at);
                found.push(Token::Word(chars[at..end].iter().collect()));
                end
            }
            '-' => {
                let blank = |place: Option<&char>| place.is_none_or(|c| c.is_whitespace());
                let apart = blank(at.checked_sub(1).and_then(|before| chars.get(before))) && blank(chars.get(at + 1));
                found.push(Token::Mark(if apart { '—' } else { '-' }));
                at + 1
            }
            _ => {
                found.push(Token::Mark(c));
                at + 1
            }
        };
        at = end;
    }
    found
}

/// The number of a list item in front says nothing ("2. Open …").
pub fn without_number(text: &str) -> &str {
    let rest = text.trim_start_matches(['-', '*', '•', '·', ' ']);
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let after = &rest[digits..];
    let marked = after.strip_prefix(". ").or_else(|| after.strip_prefix(") ")).or_else(|| after.strip_prefix('、'));
    if digits == 0 || digits > 2 { rest } else { marked.unwrap_or(rest) }
}

/// Words that turn a sentence.
const TURNS: [&str; 8] = ["but", "while", "whereas", "although", "though", "because", "however", "unless"];

/// Words that a new clause begins with after a comma or "and"; what begins otherwise goes on with a list.
const OPENINGS: [&str; 44] = [
    "it", "you", "we", "they", "i", "he", "she", "this", "that", "these", "those", "there", "your", "our", "is", "are",
    "was", "can", "cannot", "can't", "has", "have", "do", "does", "don't", "will", "must", "may", "the", "if", "when",
    "so", "as", "after", "before", "which", "who", "please", "and", "but", "or", "then", "once", "however",
];

/// The clauses of a sentence: cut at commas and the like where no list goes on, and before words that turn it.
pub fn clauses(tokens: &[Token]) -> Vec<&[Token]> {
    let mut cuts = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        let opens = next.is_none_or(|next| matches!(next, Token::Han(_)) || next.is_word(&OPENINGS));
        let mark = token.is_mark(&[';', ':', '(', ')', '—', '.', '!', '?', '。', '…'])
            || token.is_mark(&[','])
                && (opens || matches!(at.checked_sub(1).map(|at| &tokens[at]), Some(Token::Han(_))));
        let turn = token.is_word(&TURNS)
            || token.is_word(&["and"]) && opens && !next.is_some_and(|next| next.is_word(&["the", "your", "our"]))
            || matches!(tokens[at..], [Token::Han('但'), ..] | [Token::Han('而'), Token::Han('不'), ..]);
        if mark || turn {
            cuts.push(at);
        }
    }
    cuts.push(tokens.len());
    let mut found = Vec::new();
    let mut from = 0;
    for cut in cuts {
        if tokens[from..cut].iter().filter(|token| !matches!(token, Token::Mark(_))).count() >= CLAUSE_TOKENS_MIN {
            found.push(&tokens[from..cut]);
            from = cut;
        }
    }
    match found.last_mut() {
        // What is left over belongs to the clause before it.
        Some(last) if from < tokens.len() => *last = &tokens[from - last.len()..],
        None if !tokens.is_empty() => found.push(tokens),
        _ => {}
    }
    found
}

fn number_end(chars: &[char], from: usize) -> usize {
    let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let mut at = from;
    while digit(at) || (matches!(chars.get(at), Some('.' | ',' | ':')) && digit(at + 1) && joins(chars, at)) {
        at += 1;
    }
    at
}

/// A decimal point, the colon of a time, or a comma before exactly three digits.
fn joins(chars: &[char], at: usize) -> bool {
    let digits = chars[at + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
    match chars[at] {
        ',' => digits == 3,
        ':' => digits == 2,
        _ => true,
    }
}

fn number(chars: &[char]) -> Token {
    let text: String = chars.iter().filter(|c| **c != ',').collect();
    if let Some((hours, minutes)) = text.split_once(':')
        && let (Ok(hours), Ok(minutes)) = (hours.parse::<f64>(), minutes.parse::<f64>())
    {
        return Token::Clock(hours * 60.0 + minutes);
    }
    // A version such as 1.2.3 is a word.
    text.parse().map_or(Token::Word(text), Token::Number)
}

fn word_end(chars: &[char], from: usize) -> usize {
    let letter = |at: usize| chars.get(at).is_some_and(|c| c.is_alphanumeric() && !is_han(*c));
    let mut at = from;
    while letter(at) || (chars.get(at) == Some(&'\'') && letter(at + 1)) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_words_and_characters() {
        let found = tokens("２,000 元，8:30 on 3–5 Wi-Fi days — don't");
        let word = |text: &str| Token::Word(text.into());
        assert_eq!(
            found,
            [
                Token::Number(2000.0),
                Token::Han('元'),
                Token::Mark(','),
                Token::Clock(510.0),
                word("on"),
                Token::Number(3.0),
                Token::Mark('-'),
                Token::Number(5.0),
                word("wi"),
                Token::Mark('-'),
                word("fi"),
                word("days"),
                Token::Mark('—'),
                word("don't"),
            ]
        );
    }

    #[test]
    fn short_clauses_join_their_neighbours() {
        let text = tokens("Debit cards, cards issued abroad and gift cards cannot be used, thanks.");
        let lengths: Vec<usize> = clauses(&text).into_iter().map(<[Token]>::len).collect();
        assert_eq!(lengths, [15], "a list is one: {text:?}");
        let text = tokens("You have 30 days, and you need no receipt.");
        let lengths: Vec<usize> = clauses(&text).into_iter().map(<[Token]>::len).collect();
        assert_eq!(lengths, [4, 7]);
        assert_eq!(without_number("2. Open"), "Open");
        assert_eq!(without_number("2020. Open"), "2020. Open");
        assert_eq!(without_number("24 months"), "24 months");
        assert!(clauses(&[]).is_empty());
    }
}
