//! PURE: the quantities in a sentence, however they are written: 30 days, thirty days, 三十天; ¥12, 12 yuan; 15 November.

use super::{calendar::calendar, numerals::spoken, tokens::Token};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Unknown, or a thing.
    Plain,
    Money,
    Percent,
    /// Minutes; hours, days and weeks are as many minutes.
    Span,
    WorkDays,
    /// Months; a year has twelve.
    Months,
    /// Minutes after midnight.
    Clock,
    /// The month times 100, plus the day; 0 for a month alone.
    Date,
    /// 1 is Monday.
    Weekday,
    /// The first, the second; 0 is the last.
    Ordinal,
}

/// Which side of a number is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Open,
    AtMost,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    pub unit: Unit,
    pub value: f64,
    /// The number as it was written.
    pub(super) raw: f64,
    pub bound: Bound,
}

impl Quantity {
    /// Whether another quantity says this amount; a bare number may be of any unit but money and shares.
    pub fn agrees(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        if self.unit == other.unit {
            // "in November" is not against "on 11 November".
            let month = self.unit == Unit::Date && self.value % 100.0 == 0.0;
            return near(self.value, other.value) || (month && near(self.value, other.value - other.value % 100.0));
        }
        self.unit == Unit::Plain && !matches!(other.unit, Unit::Money | Unit::Percent) && near(self.raw, other.raw)
    }

    /// Whether one says at most where the other says at least.
    pub fn opposes(&self, other: &Self) -> bool {
        self.bound != Bound::Open && other.bound != Bound::Open && self.bound != other.bound
    }
}

const DAY: f64 = 1440.0;

/// A number somewhere in the tokens, before its unit is known.
struct Found {
    raw: f64,
    from: usize,
    to: usize,
    /// A word such as "one" or 一, which mostly counts nothing.
    weak: bool,
    unit: Option<(Unit, f64)>,
}

/// The quantities of these tokens, in order.
pub fn quantities(tokens: &[Token]) -> Vec<Quantity> {
    let mut numbers = Vec::new();
    let mut fixed = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some((quantity, end)) = calendar(tokens, at) {
            fixed.push(quantity);
            at = end;
            continue;
        }
        match spoken(tokens, at) {
            // 第二天: the next day.
            Some((_, end, _)) if at > 0 && tokens[at - 1..end] == [Token::Han('第'), Token::Han('二')] => at = end,
            Some((raw, end, weak)) => {
                let unit = unit(tokens, at, end, raw);
                numbers.push(Found { raw, from: at, to: end, weak, unit });
                at = end;
            }
            None => at += 1,
        }
    }
    share_units(tokens, &mut numbers);
    let known = numbers.iter().filter(|number| number.unit.is_some() || !number.weak).map(|number| {
        let (unit, value) = number.unit.unwrap_or((Unit::Plain, number.raw));
        Quantity { unit, value, raw: number.raw, bound: bound(tokens, number.from, number.to) }
    });
    let mut found: Vec<Quantity> = known.chain(fixed).collect();
    // A weekend is two days; either may be named.
    let weekend = tokens.windows(2).any(|pair| pair == [Token::Han('周'), Token::Han('末')]);
    if weekend || tokens.iter().any(|token| token.is_word(&["weekend", "weekends"])) {
        let day = |value| Quantity { unit: Unit::Weekday, value, raw: 0.0, bound: Bound::Open };
        found.extend([day(6.0), day(7.0)]);
    }
    if is_free(tokens) {
        found.push(Quantity { unit: Unit::Money, value: 0.0, raw: 0.0, bound: Bound::Open });
    }
    found
}

