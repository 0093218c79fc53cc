//! PURE: what a model says without claiming anything: courtesies, bare affirmations, and that it does not know.

use super::tokens::{Token, tokens};

/// A courtesy with more words may claim something.
const COURTESY_WORDS_MAX: usize = 22;

/// Words of which courtesies are made; a sentence of these alone promises nothing.
const COURTESY: &str = "hi hello dear hey there thanks thank you for asking reaching out contacting us your question message great good \
    i i'm am we we're are is happy glad pleased to help hope this helps helped answers that let me know if you have any other more \
    further questions concerns need anything else assistance something unclear do not hesitate can please feel free ask ask us sorry \
    apologise apologize for the inconvenience hear understand be of today with it a an and at time day have nice lovely wonderful \
    welcome you're always here contact reach support team service should would like want details don't i'd here's found our from about on what looking appreciate patience customer friend kind regards best";

/// Affirmations without a statement: they are left out, since nobody can tell what they affirm.
const BARE: [&str; 12] = [
    "yes",
    "no",
    "sure",
    "sure thing",
    "of course",
    "certainly",
    "absolutely",
    "great question",
    "好的",
    "可以的",
    "当然",
    "是的",
];

/// Chinese courtesies; what is left of a sentence without them must be nothing.
const COURTESY_HAN: &[&str] = &[
    "很高兴为您服务",
    "很高兴为您解答",
    "感谢您的咨询",
    "请联系客服",
    "欢迎联系客服",
    "可以随时联系我们",
    "祝您一切顺利",
    "感谢您的支持",
    "感谢您的提问",
    "感谢您的理解",
    "感谢您的耐心",
    "感谢您联系我们",
    "感谢咨询",
    "希望对您有帮助",
    "希望能帮到您",
    "希望能够帮到您",
    "希望以上信息对您有帮助",
    "希望以上信息",
    "希望这些信息对您有帮助",
    "以上信息",
    "如果您还有其他问题",
    "如果还有其他问题",
    "如有其他问题",
    "如有其他疑问",
    "如果有任何疑问",
    "如还有疑问",
    "如有疑问",
    "如有任何问题",
    "请随时告诉我",
    "请随时联系我们",
    "请随时联系客服",
    "请随时咨询我们",
    "请随时咨询",
    "请随时提问",
    "欢迎随时咨询",
    "欢迎随时联系我们",
    "还有什么可以帮您的吗",
    "还有什么可以帮您",
    "请问还有什么可以帮您",
    "给您带来不便",
    "深表歉意",
    "非常抱歉",
    "很抱歉",
    "抱歉",
    "祝您购物愉快",
    "祝您生活愉快",
    "您好",
    "你好",
    "谢谢",
];

/// How a model says that it does not know.
const IGNORANCE: [&str; 26] = [
    "i do not know",
    "i don't know",
    "i am not sure",
    "i'm not sure",
    "i do not have",
    "i don't have",
    "i cannot answer",
    "i can't answer",
    "i cannot find",
    "i can't find",
    "i could not find",
    "i couldn't find",
    "i am unable to",
    "i'm unable to",
    "passages do not",
    "passages don't",
    "passage does not",
    "not mentioned in",
    "no information",
    "我不知道",
    "没有找到",
    "未找到",
    "无法回答",
    "没有提到",
    "没有相关",
    "不清楚",
];

/// What a sentence is when it claims nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It may be said.
    Courtesy,
    /// It may be left out.
    Bare,
    /// The model does not know.
    Ignorance,
}

/// What kind of sentence this is, if it claims nothing.
pub fn manner(sentence: &str) -> Option<Manner> {
    let tokens = tokens(sentence);
    let lower = crate::text::normalise(sentence);
    let bare = lower.trim_matches(|c: char| !c.is_alphanumeric());
    if bare.is_empty() || BARE.contains(&bare) {
        return Some(Manner::Bare);
    }
    if IGNORANCE.iter().any(|phrase| lower.contains(phrase)) {
        return Some(Manner::Ignorance);
    }
    (is_courtesy_in_words(&tokens) || is_courtesy_in_han(&lower)).then_some(Manner::Courtesy)
}

fn is_courtesy_in_words(tokens: &[Token]) -> bool {
    let words: Vec<&str> = tokens.iter().filter_map(Token::word).collect();
    let only_words = tokens
        .iter()
        .all(|token| matches!(token, Token::Word(_) | Token::Mark('.' | ',' | '!' | '?' | '-' | '—' | ':' | '\'')));
    only_words
        && (1..=COURTESY_WORDS_MAX).contains(&words.len())
        && words.iter().all(|word| COURTESY.split_whitespace().any(|known| known == *word))
}

fn is_courtesy_in_han(sentence: &str) -> bool {
    let mut text = sentence.to_owned();
    if !text.chars().any(crate::text::is_han) {
        return false;
    }
    COURTESY_HAN.iter().for_each(|phrase| text = text.replace(phrase, ""));
    !text.chars().any(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sentence: &str, expected: Option<Manner>) {
        assert_eq!(manner(sentence), expected, "{sentence}");
    }

    #[test]
    fn what_claims_nothing_is_told_apart() {
        check("Hello! Thanks for reaching out.", Some(Manner::Courtesy));
        check("Let me know if you have any other questions.", Some(Manner::Courtesy));
        check("Please don't hesitate to contact our support team.", Some(Manner::Courtesy));
        check("您好，很高兴为您服务！", Some(Manner::Courtesy));
        check("如有其他问题，请随时联系我们。", Some(Manner::Courtesy));
        check("Yes.", Some(Manner::Bare));
        check("好的，", Some(Manner::Bare));
        check("I'm sorry, I don't know that.", Some(Manner::Ignorance));
        check("抱歉，我没有找到相关资料。", Some(Manner::Ignorance));
    }

    #[test]
    fn a_claim_is_no_courtesy() {
        check("Yes, you can return it.", None);
        check("We are happy to help with a 50 discount.", None);
        check("您好，可以退货。", None);
    }
}
