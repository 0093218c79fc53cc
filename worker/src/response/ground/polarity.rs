//! PURE: whether a clause denies: cannot, no longer, excluded, 不可以, 无需.

use super::tokens::Token;

const DENIALS: [&str; 22] = [
    "not",
    "cannot",
    "can't",
    "don't",
    "doesn't",
    "didn't",
    "isn't",
    "aren't",
    "won't",
    "wasn't",
    "weren't",
    "couldn't",
    "shouldn't",
    "wouldn't",
    "haven't",
    "hasn't",
    "never",
    "nor",
    "neither",
    "unable",
    "impossible",
    "nobody",
];

/// Verbs and adjectives that deny by themselves.
const REFUSALS: [&str; 18] = [
    "exclude",
    "excluded",
    "excludes",
    "excluding",
    "except",
    "refuse",
    "refused",
    "decline",
    "declined",
    "forbidden",
    "prohibited",
    "void",
    "invalid",
    "unavailable",
    "ineligible",
    "unnecessary",
    "non-returnable",
    "optional",
];

/// Characters that deny, unless they stand in one of the words below.
const DENIALS_HAN: [&str; 9] = ["不", "没", "无", "未", "勿", "除外", "禁止", "失效", "拒绝"];

/// Words that hold such a character and deny nothing.
const HARMLESS_HAN: [&str; 30] = [
    "不论",
    "不管",
    "不但",
    "不仅",
    "不过",
    "不同",
    "不久",
    "不到",
    "不满",
    "不足",
    "不超过",
    "不限",
    "不少",
    "不错",
    "不断",
    "无论",
    "差不多",
    "未来",
    "没问题",
    "没有问题",
    "不好意思",
    "无线",
    "不是",
    "不断",
    "不低于",
    "不少于",
    "不多于",
    "对不起",
    "不妨",
    "不便",
];

/// Whether the clause says that something is not so, may not be, or need not be.
pub fn denies(clause: &[Token]) -> bool {
    words_deny(clause) || characters_deny(clause)
}

fn words_deny(clause: &[Token]) -> bool {
    clause.iter().enumerate().any(|(at, token)| {
        let next = |words: &[&str]| clause.get(at + 1).is_some_and(|next| next.is_word(words));
        if token.is_word(&DENIALS) {
            return !next(&["only", "just", "until", "later", "more"]);
        }
        if token.is_word(&["no", "without", "none", "nothing"]) {
            // "no more than", "no fee": a bound and an amount, which are compared as such.
            let spared = super::quantities::is_free(&clause[at..]);
            let opening = at == 0 && clause.get(1).is_some_and(|next| next.is_mark(&[',']));
            return !opening && !spared && !next(&["matter", "more", "later", "less", "problem"]);
        }
        token.is_word(&REFUSALS)
    })
}

fn characters_deny(clause: &[Token]) -> bool {
    let mut text: String = clause.iter().map(|token| if let Token::Han(c) = token { *c } else { ' ' }).collect();
    for word in ["不收手续费", "不加收", "不另收", "不收取", "不收费", "免费"].iter().chain(&HARMLESS_HAN)
    {
        text = text.replace(word, " ");
    }
    // 能不能, 是不是: a question about it.
    for verb in ["能", "是", "可", "会", "要", "用"] {
        text = text.replace(&format!("{verb}不{verb}"), " ");
    }
    // 未使用的商品: what kind, not that it is not so.
    while let Some((at, end)) = attribute(&text) {
        text.replace_range(at..end, " ");
    }
    DENIALS_HAN.iter().any(|denial| text.contains(denial))
}

/// Where a 未 with up to three characters and 的 stands.
fn attribute(text: &str) -> Option<(usize, usize)> {
    text.match_indices('未').find_map(|(at, _)| {
        let end = text[at..].char_indices().skip(2).take(3).find(|(_, c)| *c == '的')?.0;
        Some((at, at + end + '的'.len_utf8()))
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tokens::tokens, *};

    #[track_caller]
    fn check(text: &str, expected: bool) {
        assert_eq!(denies(&tokens(text)), expected, "{text}");
    }

    #[test]
    fn denials_of_both_languages() {
        for text in [
            "you cannot return it",
            "PayPal isn't accepted",
            "without a receipt",
            "drops are excluded",
            "no reason is needed",
        ] {
            check(text, true);
        }
        for text in ["不可以退货", "无需说明理由", "不能叠加", "没有退款", "尚未使用", "保修失效"]
        {
            check(text, true);
        }
        for text in [
            "you can return it",
            "no fee",
            "no more than 5 cards",
            "not only here",
            "不限金额",
            "余额不足10元",
            "不收手续费",
            "能不能退",
            "未使用的商品能换",
        ] {
            check(text, false);
        }
    }
}
