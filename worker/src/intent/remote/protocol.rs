//! The two protocols of model servers: where a model is found, how it is asked, and what of a reply holds its answer.
//!
//! The open inference protocol is the second of KServe (kserve/open-inference-protocol, specification/protocol/inference_rest.md);
//! MLServer, Triton, OpenVINO and KServe's own servers speak it. The other is TensorFlow Serving's REST
//! (tensorflow/serving, tensorflow_serving/g3doc/api_rest.md), which KServe's servers speak as their first protocol.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{RemoteError, answer::Part};
use crate::config::{IntentConfig, RemoteProtocol};

/// The input's name where the configuration gives none: that of MLServer's HuggingFace runtime.
const INPUT_DEFAULT: &str = "args";

/// Longest name of a version that is told on; a server's word goes into records.
const VERSION_BYTES_MAX: usize = 64;

/// Where a model is, and how it is spoken to.
#[derive(Debug, Clone)]
pub(super) struct Protocol {
    kind: RemoteProtocol,
    /// The model's address without what is wanted of it.
    model: String,
    input: String,
}

/// What a reply holds: its parts, and the version that answered where the server tells it.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) parts: Vec<Part>,
    pub(super) version: Option<String>,
}

impl Protocol {
    pub(super) fn new(config: &IntentConfig) -> Self {
        let base = config.remote_url.reveal().trim_end_matches('/');
        let face = match config.remote_protocol {
            RemoteProtocol::KserveV2 => "v2",
            RemoteProtocol::TfServing => "v1",
        };
        let mut model = format!("{base}/{face}/models/{}", config.remote_model);
        if !config.remote_version.is_empty() {
            model = format!("{model}/versions/{}", config.remote_version);
        }
        Self { kind: config.remote_protocol, model, input: config.remote_input.clone() }
    }

    /// Where texts are sent.
    pub(super) fn infer_url(&self) -> String {
        match self.kind {
            RemoteProtocol::KserveV2 => format!("{}/infer", self.model),
            RemoteProtocol::TfServing => format!("{}:predict", self.model),
        }
    }

    /// Where the model says whether it is ready.
    pub(super) fn ready_url(&self) -> String {
        match self.kind {
            RemoteProtocol::KserveV2 => format!("{}/ready", self.model),
            RemoteProtocol::TfServing => self.model.clone(),
        }
    }

    /// Where the model describes itself; TensorFlow Serving's description knows no labels.
    pub(super) fn metadata_url(&self) -> Option<String> {
        (self.kind == RemoteProtocol::KserveV2).then(|| self.model.clone())
    }

    /// The body that asks about one text.
    pub(super) fn question(&self, text: &str) -> Value {
        match (self.kind, self.input.as_str()) {
            (RemoteProtocol::KserveV2, input) => json!({ "inputs": [{
                "name": if input.is_empty() { INPUT_DEFAULT } else { input },
                // One text in a batch of one: what MLServer's own client sends, and what Triton wants of a model that batches.
                "shape": [1, 1],
                "datatype": "BYTES",
                // MLServer's word for text; servers pass over parameters that they do not know.
                "parameters": { "content_type": "str" },
                "data": [text],
            }] }),
            (RemoteProtocol::TfServing, "") => json!({ "instances": [text] }),
            (RemoteProtocol::TfServing, input) => json!({ "instances": [{ input: text }] }),
        }
    }

    /// What a reply to [`Protocol::question`] holds.
    pub(super) fn read(&self, body: &[u8]) -> Result<Reply, RemoteError> {
        read(self.kind, body)
    }

    /// Whether a reply from [`Protocol::ready_url`] says that the model is ready; its status was a success.
    pub(super) fn is_ready(&self, body: &[u8]) -> bool {
        // MLServer's body says nothing at all; KServe's says `{"name", "ready"}`.
        let Ok(Value::Object(said)) = serde_json::from_slice(body) else {
            return self.kind == RemoteProtocol::KserveV2;
        };
        match said.get("model_version_status").and_then(Value::as_array) {
            Some(versions) => versions.iter().any(|version| version["state"] == "AVAILABLE"),
            None => said.get("ready").is_none_or(|ready| *ready == true || *ready == "True"),
        }
    }
}

