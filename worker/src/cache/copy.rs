//! PURE: a copy as it lies in Redis: a byte that says whether there is anything, and that, in MessagePack.

use serde::{Serialize, de::DeserializeOwned};

const NOTHING: u8 = 0;
const SOMETHING: u8 = 1;

/// The bytes of a copy, or of knowing that there is nothing; None for what cannot be written.
pub fn write<V: Serialize>(value: Option<&V>) -> Option<Vec<u8>> {
    let Some(value) = value else { return Some(vec![NOTHING]) };
    let mut bytes = vec![SOMETHING];
    rmp_serde::encode::write_named(&mut bytes, value).ok()?;
    Some(bytes)
}

/// Reads them back; None for bytes that are no copy, which are made anew.
pub fn read<V: DeserializeOwned>(bytes: &[u8]) -> Option<Option<V>> {
    match bytes.split_first()? {
        (&NOTHING, []) => Some(None),
        (&SOMETHING, value) => rmp_serde::from_slice(value).ok().map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(value in proptest::option::of(proptest::collection::vec(".{0,20}", 0..4))) {
            let bytes = write(value.as_ref()).unwrap();
            prop_assert!(!bytes.is_empty(), "Redis tells nothing kept from kept nothing by this");
            prop_assert_eq!(read::<Vec<String>>(&bytes), Some(value));
        }

        #[test]
        fn strange_bytes_are_no_copy_and_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let read: Option<Option<Vec<String>>> = read(&bytes);
            prop_assert!(read.is_none() || matches!(bytes[0], NOTHING | SOMETHING));
        }
    }

    #[test]
    fn a_cut_copy_is_none() {
        let bytes = write(Some(&vec!["some".to_owned()])).unwrap();
        assert_eq!(read::<Vec<String>>(&bytes[..bytes.len() - 1]), None);
        assert_eq!(read::<Vec<String>>(&[NOTHING, 1]), None);
        assert_eq!(read::<Vec<String>>(&[]), None);
    }
}
