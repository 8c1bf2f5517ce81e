//! Numbers as varints: 7 bits a byte, low ones first, the high bit on all bytes but the last.

use bytes::BufMut;

/// Appends `value`.
pub(crate) fn put(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Returns the bytes that [`put`] takes for `value`.
pub(crate) fn len(value: usize) -> usize {
    (usize::BITS - value.leading_zeros()).div_ceil(7).max(1) as usize
}

/// Reads a number from the front of `bytes`; returns it and how many bytes it takes.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.first()? {
        // Nearly all.
        byte @ ..0x80 => Some((u64::from(*byte), 1)),
        _ => read_long(bytes),
    }
}

fn read_long(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_and_takes_the_stated_bytes() {
        for value in [0, 1, 0x7f, 0x80, 300, 0x3fff, 0x4000, 1 << 40, usize::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value as u64);
            assert_eq!(bytes.len(), len(value));
            assert_eq!(read(&bytes), Some((value as u64, bytes.len())));
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0xff; 11]), None);
    }
}
