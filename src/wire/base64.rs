//! Base 64 of RFC 4648, with padding and the alphabet of its section 4.
//!
//! One spelling per text: what could have been written otherwise is not read.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * n) & 63).unwrap_or_default();
            let digit = ALPHABET.get(index).map_or('=', |digit| char::from(*digit));
            text.push(if n > chunk.len() { '=' } else { digit });
        }
    }
    text
}

/// The bytes that `coded` stands for; none if it is not the one way to write them.
pub fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    if !coded.len().is_multiple_of(4) {
        return None;
    }
    let padding = coded.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = coded.get(..coded.len() - padding)?;
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(coded.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let digit = ALPHABET.iter().position(|known| known == byte)?;
            bits = bits << 6 | u32::try_from(digit).ok()?;
        }
        // The bits of a short group that make no whole byte must be zero: one spelling per text.
        let n_bytes = group.len().checked_sub(1).filter(|n| *n > 0)?;
        let spare = u32::try_from(group.len() * 6 - n_bytes * 8).ok()?;
        if bits & ((1 << spare) - 1) != 0 {
            return None;
        }
        let whole = (bits >> spare) << (8 * (4 - u32::try_from(n_bytes).ok()?));
        out.extend(whole.to_be_bytes().into_iter().take(n_bytes));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn the_vectors_of_the_rfc_hold_in_both_directions() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, coded) in vectors {
            assert_eq!(encode(bytes.as_bytes()), coded);
            assert_eq!(decode(coded.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
        for wrong in ["Zg", "Zh==", "Z===", "Zg=a", "Z-8="] {
            assert_eq!(decode(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
