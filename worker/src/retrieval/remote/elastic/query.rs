//! PURE: what is asked of the server, in either dialect, and how its answers are read.
//!
//! Elasticsearch 8.4 or newer takes `knn` beside `query`; OpenSearch 2.9 or newer takes `knn` as a query. All else is
//! alike. Words are looked up as they are (`term`), in one field for each language: our own tokenizer has cut them.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use talkfleet_shared::id::TenantId;

use super::super::{PASSAGES_OF_DOCUMENT_MAX, QUESTION, TEXT, WHOLE};
use super::ElasticError;
use crate::config::Dialect;
use crate::store::search::{Key, Scored};
use crate::text::Language;

/// A query word in the title counts this much more than in the text, as on the shelves in memory.
const TITLE_BOOST: f64 = 1.5;

/// Matches by which the mean and the deviation of a score are reckoned; the rest of them is counted as no match.
const WORDS_READ: i64 = 200;

/// Neighbours that each shard looks at for every one that it gives.
const LOOKED_AT: i64 = 8;

/// Scores of candidates that are read at most.
const SCORES_MAX: usize = 2_000;

const FIELDS: [&str; 4] = ["document", "kind", "ordinal", "language"];

/// The alias under which a tenant's knowledge is searched. Names of indices know no capitals.
pub(super) fn alias(prefix: &str, tenant: &TenantId) -> String {
    let mut alias = format!("{prefix}-knowledge-");
    for letter in tenant.as_str().chars() {
        if letter.is_ascii_uppercase() {
            alias.push('=');
        }
        alias.push(letter.to_ascii_lowercase());
    }
    alias
}

/// A field's name for a language.
pub(super) fn field(of: &str, language: Language) -> String {
    format!("{of}_{}", language.tag())
}

/// Entries of a kind that hold any of these words, best first, with how many hold each.
pub(super) fn by_words(kind: &str, words: &[String], languages: &[Language]) -> Value {
    let mut search = found(json!({ "bool": {
        "filter": [{ "term": { "kind": kind } }],
        "should": should(kind, words, languages),
        "minimum_should_match": 1,
    } }));
    search["size"] = json!(WORDS_READ);
    search["track_total_hits"] = json!(true);
    if kind == TEXT {
        let holds = |language: Language| {
            let filters = words.iter().enumerate();
            let filters: Map<String, Value> = filters
                .map(|(at, word)| (at.to_string(), json!({ "term": { field(TEXT, language): word } })))
                .collect();
            (language.tag().to_owned(), json!({ "filters": { "filters": filters } }))
        };
        search["aggs"] = Value::Object(languages.iter().map(|language| holds(*language)).collect());
    }
    search
}

fn should(kind: &str, words: &[String], languages: &[Language]) -> Vec<Value> {
    let fields: &[(&str, f64)] = if kind == WHOLE { &[(WHOLE, 1.0)] } else { &[(TEXT, 1.0), ("title", TITLE_BOOST)] };
    let mut clauses = Vec::new();
    for language in languages {
        for (name, boost) in fields {
            let name = field(name, *language);
            clauses.extend(words.iter().map(|word| json!({ "term": { &name: { "value": word, "boost": boost } } })));
        }
    }
    clauses
}

/// The nearest entries of a kind; their scores are not read, since the two servers count them differently.
pub(super) fn nearest(dialect: Dialect, kind: &str, embedding: &[f32], count: i64) -> Value {
    let filter = json!({ "term": { "kind": kind } });
    match dialect {
        Dialect::Elasticsearch => {
            let mut search = found(json!({ "match_none": {} }));
            if let Some(search) = search.as_object_mut() {
                search.remove("query");
            }
            search["size"] = json!(count);
            search["knn"] = json!({ "field": "embedding", "query_vector": embedding, "k": count,
                "num_candidates": LOOKED_AT * count, "filter": filter });
            search
        }
        Dialect::Opensearch => {
            let near = json!({ "vector": embedding, "k": count, "filter": filter });
            let mut search = found(json!({ "knn": { "embedding": near } }));
            search["size"] = json!(count);
            search
        }
    }
}

