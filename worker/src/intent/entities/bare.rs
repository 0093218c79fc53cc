//! PURE: a message without the numbers and addresses that only name something: neither its language nor what it asks is
//! told by them.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use super::{Entity, EntityKind, entities};
use crate::text::{Language, Script, is_han, language, normalise, runs};

/// What a message says beside the numbers and addresses in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bare<'a> {
    /// The message without them, or what is meant by a number alone; as it stands when nothing else would be left.
    pub text: Cow<'a, str>,
    /// What the rest is written in.
    pub language: Language,
    /// It is an order's or a parcel's number and nothing more: whoever sends one wants to know where that is.
    pub is_number: bool,
}

/// What a message asks that is nothing but an order's or a parcel's number.
pub fn where_is_it(language: Language) -> &'static str {
    if language == Language::Chinese { "我的订单到哪了？" } else { "Where is my order?" }
}

/// Taken out beside the entities: an address says where and not what.
const LINK: &str = r"(?i)\b(?:https?://|www\.)[a-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+";

/// Words that announce a number and go with it, at the end of what stands before it: "order number is", "单号：".
const ANNOUNCED: &[&str] = &[
    r"(?i)[,;]?\s*(?:\band\s+)?\bmy (?:phone |mobile |cell |tel(?:ephone)? )?(?:number|phone|mobile|e-?mail)(?: address)?\s*(?:is|[:=])\s*$",
    r"(?i)\s*\b(?:number|no\.?|nr\.?|id|code|reference|tel\.?)\s*(?:is|was|[:#=])?\s*#?\s*$",
    r"[，,；;]?\s*(?:我的?|本人)?(?:手机|电话|联系电话|邮箱)(?:号码?)?\s*(?:是|为|[:：])?\s*$",
    r"(?:号码?|编号|尾号)\s*(?:是|为|[:：#])?\s*$",
];

/// What may stand beside a number that says no more than that it is one.
const BESIDE: &[&str] = &[
    "order", "orders", "my", "the", "a", "it", "it's", "its", "is", "here", "this", "that's", "tracking", "parcel",
    "package", "number", "no", "hi", "hello", "please", "pls", "thanks", "thank", "you", "and", "sure", "ok", "yes",
    "for", "of", "id", "you go", "there", "with",
];
const BESIDE_HAN: &str = "我的订单号是这个单快递运物流包裹您你好请查一下件帮看询编码为";

static LINKS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LINK).ok());
static ANNOUNCEMENTS: LazyLock<Vec<Regex>> =
    LazyLock::new(|| ANNOUNCED.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect());

/// The message without order, parcel, card and telephone numbers, e-mail addresses and links.
pub fn bare(text: &str) -> Bare<'_> {
    // Whatever can be taken out has a digit, an @ or a dotted address.
    if !text.contains(|c: char| c.is_numeric() || matches!(c, '@' | '＠' | '/' | '.')) {
        return Bare { text: Cow::Borrowed(text), language: language(text), is_number: false };
    }
    let found = entities(text);
    let rest = without_links(&without(text, &found, |_, _| " "));
    let tracks = |entity: &Entity| matches!(entity.kind, EntityKind::OrderNumber | EntityKind::TrackingNumber);
    let language = language(&rest);
    let is_number = found.iter().any(tracks) && says_nothing(&rest);
    let said = match is_number {
        true => Cow::Borrowed(where_is_it(language)),
        false => Cow::Owned(without_links(&without(text, &found, stand_in))),
    };
    let has_words = said.chars().any(char::is_alphanumeric);
    Bare { text: if has_words { said } else { Cow::Borrowed(text) }, language, is_number }
}

fn names_something(kind: EntityKind) -> bool {
    use EntityKind::{Amount, Card, Date, Email, IdCard, OrderNumber, Phone, ProductCode, TrackingNumber};
    match kind {
        Email | OrderNumber | TrackingNumber | Card | IdCard | Phone => true,
        // How much, when and which one are part of the question.
        ProductCode | Amount | Date => false,
    }
}

