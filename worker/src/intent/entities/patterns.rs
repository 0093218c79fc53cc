//! PURE: the shapes that entities have, English and Chinese, and what else must hold for a shape to be believed.
//!
//! Where an expression has a group, the group is the entity and the words before it ("order no.", "订单号") only tell its
//! kind.

use std::sync::LazyLock;

use regex::Regex;

use super::EntityKind::{self, Amount, Card, Date, Email, IdCard, OrderNumber, Phone, ProductCode, TrackingNumber};

/// In order of strictness: what an earlier one took, no later one gets, so that an e-mail's digits are no phone.
pub(super) const PATTERN_TEXTS: [(EntityKind, &str); 32] = [
    (Email, r"(?i)[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,4}"),
    (IdCard, r"(?i)[1-9][0-9]{16}[0-9x]"),
    (Date, r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}"),
    (Date, r"[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{4}"),
    (Date, r"(?:[0-9]{4}年)?[0-9]{1,2}月[0-9]{1,2}[日号]"),
    (
        Date,
        r"(?i)(?:[0-9]{1,2}(?:st|nd|rd|th)? (?:of )?)?(?:january|february|march|april|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.? [0-9]{1,2}(?:st|nd|rd|th)?(?:,? [0-9]{4})?",
    ),
    (
        Date,
        r"(?i)[0-9]{1,2}(?:st|nd|rd|th)? (?:of )?(?:january|february|march|april|may|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?(?:,? [0-9]{4})?",
    ),
    // Small, it is a verb more often than a month.
    (Date, r"May [0-9]{1,2}(?:st|nd|rd|th)?(?:,? [0-9]{4})?|(?i:may) [0-9]{1,2}(?:st|nd|rd|th)(?:,? [0-9]{4})?"),
    (
        Date,
        r"(?i)today|yesterday|tomorrow|(?:last|next|this) (?:week|month|monday|tuesday|wednesday|thursday|friday|saturday|sunday)",
    ),
    (Date, r"(?i)(?:[0-9]{1,3}|an?|two|three|four|five|six|seven) (?:hour|day|week|month)s? ago"),
    (Date, r"(?:[0-9]{1,3}|[一二两三四五六七八九十]{1,3})(?:个小时|小时|天|周|个星期|个月)(?:之|以)?前"),
    (
        Date,
        r"今天|昨天|大?前天|明天|大?后天|(?:上个?|这个?|本|下个?)(?:周|星期|礼拜)[一二三四五六日天]?|上个?月|下个?月|(?:周|星期|礼拜)[一二三四五六日天]",
    ),
    (
        TrackingNumber,
        r"(?i)(?:tracking|waybill|consignment)(?: (?:number|no\.?|code|id))?\s*(?:is|was|[:#=])?\s*#?\s*([a-z]{0,4}[0-9][a-z0-9]{6,23})",
    ),
    (
        TrackingNumber,
        r"(?i)(?:运单|快递|物流)(?:单)?(?:号码?|编号)\s*(?:是|为|[:：#])?\s*([a-z]{0,4}[0-9][a-z0-9]{6,23})",
    ),
    (
        OrderNumber,
        r"(?i)orders?(?: (?:number|no\.?|nr\.?|id|code|reference))?\s*(?:is|was|[:#=])?\s*#?\s*([a-z]{0,4}-?[0-9][0-9-]{3,22}[0-9])",
    ),
    (
        OrderNumber,
        r"(?i)(?:订单|定单|单号)(?:号码?|编号|尾号)?\s*(?:是|为|[:：#])?\s*#?\s*([a-z]{0,4}-?[0-9][0-9-]{3,22}[0-9])",
    ),
    (OrderNumber, r"(?i)[a-z]{2,4}[- ]?[0-9]{8,20}"),
    (OrderNumber, r"#([0-9]{5,20})"),
    (
        ProductCode,
        r"(?i)(?:sku|product|item|article|model|part|style)(?: (?:number|no\.?|code|id))?\s*(?:is|[:#=])?\s*#?\s*([a-z0-9-]{0,12}[0-9][a-z0-9-]{1,12})",
    ),
    (
        ProductCode,
        r"(?i)(?:货号|型号|款号|商品编[号码]|产品编[号码]|商品代码)\s*(?:是|为|[:：#])?\s*([a-z0-9-]{0,12}[0-9][a-z0-9-]{1,12})",
    ),
    (ProductCode, r"[A-Z]{1,5}-[0-9]{3,6}(?:-[A-Z0-9]{1,6}){0,3}"),
    (ProductCode, r"[A-Z]{2,5}[0-9]{3,6}[A-Z]?"),
    (
        Amount,
        r"(?i)(?:[¥￥$€£]|rmb ?|usd ?|cny ?|eur ?|gbp ?) ?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,2})?|(?:[¥￥$€£]|rmb ?|usd ?|cny ?|eur ?|gbp ?) ?[0-9]{1,9}(?:\.[0-9]{1,2})?",
    ),
    (
        Amount,
        r"(?i)(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,9})(?:\.[0-9]{1,2})? ?(?:万元|元|块钱|块|人民币|yuan|rmb|dollars?|usd|euros?|pounds?)",
    ),
    (Amount, r"[零一二两三四五六七八九十百千万]{1,9}(?:元|块钱)|[零一二两三四五六七八九十百千万]{2,9}块|十块"),
    (Amount, r"[0-9]{1,4}(?:\.[0-9]{1,2})?[百千万](?:[0-9]{1,4}(?:元|块钱|块)?|元|块钱|块)"),
    (Phone, r"(?:\+|00)86[ -]?1[3-9][0-9](?:[ -]?[0-9]){8}"),
    (Phone, r"\+[0-9]{1,3}[ -]?(?:\(?[0-9]{1,4}\)?[ -]?){1,4}[0-9]{2,4}"),
    (Card, r"[0-9](?:[ -]?[0-9]){12,18}"),
    (Phone, r"(?:\+?86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]){8}"),
    (Phone, r"\(?[0-9]{3,4}\)?[ -][0-9]{3,4}[ -]?[0-9]{4}"),
    (Phone, r"[48]00[ -]?[0-9]{3,4}[ -]?[0-9]{3,4}"),
];