/// "3–5 days", "3, 6 or 12 months": the last number's unit is that of all.
fn share_units(tokens: &[Token], numbers: &mut [Found]) {
    for at in (1..numbers.len()).rev() {
        let [before, after] = [&numbers[at - 1], &numbers[at]];
        let between = &tokens[before.to..after.from];
        let list = !between.is_empty()
            && between.len() <= 2
            && between.iter().all(|token| {
                token.is_mark(&['-', '~', ',', '、', '—'])
                    || token.is_word(&["to", "or", "and"])
                    || matches!(token, Token::Han('到' | '至' | '或' | '和'))
            });
        if let (true, None, Some((unit, value))) = (list, before.unit, after.unit) {
            let scale = if after.raw == 0.0 { 1.0 } else { value / after.raw };
            numbers[at - 1].unit = Some((unit, numbers[at - 1].raw * scale));
        }
    }
}

/// The unit of the number that stands from `from` to `to`, and its value in it.
fn unit(tokens: &[Token], from: usize, to: usize, raw: f64) -> Option<(Unit, f64)> {
    let before = from.checked_sub(1).and_then(|at| tokens.get(at));
    // "on day 30"
    if before.is_some_and(|token| token.is_word(&["day"])) {
        return Some((Unit::Span, raw * DAY));
    }
    if before.is_some_and(|token| token.is_mark(&['¥', '$', '€', '£']) || token.is_word(&["rmb", "cny", "usd"])) {
        return Some((Unit::Money, raw));
    }
    if tokens[..from].ends_with(&[Token::Han('百'), Token::Han('分'), Token::Han('之')]) {
        return Some((Unit::Percent, raw));
    }
    if matches!(tokens.get(to), Some(Token::Mark('%'))) {
        return Some((Unit::Percent, raw));
    }
    if matches!(tokens.get(to), Some(Token::Han(_))) {
        han_unit(&tokens[to..], raw)
    } else {
        word_unit(&tokens[to..], raw)
    }
}

fn word_unit(after: &[Token], raw: f64) -> Option<(Unit, f64)> {
    let mut words =
        after.iter().filter(|token| !token.is_mark(&['-'])).take(4).map(|token| token.word().unwrap_or_default());
    let mut working = false;
    for word in words.by_ref() {
        let unit = match word.trim_end_matches('s') {
            "minute" | "min" => (Unit::Span, raw),
            "hour" => (Unit::Span, raw * 60.0),
            "day" if working => (Unit::WorkDays, raw),
            "day" => (Unit::Span, raw * DAY),
            "week" => (Unit::Span, raw * 7.0 * DAY),
            "month" | "monthly" => (Unit::Months, raw),
            "year" => (Unit::Months, raw * 12.0),
            "yuan" | "rmb" | "cny" | "dollar" | "usd" | "euro" => (Unit::Money, raw),
            "percent" => (Unit::Percent, raw),
            "am" => (Unit::Clock, raw * 60.0),
            "pm" => (Unit::Clock, (raw % 12.0 + 12.0) * 60.0),
            "working" | "busine" | "workday" => {
                working = true;
                if word.starts_with("workday") {
                    (Unit::WorkDays, raw)
                } else {
                    continue;
                }
            }
            "more" | "extra" | "additional" | "further" | "full" | "whole" | "calendar" | "an" | "a"
            | "consecutive" => continue,
            _ => return None,
        };
        return Some(unit);
    }
    None
}

fn han_unit(after: &[Token], raw: f64) -> Option<(Unit, f64)> {
    let text: String =
        after.iter().map_while(|token| if let Token::Han(c) = token { Some(*c) } else { None }).take(4).collect();
    let text = text.strip_prefix('多').unwrap_or(&text);
    let units = [
        ("个工作日", Unit::WorkDays, 1.0),
        ("工作日", Unit::WorkDays, 1.0),
        ("个小时", Unit::Span, 60.0),
        ("小时", Unit::Span, 60.0),
        ("分钟", Unit::Span, 1.0),
        ("个星期", Unit::Span, 7.0 * DAY),
        ("星期", Unit::Span, 7.0 * DAY),
        ("个礼拜", Unit::Span, 7.0 * DAY),
        ("周", Unit::Span, 7.0 * DAY),
        ("天", Unit::Span, DAY),
        ("日", Unit::Span, DAY),
        ("个月", Unit::Months, 1.0),
        ("年", Unit::Months, 12.0),
        ("块", Unit::Money, 1.0),
        ("元", Unit::Money, 1.0),
        ("折", Unit::Percent, 10.0),
    ];
    if text.starts_with("年半") {
        return Some((Unit::Months, raw * 12.0 + 6.0));
    }
    let (_, unit, scale) = units.iter().find(|(name, ..)| text.starts_with(name))?;
    // 2026年 is a date's, not a span.
    if *unit == Unit::Months && raw > 1_900.0 { None } else { Some((*unit, raw * scale)) }
}

