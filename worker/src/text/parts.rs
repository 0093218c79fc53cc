//! PURE: the questions in a message: several in one, each searched for itself, and the ones in a long story.

use super::{Lean, Script, is_han, lean, normalise, runs, sentences};

/// Questions of one message that are answered: the first ones. More are an interview, and each costs a search.
pub const PARTS_MAX: usize = 3;

/// From this size on a message is a story: what is asked is a small part of its words. In characters, Han counted thrice,
/// as a Chinese word is two of them and an English one five.
const STORY_CHARS: usize = 150;

/// Sentences of a story that are searched: what went wrong, and what is asked.
const TOLD_MAX: usize = 4;

/// How an English question begins.
const ASKING: &[&str] = &[
    "do", "does", "did", "can", "could", "how", "how's", "what", "what's", "when", "where", "where's", "who", "why",
    "which", "is", "are", "will", "would", "should", "may", "must", "have", "has", "am", "was", "were", "isn't",
    "don't", "can't", "whose", "shall", "won't", "doesn't",
];

/// By which a Chinese clause asks.
const ASKING_HAN: &[&str] = &[
    "吗",
    "么",
    "呢",
    "多少",
    "多久",
    "多长",
    "几天",
    "几点",
    "几个",
    "几号",
    "什么",
    "怎么",
    "怎样",
    "如何",
    "哪",
    "谁",
    "为啥",
    "能不能",
    "可不可以",
    "是不是",
    "有没有",
    "要不要",
    "会不会",
    "包不包",
    "咋",
];

/// By which a sentence of a story tells what went wrong or what is wanted.
const TELLING: &[&str] = &[
    "stopped",
    "broke",
    "broken",
    "doesn't",
    "does not",
    "not work",
    "won't",
    "can't",
    "cannot",
    "never",
    "missing",
    "wrong",
    "damaged",
    "late",
    "still no",
    "want",
    "need",
    "would like",
    "refund",
    "return",
    "cancel",
    "lost",
    "fault",
    "坏",
    "不能",
    "不了",
    "没有收到",
    "没收到",
    "还没",
    "不知道",
    "想",
    "要",
    "退",
    "换",
    "修",
    "错",
    "丢",
    "突然",
    "不加热",
];

/// Words between two questions, and before the first, that belong to neither.
const JOINTS: &[&str] =
    &["and ", "also ", "plus ", "secondly ", "second ", "then ", "third ", "lastly ", "finally ", "another question "];
const JOINTS_HAN: &[&str] = &["还有就是", "还有", "另外", "以及", "并且", "同时", "再问一下", "顺便问一下", "再就是"];

/// The questions of a message, in order, when there are several that each stand for themselves; else none.
pub fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut lead = String::new();
    let mut goes_on = false;
    for clause in clauses(text) {
        let bare = without_joint(clause);
        // "Which cards, wallets and vouchers do you take?" asks once.
        let asks = (!goes_on || asks_by_itself(bare)) && asks(bare);
        goes_on = clause.ends_with(',');
        match (asks, parts.last_mut()) {
            // "what about customs" goes on with what was asked.
            (true, Some(last)) if lean(bare) == Lean::Strong => append(last, clause),
            (true, _) => {
                append(&mut lead, bare);
                parts.push(std::mem::take(&mut lead));
            }
            (false, Some(last)) => append(last, clause),
            // "three questions:", "i cancelled an hour ago,"
            (false, None) if clause.ends_with([':', '：']) => lead.clear(),
            (false, None) => append(&mut lead, clause),
        }
    }
    parts.truncate(PARTS_MAX);
    if parts.len() < 2 { Vec::new() } else { parts }
}

/// The sentences of a long message that ask or tell what went wrong; None of a short one, or when that is all of it.
pub fn told(text: &str) -> Option<String> {
    let size: usize = text.chars().map(|c| if is_han(c) { 3 } else { 1 }).sum();
    if size < STORY_CHARS {
        return None;
    }
    let all = sentences(text);
    let telling: Vec<&str> = all.iter().copied().filter(|sentence| asks_or_tells(sentence)).collect();
    let from = telling.len().saturating_sub(TOLD_MAX);
    (!telling.is_empty() && telling.len() < all.len()).then(|| telling[from..].join(" "))
}

fn asks_or_tells(sentence: &str) -> bool {
    let normal = normalise(sentence);
    asks(sentence) || sentence.ends_with(['?', '？']) || TELLING.iter().any(|telling| normal.contains(telling))
}

fn append(to: &mut String, clause: &str) {
    let clause = clause.trim();
    if !to.is_empty() && !clause.is_empty() {
        to.push(if to.ends_with(|c: char| is_han(c)) { '，' } else { ' ' });
    }
    to.push_str(clause);
}

