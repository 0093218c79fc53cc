//! A stand-in for Elasticsearch and OpenSearch over a socket: the calls that we make, answered in the documented shapes, with faults.
//!
//! Shapes from the public references: Elasticsearch 8 (Document APIs with op_type, external versions and if_seq_no; Bulk;
//! Delete by query; Multi search; kNN search; script_score with cosineSimilarity; Aliases; Index template; Cat and error
//! objects) and OpenSearch 2 (the k-NN plugin's query and its Painless extensions). As there, a document is found by a
//! search only after a refresh, a strict mapping refuses unknown fields, and one item of a bulk may fail alone.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use talkfleet_worker::encoder::cosine;

/// What goes wrong with the next call whose path ends in `on`.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) on: &'static str,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Status(u16),
    /// Every second item of a bulk request is rejected for load, and not written.
    Items,
    Garbage,
    Silence(Duration),
}

#[derive(Clone, Default)]
pub(super) struct StandIn {
    pub(super) url: String,
    state: Arc<Mutex<Server>>,
}

#[derive(Default)]
struct Server {
    is_opensearch: bool,
    template: Value,
    indices: BTreeMap<String, Index>,
    aliases: BTreeMap<String, String>,
    faults: Vec<Fault>,
    calls: Vec<String>,
}

#[derive(Default)]
struct Index {
    made_ms: u64,
    seq: i64,
    documents: BTreeMap<String, Kept>,
    /// What a search sees.
    shown: BTreeMap<String, Kept>,
}

#[derive(Clone)]
struct Kept {
    version: i64,
    seq: i64,
    source: Value,
}

type Answer = (u16, Value);

impl StandIn {
    pub(super) async fn start(dialect: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = Self { url: format!("http://{}", listener.local_addr().unwrap()), ..Self::default() };
        own.state.lock().unwrap().is_opensearch = dialect == "opensearch";
        let router = Router::new().fallback(answer).with_state(own.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        own
    }

    pub(super) fn break_next(&self, on: &'static str, what: What) {
        self.state.lock().unwrap().faults.push(Fault { on, what });
    }

    pub(super) fn indices(&self) -> Vec<String> {
        self.state.lock().unwrap().indices.keys().cloned().collect()
    }

    /// How many calls had a path that ends so.
    pub(super) fn calls(&self, end: &str) -> usize {
        self.state.lock().unwrap().calls.iter().filter(|path| path.ends_with(end)).count()
    }

    /// Somebody deletes everything.
    pub(super) fn lose_everything(&self) {
        let mut state = self.state.lock().unwrap();
        (state.indices, state.aliases) = Default::default();
    }
}

async fn answer(State(own): State<StandIn>, method: Method, uri: Uri, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let fault = {
        let mut state = own.state.lock().unwrap();
        state.calls.push(path.clone());
        let at = state.faults.iter().position(|fault| path.ends_with(fault.on));
        at.map(|at| state.faults.remove(at).what)
    };
    match fault {
        Some(What::Status(status)) => {
            let body = error(status, "security_exception", "a fault on purpose").1;
            return (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
        }
        Some(What::Garbage) => return "<html>a login page</html>".into_response(),
        Some(What::Silence(wait)) => tokio::time::sleep(wait).await,
        Some(What::Items) | None => {}
    }
    let query: HashMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let spoiled = matches!(fault, Some(What::Items));
    let (status, body) = own.state.lock().unwrap().take(&method, &path, &query, &body, spoiled);
    let json = [("content-type", "application/json")];
    (StatusCode::from_u16(status).unwrap(), json, body.to_string()).into_response()
}

fn error(status: u16, kind: &str, reason: &str) -> Answer {
    let error = json!({ "type": kind, "reason": reason });
    (status, json!({ "error": { "root_cause": [error], "type": kind, "reason": reason }, "status": status }))
}

impl Server {
    fn take(
        &mut self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
        body: &[u8],
        spoiled: bool,
    ) -> Answer {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", [""]) if self.is_opensearch => {
                (200, json!({ "version": { "distribution": "opensearch", "number": "3.1.0" } }))
            }
            ("GET", [""]) => (200, json!({ "version": { "number": "8.17.0" } })),
            ("PUT", ["_index_template", _]) => {
                self.template = json;
                (200, json!({ "acknowledged": true }))
            }
            ("GET", ["_alias", alias]) => match self.aliases.get(*alias) {
                Some(index) => (200, json!({ index: { "aliases": { *alias: {} } } })),
                None => (404, json!({ "error": format!("alias [{alias}] missing"), "status": 404 })),
            },
            ("POST", ["_aliases"]) => self.swap(&json),
            ("PUT", [index]) => self.make(index),
            ("DELETE", [index]) => match self.indices.remove(*index) {
                Some(_) => (200, json!({ "acknowledged": true })),
                None => self.missing(index),
            },
            (_, [index, rest @ ..]) => {
                let name = self.aliases.get(*index).cloned().unwrap_or_else(|| (*index).to_owned());
                let fields = known_fields(&self.template);
                match self.indices.get_mut(&name) {
                    None => self.missing(index),
                    Some(found) => found.take(&name, rest, query, &json, body, &fields, spoiled),
                }
            }
            _ => error(400, "illegal_argument_exception", "no handler found"),
        }
    }