/// Whether a bound is set on the number that stands from `from` to `to`.
fn bound(tokens: &[Token], from: usize, to: usize) -> Bound {
    let before = &tokens[from.saturating_sub(4)..from];
    let after = &tokens[to..tokens.len().min(to + 5)];
    let word = |part: &[Token], words: &[&str]| part.iter().any(|token| token.is_word(words));
    let han = |part: &[Token], texts: &[&str]| {
        let text: String = part.iter().map(|token| if let Token::Han(c) = token { *c } else { ' ' }).collect();
        texts.iter().any(|wanted| text.contains(wanted))
    };
    let negated = word(before, &["no", "not"]);
    let most = word(before, &["within", "under", "below", "less", "fewer", "most", "maximum"])
        || before.windows(2).any(|pair| pair[0].is_word(&["up"]) && pair[1].is_word(&["to"]))
        || word(after, &["less", "fewer"])
        || han(before, &["最多", "不超过", "不到", "不满", "不足", "低于", "少于"])
        || han(after, &["以内", "之内", "以下", "内"]);
    let least = word(before, &["least", "over", "above", "minimum", "exceed", "after"])
        || before.windows(2).any(|pair| pair[0].is_word(&["more"]) && pair[1].is_word(&["than"]))
        || after.windows(2).any(|pair| pair[0].is_word(&["or", "and"]) && pair[1].is_word(&["more", "above", "over"]))
        || han(before, &["至少", "最少", "高于", "超过", "满"])
        || han(after, &["以上", "起"]);
    match (most, least && !most) {
        (true, _) => Bound::AtMost,
        (_, true) if negated => Bound::AtMost,
        (_, true) => Bound::AtLeast,
        _ => Bound::Open,
    }
}

/// Whether something costs nothing: "free", "no fee", 免费, 包邮, 不收手续费.
pub fn is_free(tokens: &[Token]) -> bool {
    const FEES: [&str; 13] = [
        "fee",
        "fees",
        "charge",
        "charges",
        "cost",
        "costs",
        "surcharge",
        "surcharges",
        "postage",
        "interest",
        "charged",
        "pay",
        "extra",
    ];
    let spared = |at: usize| {
        tokens[at + 1..tokens.len().min(at + 5)]
            .iter()
            .position(|token| token.is_word(&FEES))
            .is_some_and(|fee| fee < 4)
    };
    let word = tokens.iter().enumerate().any(|(at, token)| {
        token.is_word(&["free"])
            && !tokens.get(at + 1).is_some_and(|next| next.is_word(&["to", "from"]) && feel(tokens, at))
            || token.is_word(&["no", "without"])
                && spared(at)
                && !tokens.get(at + 1).is_some_and(|next| next.is_word(&["need"]))
            || token.is_word(&["nothing"]) && at > 0 && tokens[at - 1].is_word(&["costs", "cost", "pay", "pays"])
    });
    let han: String = tokens.iter().map(|token| if let Token::Han(c) = token { *c } else { ' ' }).collect();
    let negated =
        ["不免费", "不包邮", "不能免", "不享受免", "不能享受包邮", "没有免"].iter().any(|text| han.contains(text));
    let spared =
        ["免费", "包邮", "免邮", "免运费", "免息", "不收费", "不收手续费", "不加收", "不收取", "不另收", "全部免"];
    word || (!negated && spared.iter().any(|text| han.contains(text)))
}

