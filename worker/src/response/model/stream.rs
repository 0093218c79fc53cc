//! PURE: the events of a chat completion as pieces: words, why it stops, what it costs, the end.

use serde::Deserialize;

use super::ModelError;

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Words(String),
    /// Why the model stops here, in its own word.
    Finish(String),
    Usage {
        prompt_tokens: u32,
        completion_tokens: u32,
    },
    End,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Tokens>,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// A reasoner's `reasoning_content` is its own business and is not read.
#[derive(Deserialize, Default)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: u32,
    completion_tokens: u32,
}

/// The pieces of one event's data, in order; an event without any is a sign of life.
pub fn read(data: &str) -> Vec<Result<Piece, ModelError>> {
    if data.trim() == "[DONE]" {
        return vec![Ok(Piece::End)];
    }
    let Ok(chunk) = serde_json::from_str::<Chunk>(data) else { return vec![Err(ModelError::Garbage)] };
    if chunk.error.is_some() {
        return vec![Err(ModelError::Reported)];
    }
    let choice = chunk.choices.into_iter().next();
    let (words, finish) = choice.map_or((None, None), |choice| (choice.delta.content, choice.finish_reason));
    let usage = chunk.usage.map(|tokens| Piece::Usage {
        prompt_tokens: tokens.prompt_tokens,
        completion_tokens: tokens.completion_tokens,
    });
    words
        .filter(|words| !words.is_empty())
        .map(Piece::Words)
        .into_iter()
        .chain(finish.map(Piece::Finish))
        .chain(usage)
        .map(Ok)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(data: &str, expected: &[Piece]) {
        let pieces: Result<Vec<_>, _> = read(data).into_iter().collect();
        assert_eq!(pieces.unwrap(), expected, "{data}");
    }

    #[test]
    fn what_is_said_is_told_from_what_is_thought() {
        let words = |text: &str| Piece::Words(text.into());
        check(r#"{"choices":[{"delta":{"content":"Two"}}]}"#, &[words("Two")]);
        check(r#"{"choices":[{"delta":{"content":null,"reasoning_content":"Hm, two?"}}]}"#, &[]);
        check(r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#, &[]);
        check(
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
            &[Piece::Finish("stop".into()), Piece::Usage { prompt_tokens: 1, completion_tokens: 2 }],
        );
        check(" [DONE] ", &[Piece::End]);
        check(r#"{"choices":[],"usage":null,"error":null}"#, &[]);
        assert!(matches!(read(r#"{"error":{"message":"overloaded"}}"#)[..], [Err(ModelError::Reported)]));
        assert!(matches!(read("{\"choices\": 7}")[..], [Err(ModelError::Garbage)]));
    }
}