    fn missing(&self, index: &str) -> Answer {
        let (status, mut body) = error(404, "index_not_found_exception", &format!("no such index [{index}]"));
        body["error"]["index"] = json!(index);
        (status, body)
    }

    fn make(&mut self, index: &str) -> Answer {
        if self.indices.contains_key(index) {
            return error(400, "resource_already_exists_exception", &format!("index [{index}] already exists"));
        }
        let made_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        self.indices.insert(index.to_owned(), Index { made_ms, ..Index::default() });
        (200, json!({ "acknowledged": true, "shards_acknowledged": true, "index": index }))
    }

    fn swap(&mut self, json: &Value) -> Answer {
        for action in json["actions"].as_array().unwrap() {
            let of = |what: &str| action[what]["alias"].as_str().map(str::to_owned);
            if let Some(alias) = of("remove") {
                self.aliases.remove(&alias);
            }
            if let Some(alias) = of("add") {
                self.aliases.insert(alias, action["add"]["index"].as_str().unwrap().to_owned());
            }
        }
        (200, json!({ "acknowledged": true }))
    }
}

fn known_fields(template: &Value) -> HashSet<String> {
    let properties = template["template"]["mappings"]["properties"].as_object();
    properties.into_iter().flat_map(|fields| fields.keys().cloned()).collect()
}

impl Index {
    #[expect(clippy::too_many_arguments, reason = "one request in all its parts")]
    fn take(
        &mut self,
        name: &str,
        rest: &[&str],
        query: &HashMap<String, String>,
        json: &Value,
        body: &[u8],
        fields: &HashSet<String>,
        spoiled: bool,
    ) -> Answer {
        match rest {
            ["_settings"] => {
                let settings = json!({ "index": { "creation_date": self.made_ms.to_string() } });
                (200, json!({ name: { "settings": settings } }))
            }
            ["_create", id] => self.put(id, json, &HashMap::from([("op_type".into(), "create".into())]), fields),
            ["_doc", id] if json.is_null() => match self.documents.get(*id) {
                Some(kept) => (
                    200,
                    json!({ "_id": id, "found": true, "_version": kept.version, "_seq_no": kept.seq,
                    "_primary_term": 1, "_source": kept.source }),
                ),
                None => (404, json!({ "_index": name, "_id": id, "found": false })),
            },
            ["_doc", id] => self.put(id, json, query, fields),
            ["_bulk"] => self.bulk(body, fields, spoiled),
            ["_refresh"] => {
                self.shown = self.documents.clone();
                (200, json!({ "_shards": { "total": 1, "successful": 1, "failed": 0 } }))
            }
            ["_count"] => (200, json!({ "count": self.matching(&json["query"]).len() })),
            ["_delete_by_query"] => {
                let gone: Vec<String> = self.matching(&json["query"]).into_iter().map(|(id, _)| id).collect();
                gone.iter().for_each(|id| drop(self.documents.remove(id)));
                if query.get("refresh").is_some_and(|refresh| refresh == "true") {
                    self.shown = self.documents.clone();
                }
                (200, json!({ "deleted": gone.len(), "version_conflicts": 0, "failures": [] }))
            }
            ["_search"] => (200, self.search(json)),
            ["_msearch"] => {
                let lines: Vec<&str> = std::str::from_utf8(body).unwrap().lines().collect();
                let searches = lines.chunks(2).map(|pair| serde_json::from_str(pair[1]).unwrap());
                let responses: Vec<Value> = searches.map(|search: Value| self.search(&search)).collect();
                (200, json!({ "took": 1, "responses": responses }))
            }
            ["_mget"] => {
                let doc = |id: &Value| match self.documents.get(id.as_str().unwrap()) {
                    Some(kept) => json!({ "_id": id, "found": true, "_source": kept.source }),
                    None => json!({ "_id": id, "found": false }),
                };
                (200, json!({ "docs": json["ids"].as_array().unwrap().iter().map(doc).collect::<Vec<_>>() }))
            }
            _ => error(400, "illegal_argument_exception", "no handler found"),
        }
    }

