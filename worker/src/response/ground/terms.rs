//! PURE: the words of a sentence that carry its content, so that two wordings of one thing can be compared.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use super::tokens::Token;

/// Letters that two forms of an English word share: delivery, delivered and delivers agree in six.
const STEM_CHARS: usize = 6;

/// English words without content of their own.
const STOP: &str = "a an the this that these those it its they them their theirs he she we us our ours you your yours i me my mine \
    is are was were be been being am do does did done have has had having will would shall should can could may might must \
    of in on at to from by with for into onto about as and or but if then than so also too just only even still yet already \
    there here when where which who whom whose what how why while because since until till after before during within \
    not no nor never none nothing without cannot can't don't doesn't didn't isn't aren't won't wasn't weren't couldn't \
    shouldn't wouldn't haven't hasn't i'm you're we're it's that's there's yes please all any each every some more most \
    other another same such own very much many both either neither via per up down out off over under again once get gets \
    got make makes made take takes taken let need needs needed want wants like able simply however therefore otherwise \
    always usually normally first next last new one two s t re ve ll d m";

/// What people at a desk say instead of one another; the first of a row stands for the others.
const SAME: &[&str] = &[
    "parcel package packet shipment",
    "delivery shipping delivered delivers deliver ship ships shipped postage send sends sent dispatch arrive arrives brings comes",
    "fee charge cost costs price surcharge pay pays paid payment",
    "shop store shops stores",
    "refund reimburse reimbursed money-back",
    "coupon voucher code promo",
    "warranty guarantee guaranteed",
    "item product goods thing article",
    "collect pick pickup picking picks",
    "receive received receipt receiving",
    "buy purchase bought buying purchased",
    "return back",
    "sign-up register registration",
    "combine stack together combined",
    "accept accepted take",
    "phone ring call rings calls",
    "email e-mail mail e-mailed emailed",
    "hand give drop",
    "show shown displayed appears",
    "expire expired expiry valid",
    "start begin starts begins counted",
    "someone somebody person anyone nobody",
    "extend prolong extended extension",
    "keep hold kept held",
    "replace swap exchange",
    "defect fault faulty defective broken damage damaged",
    "period deadline",
    "use used using redeem redeemed apply spend spent",
    "value amount",
    "choose select pick choice",
];

/// Chinese words of one meaning, the first of a row standing for the others. Only what everybody exchanges freely.
const SAME_HAN: &[&str] = &[
    "包裹 快递 快件",
    "运费 邮费 邮资 快递费",
    "优惠券 优惠码 券码 代金券",
    "保修 质保",
    "商品 物品 东西 产品 货物",
    "门店 实体店 店铺",
    "付款 支付 付钱",
    "签收 收货 收到",
    "退货 退回",
    "说明 提供",
    "理由 原因",
    "登记 注册",
    "包邮 免邮 免运费",
    "送达 送到 配送",
    "叠加 同时使用 一起用",
    "延长 延期",
    "次日 第二天",
    "客服 人工",
];

/// Chinese function words, longest first; they are cut out before characters are paired.
const STOP_HAN: &str = "如果您 可以的 的话 您的 我们 你们 他们 可以 需要 如果 即可 就能 就可 才能 能够 进行 通过 或者 以及 并且 而且 \
    因为 所以 但是 不过 也就是 也就 也能 都能 都可以 这个 这些 那个 一般 通常 之后 以后 之前 以前 期间 请您 请 您 你 我 的 了 \
    是 在 会 将 和 与 或 及 并 也 都 就 才 还 又 再 把 被 让 给 从 到 自 由 于 以 为 而 则 那 这 其 之 个 吗 呢 吧 哦 啊 呀 \
    不能 无法 不可 无需 不用 不必 不需要 不会 没有 不 没 无 未 能 要 可 有 时 后 前 内 里 中 上 下 等 些 只";

/// The content of a sentence: stems of words, pairs of Han characters (single ones where they stand alone).
pub fn terms(tokens: &[Token]) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut run = String::new();
    let close = |run: &mut String, found: &mut HashSet<String>| {
        han_terms(run, found);
        run.clear();
    };
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Han(c) => run.push(*c),
            other => {
                close(&mut run, &mut found);
                if let Token::Word(word) = other {
                    let dashed = at > 1 && tokens[at - 1] == Token::Mark('-');
                    if !(dashed && word.len() < 3) {
                        found.extend(term(word));
                    }
                }
            }
        }
    }
    close(&mut run, &mut found);
    found
}

/// The stem of a word that carries content.
fn term(word: &str) -> Option<String> {
    if word.len() < 2 || STOPS.contains(word) {
        return None;
    }
    let stem = stem(word);
    Some(FIRSTS.get(&stem).cloned().unwrap_or(stem))
}

/// Constants computed once, not state: nothing ever changes them.
static STOPS: LazyLock<HashSet<&str>> = LazyLock::new(|| STOP.split_whitespace().collect());
static STOPS_HAN: LazyLock<Vec<&str>> = LazyLock::new(|| STOP_HAN.split_whitespace().collect());

static SAME_HAN_WORDS: LazyLock<Vec<Vec<&str>>> =
    LazyLock::new(|| SAME_HAN.iter().map(|row| row.split_whitespace().collect()).collect());

/// By stem, the stem of the first in its row.
static FIRSTS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let rows = SAME.iter().map(|row| row.split_whitespace().map(stem).collect::<Vec<_>>());
    rows.flat_map(|row| row.clone().into_iter().map(move |stem| (stem, row[0].clone()))).collect()
});

/// Without the commonest endings, and no longer than what forms of one word share.
fn stem(word: &str) -> String {
    let word = word.trim_end_matches("'s");
    let cut = [
        "ations", "ation", "ments", "ment", "ingly", "edly", "ing", "ies", "ied", "ers", "ed", "es", "er", "ly", "s",
        "y", "e",
    ]
    .iter()
    .find_map(|end| word.strip_suffix(end).filter(|rest| rest.chars().count() > 2))
    .unwrap_or(word);
    let cut: String = cut.chars().take(STEM_CHARS).collect();
    // "stopped" and "stop"
    match cut.as_bytes() {
        [.., a, b] if a == b && cut.len() > 3 => cut[..cut.len() - 1].to_owned(),
        _ => cut,
    }
}

fn han_terms(run: &str, found: &mut HashSet<String>) {
    if run.is_empty() {
        return;
    }
    let mut text = run.to_owned();
    for row in SAME_HAN_WORDS.iter() {
        let [first, words @ ..] = row.as_slice() else { continue };
        words.iter().for_each(|word| replace(&mut text, word, first));
    }
    for stop in STOPS_HAN.iter() {
        replace(&mut text, stop, " ");
    }
    for part in text.split_whitespace() {
        let chars: Vec<char> = part.chars().collect();
        match chars.len() {
            1 => found.extend([part.to_owned()]),
            _ => found.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>())),
        }
    }
}

/// Most of the words are in no text, which is seen much faster than a text is copied.
fn replace(text: &mut String, word: &str, by: &str) {
    if text.contains(word) {
        *text = text.replace(word, by);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tokens::tokens, *};

    #[track_caller]
    fn same(a: &str, b: &str) {
        assert_eq!(terms(&tokens(a)), terms(&tokens(b)), "{a} / {b}");
    }

    #[test]
    fn two_wordings_of_one_thing_share_their_terms() {
        same("The package is delivered", "your parcel was shipped");
        same("You can return it", "it may be returned");
        same("您可以退回商品", "退货物品");
        assert!(terms(&tokens("you can do it")).is_empty());
        assert!(terms(&tokens("运费")).contains("运费"));
    }
}
