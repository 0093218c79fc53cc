//! PURE: the desk's own sentences, in the customer's language; a company's replies for its intents come before these.

use talkfleet_shared::chat::{Language, Passage};

use crate::{config::PlanConfig, plan::Refusal};

/// Topics that a refusal names: more are not read.
const TOPICS_MAX: usize = 3;

/// Picks the sentence in the customer's language; who writes neither English nor Chinese reads English.
fn pick<'a>(language: Language, english: &'a str, chinese: &'a str) -> &'a str {
    match language {
        Language::Chinese => chinese,
        Language::English | Language::Other => english,
    }
}

/// Small talk whose intent brought no reply.
pub fn small_talk(language: Language) -> String {
    pick(language, "Hello! What can I help you with?", "您好！请问有什么可以帮您？").to_owned()
}

/// The customer wants a human.
pub fn handover(language: Language) -> String {
    let english = "This is one for a colleague. I have marked our conversation so that a person takes it over.";
    pick(language, english, "这个问题需要人工客服处理。我已标记本次对话，转由人工客服跟进。").to_owned()
}

/// A colleague has the conversation.
pub fn with_colleague(language: Language) -> &'static str {
    let english = "A colleague is with you in this conversation; your message has been passed on.";
    pick(language, english, "人工客服正在本次对话中为您服务，您的消息已转达。")
}

/// The model was waited for and did not come back.
pub fn waited_in_vain(language: Language) -> &'static str {
    let english = "I could not find you a good answer in time, and I would rather not guess. I have marked our \
                   conversation so that a person takes it over.";
    pick(language, english, "抱歉，暂时没能为您找到可靠的答案，也不想随意猜测。我已标记本次对话，转由人工客服跟进。")
}

/// An honest 'I don't know', with what the desk can help with instead.
pub fn refusal(why: Refusal, language: Language, near: &[Passage], config: &PlanConfig) -> String {
    match why {
        Refusal::NotSearched => {
            let english = "I cannot look that up right now. Please ask again in a few minutes, or ask for a colleague.";
            pick(language, english, "暂时无法查询相关资料。请过几分钟再试，或要求转接人工客服。").to_owned()
        }
        Refusal::NotKnown => {
            let topics = topics(language, near, config);
            let english = "I do not know the answer to that, and I would rather not guess.";
            let sorry = pick(language, english, "抱歉，我没有找到这个问题的答案，也不想随意猜测。");
            match (topics.is_empty(), language) {
                (true, _) => sorry.to_owned(),
                (false, Language::Chinese) => format!("{sorry}我可以帮您解答：{}。", listed(&topics, '“', '”', "、")),
                (false, _) => {
                    let listed = listed(&topics, '"', '"', ", ");
                    let end = if listed.ends_with('"') { "" } else { "." };
                    format!("{sorry} I can help with, for example: {listed}{end}")
                }
            }
        }
    }
}

/// What a generated answer is followed by when its model broke off.
pub fn interrupted(language: Language) -> &'static str {
    let english = "I was interrupted here. This is what our help pages say:";
    pick(language, english, "回答在此中断。以下是帮助中心的相关内容：")
}

/// What an answer is followed by when its model went on with what the help pages do not say.
pub fn quoted_instead(language: Language) -> &'static str {
    pick(language, "This is what our help pages say:", "以下是帮助中心的原文：")
}

/// Topics one after the other; one that is a question stands in quotation marks, since its own mark would end the sentence.
fn listed(topics: &[String], open: char, close: char, between: &str) -> String {
    let marked = |topic: &String| match topic.ends_with(['?', '？']) {
        true => format!("{open}{topic}{close}"),
        false => topic.clone(),
    };
    topics.iter().map(marked).collect::<Vec<_>>().join(between)
}

/// Titles of what came near in the customer's language, else what the operator configured: whatever is asked, some
/// article is the nearest, and one that a question of no known intent would not be answered from is not worth naming.
fn topics(language: Language, near: &[Passage], config: &PlanConfig) -> Vec<String> {
    let wanted = if language == Language::Chinese { Language::Chinese } else { Language::English };
    let mut titles = Vec::new();
    let worth_naming = |passage: &&Passage| {
        passage.language == wanted && !passage.title.is_empty() && passage.score >= config.answerable_min
    };
    for passage in near.iter().filter(worth_naming) {
        if !titles.contains(&passage.title) {
            titles.push(passage.title.clone());
        }
    }
    if titles.is_empty() {
        let configured = if wanted == Language::Chinese { &config.topics_zh } else { &config.topics_en };
        return configured.clone();
    }
    titles.truncate(TOPICS_MAX);
    titles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WorkerConfig;

    #[test]
    fn a_refusal_names_what_is_near_in_the_customers_language() {
        let config = WorkerConfig::load(None, &[]).unwrap().plan;
        let near = ["Refunds", "退款", "Refunds", "Returns"].map(|title| Passage {
            id: "p".into(),
            document: "d".into(),
            title: title.into(),
            url: String::new(),
            text: "a".into(),
            language: if title.is_ascii() { Language::English } else { Language::Chinese },
            score: 0.5,
        });
        let text = refusal(Refusal::NotKnown, Language::English, &near, &config);
        assert!(text.ends_with("for example: Refunds, Returns."), "{text}");
        let text = refusal(Refusal::NotKnown, Language::Chinese, &near, &config);
        assert!(text.ends_with("我可以帮您解答：退款。"), "{text}");
        let asked = near.clone().map(|passage| Passage { title: format!("{}?", passage.title), ..passage });
        let text = refusal(Refusal::NotKnown, Language::English, &asked, &config);
        assert!(text.ends_with("for example: \"Refunds?\", \"Returns?\""), "{text}");
        let text = refusal(Refusal::NotKnown, Language::Chinese, &asked, &config);
        assert!(text.ends_with("我可以帮您解答：“退款?”。"), "{text}");
        let far = near.map(|passage| Passage { score: 0.3, ..passage });
        let text = refusal(Refusal::NotKnown, Language::English, &far, &config);
        assert!(text.ends_with("for example: orders, delivery, returns and refunds, payment, your account."), "{text}");
        let text = refusal(Refusal::NotKnown, Language::Other, &[], &config);
        assert!(text.contains("returns and refunds"), "{text}");
    }
}