    fn put(&mut self, id: &str, source: &Value, query: &HashMap<String, String>, fields: &HashSet<String>) -> Answer {
        let number = |name: &str| query.get(name).map(|number| number.parse::<i64>().unwrap());
        let before = self.documents.get(id);
        let external = query.get("version_type").is_some_and(|kind| kind == "external_gte");
        let conflicts = match before {
            Some(_) if query.get("op_type").is_some_and(|kind| kind == "create") => true,
            Some(before) if external => number("version").unwrap() < before.version,
            Some(before) => number("if_seq_no").is_some_and(|seq| seq != before.seq),
            None => false,
        };
        if conflicts {
            return error(409, "version_conflict_engine_exception", &format!("[{id}]: version conflict"));
        }
        if let Some(unknown) = source.as_object().unwrap().keys().find(|field| !fields.contains(*field)) {
            let reason =
                format!("mapping set to strict, dynamic introduction of [{unknown}] within [_doc] is not allowed");
            return error(400, "strict_dynamic_mapping_exception", &reason);
        }
        let created = before.is_none();
        let version = number("version").filter(|_| external).unwrap_or(before.map_or(1, |before| before.version + 1));
        self.seq += 1;
        self.documents.insert(id.to_owned(), Kept { version, seq: self.seq, source: source.clone() });
        let result = if created { "created" } else { "updated" };
        (if created { 201 } else { 200 }, json!({ "_id": id, "_version": version, "result": result }))
    }

    fn bulk(&mut self, body: &[u8], fields: &HashSet<String>, spoiled: bool) -> Answer {
        let lines: Vec<&str> = std::str::from_utf8(body).unwrap().lines().collect();
        let mut items = Vec::new();
        for (at, pair) in lines.chunks(2).enumerate() {
            let action: Value = serde_json::from_str(pair[0]).unwrap();
            let source: Value = serde_json::from_str(pair[1]).unwrap();
            let action = &action["index"];
            let query = HashMap::from([
                ("version".to_owned(), action["version"].to_string()),
                ("version_type".to_owned(), action["version_type"].as_str().unwrap().to_owned()),
            ]);
            let (status, mut answer) = match spoiled && at % 2 == 0 {
                true => error(429, "es_rejected_execution_exception", "rejected execution of coordinating operation"),
                false => self.put(action["_id"].as_str().unwrap(), &source, &query, fields),
            };
            answer["status"] = json!(status);
            items.push(json!({ "index": answer }));
        }
        let errors = items.iter().any(|item| item["index"]["status"].as_u64().unwrap() > 299);
        (200, json!({ "took": 1, "errors": errors, "items": items }))
    }

    fn matching(&self, query: &Value) -> Vec<(String, f64)> {
        let scored =
            self.shown.iter().filter_map(|(id, kept)| Some((id.clone(), self.score(id, &kept.source, query)?)));
        scored.collect()
    }

