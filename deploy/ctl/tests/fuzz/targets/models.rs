//! What models and model servers say: words and probabilities, or nothing.

use talkfleet_worker::{config::RemoteProtocol, fuzz};

use super::sentence;

/// The data of an event in a model's stream.
pub(super) fn event(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (words, ended) = fuzz::model_event(text);
    assert!(words.len() <= text.len(), "{words:?}");
    assert!(!ended || words.is_empty() || text.contains("error"), "an end that speaks: {text}");
}

/// A reply of a model server, and a model's description of itself.
pub(super) fn server(data: &[u8]) {
    let labels = ["refund", "track", "greet"].map(str::to_owned);
    for protocol in [RemoteProtocol::KserveV2, RemoteProtocol::TfServing] {
        match fuzz::model_server(protocol, data, &labels) {
            Ok((label, probability)) => {
                assert!((0.0..=1.0).contains(&probability), "{label}: {probability}");
                let written = serde_json::to_string(&label).unwrap_or_default();
                assert!(label.len() <= data.len().max(16), "{written}");
            }
            Err(why) => sentence(&why, 600),
        }
    }
    assert!(fuzz::model_labels(data).is_none_or(|labels| labels.len() <= data.len()));
}
