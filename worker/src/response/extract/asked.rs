//! PURE: what kind of answer a question wants, and whether a sentence can hold one: a date, a stretch of time, an amount,
//! a number, a name, a place, a reason.
//!
//! Rules (may I, does it) were tried as a kind: fitted on the demo's even lines, they weighed next to nothing.

use std::sync::LazyLock;

use regex::Regex;

use crate::text::{self, is_han};

/// The kind of answer that a question wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    When,
    /// A stretch of time.
    Time,
    /// An amount of money.
    Money,
    Number,
    Who,
    Where,
    Why,
    /// What one has to do.
    How,
    Other,
}

/// Patterns by kind: of English questions, of Chinese ones; the first that matches decides.
const QUESTIONS: [(Wanted, &str, &str); 8] = [
    (
        Wanted::Time,
        r"how long|how soon|how many (?:\w+ )?(?:days?|weeks?|months?|hours?|years?|minutes?)\b|until when|deadline|time limit",
        r"多久|多长时间|几(?:天|个?小时|个月|周|年|分钟)|多少(?:天|小时|个月|年|分钟)|期限|有效期|最晚",
    ),
    (
        Wanted::Money,
        r"how much|\b(?:costs?|price|fees?|charge|surcharge|minimum)\b|\bpay for\b|\bfor free\b|\bfree (?:shipping|delivery)",
        r"多少钱|多少元|几块|要钱|收费|加钱|手续费|运费|邮费|包邮|费用|免费|满多少|花多少",
    ),
    (
        Wanted::When,
        r"\bwhen\b|what (?:year|date|day|month|century|decade|time)|which (?:year|century|decade|month)",
        r"什么时候|何时|哪一?年|哪一天|哪个月|几月|年份|哪个世纪|什么时间|日期|什么年|几号|哪天",
    ),
    (
        Wanted::Number,
        r"how (?:many|much|long|far|old|tall|large|big|high|fast|often|wide|deep|heavy)|what (?:percent|number|amount|is the (?:population|number|total))",
        r"多少|几[个次人名位年天支种部场枚届分条级%]|多[长大高远久快重]|百分之几|数量|人数",
    ),
    (Wanted::Who, r"\bwho\b|\bwhom\b|\bwhose\b", r"谁|哪位|何人|什么人|名字|哪个人"),
    (
        Wanted::Where,
        r"\bwhere\b|what (?:city|country|state|place|location)|which (?:city|country|state)",
        r"哪里|哪儿|何处|在哪|什么地方|哪个(?:国家|城市|地区|州|地方)|位于",
    ),
    (Wanted::Why, r"\bwhy\b", r"为什么|为何|原因"),
    (Wanted::How, r"\bhow (?:do|does|did|is|are|was|were|can|to|should|would)\b", r"怎么|怎样|如何|咋"),
];

/// What a sentence with such an answer looks like, in English and in Chinese; of people see [`Wanted::may_be_in`].
const DATE: &str = r"\b1?\d{3}\b|january|february|march|april|\bmay\b|june|july|august|september|october|november|december|centur|\d+s\b|\d+[–-]\d+|\bdays?\b|monday";
const DATE_HAN: &str =
    r"[0-9〇一二三四五六七八九十]+\s*(?:年|月|日|世纪|天|小时|个工作日)|年代|时期|周[一二三四五六日]";
const NUMBER: &str = r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|hundred|thousand|million|half|first|second|third|most|once|twice|several|dozen|free)\b";
const NUMBER_HAN: &str = r"[一二两三四五六七八九十百千万亿][个名人次年种部场座公英千万亿]|免";
const PERSON_HAN: &str = r"·|[“《]|人|博士|先生|教授|总统|国王|我们|您";
const PLACE: &str = r"\b(?:in|at|near|from|to|under|on) (?:the )?[A-Z]";
const PLACE_HAN: &str = r"在|位于|[州省市国县区]";
const REASON: &str = r"\b(?:because|due|since|caused?|so that|therefore|by|result|in order)\b";
const REASON_HAN: &str = r"因为|由于|因此|导致|所以|通过|以便|为了";
const TIME: &str = r"(?:\d|\b(?:one|two|three|four|five|six|seven|ten|half an?|few)\b)[ -]?(?:more |working |calendar |full )*(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|centur|decade)|\d\d:\d\d|immediately|at once|same day|next (?:working )?day|until \d|never expire";
const TIME_HAN: &str = r"[0-9一二两三四五六七八九十百半几]\s*个?(?:工作日|天|日|小时|月|年|分钟|周|秒|星期|世纪)|[0-9]:[0-9]|当天|次日|立即|马上|长期";
const MONEY: &str = r"[¥$€£]\s?\d|\d\s?(?:%|percent|yuan|dollars?|euros?|pounds?|points)|\bfree\b|at no cost|no (?:extra )?(?:fee|charge|cost)|million|billion";
const MONEY_HAN: &str = r"[0-9]\s*(?:元|块|%|积分|万|亿|美元|英镑)|免费|免[运邮息]|包邮|不收|不加收|手续费";
const DIGITS: &str = r"[0-9][0-9,.]*";

