//! Bytes to text: UTF-8, UTF-16 with a byte-order mark, and what Chinese offices still save as GBK or GB18030.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, GB18030, GBK, UTF_8};

/// The text of a file, without byte-order mark and controls, its line ends single.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, String> {
    let (encoding, rest) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (encoding, &bytes[mark..]),
        None if bytes.contains(&0) => return Err("it holds NUL bytes, so it is no text".into()),
        None if std::str::from_utf8(bytes).is_ok() => (UTF_8, bytes),
        None => (guess(bytes), bytes),
    };
    let (text, malformed) = encoding.decode_without_bom_handling(rest);
    if malformed {
        return Err(format!("it is no valid {}; save it as UTF-8", encoding.name()));
    }
    Ok(plain(&text))
}

/// The likeliest encoding of a text that is not UTF-8.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    match detector.guess(Some(b"cn"), Utf8Detection::Deny) {
        // The later standard holds the older one, and the characters of names that it lacks.
        encoding if encoding == GBK => GB18030,
        encoding => encoding,
    }
}

/// Without controls other than tabs and line ends, which become `\n`.
fn plain(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace(['\r', '\u{2028}', '\u{2029}', '\u{c}'], "\n")
        .replace(|c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{feff}', "")
}

/// Refuses lines that no person wrote.
pub(super) fn check_lines(text: &str) -> Result<(), String> {
    match text.lines().position(|line| line.len() > super::LINE_BYTES_MAX) {
        Some(line) => Err(format!("line {} is longer than {} KiB; break it up", line + 1, super::LINE_BYTES_MAX >> 10)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHINESE: &str = "七天无理由退货：商品签收后七天内可以申请退货，运费由买家承担。";

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(decode(bytes).as_deref(), Ok(expected));
    }

    #[test]
    fn every_usual_encoding_is_read() {
        check(CHINESE.as_bytes(), CHINESE);
        check(&[b"\xef\xbb\xbf", CHINESE.as_bytes()].concat(), CHINESE);
        check(&GBK.encode(CHINESE).0, CHINESE);
        check(&GB18030.encode("㐂喜退货退款说明，请联系客服人员办理。").0, "㐂喜退货退款说明，请联系客服人员办理。");
        let utf16: Vec<u8> = "\u{feff}退货 ok".encode_utf16().flat_map(u16::to_le_bytes).collect();
        check(&utf16, "退货 ok");
        let utf16: Vec<u8> = "\u{feff}退货 ok".encode_utf16().flat_map(u16::to_be_bytes).collect();
        check(&utf16, "退货 ok");
        check(b"a\r\nb\rc\x1b[31m\x07", "a\nb\nc[31m");
        check(b"", "");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(decode(b"PK\x03\x04\0\0").unwrap_err().contains("NUL"));
        assert!(decode(b"\xff\xfe\x00\xd8").unwrap_err().contains("UTF-16"));
        assert!(check_lines(&"x".repeat(super::super::LINE_BYTES_MAX + 1)).unwrap_err().contains("line 1"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
