//! PURE: claims that need more than a shared word: things named, ways to be reached, deeds, and words without limit.

use std::collections::HashSet;

use super::tokens::{Token, tokens};

/// Words that make a claim boundless; they must stand in the passages in one of their forms.
const BOUNDLESS: &[&[&str]] = &[
    &["lifetime", "lifelong", "终身", "永久"],
    &["unlimited", "limitless", "无限"],
    &["forever", "永远"],
    &[
        "instant",
        "instantly",
        "immediately",
        "at once",
        "right away",
        "same day",
        "立即",
        "马上",
        "立刻",
        "当天",
        "即时",
        "day",
    ],
    &["guaranteed", "guarantee", "warranty", "保证"],
    &["double", "triple", "twice", "双倍", "翻倍"],
    &["bonus", "gift", "赠送", "礼物", "红包", "送"],
    &["discount", "discounts", "coupon", "折扣", "优惠"],
    &["anytime", "any time", "24/7", "随时"],
];

/// Openings of deeds that a desk which can only read has not done.
const DEEDS: [&str; 30] = [
    "i have ",
    "i've ",
    "i will ",
    "i'll ",
    "i just ",
    "i am going to",
    "i'm going to",
    "i can confirm",
    "we have now",
    "we've now",
    "your order has been",
    "your refund has been",
    "your account has been",
    "your request has been",
    "has been approved",
    "is hereby",
    "已为您",
    "已经为您",
    "已经帮您",
    "已帮您",
    "我会为您",
    "我将为您",
    "我会帮您",
    "我已",
    "您的订单已",
    "您的退款已",
    "马上为您",
    "这就为您",
    "为您申请",
    "帮您办理",
];

/// What nobody is asked for in a chat.
const SECRETS: [&str; 18] = [
    "password",
    "passcode",
    "pin",
    "cvv",
    "card number",
    "security code",
    "verification code",
    "one-time code",
    "passport",
    "social security",
    "bank account",
    "密码",
    "验证码",
    "卡号",
    "身份证",
    "安全码",
    "银行账号",
    "口令",
];

/// How customers say what is to be said to them.
const DICTATES: [&str; 14] = [
    "agree with me",
    "agree that",
    "confirm it",
    "confirm that",
    "say exactly",
    "say that",
    "say:",
    "tell me that",
    "repeat",
    "你确认",
    "确认一下",
    "你就说",
    "请保证",
    "回复:",
];

/// Whether a question says what its answer shall be.
pub fn dictates(question: &str) -> bool {
    let lower = crate::text::normalise(question);
    DICTATES.iter().any(|phrase| lower.contains(phrase))
}

/// Whether the sentence tells of something done for this customer.
pub fn tells_a_deed(sentence: &str) -> bool {
    let lower = crate::text::normalise(sentence);
    let opens = |deed: &&str| {
        lower.match_indices(*deed).any(|(at, _)| !lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric()))
    };
    DEEDS.iter().any(|deed| opens(&deed)) && !lower.contains("if i have")
}

/// A boundless word of the sentence that no form of stands in the passages.
pub fn is_boundless(sentence: &str, passages: &str) -> bool {
    let lower = crate::text::normalise(sentence);
    let holds = |text: &str, word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic()) && word.is_ascii();
            !inside(text[..at].chars().next_back()) && !inside(text[at + word.len()..].chars().next())
        })
    };
    BOUNDLESS.iter().any(|forms| {
        let said = forms.iter().any(|form| holds(&lower, form) && *form != "day");
        said && !forms.iter().any(|form| holds(passages, form))
    })
}

/// A secret that the sentence speaks of and the passages do not.
pub fn asks_a_secret(sentence: &str, passages: &str) -> bool {
    let lower = crate::text::normalise(sentence);
    let words =
        |text: &str| -> HashSet<String> { tokens(text).iter().filter_map(Token::word).map(str::to_owned).collect() };
    let (said, known) = (words(&lower), words(passages));
    SECRETS.iter().any(|secret| {
        let plain = secret.chars().all(|c| c.is_ascii_alphabetic());
        let found =
            |text: &str, words: &HashSet<String>| if plain { words.contains(*secret) } else { text.contains(secret) };
        found(&lower, &said) && !found(passages, &known)
    })
}

/// Addresses by which somebody is reached: hosts, e-mail addresses.
pub fn addresses(text: &str) -> Vec<String> {
    let lower = crate::text::normalise(text);
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '@' | '_' | '+');
    let pieces = lower.split(|c: char| !part(c)).map(|piece| piece.trim_matches(['.', '-', '_']).to_owned());
    pieces.filter(|piece| piece.contains('@') || is_host(piece)).collect()
}

/// `shop.example`, `a.b.co`: names of letters between dots, the last of two letters or more, and no abbreviation.
fn is_host(piece: &str) -> bool {
    let labels: Vec<&str> = piece.split('.').collect();
    let Some(last) = labels.last() else { return false };
    let letters = last.len() >= 2 && last.chars().all(|c| c.is_ascii_alphabetic());
    labels.len() >= 2
        && letters
        && labels.iter().all(|label| !label.is_empty())
        && labels.iter().any(|label| label.len() > 1)
        && labels[0].len() > 1
}

/// Names in the sentence: capitalised words that do not open it, words with digits inside, and in Chinese every Latin word.
pub fn names(sentence: &str) -> Vec<String> {
    let chinese = crate::text::language(sentence) == crate::text::Language::Chinese;
    let mut found = Vec::new();
    let mut opens = true;
    let mut word = String::new();
    for c in sentence.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || (matches!(c, '\'' | '’') && !word.is_empty()) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            let name = word.trim_end_matches(['\'', '’']).to_owned();
            let capital = name.starts_with(|c: char| c.is_ascii_uppercase());
            let inner = name.chars().skip(1).any(|c| c.is_ascii_uppercase());
            let mixed = name.chars().any(|c| c.is_ascii_digit()) && name.chars().any(|c| c.is_ascii_alphabetic());
            let pronoun = name == "I" || name.starts_with("I'") || name.starts_with("I’");
            let letters = name.chars().any(|c| c.is_ascii_alphabetic());
            if letters && !pronoun && (inner || mixed || (capital && !opens) || (chinese && name.len() > 1)) {
                found.push(name.to_lowercase());
            }
            opens = false;
            word.clear();
        }
        opens |= matches!(c, '.' | ':' | '!' | '?' | '"' | '“' | '(' | '>' | '\n' | '*' | '-');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        assert_eq!(
            names("You can pay with Apple Pay or Bitcoin, or use WeChat."),
            ["apple", "pay", "bitcoin", "wechat"]
        );
        assert_eq!(names("支持PayPal和iPhone15"), ["paypal", "iphone15"]);
        assert!(names("Delivery takes two days. It is quick.").is_empty());
        assert_eq!(
            addresses("write to help@evil.example or see www.evil.example/x, e.g. 2.5 days etc."),
            ["help@evil.example", "www.evil.example"]
        );
        assert!(addresses("Done.Next steps").len() <= 1);
    }

    #[test]
    fn deeds_secrets_and_boundless_words() {
        assert!(tells_a_deed("I've cancelled your order.") && tells_a_deed("已为您办理退款"));
        assert!(!tells_a_deed("We refund the delivery charge on request."));
        assert!(asks_a_secret("Please send us your card number", "save up to five cards"));
        assert!(!asks_a_secret("Enter the 16-digit number and the PIN", "enter the number and the pin at checkout"));
        assert!(is_boundless("It has a lifetime warranty", "warranty of 24 months"));
        assert!(!is_boundless("Hand it back at once", "hand back at once what you do not like"));
    }
}
