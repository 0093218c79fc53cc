//! From a model server's answer to one label and its probability, in whichever of the known shapes it came.

use serde::Deserialize;
use serde_json::Value;

use super::RemoteError;

/// How HuggingFace names labels that nobody named: `LABEL_7` is the eighth.
const UNNAMED: &str = "LABEL_";

/// A tensor of an answer, by what it is made of.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Texts(Vec<String>),
    /// `null` stands for what JSON has no number for; some servers write NaN so.
    Numbers(Vec<Option<f64>>),
    /// Labels that bring their scores along, as HuggingFace writes them.
    Labelled(Vec<Labelled>),
    Other,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Labelled {
    label: String,
    score: Option<f64>,
}

/// The label that a model holds likeliest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Best {
    pub(super) label: String,
    /// 0 to 1.
    pub(super) probability: f64,
}

impl Part {
    /// What the elements of a tensor are.
    pub(super) fn of(leaves: Vec<Value>) -> Self {
        if leaves.is_empty() {
            return Self::Other;
        }
        if leaves.iter().all(Value::is_string) {
            return Self::of_texts(leaves.into_iter().filter_map(|leaf| leaf.as_str().map(str::to_owned)).collect());
        }
        if leaves.iter().all(|leaf| leaf.is_number() || leaf.is_null()) {
            return Self::Numbers(leaves.iter().map(Value::as_f64).collect());
        }
        let labelled: Result<Vec<Labelled>, _> = leaves.into_iter().map(serde_json::from_value).collect();
        labelled.map_or(Self::Other, Self::Labelled)
    }

    /// Texts that are JSON themselves are read: one object, or a list of them, in each.
    fn of_texts(texts: Vec<String>) -> Self {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(Labelled),
            Many(Vec<Labelled>),
        }
        if !texts.iter().all(|text| text.starts_with(['{', '['])) {
            return Self::Texts(texts);
        }
        let mut labelled = Vec::new();
        for text in &texts {
            match serde_json::from_str(text) {
                Ok(Written::One(one)) => labelled.push(one),
                Ok(Written::Many(many)) => labelled.extend(many),
                Err(_) => return Self::Other,
            }
        }
        Self::Labelled(labelled)
    }
}

/// The likeliest label of an answer. `labels` names the scores of a model that does not, in its order.
///
/// Known are: labels with their scores, labels beside as many scores, one label beside the scores of all, and scores alone.
/// Scores from 0 to 1 are taken for probabilities, any others for logits.
pub(super) fn best(parts: &[Part], labels: Option<&[String]>) -> Result<Best, RemoteError> {
    let shape = |what: &str| Err(RemoteError::Shape(what.to_owned()));
    let mut parts: Vec<&Part> = parts.iter().filter(|part| **part != Part::Other).collect();
    // Labels first.
    parts.sort_by_key(|part| matches!(part, Part::Numbers(_)));
    match parts.as_slice() {
        [Part::Labelled(labelled)] => {
            let scores: Vec<_> = labelled.iter().map(|labelled| labelled.score).collect();
            let (index, probability) = likeliest(&scores)?;
            Ok(Best { label: named(&labelled[index].label, labels)?, probability })
        }
        [Part::Texts(texts), Part::Numbers(scores)] if texts.len() == scores.len() => {
            let (index, probability) = likeliest(scores)?;
            Ok(Best { label: named(&texts[index], labels)?, probability })
        }
        [Part::Texts(texts), Part::Numbers(scores)] if texts.len() == 1 => {
            Ok(Best { label: named(&texts[0], labels)?, probability: likeliest(scores)?.1 })
        }
        [Part::Texts(texts), Part::Numbers(scores)] => {
            shape(&format!("{} labels beside {} scores", texts.len(), scores.len()))
        }
        [Part::Numbers(scores)] => match labels {
            Some(labels) if labels.len() == scores.len() => {
                let (index, probability) = likeliest(scores)?;
                Ok(Best { label: labels[index].clone(), probability })
            }
            Some(labels) => Err(RemoteError::Labels(format!("{} scores for {} labels", scores.len(), labels.len()))),
            None => Err(RemoteError::Labels(format!("{} scores and no labels", scores.len()))),
        },
        [Part::Texts(_)] => shape("labels without scores"),
        [] => shape("neither labels nor scores"),
        _ => shape("more outputs than labels and their scores"),
    }
}

/// Whether an answer's labels are to be had elsewhere.
pub(super) fn is_bare(parts: &[Part]) -> bool {
    let mut known = parts.iter().filter(|part| **part != Part::Other);
    matches!((known.next(), known.next()), (Some(Part::Numbers(_)), None))
}

/// A label that is a number in disguise is looked up, when there is where to look.
fn named(label: &str, labels: Option<&[String]>) -> Result<String, RemoteError> {
    let (Some(labels), Some(index)) = (labels, label.strip_prefix(UNNAMED)) else { return Ok(label.to_owned()) };
    let found = index.parse().ok().and_then(|index: usize| labels.get(index)).cloned();
    found.ok_or_else(|| RemoteError::Labels(format!("an unnamed label beyond the {} that are known", labels.len())))
}

