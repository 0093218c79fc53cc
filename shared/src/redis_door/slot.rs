//! Which keys of a cluster lie together: those of one slot, by the part of a key that stands in its first braces.

/// Slots of a cluster; every node has some of them, mostly in a row.
pub const SLOTS: u16 = 16_384;

/// The slot of a key.
pub fn slot_of(key: &str) -> u16 {
    crc16(tag(key).unwrap_or(key).as_bytes()) % SLOTS
}

/// What stands in the first braces, if anything does.
fn tag(key: &str) -> Option<&str> {
    let (_, after) = key.split_once('{')?;
    let (tag, _) = after.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// The checksum of XMODEM, as the cluster's specification wants it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis::cluster_routing::Slot;

    use super::*;

    proptest! {
        #[test]
        fn a_slot_is_the_one_that_the_client_takes(key in "[a-z{}:]{0,24}|\\PC{0,12}") {
            prop_assert_eq!(Slot::new(slot_of(&key)), Some(Slot::for_key(&key)));
        }
    }

    #[test]
    fn the_specification_gives_examples() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of("{user1000}.following"), slot_of("{user1000}.followers"));
        assert_eq!(slot_of("foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of("foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
    }
}