/// Compiled when first needed; a test holds that none is passed over.
static PATTERNS: LazyLock<Vec<(EntityKind, Regex)>> = LazyLock::new(|| {
    PATTERN_TEXTS.iter().filter_map(|(kind, pattern)| Some((*kind, Regex::new(pattern).ok()?))).collect()
});

/// (kind, first byte, byte after the last), in order, none overlapping.
pub(super) fn found(text: &str) -> Vec<(EntityKind, usize, usize)> {
    let mut found: Vec<(EntityKind, usize, usize)> = Vec::new();
    for (kind, pattern) in PATTERNS.iter() {
        for groups in pattern.captures_iter(text) {
            let Some(whole) = groups.get(0) else { continue };
            let hit = groups.get(1).unwrap_or(whole);
            let (start, end) = (hit.start(), hit.end());
            let free = found.iter().all(|(_, from, to)| end <= *from || start >= *to);
            let named = hit == whole || begins_a_word(text, whole.start());
            if free && named && stands_alone(text, *kind, start, end) && plausible(*kind, hit.as_str()) {
                found.push((*kind, start, end));
            }
        }
    }
    found.sort_unstable_by_key(|(_, start, _)| *start);
    found
}

/// "reorder 12345" is no "order 12345".
fn begins_a_word(text: &str, start: usize) -> bool {
    !text[..start].chars().next_back().is_some_and(|c| c.is_ascii_alphanumeric())
}

/// Digits and letters right before or after make it part of something else.
fn stands_alone(text: &str, kind: EntityKind, start: usize, end: usize) -> bool {
    let joins = |c: char| match kind {
        Email | Date | OrderNumber | TrackingNumber | ProductCode | IdCard => c.is_ascii_alphanumeric(),
        Amount | Card | Phone => c.is_ascii_digit(),
    };
    let (first, last) = (text[start..].chars().next(), text[..end].chars().next_back());
    let before =
        text[..start].chars().next_back().is_some_and(joins) && first.is_some_and(|c| c.is_ascii_alphanumeric());
    let after = text[end..].chars().next().is_some_and(joins) && last.is_some_and(|c| c.is_ascii_alphanumeric());
    !before && !after
}

/// A card number has a valid check digit (Luhn), so has an identity card (GB 11643-1999); a phone has between 7 and 15
/// digits (E.164).
fn plausible(kind: EntityKind, text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    match kind {
        Card => {
            let doubled = digits.iter().rev().enumerate().map(|(at, digit)| match at % 2 {
                0 => *digit,
                _ if *digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            });
            doubled.sum::<u32>() % 10 == 0
        }
        IdCard => {
            const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
            let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum();
            let check = b"10X98765432"[(sum % 11) as usize];
            text.bytes().next_back().is_some_and(|last| last.to_ascii_uppercase() == check)
        }
        Phone => (7..=15).contains(&digits.len()),
        OrderNumber => is_prefix(text),
        _ => true,
    }
}

/// Words of two to four letters that stand before a number and are no part of it: "my number is 138…", "tel 139…".
const WORDS: [&str; 30] = [
    "is", "on", "at", "to", "by", "in", "my", "no", "it", "or", "of", "and", "are", "was", "the", "for", "tel", "call",
    "cell", "text", "ring", "dial", "from", "with", "code", "card", "sms", "me", "us", "nr",
];

/// Whether the letters before an order's number belong to it; apart from it, they do not before a mobile's number.
fn is_prefix(text: &str) -> bool {
    static MOBILE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^1[3-9][0-9]{9}$").ok());
    let number = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let letters = text[..text.len() - number.len()].to_ascii_lowercase();
    let apart = number.starts_with([' ', '-']);
    let mobile = MOBILE.as_ref().is_some_and(|mobile| mobile.is_match(number.trim_start_matches([' ', '-'])));
    letters.is_empty() || !(WORDS.contains(&letters.as_str()) || apart && mobile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for (kind, pattern) in PATTERN_TEXTS {
            assert!(Regex::new(pattern).is_ok(), "{kind:?}: {pattern}");
        }
        assert_eq!(PATTERNS.len(), PATTERN_TEXTS.len());
    }
}