    fn search(&self, search: &Value) -> Value {
        let (beside, within) = (&search["knn"], &search["query"]["knn"]["embedding"]);
        let near = |near: &Value, vector: &str| {
            self.near(near[vector].as_array().unwrap(), &near["filter"], near["k"].as_u64().unwrap())
        };
        let mut found = match (beside.is_object(), within.is_object()) {
            (true, _) => near(beside, "query_vector"),
            (_, true) => near(within, "vector"),
            _ => self.matching(&search["query"]),
        };
        let total = found.len();
        let of = |id: &String| &self.shown[id].source;
        match search["sort"].is_array() {
            true => found.sort_by_key(|(id, _)| of(id)["document"].as_str().unwrap().to_owned()),
            false => found.sort_by(|a, b| b.1.total_cmp(&a.1)),
        }
        let after = search["search_after"][0].as_str();
        found.retain(|(id, _)| after.is_none_or(|after| of(id)["document"].as_str().unwrap() > after));
        let matched: Vec<String> = found.iter().map(|(id, _)| id.clone()).collect();
        found.truncate(search["size"].as_u64().unwrap() as usize);
        let hit = |(id, score): &(String, f64)| {
            let source = of(id);
            let fields: serde_json::Map<String, Value> = ["document", "kind", "ordinal", "language"]
                .iter()
                .filter(|name| !source[**name].is_null())
                .map(|name| ((*name).to_owned(), json!([source[*name]])))
                .collect();
            json!({ "_id": id, "_score": score, "fields": fields, "sort": [source["document"]] })
        };
        let hits: Vec<Value> = found.iter().map(hit).collect();
        let mut answer =
            json!({ "hits": { "total": { "value": total, "relation": "eq" }, "hits": hits }, "status": 200 });
        for (name, agg) in search["aggs"].as_object().into_iter().flatten() {
            let count = |filter: &Value| matched.iter().filter(|id| self.score(id, of(id), filter).is_some()).count();
            let buckets: serde_json::Map<String, Value> = agg["filters"]["filters"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, filter)| (key.clone(), json!({ "doc_count": count(filter) })))
                .collect();
            answer["aggregations"][name] = json!({ "buckets": buckets });
        }
        answer
    }

    fn near(&self, query: &[Value], filter: &Value, k: u64) -> Vec<(String, f64)> {
        let mut found: Vec<(String, f64)> = self
            .shown
            .iter()
            .filter(|(id, kept)| self.score(id, &kept.source, filter).is_some())
            .filter_map(|(id, kept)| Some((id.clone(), (1.0 + near(query, &kept.source)?) / 2.0)))
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found.truncate(k as usize);
        found
    }

    /// The score of a document, if it matches.
    fn score(&self, id: &str, source: &Value, query: &Value) -> Option<f64> {
        let (kind, of) = query.as_object()?.iter().next()?;
        match kind.as_str() {
            "bool" => {
                let list = |name: &str| of[name].as_array().into_iter().flatten();
                let filtered = list("filter").all(|filter| self.score(id, source, filter).is_some());
                let scores: Vec<f64> = list("should").filter_map(|one| self.score(id, source, one)).collect();
                let enough = scores.len() as u64 >= of["minimum_should_match"].as_u64().unwrap_or_default();
                (filtered && enough).then(|| scores.iter().sum())
            }
            "term" => {
                let (field, value) = of.as_object()?.iter().next()?;
                let (value, boost) = match value.get("value") {
                    Some(inner) => (inner, value["boost"].as_f64().unwrap_or(1.0)),
                    None => (value, 1.0),
                };
                match field.contains('_') {
                    true => Some(boost * self.bm25(source, field, value.as_str()?)?),
                    false => (source[field] == *value).then_some(0.0),
                }
            }
            "terms" => {
                let (field, values) = of.as_object()?.iter().next()?;
                values.as_array()?.contains(&source[field]).then_some(0.0)
            }
            "range" => {
                let (field, bounds) = of.as_object()?.iter().next()?;
                let value = source[field].as_i64()?;
                let bound = |name: &str| bounds[name].as_i64();
                let fits = bound("lt").is_none_or(|end| value < end) && bound("lte").is_none_or(|end| value <= end);
                fits.then_some(0.0)
            }
            "ids" => of["values"].as_array()?.iter().any(|value| value == id).then_some(0.0),
            "exists" => (!source[of["field"].as_str()?].is_null()).then_some(0.0),
            "script_score" => {
                self.score(id, source, &of["query"])?;
                assert!(of["script"]["source"].as_str()?.starts_with("cosineSimilarity(params.query, "));
                Some(1.0 + near(of["script"]["params"]["query"].as_array()?, source)?)
            }
            other => panic!("the stand-in does not know the query {other}"),
        }
    }

    fn bm25(&self, source: &Value, field: &str, word: &str) -> Option<f64> {
        let words = |source: &Value| -> Option<Vec<String>> {
            Some(source[field].as_str()?.split(' ').map(str::to_owned).collect())
        };
        let own = words(source)?;
        let count = own.iter().filter(|one| *one == word).count() as f64;
        if count == 0.0 {
            return None;
        }
        let all: Vec<Vec<String>> = self.shown.values().filter_map(|kept| words(&kept.source)).collect();
        let holding = all.iter().filter(|words| words.iter().any(|one| one == word)).count() as f64;
        let average = all.iter().map(Vec::len).sum::<usize>() as f64 / all.len() as f64;
        let rarity = (1.0 + (all.len() as f64 - holding + 0.5) / (holding + 0.5)).ln();
        // Lucene leaves out the constant factor k1 + 1.
        Some(rarity * count / (count + 1.2 * (0.25 + 0.75 * own.len() as f64 / average)))
    }
}

fn near(query: &[Value], source: &Value) -> Option<f64> {
    let numbers = |values: &[Value]| -> Vec<f32> { values.iter().map(|one| one.as_f64().unwrap() as f32).collect() };
    Some(f64::from(cosine(&numbers(query), &numbers(source["embedding"].as_array()?))))
}
