//! Lines of a file as messages: JSON objects or plain texts; a bad line is named and skipped, the rest goes out.

use std::{collections::BTreeMap, io::Read, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;
use talkfleet_shared::{
    chat::{Ask, METADATA_PAIRS_MAX, METADATA_VALUE_CHARS_MAX, MessageText},
    id::{ChannelId, ConversationId, UserId},
};

use crate::knowledge::shown;

/// One message with the conversation that it belongs to.
pub(super) struct Message {
    pub(super) conversation: ConversationId,
    pub(super) ask: Ask,
}

/// A line that is no message.
pub(super) struct Skipped {
    pub(super) line: usize,
    pub(super) why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: MessageText,
    conversation: Option<ConversationId>,
    user: Option<UserId>,
    channel: Option<ChannelId>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Reads a file, or standard input for `-`.
pub(super) fn read(path: &Path) -> Result<(Vec<Message>, Vec<Skipped>)> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input is not UTF-8 text")?;
    } else {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read as UTF-8 text", path.display()))?;
    }
    Ok(parse(&text))
}

pub(super) fn parse(text: &str) -> (Vec<Message>, Vec<Skipped>) {
    let (mut messages, mut skipped) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match message(line.trim()) {
            Ok(message) => messages.push(message),
            Err(why) => skipped.push(Skipped { line: number + 1, why }),
        }
    }
    (messages, skipped)
}

fn message(line: &str) -> Result<Message, String> {
    if !line.starts_with('{') {
        let text = MessageText::parse(line).map_err(|error| error.to_string())?;
        return Ok(Message { conversation: ConversationId::new(), ask: Ask::new(text) });
    }
    let line: Line = serde_json::from_str(line).map_err(|error| shown(&error.to_string()))?;
    if line.metadata.len() > METADATA_PAIRS_MAX
        || line.metadata.values().any(|v| v.chars().count() > METADATA_VALUE_CHARS_MAX)
    {
        return Err(format!(
            "metadata holds at most {METADATA_PAIRS_MAX} pairs of at most {METADATA_VALUE_CHARS_MAX} characters"
        ));
    }
    let ask = Ask {
        user: line.user,
        channel: line.channel.unwrap_or_default(),
        metadata: line.metadata,
        ..Ask::new(line.text)
    };
    Ok(Message { conversation: line.conversation.unwrap_or_default(), ask })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_texts_are_messages_and_bad_lines_are_named() {
        let (messages, skipped) = parse(
            "Where is my parcel?\n\n{\"text\":\"快递到哪了\",\"conversation\":\"c1\"}\n{\"text\":1}\n{\"txt\":\"a\"}\n",
        );
        let texts: Vec<_> = messages.iter().map(|m| m.ask.text.as_str()).collect();
        assert_eq!(texts, ["Where is my parcel?", "快递到哪了"]);
        assert_eq!(messages[1].conversation.as_str(), "c1");
        let lines: Vec<_> = skipped.iter().map(|s| s.line).collect();
        assert_eq!(lines, [4, 5]);
        assert!(skipped[1].why.contains("txt"), "{}", skipped[1].why);
    }
}
