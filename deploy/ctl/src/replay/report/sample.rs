//! Turns of a shop, English and Chinese by turns, that every side answers alike until a test spoils one.

use talkfleet_shared::{
    chat::{
        Answer, Ask, Citation, Intent, Kind, Language, MessageText, Outcome, Passage, Rung, Timings, TurnRecord, Usage,
        Versions,
    },
    id::{ConversationId, RequestId, TenantId},
    release::Release,
};

use crate::replay::Triple;

/// An article of the base with what is asked about it.
pub struct Topic {
    pub url: &'static str,
    pub intent: &'static str,
    pub language: Language,
    pub question: &'static str,
    pub text: &'static str,
}

const EN: Language = Language::English;
const ZH: Language = Language::Chinese;

const fn topic(
    url: &'static str,
    intent: &'static str,
    language: Language,
    question: &'static str,
    text: &'static str,
) -> Topic {
    Topic { url, intent, language, question, text }
}

pub const TOPICS: [Topic; 10] = [
    topic(
        "/en/help/returns",
        "return_item",
        EN,
        "Can I send the lamp back?",
        "You can return an item within 30 days of delivery. Print the label in your account and hand the parcel to any counter; the refund follows when it arrives.",
    ),
    topic(
        "/zh/help/returns",
        "return_item",
        ZH,
        "灯不喜欢，可以退吗？",
        "收到商品后30天内可以退货。请在账户中打印退货标签，将包裹交给任意网点；我们收到后为您退款。",
    ),
    topic(
        "/en/help/delivery",
        "delivery_time",
        EN,
        "How long does delivery take?",
        "Standard delivery takes two to four working days. Express orders placed before noon arrive on the next working day.",
    ),
    topic(
        "/zh/help/delivery",
        "delivery_time",
        ZH,
        "多久能送到？",
        "标准配送需要两到四个工作日。中午之前下单的加急订单将在下一个工作日送达。",
    ),
    topic(
        "/en/help/refunds",
        "refund_time",
        EN,
        "When do I get my money?",
        "Refunds reach your card five working days after we have received the parcel. Gift cards are credited at once.",
    ),
    topic(
        "/zh/help/refunds",
        "refund_time",
        ZH,
        "退款多久到账？",
        "我们收到包裹后，退款将在五个工作日内退回您的银行卡。礼品卡即时到账。",
    ),
    topic(
        "/en/help/instalments",
        "pay_instalments",
        EN,
        "Can I pay in three parts?",
        "You can pay in three instalments for orders above 50. There is no interest when every instalment is paid on time.",
    ),
    topic(
        "/zh/help/instalments",
        "pay_instalments",
        ZH,
        "可以分期付款吗？",
        "订单金额满300元可分三期付款。每期按时还款则不收利息。",
    ),
    topic(
        "/en/help/invoice",
        "get_invoice",
        EN,
        "Where do I find my invoice?",
        "Invoices are in your account below each order. Choose 'Download' for a PDF.",
    ),
    topic(
        "/zh/help/invoice",
        "get_invoice",
        ZH,
        "发票在哪里下载？",
        "发票在账户的每个订单下方。点击“下载”即可获得PDF文件。",
    ),
];

/// Chance that is the same in every run (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    /// Evenly between 0 and 1.
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub fn topic_of(n: usize) -> &'static Topic {
    &TOPICS[n % TOPICS.len()]
}

pub fn passage(topic: &Topic, number: usize) -> Passage {
    Passage {
        id: format!("{}-{number}", topic.url),
        document: topic.url.rsplit('/').next().unwrap().into(),
        title: topic.intent.replace('_', " "),
        url: topic.url.into(),
        text: topic.text.into(),
        language: topic.language,
        score: 0.9,
    }
}

pub fn citation(passage: &Passage) -> Citation {
    let Passage { title, url, text, score, .. } = passage.clone();
    Citation { title, url, snippet: text, score }
}

