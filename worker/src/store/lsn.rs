//! PURE: a position in PostgreSQL's log.

use std::fmt;

/// Where something stands in the log; what was written later stands further on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// Reads PostgreSQL's own way to write it: two halves in hexadecimal, `16/B374D848`.
    pub fn parse(text: &str) -> Option<Self> {
        let half = |text: &str| {
            let plain = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        let (high, low) = text.split_once('/')?;
        Some(Self(half(high)? << 32 | half(low)?))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_keeps_its_order(a: u64, b: u64) {
            let read = |n: u64| Lsn::parse(&Lsn(n).to_string()).unwrap();
            prop_assert_eq!(read(a), Lsn(a));
            prop_assert_eq!(read(a) < read(b), a < b);
        }

        #[test]
        fn anything_else_is_none(text in "[^/]{0,10}(/[^/]{0,10}){2,3}|[^/]{0,10}|[g-z]{1,8}/[0-9]{1,8}") {
            prop_assert_eq!(Lsn::parse(&text), None);
        }
    }

    #[test]
    fn halves_are_bounded() {
        assert_eq!(Lsn::parse("16/B374D848"), Some(Lsn(0x16_B374_D848)));
        for text in ["+1/0", "1/+2", "100000000/0", "0/100000000", "/", "1/", ""] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
    }
}
