//! PURE: lists in a passage: which sentences are items, what introduces them, and which items go together.

use std::ops::Range;

use crate::text;

/// What a single item ends in.
const ENDS: [char; 5] = ['.', '!', '。', '！', '；'];

/// A list, by the places of its sentences in the passage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub items: Range<usize>,
    /// The sentence that leads in to it.
    pub lead_in: Option<usize>,
}

/// The list that the sentence at a place is an item of: single sentences on lines of their own, two or more.
pub fn list_of(passage: &str, place: usize) -> Option<List> {
    let lines: Vec<Vec<&str>> =
        passage.lines().map(text::sentences).filter(|sentences| !sentences.is_empty()).collect();
    let single = |line: &Vec<&str>| line.len() == 1 && line[0].ends_with(ENDS);
    let mut first = 0;
    for group in lines.chunk_by(|one, other| single(one) == single(other)) {
        let items = first..first + group.iter().map(Vec::len).sum::<usize>();
        if items.contains(&place) {
            let before = first.checked_sub(1);
            let leads_in = |before: &usize| {
                text::sentences(passage).get(*before).is_some_and(|sentence| sentence.ends_with([':', '：']))
            };
            let list = List { items, lead_in: before.filter(leads_in) };
            return (group.len() > 1 && group.first().is_some_and(single)).then_some(list);
        }
        first = items.end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: usize, items: Option<(Range<usize>, Option<usize>)>) {
        let passage = "Speed\nAfter the check, it depends. On how you paid:\nAlipay: same day.\nCards: 3 days.\nWe write. Then you know.";
        assert_eq!(list_of(passage, place), items.map(|(items, lead_in)| List { items, lead_in }), "{place}");
    }

    #[test]
    fn a_list_is_lines_of_one_sentence_each() {
        check(1, None);
        check(3, Some((3..5, Some(2))));
        check(4, Some((3..5, Some(2))));
        check(5, None);
        assert_eq!(list_of("One line.\nHeading", 0), None);
    }
}
