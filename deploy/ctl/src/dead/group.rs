//! Dead letters as people deal with them: grouped by cause, in lanes that keep a conversation's order, bodies readable.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::Value;
use talkfleet_shared::envelope::{self, Format};

/// Bytes of an unreadable body in one line of a hexadecimal listing.
const HEX_LINE_BYTES: usize = 32;

/// A dead letter in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) tenant: String,
    pub(super) stored_at_ms: u64,
    #[serde(skip)]
    pub(super) stored_at: String,
    pub(super) fingerprint: String,
    pub(super) reason: String,
    pub(super) origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redrive_of: Option<u64>,
}

/// Dead letters of one cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Group {
    pub(super) fingerprint: String,
    pub(super) count: u64,
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    #[serde(skip)]
    pub(super) first: String,
    #[serde(skip)]
    pub(super) last: String,
    pub(super) reason: String,
    /// The newest: what it says of itself is the fullest.
    pub(super) example: u64,
}

/// Groups as they are counted; a million letters of a dozen causes take a dozen groups.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, Group>);

impl Groups {
    /// Counts a letter; they come oldest first.
    pub(super) fn add(&mut self, row: &Row) {
        let group = self.0.entry(row.fingerprint.clone()).or_insert_with(|| Group {
            fingerprint: row.fingerprint.clone(),
            count: 0,
            first_ms: row.stored_at_ms,
            last_ms: row.stored_at_ms,
            first: row.stored_at.clone(),
            last: row.stored_at.clone(),
            reason: row.reason.clone(),
            example: row.id,
        });
        group.count += 1;
        (group.last_ms, group.last) = (row.stored_at_ms, row.stored_at.clone());
        (group.reason, group.example) = (row.reason.clone(), row.id);
    }

    /// The most frequent cause first.
    pub(super) fn sorted(self) -> Vec<Group> {
        let mut groups: Vec<_> = self.0.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.last_ms)));
        groups
    }
}

/// Letters side by side, those of one conversation behind one another in their order; one lane when each has to wait for
/// the one before.
pub(super) fn lanes(rows: Vec<Row>, one_by_one: bool) -> Vec<Vec<Row>> {
    if one_by_one {
        return vec![rows];
    }
    let mut places = BTreeMap::new();
    let mut lanes: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        let place = *places.entry(row.origin.clone()).or_insert(lanes.len());
        match lanes.get_mut(place) {
            Some(lane) => lane.push(row),
            None => lanes.push(vec![row]),
        }
    }
    lanes
}

/// Takes out the letters whose message lies here twice: a redrive that ended as a dead letter of its own, beside the one
/// that it was a redrive of. Asking both would answer the customer twice.
pub(super) fn without_doubles(rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let here: HashSet<u64> = rows.iter().map(|row| row.id).collect();
    rows.into_iter().partition(|row| row.redrive_of.is_none_or(|of| !here.contains(&of)))
}

/// A body as people read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Body {
    #[serde(rename = "body")]
    Message(Value),
    /// Text that is no message.
    #[serde(rename = "body_text")]
    Text(String),
    #[serde(rename = "body_hex")]
    Hex(Vec<String>),
}

impl Body {
    /// Reads whatever can be read of a body.
    pub(super) fn of(content_type: Option<&str>, body: &[u8]) -> Self {
        let read = Format::detect(content_type, body).and_then(|format| envelope::decode_large(body, format));
        match (read, std::str::from_utf8(body)) {
            (Ok(value), _) => Self::Message(value),
            (Err(_), Ok(text)) => Self::Text(text.to_owned()),
            (Err(_), Err(_)) => {
                let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                Self::Hex(body.chunks(HEX_LINE_BYTES).map(line).collect())
            }
        }
    }
}

/// A stranger's text as a terminal may get it: no control characters, no way to reorder what is read.
pub(super) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, fingerprint: &str, origin: &str, redrive_of: Option<u64>) -> Row {
        let (tenant, reason) = ("demo".into(), format!("because of {id}"));
        let (fingerprint, origin) = (fingerprint.into(), origin.into());
        Row { id, tenant, stored_at_ms: id, stored_at: id.to_string(), fingerprint, reason, origin, redrive_of }
    }

    fn ids(rows: &[Row]) -> Vec<u64> {
        rows.iter().map(|row| row.id).collect()
    }

    #[test]
    fn a_thousand_letters_of_one_cause_are_one_group() {
        let mut groups = Groups::default();
        (1..=1_000).for_each(|id| groups.add(&row(id, "aaaa", "o", None)));
        groups.add(&row(1_001, "bbbb", "o", None));
        let groups = groups.sorted();
        let told: Vec<_> =
            groups.iter().map(|g| (g.fingerprint.as_str(), g.count, g.first_ms, g.last_ms, g.example)).collect();
        assert_eq!(told, [("aaaa", 1_000, 1, 1_000, 1_000), ("bbbb", 1, 1_001, 1_001, 1_001)]);
    }

    #[test]
    fn a_conversation_keeps_its_order() {
        let rows = || [(1, "a"), (2, "b"), (3, "a"), (4, "c")].map(|(id, origin)| row(id, "f", origin, None)).to_vec();
        let told: Vec<_> = lanes(rows(), false).iter().map(|lane| ids(lane)).collect();
        assert_eq!(told, [vec![1, 3], vec![2], vec![4]]);
        assert_eq!(ids(&lanes(rows(), true)[0]), [1, 2, 3, 4]);
    }

    #[test]
    fn a_message_that_lies_here_twice_is_asked_once() {
        let rows = vec![row(1, "f", "a", None), row(5, "f", "a", Some(1)), row(7, "f", "b", Some(2))];
        let (asked, left) = without_doubles(rows);
        assert_eq!((ids(&asked), ids(&left)), (vec![1, 7], vec![5]));
    }

    #[test]
    fn a_body_is_shown_as_well_as_it_can_be() {
        let packed = [0x81, 0xa1, b'a', 0x01];
        assert_eq!(Body::of(None, &packed), Body::Message(serde_json::json!({ "a": 1 })));
        assert_eq!(Body::of(None, b"{\"text\":"), Body::Text("{\"text\":".into()));
        assert_eq!(Body::of(None, &[0xc1, 0xff]), Body::Hex(vec!["c1ff".into()]));
        assert_eq!(printable("a\u{1b}[31m\u{202E}b"), "a\u{FFFD}[31m\u{FFFD}b");
    }
}