/// What a reply in this protocol holds.
pub(super) fn read(kind: RemoteProtocol, body: &[u8]) -> Result<Reply, RemoteError> {
    match kind {
        RemoteProtocol::KserveV2 => read_outputs(body),
        RemoteProtocol::TfServing => read_predictions(body),
    }
}

/// The labels in a model's description, in the order of its scores: `labels` or `id2label` among the parameters of the
/// model or of an output. The protocol leaves parameters to servers; these are the names that HuggingFace uses.
pub(crate) fn labels(body: &[u8]) -> Option<Vec<String>> {
    let said: Value = serde_json::from_slice(body).ok()?;
    let outputs = said["outputs"].as_array().into_iter().flatten();
    let parameters = outputs.map(|output| &output["parameters"]).chain([&said["parameters"]]);
    parameters.filter_map(labels_among).next()
}

fn labels_among(parameters: &Value) -> Option<Vec<String>> {
    let owned = |label: &Value| label.as_str().map(str::to_owned);
    if let Some(labels) = parameters["labels"].as_array() {
        return labels.iter().map(owned).collect();
    }
    let by_index = parameters["id2label"].as_object()?;
    (0..by_index.len()).map(|index| by_index.get(&index.to_string()).and_then(owned)).collect()
}

#[derive(Deserialize)]
struct Outputs {
    #[serde(default)]
    model_version: Option<String>,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    shape: Vec<u64>,
    #[serde(default)]
    datatype: String,
    data: Value,
}

fn read_outputs(body: &[u8]) -> Result<Reply, RemoteError> {
    let said: Outputs = serde_json::from_slice(body).map_err(garbage)?;
    let parts = said.outputs.into_iter().map(|output| {
        let mut leaves = Vec::new();
        flatten(output.data, &mut leaves);
        match output.datatype.as_str() {
            // Its shape is no witness: the JSON of MLServer's HuggingFace runtime counts characters there.
            "BYTES" => Ok(Part::of(leaves)),
            "FP16" | "FP32" | "FP64" | "BF16" => {
                // A shape that overflows fits no tensor that there is.
                let elements = output.shape.iter().try_fold(1u64, |all, length| all.checked_mul(*length));
                if elements != Some(leaves.len() as u64) {
                    let shape = output.shape;
                    return Err(RemoteError::Shape(format!(
                        "a tensor of shape {shape:?} with {} numbers",
                        leaves.len()
                    )));
                }
                Ok(Part::of(leaves))
            }
            // Ids of classes and the like.
            _ => Ok(Part::Other),
        }
    });
    Ok(Reply {
        parts: parts.collect::<Result<_, _>>()?,
        version: said.model_version.filter(|version| is_plain(version)),
    })
}

/// Tensors come flat or nested.
fn flatten(value: Value, leaves: &mut Vec<Value>) {
    match value {
        Value::Array(values) => values.into_iter().for_each(|value| flatten(value, leaves)),
        leaf => leaves.push(leaf),
    }
}

#[derive(Deserialize)]
struct Predictions {
    predictions: Vec<Value>,
}

fn read_predictions(body: &[u8]) -> Result<Reply, RemoteError> {
    let said: Predictions = serde_json::from_slice(body).map_err(garbage)?;
    let [row]: [Value; 1] = said
        .predictions
        .try_into()
        .map_err(|rows: Vec<Value>| RemoteError::Shape(format!("{} predictions for one text", rows.len())))?;
    // A model with several outputs names them, one with a single output does not.
    let tensors = match row {
        Value::Object(named) => named.into_iter().map(|(_, tensor)| tensor).collect(),
        tensor => vec![tensor],
    };
    let parts = tensors.into_iter().map(|tensor| {
        let mut leaves = Vec::new();
        flatten(tensor, &mut leaves);
        Part::of(leaves)
    });
    Ok(Reply { parts: parts.collect(), version: None })
}

/// What serde says may quote the reply, and a reply may quote the customer.
fn garbage(error: serde_json::Error) -> RemoteError {
    RemoteError::Garbage(if error.is_data() { "JSON of another shape" } else { "no JSON" })
}

/// Whether a name may go into records as it is.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= VERSION_BYTES_MAX && name.bytes().all(plain)
}
