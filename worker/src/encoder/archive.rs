//! Reads numpy's `.npz`: a zip of `.npy` arrays, each a short text header and the numbers in little endian.

use std::collections::HashMap;
use std::io::{Cursor, Read};

/// A dense array in row-major order.
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
}

pub(super) enum Values {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

/// The arrays of the archive that the network asks for, by name; each is taken out once.
pub(super) struct Arrays(HashMap<String, Array>);

/// Largest single array: the real ones end at 3.9 MB, so a forged header cannot ask for the machine's memory.
const ARRAY_BYTES_MAX: u64 = 64 << 20;

pub(super) fn arrays(file: Vec<u8>) -> Result<Arrays, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(file)).map_err(|error| error.to_string())?;
    let mut found = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| error.to_string())?;
        let name = entry.name().map_err(|error| error.to_string())?.trim_end_matches(".npy").to_owned();
        let mut bytes = Vec::new();
        entry.take(ARRAY_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        let array = parse(&bytes).ok_or_else(|| format!("{name}: not an array of bytes or floats"))?;
        found.insert(name, array);
    }
    Ok(Arrays(found))
}

impl Arrays {
    pub(super) fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        match self.take(name, shape)? {
            Values::Floats(values) => Ok(values),
            Values::Bytes(_) => Err(format!("{name} holds bytes")),
        }
    }

    pub(super) fn bytes(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u8>, String> {
        match self.take(name, shape)? {
            Values::Bytes(values) => Ok(values),
            Values::Floats(_) => Err(format!("{name} holds floats")),
        }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Values, String> {
        let array = self.0.remove(name).ok_or_else(|| format!("{name} is missing"))?;
        if array.shape != shape {
            return Err(format!("{name} is {:?} and not {shape:?}", array.shape));
        }
        Ok(array.values)
    }
}

/// Version 1 of the format: magic, two version bytes, header length, a Python dictionary, then the numbers.
fn parse(bytes: &[u8]) -> Option<Array> {
    let rest = bytes.strip_prefix(b"\x93NUMPY\x01\x00")?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (header, data) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let header = std::str::from_utf8(header).ok()?;
    if header.contains("'fortran_order': True") {
        return None;
    }
    let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let values = match header.split_once("'descr': '")?.1.split_once('\'')?.0 {
        "|u1" | "|i1" => Values::Bytes(data.to_vec()),
        "<f4" => Values::Floats(data.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()),
        "<f8" => Values::Floats(data.as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk) as f32).collect()),
        _ => return None,
    };
    let count = match &values {
        Values::Bytes(values) => values.len(),
        Values::Floats(values) => values.len(),
    };
    (count == shape.iter().product::<usize>()).then_some(Array { shape, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn arrays_of_the_three_kinds() {
        let array = parse(&npy("<f4", "(2, 1)", &[0, 0, 128, 63, 0, 0, 0, 64])).unwrap();
        assert_eq!(array.shape, [2, 1]);
        assert!(matches!(array.values, Values::Floats(values) if values == [1.0, 2.0]));
        assert!(
            matches!(parse(&npy("|u1", "(3,)", &[1, 2, 3])).unwrap().values, Values::Bytes(values) if values == [1, 2, 3])
        );
        assert_eq!(parse(&npy("<f8", "()", &1e-12_f64.to_le_bytes())).unwrap().shape.len(), 0);
        assert!(parse(&npy("<f4", "(3,)", &[0; 8])).is_none(), "fewer numbers than the shape says");
        assert!(parse(b"\x93NUMPY\x01\x00\xff\xff{}").is_none());
    }
}