/// "Feel free to ask" gives nothing away.
fn feel(tokens: &[Token], at: usize) -> bool {
    at > 0 && tokens[at - 1].is_word(&["feel"])
}

#[cfg(test)]
mod tests {
    use super::{super::tokens::tokens, *};

    #[track_caller]
    fn check(text: &str, expected: &[(Unit, f64)]) {
        let found: Vec<_> = quantities(&tokens(text)).iter().map(|quantity| (quantity.unit, quantity.value)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_same_amount_in_every_notation() {
        use Unit::*;
        for text in ["30 days", "thirty days", "a 30-day period", "三十天", "３０天", "30日"] {
            check(text, &[(Span, 30.0 * DAY)]);
        }
        check("3–5 working days", &[(WorkDays, 3.0), (WorkDays, 5.0)]);
        check("three to five business days", &[(WorkDays, 3.0), (WorkDays, 5.0)]);
        check("3 到 5 个工作日", &[(WorkDays, 3.0), (WorkDays, 5.0)]);
        check("5—7个工作日", &[(WorkDays, 5.0), (WorkDays, 7.0)]);
        check("two weeks, twenty-four hours", &[(Span, 14.0 * DAY), (Span, DAY)]);
        check("half an hour", &[(Span, 30.0)]);
        check("半小时，半年，一年半", &[(Span, 30.0), (Months, 6.0), (Months, 18.0)]);
        check("two years; 24 months; 两年", &[(Months, 24.0), (Months, 24.0), (Months, 24.0)]);
        check("¥1,299.50, 12 yuan, 十二元, 20块", &[(Money, 1299.5), (Money, 12.0), (Money, 12.0), (Money, 20.0)]);
        check("2.5% or 70 percent, 百分之七十", &[(Percent, 2.5), (Percent, 70.0), (Percent, 70.0)]);
        check("2万元", &[(Money, 20_000.0)]);
        check("3, 6 or 12 months", &[(Months, 3.0), (Months, 6.0), (Months, 12.0)]);
    }

    #[test]
    fn times_and_dates() {
        use Unit::*;
        check("15 November to 31 December", &[(Date, 1115.0), (Date, 1231.0)]);
        check("November 15, 11月15日, 1月", &[(Date, 1115.0), (Date, 1115.0), (Date, 100.0)]);
        check("8:00 至 22:00，上午10点，晚上9点", &[(Clock, 480.0), (Clock, 1320.0), (Clock, 600.0), (Clock, 1260.0)]);
        check("Monday to Friday, 周一到周五", &[(Weekday, 1.0), (Weekday, 5.0), (Weekday, 1.0), (Weekday, 5.0)]);
        check("you may return it on one of the days", &[]);
        check("一般会一起发货", &[]);
    }

    #[test]
    fn what_costs_nothing_is_an_amount() {
        for text in
            ["it is free of charge", "no fee", "without any extra cost", "到店自提免费", "满额包邮", "不收手续费"]
        {
            check(text, &[(Unit::Money, 0.0)]);
        }
        check("feel free to ask", &[]);
        check("会员不免费", &[]);
    }

    #[test]
    fn bounds_are_seen() {
        let first = |text: &str| quantities(&tokens(text))[0];
        assert_eq!(first("within 30 days").bound, Bound::AtMost);
        assert_eq!(first("orders of ¥600 or more").bound, Bound::AtLeast);
        assert_eq!(first("no more than 3 cards").bound, Bound::AtMost);
        assert!(first("满199元包邮").opposes(&first("不满199元")));
        assert!(!first("30 days").opposes(&first("within 30 days")));
        assert!(first("30").agrees(&first("30 days")) && !first("3 days").agrees(&first("3 hours")));
    }
}
