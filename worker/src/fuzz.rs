//! A door for fuzz targets: what the worker makes of the words of models and model servers, which are somebody else's.

use crate::{config::RemoteProtocol, intent::remote, response};

/// What the data of a model's event says: its words, and whether it was an end or a failure.
pub fn model_event(data: &str) -> (String, bool) {
    response::said(data)
}

/// The label that a model server's reply holds likeliest, and its probability.
pub fn model_server(protocol: RemoteProtocol, body: &[u8], labels: &[String]) -> Result<(String, f64), String> {
    remote::best_of(protocol, body, labels)
}

/// The labels in a model's description.
pub fn model_labels(body: &[u8]) -> Option<Vec<String>> {
    remote::labels_of(body)
}
