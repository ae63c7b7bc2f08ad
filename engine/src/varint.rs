//! Whole numbers in as few bytes as they need, and a reader of untrusted bytes.
//!
//! Seven bits to a byte, the lowest first. Each number has exactly one form: a longer one is refused, so that equal
//! contents are equal bytes.

/// Why bytes do not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They end too early.
    #[error("the bytes end too early")]
    Short,
    /// A number that is too large, or not in its shortest form.
    #[error("a number is out of its bounds or not in its shortest form")]
    Number,
    /// Text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// More follows than was said.
    #[error("bytes are left over")]
    Left,
}

/// Appends `number`.
pub fn put(bytes: &mut Vec<u8>, number: u128) {
    let mut rest = number;
    while rest >= 0x80 {
        bytes.push(low_byte(rest) | 0x80);
        rest >>= 7;
    }
    bytes.push(low_byte(rest));
}

/// Appends a signed number: small magnitudes are short, whatever their sign.
pub fn put_signed(bytes: &mut Vec<u8>, number: i128) {
    put(bytes, zigzag(number));
}

/// Appends a text with its length before it.
pub fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u128);
    bytes.extend_from_slice(text.as_bytes());
}

/// How many bytes [`put`] appends.
pub fn len(number: u128) -> usize {
    let bits = (128 - number.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

/// How many bytes [`put_signed`] appends.
pub fn len_signed(number: i128) -> usize {
    len(zigzag(number))
}

fn low_byte(number: u128) -> u8 {
    (number & 0x7f) as u8
}

#[expect(clippy::cast_sign_loss, reason = "the bits are meant")]
fn zigzag(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)) as u128
}

#[expect(clippy::cast_possible_wrap, reason = "the bits are meant")]
fn unzigzag(number: u128) -> i128 {
    ((number >> 1) as i128) ^ -((number & 1) as i128)
}

/// Reads what was put, from the front.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader of all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, ReadError> {
        let (first, rest) = self.0.split_first().ok_or(ReadError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ReadError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number.
    pub fn number(&mut self) -> Result<u128, ReadError> {
        let mut number = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift == 126 && bits > 3 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(number) } else { Err(ReadError::Number) };
            }
        }
        Err(ReadError::Number)
    }

    /// A number of a narrower type.
    pub fn narrow<T: TryFrom<u128>>(&mut self) -> Result<T, ReadError> {
        T::try_from(self.number()?).map_err(|_| ReadError::Number)
    }

    /// A signed number.
    pub fn signed(&mut self) -> Result<i128, ReadError> {
        self.number().map(unzigzag)
    }

    /// A text with its length before it.
    pub fn text(&mut self) -> Result<&'a str, ReadError> {
        let length = self.narrow()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| ReadError::Text)
    }

    /// Ends the reading: nothing may be left.
    pub fn end(self) -> Result<(), ReadError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ReadError::Left)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_read(number: u128, signed: i128, shift in 0..128_u32, text: String) {
            let mut bytes = Vec::new();
            put(&mut bytes, number >> shift);
            prop_assert_eq!(bytes.len(), len(number >> shift));
            put_signed(&mut bytes, signed >> shift);
            prop_assert_eq!(bytes.len(), len(number >> shift) + len_signed(signed >> shift));
            put_text(&mut bytes, &text);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.number(), Ok(number >> shift));
            prop_assert_eq!(reader.signed(), Ok(signed >> shift));
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn a_number_has_one_form(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(number) = reader.number() {
                let mut again = Vec::new();
                put(&mut again, number);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - reader.left()]);
            }
        }
    }
}
