//! PURE: what can be read off a message by its shape: order numbers, phones, e-mails, amounts and dates; and redaction.
//!
//! Patterns are scanned by hand-sized rules over a regular expression each; what overlaps goes to the stricter kind.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// Characters of a message that are scanned.
const CHARS_MAX: usize = 4_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    pub kind: EntityKind,
    /// Normalised: order numbers upper case, phones digits only, amounts and dates as written.
    pub value: String,
    /// Characters, not bytes, so that a browser may mark it.
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    Email,
    OrderNumber,
    Card,
    Phone,
    Amount,
    Date,
}

impl EntityKind {
    /// What stands in a redacted text; amounts and dates name nobody and stay.
    fn mask(self) -> Option<&'static str> {
        match self {
            Self::Email => Some("[email]"),
            Self::OrderNumber => Some("[order]"),
            Self::Card => Some("[card]"),
            Self::Phone => Some("[phone]"),
            Self::Amount | Self::Date => None,
        }
    }
}

/// The entities of a message, in order, none overlapping.
pub fn entities(text: &str) -> Vec<Entity> {
    let end = text.char_indices().nth(CHARS_MAX).map_or(text.len(), |(at, _)| at);
    found(&text[..end])
        .into_iter()
        .map(|(kind, start, end)| Entity {
            kind,
            value: value(kind, &text[start..end]),
            start: text[..start].chars().count(),
            end: text[..end].chars().count(),
        })
        .collect()
}

/// The text with what identifies a person replaced by its kind.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (kind, start, end) in found(text) {
        if let Some(mask) = kind.mask() {
            out.push_str(&text[at..start]);
            out.push_str(mask);
            at = end;
        }
    }
    out + &text[at..]
}

/// (kind, first byte, byte after the last), in order.
fn found(text: &str) -> Vec<(EntityKind, usize, usize)> {
    let mut found: Vec<(EntityKind, usize, usize)> = Vec::new();
    for (kind, pattern) in PATTERNS.iter() {
        for hit in pattern.find_iter(text) {
            let (start, end) = (hit.start(), hit.end());
            let free = found.iter().all(|(_, from, to)| end <= *from || start >= *to);
            if free && stands_alone(text, *kind, start, end) && plausible(*kind, hit.as_str()) {
                found.push((*kind, start, end));
            }
        }
    }
    found.sort_unstable_by_key(|(_, start, _)| *start);
    found
}

/// In order of strictness: an e-mail's digits are no phone.
const PATTERN_TEXTS: [(EntityKind, &str); 14] = [
    (EntityKind::Email, r"(?i)[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,4}"),
    (EntityKind::OrderNumber, r"(?i)hl[- ]?[0-9]{8}"),
    (EntityKind::Date, r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}"),
    (EntityKind::Date, r"(?:[0-9]{4}年)?[0-9]{1,2}月[0-9]{1,2}[日号]"),
    (
        EntityKind::Date,
        r"(?i)(?:[0-9]{1,2}(?:st|nd|rd|th)? (?:of )?)?(?:january|february|march|april|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.? [0-9]{1,2}(?:st|nd|rd|th)?(?:,? [0-9]{4})?",
    ),
    (
        EntityKind::Date,
        r"(?i)[0-9]{1,2}(?:st|nd|rd|th)? (?:of )?(?:january|february|march|april|may|june|july|august|september|october|november|december)(?:,? [0-9]{4})?",
    ),
    (
        EntityKind::Date,
        r"(?i)today|yesterday|tomorrow|(?:last|next|this) (?:week|month|monday|tuesday|wednesday|thursday|friday|saturday|sunday)",
    ),
    (
        EntityKind::Date,
        r"今天|昨天|前天|明天|后天|上周[一二三四五六日天]?|本周[一二三四五六日天]?|下周[一二三四五六日天]?|上个月|下个月",
    ),
    (
        EntityKind::Amount,
        r"(?i)(?:[¥￥$€£]|rmb ?|usd ?|cny ?|eur ?)[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,2})?|(?i)(?:[¥￥$€£]|rmb ?|usd ?|cny ?|eur ?)[0-9]{1,9}(?:\.[0-9]{1,2})?",
    ),
    (EntityKind::Amount, r"(?i)[0-9]{1,9}(?:\.[0-9]{1,2})? ?(?:元|块钱|块|人民币|yuan|rmb|dollars|usd|euros?)"),
    (EntityKind::Card, r"[0-9](?:[ -]?[0-9]){12,18}"),
    (EntityKind::Phone, r"(?:\+?86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]){8}"),
    (EntityKind::Phone, r"\+[0-9]{1,3}[ -]?(?:\(?[0-9]{1,4}\)?[ -]?){1,4}[0-9]{2,4}"),
    (EntityKind::Phone, r"\(?[0-9]{3,4}\)?[ -][0-9]{3,4}[ -]?[0-9]{4}"),
];

