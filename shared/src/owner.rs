//! Who owns a conversation: the bot, unless a person has taken it; what the bucket of owners holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{ConversationId, TenantId};

/// An entry of the bucket; a conversation without one is the bot's. The entry's revision is the owner's: whoever noted
/// one speaks only as long as there is no later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerRecord {
    pub owner: Owner,
    /// Unix milliseconds.
    pub since_ms: u64,
}

/// Who speaks in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    Bot,
    Human { name: String },
}

/// A conversation within its tenant.
pub type Conversation = (TenantId, ConversationId);

/// The key of a conversation's entry: `<tenant>.<conversation>`.
pub fn key(tenant: &TenantId, conversation: &ConversationId) -> String {
    format!("{tenant}.{conversation}")
}

/// The conversation that a key names.
pub fn parse_key(key: &str) -> Option<Conversation> {
    let (tenant, conversation) = key.split_once('.')?;
    Some((TenantId::parse(tenant).ok()?, ConversationId::parse(conversation).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_conversation() {
        let (tenant, conversation) = (TenantId::parse("demo").unwrap(), ConversationId::parse("c-1").unwrap());
        assert_eq!(parse_key(&key(&tenant, &conversation)), Some((tenant, conversation)));
        assert_eq!((parse_key("demo"), parse_key("demo.c.d")), (None, None));
    }

    #[test]
    fn an_entry_reads_as_it_is_documented() {
        let text = r#"{"owner":{"human":{"name":"Ann"}},"since_ms":1}"#;
        let record = OwnerRecord { owner: Owner::Human { name: "Ann".into() }, since_ms: 1 };
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(serde_json::from_str::<OwnerRecord>(r#"{"owner":"bot","since_ms":1}"#).unwrap().owner, Owner::Bot);
    }
}
