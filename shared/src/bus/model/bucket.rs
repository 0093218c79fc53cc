//! One key-value bucket of the model.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The current value of each key, or that it was deleted, with its revision.
#[derive(Default)]
pub struct Bucket {
    revision: u64,
    values: BTreeMap<String, (Option<Bytes>, u64)>,
}

impl Bucket {
    /// Sets or deletes a value; its revision comes back.
    pub fn set(&mut self, key: &str, value: Option<Bytes>) -> u64 {
        self.revision += 1;
        self.values.insert(key.to_owned(), (value, self.revision));
        self.revision
    }

    pub fn get(&self, key: &str) -> Option<(Option<Bytes>, u64)> {
        self.values.get(key).cloned()
    }

    /// Every key in the order of its last change, deleted ones as well.
    pub fn entries(&self) -> Vec<(String, Option<Bytes>, u64)> {
        let mut entries: Vec<_> =
            self.values.iter().map(|(key, (value, revision))| (key.clone(), value.clone(), *revision)).collect();
        entries.sort_by_key(|(_, _, revision)| *revision);
        entries
    }
}