/// Compiled when first needed; a test holds that none is passed over.
static PATTERNS: LazyLock<Vec<(EntityKind, Regex)>> = LazyLock::new(|| {
    PATTERN_TEXTS.iter().filter_map(|(kind, pattern)| Some((*kind, Regex::new(pattern).ok()?))).collect()
});

/// Digits and letters right before or after make it part of something else.
fn stands_alone(text: &str, kind: EntityKind, start: usize, end: usize) -> bool {
    let joins = |c: char| match kind {
        EntityKind::Email | EntityKind::Date | EntityKind::OrderNumber => c.is_ascii_alphanumeric(),
        EntityKind::Amount | EntityKind::Card | EntityKind::Phone => c.is_ascii_digit(),
    };
    let (first, last) = (text[start..].chars().next(), text[..end].chars().next_back());
    let before =
        text[..start].chars().next_back().is_some_and(joins) && first.is_some_and(|c| c.is_ascii_alphanumeric());
    let after = text[end..].chars().next().is_some_and(joins) && last.is_some_and(|c| c.is_ascii_alphanumeric());
    !before && !after
}

/// A card number has a valid check digit (Luhn), a phone between 7 and 15 digits (E.164).
fn plausible(kind: EntityKind, text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    match kind {
        EntityKind::Card => {
            let doubled = digits.iter().rev().enumerate().map(|(at, digit)| match at % 2 {
                0 => *digit,
                _ if *digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            });
            doubled.sum::<u32>() % 10 == 0
        }
        EntityKind::Phone => (7..=15).contains(&digits.len()),
        _ => true,
    }
}

fn value(kind: EntityKind, text: &str) -> String {
    match kind {
        EntityKind::OrderNumber => format!("HL-{}", &text[text.len() - 8..]),
        EntityKind::Phone | EntityKind::Card => text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect(),
        EntityKind::Email => text.to_lowercase(),
        EntityKind::Amount | EntityKind::Date => text.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(EntityKind, &str)]) {
        let found = entities(text);
        let short: Vec<_> = found.iter().map(|entity| (entity.kind, entity.value.as_str())).collect();
        assert_eq!(short, expected, "{text}");
        let chars: Vec<char> = text.chars().collect();
        assert!(found.iter().all(|entity| entity.start < entity.end && entity.end <= chars.len()));
    }

    #[test]
    fn every_pattern_compiles() {
        for (kind, pattern) in PATTERN_TEXTS {
            assert!(Regex::new(pattern).is_ok(), "{kind:?}: {pattern}");
        }
        assert_eq!(PATTERNS.len(), PATTERN_TEXTS.len());
    }

    #[test]
    fn every_kind_in_both_languages() {
        use EntityKind::*;
        check("where is hl-20481234?", &[(OrderNumber, "HL-20481234")]);
        check("订单HL20481234还没到", &[(OrderNumber, "HL-20481234")]);
        check("mail Ann.Lee@Example.com.", &[(Email, "ann.lee@example.com")]);
        check("我的电话138 1234 5678", &[(Phone, "13812345678")]);
        check("call +44 20 7946 0958 please", &[(Phone, "+442079460958")]);
        check("it cost ¥1,299.50 and I paid 20 dollars", &[(Amount, "¥1,299.50"), (Amount, "20 dollars")]);
        check("退了99元", &[(Amount, "99元")]);
        check("ordered on 3 March 2026, paid yesterday", &[(Date, "3 March 2026"), (Date, "yesterday")]);
        check("2026年3月5日下单，昨天发货", &[(Date, "2026年3月5日"), (Date, "昨天")]);
        check("card 4111 1111 1111 1111", &[(Card, "4111111111111111")]);
        check("1234567890123456789 is nothing; iPhone 15; 30 days", &[]);
    }

    #[test]
    fn positions_are_characters() {
        let found = entities("你好，HL-20481234");
        assert_eq!((found[0].start, found[0].end), (3, 14));
    }

    #[test]
    fn redaction_keeps_the_sentence() {
        assert_eq!(
            redact("我是a@b.cn，电话13812345678，订单HL-20481234，付了99元"),
            "我是[email]，电话[phone]，订单[order]，付了99元"
        );
        assert_eq!(redact("nothing here"), "nothing here");
    }

    proptest::proptest! {
        #[test]
        fn nothing_overlaps(text in "[a-z0-9@. ¥元月日HL-]{0,60}") {
            let found = entities(&text);
            proptest::prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
            proptest::prop_assert_eq!(entities(&redact(&text)).iter().filter(|entity| entity.kind == EntityKind::Email).count(), 0);
        }
    }
}
