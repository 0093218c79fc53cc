//! PURE: what a colleague who takes over reads first: what was asked, what was answered, and what was named, masked.

use talkfleet_shared::chat::{Exchange, Intent, Language};

use crate::{intent::entities::redact, text::sentences};

/// Earlier questions that are told, the newest.
const QUESTIONS_MAX: usize = 3;

/// Characters of each question and answer that are told.
const LINE_CHARS_MAX: usize = 200;

/// Of a number or an address so many last characters stay, by which a colleague tells two apart.
const TAIL_CHARS: usize = 4;

/// The summary of a conversation that ends in this message.
pub fn summary(text: &str, intent: &Intent, history: &[Exchange], language: Language) -> String {
    let words =
        |english: &'static str, chinese: &'static str| if language == Language::Chinese { chinese } else { english };
    let from = history.len().saturating_sub(QUESTIONS_MAX);
    let earlier =
        history[from..].iter().map(|exchange| format!("{} {}", words("Asked:", "曾问："), line(&exchange.question)));
    let answered = history.last().map(|exchange| {
        let first = sentences(&exchange.answer).first().map_or_else(String::new, |first| line(first));
        format!("{} {first}", words("Answered last:", "最近的回答："))
    });
    let now = [format!("{} {}", words("Now:", "现在："), line(text))];
    let wants = [format!("{} {}", words("Intent:", "意图："), intent.name)];
    let named: Vec<String> = intent
        .entities
        .iter()
        .map(|entity| format!("{} {}", entity.kind, masked(&entity.kind, &entity.value)))
        .collect();
    let named = (!named.is_empty()).then(|| format!("{} {}", words("Named:", "提到："), named.join(", ")));
    earlier.chain(answered).chain(now).chain(wants).chain(named).collect::<Vec<_>>().join("\n")
}

fn line(text: &str) -> String {
    let text = redact(text).replace(['\n', '\r'], " ");
    let mut line: String = text.chars().take(LINE_CHARS_MAX).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

/// Amounts and dates name nobody and stay.
fn masked(kind: &str, value: &str) -> String {
    if matches!(kind, "amount" | "date") {
        return value.to_owned();
    }
    let hidden = value.chars().count().saturating_sub(TAIL_CHARS);
    format!("…{}", value.chars().skip(hidden).collect::<String>())
}

#[cfg(test)]
mod tests {
    use talkfleet_shared::chat::Entity;

    use super::*;

    #[test]
    fn a_colleague_reads_what_was_said_and_no_number_in_full() {
        let exchange = |question: &str| Exchange { question: question.into(), answer: "Two days. More.".into() };
        let history = ["a", "b", "c", "Where is HL-20481234? Mail ann@example.com"].map(exchange);
        let entities = vec![
            Entity { kind: "phone".into(), value: "13812345678".into(), start: 0, end: 11 },
            Entity { kind: "amount".into(), value: "¥99".into(), start: 0, end: 3 },
        ];
        let intent = Intent { name: "human_agent".into(), confidence: 0.9, entities };
        let text = summary("A human please, 13812345678", &intent, &history, Language::English);
        assert_eq!(
            text,
            "Asked: b\nAsked: c\nAsked: Where is [order]? Mail [email]\nAnswered last: Two days.\n\
             Now: A human please, [phone]\nIntent: human_agent\nNamed: phone …5678, amount ¥99"
        );
        let long = summary(&"字".repeat(900), &Intent::unknown(), &[], Language::Chinese);
        assert!(long.starts_with("现在： 字") && long.chars().count() < 300, "{long}");
    }
}
