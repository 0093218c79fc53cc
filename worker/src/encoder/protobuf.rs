//! Reads just enough of protobuf for the models' files: the fields of a message, one level at a time.

/// The fields of a message that carry bytes or a fixed number; others are passed over.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = Result<(u64, &[u8]), String>> {
    std::iter::from_fn(move || {
        while !message.is_empty() {
            match field(&mut message) {
                Some((_, None)) => {}
                Some((number, Some(value))) => return Some(Ok((number, value))),
                None => {
                    message = &[];
                    return Some(Err("not the protobuf that it should be".into()));
                }
            }
        }
        None
    })
}

fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let tag = varint(message)?;
    let length = match tag & 7 {
        0 => return varint(message).map(|_| (tag >> 3, None)),
        1 => 8,
        2 => usize::try_from(varint(message)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (value, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some((tag >> 3, Some(value)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind_and_a_cut_one() {
        // A number (field 1), bytes (2), a fixed 32-bit number (3).
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f];
        let found: Vec<_> = fields(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(found, [(2, b"hi".as_slice()), (3, [0, 0, 0x80, 0x3f].as_slice())]);
        assert!(fields(&message[..6]).any(|field| field.is_err()));
    }
}