/// The place of the highest score, and the probability that it stands for.
fn likeliest(scores: &[Option<f64>]) -> Result<(usize, f64), RemoteError> {
    let finite = |score: &Option<f64>| score.filter(|score| score.is_finite());
    let scores: Vec<f64> = scores.iter().map(finite).collect::<Option<_>>().ok_or(RemoteError::NotFinite)?;
    let highest = scores.iter().copied().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    let (index, high) = highest.ok_or_else(|| RemoteError::Shape("no scores".to_owned()))?;
    let probabilities = scores.iter().all(|score| (0.0..=1.0).contains(score));
    let probability = if probabilities { high } else { 1.0 / scores.iter().map(|s| (s - high).exp()).sum::<f64>() };
    Ok((index, probability))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(value: Value) -> Part {
        match value {
            Value::Array(leaves) => Part::of(leaves),
            leaf => Part::of(vec![leaf]),
        }
    }

    #[track_caller]
    fn check(parts: &[Value], labels: Option<&[&str]>, expected: (&str, f64)) {
        let labels: Option<Vec<String>> = labels.map(|labels| labels.iter().map(|label| (*label).to_owned()).collect());
        let parts: Vec<Part> = parts.iter().cloned().map(part).collect();
        let best = best(&parts, labels.as_deref()).unwrap();
        assert_eq!(best.label, expected.0);
        assert!((best.probability - expected.1).abs() < 1e-6, "{best:?}");
    }

    #[track_caller]
    fn refused(parts: &[Value], labels: Option<&[&str]>, expected: &str) {
        let labels: Option<Vec<String>> = labels.map(|labels| labels.iter().map(|label| (*label).to_owned()).collect());
        let parts: Vec<Part> = parts.iter().cloned().map(part).collect();
        let error = best(&parts, labels.as_deref()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn every_known_shape_gives_a_label_and_a_probability() {
        check(&[json!(["refund", "track"]), json!([0.25, 0.75])], None, ("track", 0.75));
        check(&[json!([0.25, 0.75]), json!(["refund", "track"])], None, ("track", 0.75));
        check(&[json!(["refund"]), json!([0.2, 0.5, 0.3])], None, ("refund", 0.5));
        check(&[json!([0.25, 0.75])], Some(&["refund", "track"]), ("track", 0.75));
        check(&[json!([r#"{"label":"refund","score":0.9}"#])], None, ("refund", 0.9));
        check(&[json!([r#"[{"label":"a","score":0.1},{"label":"b","score":0.9}]"#])], None, ("b", 0.9));
        check(&[json!([{ "label": "a", "score": 0.6 }, { "label": "b", "score": 0.4 }])], None, ("a", 0.6));
        check(&[json!([r#"{"label":"LABEL_1","score":0.9}"#])], Some(&["refund", "track"]), ("track", 0.9));
        check(&[json!([r#"{"label":"LABEL_1","score":0.9}"#])], None, ("LABEL_1", 0.9));
    }

    #[test]
    fn logits_become_probabilities() {
        // Three logits of 0, ln 2 and ln 5 are weights of 1, 2 and 5.
        let logits = json!([0.0, 2f64.ln(), 5f64.ln()]);
        check(std::slice::from_ref(&logits), Some(&["a", "b", "c"]), ("c", 5.0 / 8.0));
        check(&[json!(["a", "b", "c"]), logits], None, ("c", 5.0 / 8.0));
        check(&[json!([1e300, -1e300])], Some(&["a", "b"]), ("a", 1.0));
        // One alone is all there is.
        check(&[json!([-7.5])], Some(&["a"]), ("a", 1.0));
    }

    #[test]
    fn of_equals_the_first_is_taken() {
        check(&[json!([0.5, 0.5])], Some(&["a", "b"]), ("a", 0.5));
    }

    #[test]
    fn everything_else_is_named_and_refused() {
        refused(&[json!(["a", "b", "c"]), json!([0.5, 0.5])], None, "3 labels beside 2 scores");
        refused(&[json!(["a", "b"])], None, "labels without scores");
        refused(&[json!([0.5, 0.5])], None, "2 scores and no labels");
        refused(&[json!([0.5, 0.5])], Some(&["a", "b", "c"]), "2 scores for 3 labels");
        refused(&[json!([0.5, null])], Some(&["a", "b"]), "no finite number");
        refused(&[json!([r#"{"label":"a","score":null}"#])], None, "no finite number");
        refused(&[json!([r#"{"label":"LABEL_9","score":0.9}"#])], Some(&["a"]), "beyond the 1");
        refused(&[json!([r#"{"answer":"a"}"#])], None, "neither labels nor scores");
        refused(&[json!(["a", 1.0])], None, "neither labels nor scores");
        refused(&[json!([])], None, "neither labels nor scores");
        refused(&[json!([0.1, 0.9]), json!([0.2, 0.8])], Some(&["a", "b"]), "more outputs");
    }
}
