//! PURE: whether a message stands for itself or leans on the one before: "and express?", "how much is it", "那邮费谁出".

use super::{Script, normalise, runs};

/// How much a message needs the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lean {
    /// It names what it is about.
    No,
    /// It is so short that it may go on with what was said.
    Short,
    /// It takes up what was said: "and …", "what about …", "… 呢", "it", or it names nothing at all.
    Strong,
}

/// A message with this many words that name something may be short for more. English words, and Chinese characters.
const SHORT_WORDS: usize = 2;
const SHORT_HAN: usize = 5;

/// One that takes something up and yet has more of them than this has changed the subject.
const TAKEN_UP_WORDS: usize = 3;
const TAKEN_UP_HAN: usize = 7;

/// A pronoun stands for what was said only where little else is named: not in "can I return it after four weeks".
const PRONOUN_WORDS: usize = 2;

const OPENERS: &[&str] =
    &["and ", "or ", "but ", "what about ", "how about ", "what if ", "even ", "also ", "only ", "too "];
const OPENERS_HAN: &[&str] = &["那", "还有", "另外", "如果", "要是", "但是", "可是", "而且", "万一", "换成", "它"];
const CLOSERS_HAN: &[&str] = &["呢", "咧"];

const PRONOUNS: &[&str] =
    &["it", "it's", "its", "they", "they're", "them", "their", "that", "those", "these", "one", "ones", "both", "same"];
const PRONOUNS_HAN: &[&str] = &["它", "这个", "那个", "这种", "那种"];

/// Words that name nothing: what is asked about is somewhere else.
const EMPTY: &[&str] = &[
    "a", "an", "the", "i", "i'm", "i've", "i'd", "you", "you're", "we", "he", "she", "me", "us", "your", "is", "isn't",
    "are", "am", "was", "were", "be", "been", "do", "does", "don't", "doesn't", "did", "didn't", "has", "have", "had",
    "can", "can't", "could", "will", "won't", "would", "shall", "should", "may", "might", "must", "of", "to", "for",
    "in", "on", "at", "by", "with", "from", "as", "if", "then", "than", "so", "too", "also", "and", "or", "but", "not",
    "no", "yes", "ok", "please", "pls", "how", "what", "what's", "when", "when's", "where", "why", "who", "which",
    "whose", "much", "many", "long", "often", "far", "soon", "about", "out", "up", "just", "only", "still", "already",
    "now", "any", "some", "all", "more", "get", "got", "need", "want", "take", "takes", "cost", "costs", "work",
    "works", "happens", "happen", "hi", "hello", "else", "there",
];
const EMPTY_HAN: &[&str] = &[
    "多少钱",
    "为什么",
    "什么时候",
    "怎么办",
    "怎么样",
    "怎么弄",
    "可不可以",
    "能不能",
    "是不是",
    "有没有",
    "要不要",
    "多少",
    "多久",
    "多长",
    "时间",
    "什么",
    "怎么",
    "怎样",
    "如何",
    "哪里",
    "哪儿",
    "哪天",
    "几天",
    "几点",
    "可以",
    "需要",
    "请问",
    "一下",
    "大概",
    "已经",
    "这个",
    "那个",
    "你们",
    "我们",
    "么",
    "吗",
    "呢",
    "吧",
    "啊",
    "呀",
    "了",
    "的",
    "我",
    "你",
    "能",
    "要",
    "会",
    "是",
    "有",
    "都",
    "也",
    "那",
];

/// Whoever says "my parcel" has named it.
const NAMING: &[&str] = &["my", "our"];
const NAMING_HAN: &[&str] = &["我的"];

/// Whether a message leans on the one before it.
pub fn lean(text: &str) -> Lean {
    let normal = normalise(text);
    let words: Vec<&str> = runs(&normal).filter(|run| run.script == Script::Word).map(|run| run.text).collect();
    let han: String = runs(&normal).filter(|run| run.script == Script::Han).map(|run| run.text).collect();
    if han.is_empty() { lean_words(&normal, &words) } else { lean_han(&han, words.len()) }
}

fn lean_words(normal: &str, words: &[&str]) -> Lean {
    let named = words.iter().filter(|word| !EMPTY.contains(word) && !PRONOUNS.contains(word)).count();
    let opened = OPENERS.iter().any(|opener| normal.starts_with(opener));
    let pronoun = words.iter().any(|word| PRONOUNS.contains(word));
    if words.is_empty() {
        Lean::No
    } else if opened && named <= TAKEN_UP_WORDS || pronoun && named <= PRONOUN_WORDS || named == 0 {
        Lean::Strong
    } else if named <= SHORT_WORDS && !words.iter().any(|word| NAMING.contains(word)) {
        Lean::Short
    } else {
        Lean::No
    }
}

/// `words` are the Latin words among the Chinese ones; each names something.
fn lean_han(han: &str, words: usize) -> Lean {
    let opened = OPENERS_HAN.iter().any(|opener| han.starts_with(opener));
    let closed = CLOSERS_HAN.iter().any(|closer| han.ends_with(closer));
    let pronoun = PRONOUNS_HAN.iter().any(|pronoun| han.contains(pronoun));
    let left = EMPTY_HAN.iter().fold(han.to_owned(), |left, empty| left.replace(empty, ""));
    let named = left.chars().count() + 2 * words;
    if (opened || closed || pronoun) && named <= TAKEN_UP_HAN || named == 0 {
        Lean::Strong
    } else if named <= SHORT_HAN && !NAMING_HAN.iter().any(|naming| han.contains(naming)) {
        Lean::Short
    } else {
        Lean::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: Lean, texts: &[&str]) {
        for text in texts {
            assert_eq!(lean(text), expected, "{text}");
        }
    }

    #[test]
    fn what_takes_something_up_leans() {
        check(
            Lean::Strong,
            &[
                "and express?",
                "And who pays the postage?",
                "how much",
                "how long does it take?",
                "they are worn",
                "why?",
            ],
        );
        check(Lean::Strong, &["what about the box", "can it be extended?", "even on sundays?", "can I get them?"]);
        check(Lean::Strong, &["多少钱", "那邮费谁出", "英国呢", "为什么", "这个能退吗", "如果丢了怎么办", "要多久"]);
    }

    #[test]
    fn what_is_short_may_lean() {
        check(Lean::Short, &["is there interest", "opening hours?", "any shop in beijing?", "return costs"]);
        check(Lean::Short, &["能延期吗", "穿过一次", "鞋盒扔了", "有利息吗", "北京有店吗"]);
    }

    #[test]
    fn what_names_its_subject_stands_for_itself() {
        check(
            Lean::No,
            &[
                "where is my parcel?",
                "i forgot my password",
                "can i still return it after 4 weeks?",
                "and how do I pay for a gold membership with alipay?",
                "How long does standard delivery to Chengdu take?",
                "",
                "👍",
            ],
        );
        check(
            Lean::No,
            &[
                "我的包裹到哪了",
                "礼品卡可以在门店使用吗",
                "怎么申请增值税专用发票",
                "那如果我想用支付宝给朋友买礼品卡呢",
            ],
        );
    }
}