/// The message cut where a question may end: at question marks, semicolons, colons, line breaks, commas, and before an
/// "and" or "also" that a question follows.
fn clauses(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices() {
        let end = match c {
            '?' | '？' | ';' | '；' | '\n' | '，' | '。' | '!' | '！' => at + c.len_utf8(),
            ':' | '：' | ',' | '.' if text[at + c.len_utf8()..].starts_with([' ', '\n']) || c == '：' => {
                at + c.len_utf8()
            }
            ' ' if begins_a_question(&text[at + 1..]) => at,
            _ => continue,
        };
        if end > start {
            found.push(text[start..end].trim());
            start = end;
        }
    }
    found.push(text[start..].trim());
    found.retain(|clause| clause.chars().any(char::is_alphanumeric));
    found
}

/// "and do I pay …": an "and" that joins two questions and not two things.
fn begins_a_question(rest: &str) -> bool {
    let rest = rest.to_ascii_lowercase();
    JOINTS[..2].iter().any(|joint| rest.strip_prefix(joint).is_some_and(asks_in_words))
}

fn without_joint(clause: &str) -> &str {
    let clause = clause.trim();
    let after = |joint: &&str| {
        let head = clause.get(..joint.len()).filter(|head| head.eq_ignore_ascii_case(joint))?;
        Some(clause[head.len()..].trim_start_matches([' ', ',', '，']))
    };
    JOINTS.iter().chain(JOINTS_HAN).find_map(after).filter(|rest| !rest.is_empty()).unwrap_or(clause)
}

fn asks(clause: &str) -> bool {
    asks_by_itself(clause) || !clause.contains(is_han) && clause.ends_with(['?', '？'])
}

/// Whether its words ask, whatever its mark.
fn asks_by_itself(clause: &str) -> bool {
    let normal = normalise(clause);
    if runs(&normal).any(|run| run.script == Script::Han) {
        ASKING_HAN.iter().any(|asking| normal.contains(asking))
    } else {
        asks_in_words(&normal)
    }
}

fn asks_in_words(text: &str) -> bool {
    let first = text.split(|c: char| !(c.is_alphanumeric() || c == '\'')).find(|word| !word.is_empty());
    first.is_some_and(|first| ASKING.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(parts(text), expected, "{text}");
    }

    #[test]
    fn several_questions_are_told_apart() {
        check(
            "How much is shipping and do I pay for returns too?",
            &["How much is shipping", "do I pay for returns too?"],
        );
        check(
            "Hi, three questions: do you ship to Canada, can I pay with Alipay, and how long do I have to return things?",
            &["do you ship to Canada,", "can I pay with Alipay,", "how long do I have to return things?"],
        );
        check(
            "你好，问三个事：能寄加拿大吗，能用支付宝吗，多久之内可以退货",
            &["能寄加拿大吗，", "能用支付宝吗，", "多久之内可以退货"],
        );
        check("运费多少？退货运费也要我出吗？", &["运费多少？", "退货运费也要我出吗？"]);
        check(
            "i cancelled an hour ago, when do i get my money and does my coupon come back?",
            &["i cancelled an hour ago, when do i get my money", "does my coupon come back?"],
        );
    }

    #[test]
    fn one_question_stays_whole() {
        check("do you ship to australia and what about customs", &[]);
        check("Where is my parcel? Can you tell me that?", &[]);
        check("can I pay by card, gift card and points", &[]);
        check("parcel already shipped, can it go to my office instead? same city", &[]);
        check("收到短信让我点链接解冻退款，是你们发的吗", &[]);
        check("Which cards, wallets and vouchers do you take?", &[]);
        check("退货要多久？急", &[]);
        check("", &[]);
    }

    #[test]
    fn a_story_is_known_by_what_it_asks() {
        let story = "Hello there, I hope you are well. Last month I bought a kettle for my mother. She was very happy. \
                     Yesterday it stopped heating. The box is somewhere in the attic. What should I do first?";
        assert_eq!(told(story).as_deref(), Some("Yesterday it stopped heating. What should I do first?"));
        assert_eq!(told("It stopped heating. What now?"), None);
        let chinese = "你好，上个月我在你们网上给我妈买了一台咖啡机当生日礼物，她特别喜欢，天天做卡布奇诺。可是昨天突然不加热了。箱子应该还在阁楼上。请问第一步该怎么办？";
        assert_eq!(told(chinese).as_deref(), Some("可是昨天突然不加热了。 请问第一步该怎么办？"));
    }

    proptest::proptest! {
        #[test]
        fn there_are_two_or_three_parts_or_none(text in "(and|do|you|can|hi|吗|退货|[ ,?;:，？\n]){0,30}") {
            let parts = parts(&text);
            proptest::prop_assert!(parts.is_empty() || (2..=PARTS_MAX).contains(&parts.len()));
        }
    }
}
