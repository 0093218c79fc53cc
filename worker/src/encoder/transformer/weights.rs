//! Reads the weights out of the package's ONNX file: each tensor's bytes by its name.
//!
//! Only the initializers are read; the graph is known. Matrices are 8-bit integers with a step for each column (for each
//! row in the tables), the rest are floats. The matrices carry no better names than `val_<n>`, so they are told apart
//! by their order, six a layer: query, key, value, output of the attention, wide, narrow.

use std::collections::HashMap;

use crate::encoder::protobuf::fields;

/// Field numbers of ONNX's messages.
const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_NAME: u64 = 8;
const TENSOR_RAW: u64 = 9;

pub(super) struct Tensors<'a>(HashMap<&'a str, &'a [u8]>);

/// Integers and what a step of each column (or row) is worth.
pub(super) struct Steps<'a> {
    pub(super) values: &'a [i8],
    pub(super) steps: Vec<f32>,
}

impl<'a> Tensors<'a> {
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, String> {
        let mut found = HashMap::new();
        for graph in inside(file, MODEL_GRAPH) {
            for tensor in inside(graph?, GRAPH_INITIALIZER) {
                let (mut name, mut raw) = ("", [].as_slice());
                for field in fields(tensor?) {
                    match field? {
                        (TENSOR_NAME, value) => name = std::str::from_utf8(value).map_err(|error| error.to_string())?,
                        (TENSOR_RAW, value) => raw = value,
                        _ => {}
                    }
                }
                found.insert(name, raw);
            }
        }
        Ok(Self(found))
    }

    pub(super) fn floats(&self, name: &str, count: usize) -> Result<Vec<f32>, String> {
        let bytes = self.bytes(name, count * size_of::<f32>())?;
        Ok(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    }

    /// A matrix of integers; `steps` is how many rows or columns have one.
    pub(super) fn integers(&self, name: &str, count: usize, steps: usize) -> Result<Steps<'a>, String> {
        let values = pulp::bytemuck::cast_slice(self.bytes(&format!("{name}_q"), count)?);
        Ok(Steps { values, steps: self.floats(&format!("{name}_scale"), steps)? })
    }

    /// The names of the layers' matrices, in the order of the layers.
    pub(super) fn matrices(&self) -> Vec<String> {
        let number = |name: &&str| name.strip_prefix("val_")?.strip_suffix("_q")?.parse::<u32>().ok();
        let mut numbers: Vec<u32> = self.0.keys().filter_map(number).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| format!("val_{number}")).collect()
    }

    fn bytes(&self, name: &str, length: usize) -> Result<&'a [u8], String> {
        let bytes = *self.0.get(name).ok_or_else(|| format!("{name} is missing"))?;
        match bytes.len() == length {
            true => Ok(bytes),
            false => Err(format!("{name} has {} bytes and not {length}", bytes.len())),
        }
    }
}

fn inside(message: &[u8], wanted: u64) -> impl Iterator<Item = Result<&[u8], String>> {
    fields(message).filter_map(move |field| match field {
        Ok((number, value)) => (number == wanted).then_some(Ok(value)),
        Err(fault) => Some(Err(fault)),
    })
}
