//! PURE: numbers as they are written: in digits, in English words, in Chinese characters.

use super::tokens::Token;

const SMALL: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number in digits or words: its value, the token after it, and whether it may count nothing.
pub fn spoken(tokens: &[Token], at: usize) -> Option<(f64, usize, bool)> {
    match tokens.get(at)? {
        Token::Number(value) => {
            let big = tokens.get(at + 1) == Some(&Token::Han('万'));
            Some(if big { (value * 10_000.0, at + 2, false) } else { (*value, at + 1, false) })
        }
        Token::Word(word) => {
            if word == "half" {
                return Some((0.5, at + 1, true));
            }
            let ten = TENS.iter().position(|ten| ten == word).map(|ten| (ten as f64 + 2.0) * 10.0);
            let small = SMALL.iter().position(|small| small == word).map(|small| small as f64);
            let next = tokens.get(at + 1 + usize::from(tokens.get(at + 1) == Some(&Token::Mark('-'))));
            let unit = next.and_then(Token::word).and_then(|next| SMALL[1..10].iter().position(|small| *small == next));
            match (ten, small, unit) {
                (Some(ten), _, Some(unit)) => {
                    let dash = usize::from(tokens.get(at + 1) == Some(&Token::Mark('-')));
                    Some((ten + unit as f64 + 1.0, at + 2 + dash, false))
                }
                (Some(value), ..) | (None, Some(value), _) => {
                    let hundred = tokens.get(at + 1).is_some_and(|token| token.is_word(&["hundred"]));
                    let value = if hundred { value * 100.0 } else { value };
                    Some((value, at + 1 + usize::from(hundred), value < 2.0))
                }
                _ => None,
            }
        }
        Token::Han(c) => {
            let run: Vec<char> = tokens[at..].iter().map_while(han_digit).collect();
            if run.is_empty() || (*c == '半' && run.len() > 1) || run == ['百'] || run == ['千'] || run == ['万'] {
                return None;
            }
            Some((han_number(&run), at + run.len(), run == ['一'] || run == ['半']))
        }
        Token::Clock(_) | Token::Mark(_) => None,
    }
}

fn han_digit(token: &Token) -> Option<char> {
    match token {
        Token::Han(c) if "零〇一二两三四五六七八九十百千万半".contains(*c) => Some(*c),
        _ => None,
    }
}

fn han_number(run: &[char]) -> f64 {
    let (mut total, mut section, mut digit) = (0.0, 0.0, 0.0);
    for c in run {
        let scale = match c {
            '十' => 10.0,
            '百' => 100.0,
            '千' => 1_000.0,
            '万' => {
                total += (section + digit) * 10_000.0;
                (section, digit) = (0.0, 0.0);
                continue;
            }
            '半' => {
                digit = 0.5;
                continue;
            }
            '两' => {
                digit = 2.0;
                continue;
            }
            _ => {
                digit = "〇一二三四五六七八九".chars().position(|d| d == *c).unwrap_or_default() as f64;
                continue;
            }
        };
        section += if digit == 0.0 { scale } else { digit * scale };
        digit = 0.0;
    }
    total + section + digit
}
