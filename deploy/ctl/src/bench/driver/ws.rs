//! WebSocket frames as far as a load generator speaks and hears them: texts, pings, the end.

use super::http1::Malformed;

/// A frame above this is none of the desk's.
const FRAME_BYTES_MAX: u64 = 4 << 20;

/// What the far side said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    Text(&'a [u8]),
    /// To be answered with a pong that holds the same.
    Ping(&'a [u8]),
    Close,
    Other,
}

/// The frame that bytes begin with and how long it is; None when it is not there as a whole.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(usize, Heard<'_>)>, Malformed> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if second & 0x80 != 0 {
        return Err(Malformed("a server does not mask its frames"));
    }
    let (length, head) = match second & 0x7F {
        126 => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        length => (u64::from(length), 2),
    };
    if length > FRAME_BYTES_MAX {
        return Err(Malformed("a frame that is too long"));
    }
    let end = head + length as usize;
    let Some(payload) = bytes.get(head..end) else { return Ok(None) };
    let heard = match first & 0x0F {
        1 => Heard::Text(payload),
        8 => Heard::Close,
        9 => Heard::Ping(payload),
        _ => Heard::Other,
    };
    Ok(Some((end, heard)))
}

/// What a client says; the mask is there for proxies that nobody asked, so any does.
pub(super) fn write(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    const MASK: [u8; 4] = [0x5A, 0x11, 0xC3, 0x78];
    out.push(0x80 | opcode as u8);
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        long @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
        longer => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(longer as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Text = 1,
    Pong = 10,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server writes: the same frame without a mask.
    fn served(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut masked = Vec::new();
        write(&mut masked, Opcode::Text, payload);
        let head = masked.len() - payload.len() - 4;
        let mut plain = masked[..head].to_vec();
        plain[0] = first;
        plain[1] &= 0x7F;
        plain.extend(payload);
        plain
    }

    #[test]
    fn frames_of_every_kind_are_heard() {
        assert_eq!(read(&served(0x81, b"hi")), Ok(Some((4, Heard::Text(b"hi")))));
        assert_eq!(read(&served(0x89, b"x")), Ok(Some((3, Heard::Ping(b"x")))));
        assert_eq!(read(&served(0x88, b"")), Ok(Some((2, Heard::Close))));
        assert!(read(&[0x81, 0x81, 0, 0, 0, 0, 0]).is_err());
        assert!(read(&[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    proptest! {
        #[test]
        fn a_frame_is_heard_once_it_is_whole(length in prop::sample::select(vec![0usize, 1, 125, 126, 65_535, 65_536]), cut in 0usize..70_000) {
            let payload = vec![b'a'; length];
            let frame = served(0x81, &payload);
            let cut = cut.min(frame.len());
            let expected = (cut == frame.len()).then_some((frame.len(), Heard::Text(&payload)));
            prop_assert_eq!(read(&frame[..cut]), Ok(expected));
        }
    }
}
