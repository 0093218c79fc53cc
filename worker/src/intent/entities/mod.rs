//! PURE: what can be read off a message by its shape, English and Chinese: order, tracking and product numbers, phones,
//! e-mails, cards, amounts and dates; and redaction.
//!
//! Hand-sized rules over a regular expression each; what overlaps goes to the stricter kind. Full-width letters and
//! digits count as the plain ones.

/// A message without what only names something.
mod bare;

mod patterns;

pub use bare::{Bare, bare, where_is_it};
use serde::{Deserialize, Serialize};

/// Characters of a message that are scanned.
const CHARS_MAX: usize = 4_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    pub kind: EntityKind,
    /// Normalised: numbers and codes in upper case, phones and cards digits only, amounts and dates as written.
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
    TrackingNumber,
    ProductCode,
    Card,
    IdCard,
    Phone,
    Amount,
    Date,
}

impl EntityKind {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::OrderNumber => "order_number",
            Self::TrackingNumber => "tracking_number",
            Self::ProductCode => "product_code",
            Self::Card => "card",
            Self::IdCard => "id_card",
            Self::Phone => "phone",
            Self::Amount => "amount",
            Self::Date => "date",
        }
    }

    /// What stands in a redacted text; products, amounts and dates name nobody and stay.
    fn mask(self) -> Option<&'static str> {
        match self {
            Self::Email => Some("[email]"),
            Self::OrderNumber => Some("[order]"),
            Self::TrackingNumber => Some("[tracking]"),
            Self::Card => Some("[card]"),
            Self::IdCard => Some("[id]"),
            Self::Phone => Some("[phone]"),
            Self::ProductCode | Self::Amount | Self::Date => None,
        }
    }
}

/// The entities of a message, in order, none overlapping.
pub fn entities(text: &str) -> Vec<Entity> {
    let narrow: String = text.chars().take(CHARS_MAX).map(narrow).collect();
    let found = patterns::found(&narrow).into_iter().map(|(kind, start, end)| Entity {
        kind,
        value: value(kind, &narrow[start..end]),
        start: narrow[..start].chars().count(),
        end: narrow[..end].chars().count(),
    });
    found.collect()
}

/// The text with what identifies a person replaced by its kind.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    let mut at = 0;
    for entity in entities(text) {
        if let Some(mask) = entity.kind.mask() {
            out.extend(rest.by_ref().take(entity.start - at));
            out.push_str(mask);
            rest.by_ref().take(entity.end - entity.start).for_each(drop);
            at = entity.end;
        }
    }
    out.extend(rest);
    out
}

/// A full-width character as the plain one: one for one, so that positions stay.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        _ => c,
    }
}

fn value(kind: EntityKind, text: &str) -> String {
    match kind {
        EntityKind::OrderNumber => numbered(text),
        EntityKind::TrackingNumber | EntityKind::ProductCode | EntityKind::IdCard => text.to_uppercase(),
        EntityKind::Phone | EntityKind::Card => text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect(),
        EntityKind::Email => text.to_lowercase(),
        EntityKind::Amount | EntityKind::Date => text.trim().to_owned(),
    }
}

/// An order number however it was typed: `hl 20481234` is `HL-20481234`.
fn numbered(text: &str) -> String {
    let letters: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    let number = text[letters.len()..].trim_start_matches([' ', '-']);
    if letters.is_empty() { number.to_owned() } else { format!("{}-{number}", letters.to_uppercase()) }
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
    fn a_phone_number_is_no_order_and_no_card() {
        use EntityKind::*;
        check("my number is 13812345678", &[(Phone, "13812345678")]);
        check("call me on 13812345678 or tel 13912345678", &[(Phone, "13812345678"), (Phone, "13912345678")]);
        check("TEL-13912345678", &[(Phone, "13912345678")]);
        check("+86 138-1234-5678 or 139-1234-5678", &[(Phone, "+8613812345678"), (Phone, "13912345678")]);
        check("0086 139 1234 5678", &[(Phone, "008613912345678")]);
        check("order hl 20481234", &[(OrderNumber, "HL-20481234")]);
        check("HL 20481234 please", &[(OrderNumber, "HL-20481234")]);
        check("it was 20481234 and no 20481235", &[]);
    }

    #[test]
    fn a_word_before_a_number_tells_its_kind() {
        use EntityKind::*;
        check("my order number is 20260311-0042", &[(OrderNumber, "20260311-0042")]);
        check("Order #10023 never came", &[(OrderNumber, "10023")]);
        check(
            "订单号：2026031100420817，快递单号SF1234567890123",
            &[(OrderNumber, "2026031100420817"), (TrackingNumber, "SF1234567890123")],
        );
        check("tracking number 1Z999AA10123456784", &[(TrackingNumber, "1Z999AA10123456784")]);
        check("do you have SKU ab-1234-xl, or item no. 4711?", &[(ProductCode, "AB-1234-XL"), (ProductCode, "4711")]);
        check("型号是X200的还有货吗", &[(ProductCode, "X200")]);
        check("is the LK-2041 waterproof", &[(ProductCode, "LK-2041")]);
        check("I ordered 2 shoes in size EU-42; reorder 12345 times; my order of 3 cups", &[]);
        check("我在这里下了一个订单，3双鞋", &[]);
    }

    #[test]
    fn dates_and_amounts_as_people_write_them() {
        use EntityKind::*;
        check("I bought it two weeks ago for 1,299 yuan", &[(Date, "two weeks ago"), (Amount, "1,299 yuan")]);
        check("三天前下单，上周五说发货，扣了我两百块钱", &[(Date, "三天前"), (Date, "上周五"), (Amount, "两百块钱")]);
        check("on 11/20/2026 I paid £ 45", &[(Date, "11/20/2026"), (Amount, "£ 45")]);
        check("大前天星期三到的", &[(Date, "大前天"), (Date, "星期三")]);
        check("付了两百块，后来又扣3千5", &[(Amount, "两百块"), (Amount, "3千5")]);
        check("十块的券，2万块的沙发", &[(Amount, "十块"), (Amount, "2万块")]);
        check("between 3 Nov 2026 and May 3", &[(Date, "3 Nov 2026"), (Date, "May 3")]);
        check("may 3rd, 2026; you may 3 times", &[(Date, "may 3rd, 2026")]);
        check("我们一块去吧，3千人一块去", &[]);
    }

    #[test]
    fn full_width_is_plain() {
        use EntityKind::*;
        check("电话１３８１２３４５６７８", &[(Phone, "13812345678")]);
        assert_eq!(redact("电话１３８１２３４５６７８，谢谢"), "电话[phone]，谢谢");
    }

    #[test]
    fn an_identity_card_has_a_check_digit() {
        use EntityKind::*;
        // The standard's own example, GB 11643-1999, and the same with its last digit changed.
        check("身份证11010519491231002X", &[(IdCard, "11010519491231002X")]);
        check("身份证110105194912310021", &[]);
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