/// Compiled when first needed; a test holds that none is passed over.
static PATTERNS: LazyLock<Vec<Option<Regex>>> =
    LazyLock::new(|| sources().map(|source| Regex::new(source).ok()).collect());

fn sources() -> impl Iterator<Item = &'static str> {
    let questions = QUESTIONS.iter().flat_map(|(_, english, chinese)| [*english, *chinese]);
    questions.chain([
        DATE, DATE_HAN, NUMBER, NUMBER_HAN, PERSON_HAN, PLACE, PLACE_HAN, REASON, REASON_HAN, TIME, TIME_HAN, MONEY,
        MONEY_HAN, DIGITS,
    ])
}

fn matches(number: usize, text: &str) -> bool {
    PATTERNS.get(number).and_then(Option::as_ref).is_some_and(|pattern| pattern.is_match(text))
}

/// The kind of answer that the question wants.
pub fn wanted(question: &str) -> Wanted {
    let (chinese, lower) = (question.chars().any(is_han), question.to_lowercase());
    let found = QUESTIONS.iter().enumerate().find(|(at, _)| matches(2 * at + usize::from(chinese), &lower));
    found.map_or(Wanted::Other, |(_, (wanted, ..))| *wanted)
}

impl Wanted {
    /// Whether the sentence may hold such an answer; where the question wants nothing in particular, any may.
    pub fn may_be_in(self, sentence: &str, question: &str) -> bool {
        let han = usize::from(sentence.chars().any(is_han));
        let first = 2 * QUESTIONS.len();
        let lower = || sentence.to_lowercase();
        match self {
            Self::When => matches(first + han, &lower()),
            Self::Number => brings_a_number(sentence, question) || matches(first + 2 + han, &lower()),
            Self::Who if han == 1 => matches(first + 4, sentence),
            Self::Who => brings_a_name(sentence, question),
            Self::Where => matches(first + 5 + han, sentence),
            Self::Why | Self::How => matches(first + 7 + han, &lower()),
            Self::Time => matches(first + 9 + han, &lower()),
            Self::Money => matches(first + 11 + han, &lower()),
            Self::Other => true,
        }
    }
}

/// A number that the question does not hold.
fn brings_a_number(sentence: &str, question: &str) -> bool {
    let Some(Some(digits)) = PATTERNS.last() else { return false };
    let asked: Vec<&str> = digits.find_iter(question).map(|found| found.as_str()).collect();
    digits.find_iter(sentence).any(|found| !asked.contains(&found.as_str()))
}

/// A capitalised word inside the sentence that the question does not hold.
fn brings_a_name(sentence: &str, question: &str) -> bool {
    let asked = text::normalise(question);
    let words = sentence.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    words
        .skip(1)
        .any(|word| word.starts_with(|c: char| c.is_ascii_uppercase()) && !asked.contains(&word.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for source in sources() {
            assert!(Regex::new(source).is_ok(), "{source}");
        }
        assert_eq!(PATTERNS.len(), sources().count());
    }

    #[track_caller]
    fn check(question: &str, expected: Wanted, holds: &str, lacks: &str) {
        let wanted = wanted(question);
        assert_eq!(wanted, expected, "{question}");
        assert!(wanted.may_be_in(holds, question) && !wanted.may_be_in(lacks, question), "{question}");
    }

    #[test]
    fn the_kind_of_answer_is_read_off_the_question() {
        check("When did it open?", Wanted::When, "It opened in June 1998.", "It was a success.");
        check("How many shops are there?", Wanted::Number, "There are 38 shops.", "There are shops.");
        check("How many rugs weigh 2 kg?", Wanted::Number, "They are 12.", "2 kg are a lot.");
        check("How much for 2 rugs?", Wanted::Money, "They cost 12 yuan.", "2 rugs cost a lot.");
        check("How long do I have?", Wanted::Time, "You have 30 days.", "You have ¥30.");
        check("How do I return it?", Wanted::How, "You return it by post.", "Returns are welcome.");
        check("Who led the team?", Wanted::Who, "It was led by Kawann Short.", "The team was led well.");
        check("Where is it?", Wanted::Where, "It stands in Shanghai.", "It is large.");
        check("Why is it late?", Wanted::Why, "It is late because of snow.", "It is late.");
        check("什么时候到货？", Wanted::When, "3月5日到货。", "已经到货。");
        check("多久到货？", Wanted::Time, "3个工作日到货。", "由两家公司送货。");
        check("多少钱包邮？", Wanted::Money, "满199元包邮。", "满额即可。");
        check("谁来送货？", Wanted::Who, "由两人送货。", "会送货。");
        assert_eq!(wanted("Can I return it?"), Wanted::Other);
    }
}
