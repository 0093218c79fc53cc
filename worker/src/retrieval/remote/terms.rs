//! PURE: a text as weighted terms, so that a backend's sum of products is the BM25 of the index in memory.
//!
//! A term is a number: a word of one field of one shelf of one tenant. A shelf is a kind of entry in a language; a word's
//! rarity and a text's usual length mean nothing across shelves.

use std::collections::BTreeMap;

use talkfleet_shared::id::TenantId;
use tantivy::tokenizer::{TextAnalyzer, TokenStream};

use super::super::words;
use crate::store::search::TERMS_MAX;
use crate::text::Language;

/// BM25's usual constants, as tantivy has them.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// A query word in the title counts this much more than in the text, as on the shelves in memory.
const TITLE_BOOST: f32 = 1.5;

/// Words of a query that are looked up: a pasted e-mail is searched by its first hundred, as in memory.
const QUERY_TERMS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Text,
    Title,
}

/// Where a term stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) kind: &'a str,
    pub(super) language: Language,
}

/// Cuts texts into words.
pub(super) struct Words(TextAnalyzer);

impl Default for Words {
    fn default() -> Self {
        Self(words::analyzer())
    }
}

/// A text's words with how often each stands in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    words: BTreeMap<String, u32>,
    pub(super) length: u32,
}

impl Words {
    pub(super) fn count(&mut self, text: &str) -> Counted {
        let mut counted = Counted::default();
        self.0.token_stream(text).process(&mut |token| {
            *counted.words.entry(token.text.clone()).or_default() += 1;
            counted.length += 1;
        });
        counted
    }

    /// The words as a server takes them that parts them by spaces; no word of ours holds one.
    pub(super) fn in_order(&mut self, text: &str) -> String {
        let mut found = String::with_capacity(2 * text.len());
        self.0.token_stream(text).process(&mut |token| {
            if !found.is_empty() {
                found.push(' ');
            }
            found.push_str(&token.text);
        });
        found
    }

    /// The distinct words of a query.
    pub(super) fn of_query(&mut self, query: &str) -> Vec<String> {
        let mut found = words::terms(&mut self.0, query);
        found.truncate(QUERY_TERMS_MAX);
        found
    }
}

/// The weights of one field, by term: what tantivy's BM25 makes of a word but for its rarity.
pub(super) fn weights(place: Place<'_>, field: Field, counted: &Counted, average: f32) -> Vec<(i32, f32)> {
    let length = counted.length as f32 / average.max(1.0);
    let weight = |count: u32| {
        let count = count as f32;
        count * (1.0 + K1) / (count + K1 * (1.0 - B + B * length))
    };
    counted.words.iter().map(|(word, count)| (term(place, field, word), weight(*count))).collect()
}

/// Both fields' weights in the order of their terms; should two words share a number, the later one counts for both.
pub(super) fn together(text: Vec<(i32, f32)>, title: Vec<(i32, f32)>) -> Vec<(i32, f32)> {
    text.into_iter().chain(title).collect::<BTreeMap<i32, f32>>().into_iter().collect()
}

/// The number of a word: FNV-1a over its place, field and letters. Two of 300,000 words share one in 3 of 10,000 cases.
pub(super) fn term(place: Place<'_>, field: Field, word: &str) -> i32 {
    let field = match field {
        Field::Text => "text",
        Field::Title => "title",
    };
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [place.tenant.as_str(), place.kind, place.language.tag(), field, word] {
        // A byte that stands in none of them parts them.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    // The upper half is the better mixed one.
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    i32::try_from(folded % TERMS_MAX as u64).unwrap_or_default() + 1
}

/// How much a word says that stands in `found` of `total` texts, as tantivy counts.
pub(super) fn rarity(total: f32, found: f32) -> f32 {
    (1.0 + ((total - found).max(0.0) + 0.5) / (found + 0.5)).ln()
}

/// A word's part in what a text of average length would score with every word of the query in it; the same sum as the
/// shelves in memory take.
pub(super) fn bound(total: f32, found: f32) -> f32 {
    (1.0 + (total - found).max(0.0) + 0.5).ln() - (found + 0.5).ln().max(-1.0)
}

/// What a query's word weighs in a field.
pub(super) fn query_weight(field: Field, total: f32, found: f32) -> f32 {
    rarity(total, found) * if field == Field::Title { TITLE_BOOST } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(tenant: &'a TenantId, kind: &'a str, language: Language) -> Place<'a> {
        Place { tenant, kind, language }
    }

    #[test]
    fn a_term_is_of_its_tenant_shelf_and_field() {
        let [a, b] = ["a", "b"].map(|name| TenantId::parse(name).unwrap());
        let own = place(&a, "text", Language::English);
        let mut all = vec![term(own, Field::Text, "refund"), term(own, Field::Title, "refund")];
        all.push(term(place(&b, "text", Language::English), Field::Text, "refund"));
        all.push(term(place(&a, "whole", Language::English), Field::Text, "refund"));
        all.push(term(place(&a, "text", Language::Chinese), Field::Text, "refund"));
        assert!(all.iter().all(|term| (1..=TERMS_MAX).contains(term)));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
        // Kept in databases: another number would lose what is stored.
        assert_eq!(term(own, Field::Text, "refund"), term(own, Field::Text, "refund"));
    }

    #[test]
    fn words_of_both_languages_are_counted() {
        let counted = Words::default().count("Refund, refunds! 退货");
        assert_eq!(counted.words["refund"], 2);
        assert_eq!((counted.words["退货"], counted.length), (1, 5));
        assert_eq!(Words::default().of_query(&"x1 x2 ".repeat(4_000)).len(), 2);
    }

    #[test]
    fn the_sum_of_products_is_bm25() {
        // Robertson and Zaragoza 2009, by hand: three words, one of them twice, in a text of average length.
        let tenant = TenantId::parse("a").unwrap();
        let counted = Words::default().count("refund refund slow");
        let found = weights(place(&tenant, "text", Language::English), Field::Text, &counted, 3.0);
        let refund = term(place(&tenant, "text", Language::English), Field::Text, "refund");
        let weight = found.iter().find(|(term, _)| *term == refund).unwrap().1;
        assert!((weight - 2.0 * 2.2 / 3.2).abs() < 1e-6);
        assert!((rarity(10.0, 1.0) - (1.0_f32 + 9.5 / 1.5).ln()).abs() < 1e-6);
    }
}