/// What a fleet records of the n-th turn: three passages, the first of them quoted.
pub fn record(n: usize, dice: &mut Dice) -> TurnRecord {
    let topic = topic_of(n);
    let near = (0..3).map(|i| passage(topic_of(n + i * 2), 1 + i));
    let intent = Intent { name: topic.intent.into(), confidence: 0.93, entities: Vec::new() };
    let timings = timings(dice);
    let [request, conversation] = [format!("r{n:06}"), format!("c{:06}", n / 3)];
    let usage = Usage { model: String::new(), prompt_tokens: 0, completion_tokens: 0, ..Usage::default() };
    let passages: Vec<Passage> = near.collect();
    let answer = Answer {
        id: RequestId::parse(&request).unwrap(),
        conversation: ConversationId::parse(&conversation).unwrap(),
        text: topic.text.into(),
        language: topic.language,
        intent: intent.clone(),
        citations: vec![citation(&passages[0])],
        kind: Kind::Answer,
        rung: Rung::Extract,
        rung_reason: None,
        degraded: Vec::new(),
        timings,
        usage: None,
        worker: String::new(),
    };
    TurnRecord {
        tenant: TenantId::parse("demo").unwrap(),
        conversation: answer.conversation.clone(),
        request: answer.id.clone(),
        attempt: 1,
        ask: Ask::new(MessageText::parse(topic.question).unwrap()),
        ask_digest: String::new(),
        language: topic.language,
        intent,
        passages,
        cuts: Vec::new(),
        told_intent: true,
        parked: None,
        sources: Some(answer.citations.clone()),
        spoken: String::new(),
        model_call: None,
        summary: None,
        outcome: Outcome::Answered { answer: Box::new(answer) },
        timings,
        usage: Some(usage).filter(|usage| usage.prompt_tokens > 0),
        versions: Versions { intents: "i1".into(), knowledge: "k1".into(), ..Versions::of("0.1.0", Release::Stable) },
        trace: None,
        asked_at_ms: 1_762_160_400_000 + 250 * n as u64,
        ended_at_ms: 1_762_160_400_030 + 250 * n as u64,
    }
}

fn timings(dice: &mut Dice) -> Timings {
    let mut long = |typical: f64| typical * (0.6 * (dice.roll() + dice.roll() + dice.roll() - 1.5)).exp();
    let (queue_ms, recall_ms, intent_ms) = (long(0.8), long(0.4), long(2.2));
    let (retrieval_ms, response_ms) = (long(4.5), long(11.0));
    let total_ms = queue_ms + recall_ms + intent_ms.max(retrieval_ms) + response_ms;
    Timings { queue_ms, recall_ms, intent_ms, retrieval_ms, response_ms, total_ms }
}

/// Turns that every side answers alike, each in its own time.
pub fn triples(n: usize) -> Vec<Triple> {
    let mut dice = Dice(7);
    let triple = |n| {
        let mut told = || record(n, &mut dice);
        Triple { original: told(), baseline_a: Some(told()), baseline_b: Some(told()), candidate: Some(told()) }
    };
    (0..n).map(triple).collect()
}

/// The answer of a record; it has one.
pub fn answer(record: &mut TurnRecord) -> &mut Answer {
    match &mut record.outcome {
        Outcome::Answered { answer } => answer,
        other => panic!("no answer: {other:?}"),
    }
}

/// Changes the candidate's record of every turn that is wanted; the number of turns spoilt.
pub fn spoil(triples: &mut [Triple], wanted: impl Fn(usize) -> bool, with: impl Fn(&mut TurnRecord)) -> usize {
    let mut spoilt = 0;
    for (n, triple) in triples.iter_mut().enumerate().filter(|(n, _)| wanted(*n)) {
        let _ = n;
        spoilt += 1;
        with(triple.candidate.as_mut().unwrap());
    }
    spoilt
}

pub fn rename_intent(record: &mut TurnRecord, to: &str) {
    record.intent.name = to.into();
    answer(record).intent.name = to.into();
    record.versions.intents = "i2".into();
}

/// The base without an article: what was behind it moves up.
pub fn drop_article(record: &mut TurnRecord, url: &str) {
    record.versions.knowledge = "k2".into();
    record.passages.retain(|passage| passage.url != url);
    quote_first(record);
}

/// The first passage is quoted and cited.
pub fn quote_first(record: &mut TurnRecord) {
    let first = record.passages[0].clone();
    let answer = answer(record);
    (answer.text, answer.citations) = (first.text.clone(), vec![citation(&first)]);
    record.sources = Some(vec![citation(&first)]);
}

pub fn say(record: &mut TurnRecord, text: &str) {
    answer(record).text = text.into();
}