fn without(text: &str, found: &[Entity], stand_in: impl Fn(EntityKind, &str) -> &'static str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut at) = (text.chars(), 0);
    for entity in found.iter().filter(|entity| names_something(entity.kind)) {
        out.extend(rest.by_ref().take(entity.start - at));
        rest.by_ref().take(entity.end - entity.start).for_each(drop);
        at = entity.end;
        let kept = ANNOUNCEMENTS.iter().find_map(|words| words.find(&out)).map_or(out.len(), |words| words.start());
        out.truncate(kept);
        out.truncate(out.trim_end_matches('#').len());
        out.push_str(stand_in(entity.kind, &out));
    }
    out.extend(rest);
    out
}

/// What stands where a number stood: "cancel HL-20481236" is about an order, whichever.
fn stand_in(kind: EntityKind, before: &str) -> &'static str {
    let is_chinese = before.contains(is_han);
    let before = before.trim_end().to_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| before.ends_with(word));
    match (kind, is_chinese) {
        (EntityKind::OrderNumber, false) if !names(&["order", "orders", "purchase"]) => " my order ",
        (EntityKind::TrackingNumber, false) if !names(&["parcel", "package", "tracking", "shipment"]) => " my parcel ",
        (EntityKind::OrderNumber, true) if !names(&["订单", "单"]) => "订单",
        (EntityKind::TrackingNumber, true) if !names(&["包裹", "快递", "物流", "单"]) => "包裹",
        _ => " ",
    }
}

fn without_links(text: &str) -> String {
    let text = LINKS.as_ref().map_or(Cow::Borrowed(text), |links| links.replace_all(text, " "));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn says_nothing(left: &str) -> bool {
    let normal = normalise(left);
    runs(&normal).all(|run| match run.script {
        Script::Word => BESIDE.contains(&run.text),
        Script::Han => run.text.chars().all(|c| BESIDE_HAN.contains(c)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, left: &str, language: Language) {
        let bare = bare(text);
        assert_eq!((bare.text.as_ref(), bare.language, bare.is_number), (left, language, false), "{text}");
    }

    #[test]
    fn what_only_names_something_is_left_out() {
        use Language::{Chinese, English, Other};
        check("取消订单HL-20481234", "取消订单", Chinese);
        check("i want to cancel order number 20481234", "i want to cancel order", English);
        check("我退了货 订单号 HL-20481234 钱什么时候到", "我退了货 订单 钱什么时候到", Chinese);
        check("where is HL-20481234, my number is 13812345678", "where is my order", English);
        check("请问HL-20481234到哪了，我手机13812345678", "请问订单到哪了", Chinese);
        check("got https://pay.example.com/x?id=7 by sms, is it yours", "got by sms, is it yours", English);
        check("mail me at ann@example.com when it is back", "mail me at when it is back", English);
        check("it cost ¥99 on 3 March, 30 days", "it cost ¥99 on 3 March, 30 days", English);
        check("no numbers here", "no numbers here", English);
        check("13812345678", "13812345678", Other);
        check("12345", "12345", Other);
    }

    #[track_caller]
    fn check_number(text: &str, language: Language) {
        let expected = Bare { text: Cow::Borrowed(where_is_it(language)), language, is_number: true };
        assert_eq!(bare(text), expected, "{text}");
    }

    #[test]
    fn a_number_alone_asks_where_that_is() {
        check_number("HL-20481234", Language::Other);
        check_number("my order number is HL-20481234", Language::English);
        check_number("订单号：HL20481234", Language::Chinese);
        check_number("查一下 HL-20481234", Language::Chinese);
        check_number("tracking number 1Z999AA10123456784", Language::English);
        check_number("快递单号SF1234567890123", Language::Chinese);
    }

    #[test]
    fn every_expression_compiles() {
        assert!(LINKS.is_some());
        assert_eq!(ANNOUNCEMENTS.len(), ANNOUNCED.len());
    }
}