/// Which entries are scored exactly.
pub(super) struct Candidates<'a> {
    pub(super) ids: &'a [String],
    /// Whose wordings count, and of which of them the first passages do, too.
    pub(super) documents: &'a HashSet<String>,
    pub(super) led: &'a HashSet<String>,
}

impl Candidates<'_> {
    fn filter(&self) -> Value {
        let besides = json!({ "bool": { "filter": [
            { "terms": { "document": self.documents } }, { "terms": { "kind": [WHOLE, QUESTION] } }] } });
        let first = json!({ "bool": { "filter": [
            { "terms": { "document": self.led } }, { "term": { "kind": TEXT } },
            { "range": { "ordinal": { "lt": PASSAGES_OF_DOCUMENT_MAX } } }] } });
        json!({ "bool": { "should": [{ "ids": { "values": self.ids } }, besides, first], "minimum_should_match": 1 } })
    }

    /// Their scores by words, 0 of those that hold none.
    pub(super) fn by_words(&self, kind: &str, words: &[String], languages: &[Language]) -> Value {
        let mut search = found(json!({ "bool": {
            "filter": [{ "term": { "kind": kind } }, self.filter()],
            "should": should(kind, words, languages),
            "minimum_should_match": 0,
        } }));
        search["size"] = json!(SCORES_MAX);
        search
    }

    /// Their cosines, and 1: no server takes a score below 0.
    pub(super) fn by_meaning(&self, dialect: Dialect, embedding: &[f32]) -> Value {
        let source = match dialect {
            Dialect::Elasticsearch => "cosineSimilarity(params.query, 'embedding') + 1.0",
            Dialect::Opensearch => "cosineSimilarity(params.query, doc['embedding']) + 1.0",
        };
        let embedded = json!({ "bool": { "filter": [{ "exists": { "field": "embedding" } }, self.filter()] } });
        let mut search = found(json!({ "script_score": {
            "query": embedded,
            "script": { "source": source, "params": { "query": embedding } },
        } }));
        search["size"] = json!(SCORES_MAX);
        search
    }
}

fn found(query: Value) -> Value {
    json!({ "query": query, "_source": false, "docvalue_fields": FIELDS })
}

/// What one search of several gave.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Hits {
    pub(super) scored: Vec<Scored>,
    pub(super) ids: Vec<String>,
    /// By language, in how many passages each word stands.
    pub(super) frequencies: HashMap<String, Vec<f32>>,
}

impl Hits {
    pub(super) fn times(&mut self, factor: f32) {
        self.scored.iter_mut().for_each(|one| one.score *= factor);
    }
}

/// By what a server's scores by words are multiplied to be BM25's as tantivy has them: OpenSearch 3 leaves out the constant
/// factor k1 + 1, all others do not. A server that is none of the configured dialect is refused here.
pub(super) fn factor(greeting: &Value, dialect: Dialect) -> Result<f32, ElasticError> {
    let version = &greeting["version"];
    let number = version["number"].as_str().ok_or(ElasticError::Garbage)?;
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    let found: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let is_opensearch = version["distribution"] == "opensearch";
    let (fits, oldest) = match dialect {
        Dialect::Elasticsearch => (!is_opensearch, (8, 8)),
        Dialect::Opensearch => (is_opensearch, (2, 9)),
    };
    if !fits || found < oldest {
        let name = if is_opensearch { "OpenSearch" } else { "Elasticsearch" };
        return Err(ElasticError::Other(format!("{name} {number}")));
    }
    Ok(if is_opensearch && found.0 >= 3 { 2.2 } else { 1.0 })
}

/// Reads an answer; None is one of another shape.
pub(super) fn hits(answer: &Value, words: usize) -> Option<Hits> {
    let mut read = Hits::default();
    for hit in answer["hits"]["hits"].as_array()? {
        let fields = &hit["fields"];
        let text = |name: &str| Some(fields[name][0].as_str()?.to_owned());
        let key = Key {
            document: text("document")?,
            kind: text("kind")?,
            ordinal: i32::try_from(fields["ordinal"][0].as_i64()?).ok()?,
        };
        let score = hit["_score"].as_f64().unwrap_or_default() as f32;
        read.scored.push(Scored { key, language: language(&text("language")?), score });
        read.ids.push(hit["_id"].as_str()?.to_owned());
    }
    for (language, counted) in answer["aggregations"].as_object().into_iter().flatten() {
        let count = |at: usize| counted["buckets"][at.to_string()]["doc_count"].as_f64().unwrap_or_default() as f32;
        read.frequencies.insert(language.clone(), (0..words).map(count).collect());
    }
    Some(read)
}

pub(super) fn language(tag: &str) -> Language {
    match tag {
        "en" => Language::English,
        "zh" => Language::Chinese,
        _ => Language::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_indices_know_no_capitals_and_tell_tenants_apart() {
        let alias = |tenant: &str| alias("desk", &TenantId::parse(tenant).unwrap());
        assert_eq!(alias("demo"), "desk-knowledge-demo");
        assert_eq!(alias("Demo_2"), "desk-knowledge-=demo_2");
    }

    #[test]
    fn what_was_typed_is_a_value_and_never_a_query() {
        let typed = vec!["*:*".to_owned(), "a\"}]}".to_owned()];
        let search = by_words(TEXT, &typed, &[Language::English]);
        assert_eq!(search["query"]["bool"]["should"][0]["term"]["text_en"]["value"], "*:*");
        assert_eq!(search["query"]["bool"]["should"][3]["term"]["title_en"]["boost"], 1.5);
        assert_eq!(search["aggs"]["en"]["filters"]["filters"]["1"]["term"]["text_en"], "a\"}]}");
        let again: Value = serde_json::from_str(&search.to_string()).unwrap();
        assert_eq!(again, search);
    }

    #[test]
    fn each_dialect_has_its_knn() {
        let elastic = nearest(Dialect::Elasticsearch, TEXT, &[1.0], 32);
        assert_eq!((&elastic["knn"]["k"], elastic.get("query")), (&json!(32), None));
        let open = nearest(Dialect::Opensearch, TEXT, &[1.0], 32);
        assert_eq!(open["query"]["knn"]["embedding"]["filter"]["term"]["kind"], TEXT);
    }

    #[test]
    fn a_server_of_another_kind_or_age_is_refused() {
        let of = |number: &str, distribution: Value, dialect| {
            factor(&json!({ "version": { "number": number, "distribution": distribution } }), dialect)
        };
        assert_eq!(of("8.17.0", Value::Null, Dialect::Elasticsearch), Ok(1.0));
        assert_eq!(of("2.19.1", json!("opensearch"), Dialect::Opensearch), Ok(1.0));
        assert_eq!(of("3.1.0", json!("opensearch"), Dialect::Opensearch), Ok(2.2));
        let error = of("3.1.0", json!("opensearch"), Dialect::Elasticsearch).unwrap_err().to_string();
        assert!(error.contains("OpenSearch 3.1.0") && error.contains("elasticsearch.dialect"), "{error}");
        assert!(of("7.17.0", Value::Null, Dialect::Elasticsearch).is_err());
        assert_eq!(factor(&json!({}), Dialect::Opensearch), Err(ElasticError::Garbage));
    }

    #[test]
    fn answers_are_read_and_other_shapes_are_not() {
        let answer = json!({ "hits": { "total": { "value": 1 }, "hits": [{ "_id": "t0", "_score": 1.5, "fields": {
            "document": ["a"], "kind": ["text"], "ordinal": [3], "language": ["zh"] } }] },
            "aggregations": { "zh": { "buckets": { "0": { "doc_count": 4 }, "1": { "doc_count": 0 } } } } });
        let read = hits(&answer, 2).unwrap();
        assert_eq!((read.scored[0].key.ordinal, read.scored[0].score), (3, 1.5));
        assert_eq!(read.frequencies["zh"], [4.0, 0.0]);
        assert_eq!(hits(&json!({ "took": 1 }), 0), None);
        assert_eq!(hits(&json!({ "hits": { "hits": [{ "_id": "x", "fields": {} }] } }), 0), None);
    }
}
