//! The fields of a Protobuf message, one after the other and without a copy.
//!
//! As `otlp/wire.rs`, which passes over fixed numbers: here they are the clocks of every span. The generated types
//! would make some forty allocations for a span of which the walk needs two.

use prost::DecodeError;
use prost::encoding::{WireType, decode_key, decode_varint};

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// An integer, a flag or an enumeration.
    Number(u64),
    /// A message, a text or bytes.
    Bytes(&'a [u8]),
    /// A fixed number of 64 bits.
    Fixed(u64),
    /// A fixed number of 32 bits; none of those that are read has one.
    Short,
}

/// The fields of one message, in their order.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of an encoded message.
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn read(&mut self) -> Result<(u32, Field<'a>), DecodeError> {
        let (tag, kind) = decode_key(&mut self.0)?;
        let field = match kind {
            WireType::Varint => Field::Number(decode_varint(&mut self.0)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.0)?;
                Field::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            WireType::SixtyFourBit => {
                let (taken, rest) = self.0.split_first_chunk().ok_or_else(truncated)?;
                self.0 = rest;
                Field::Fixed(u64::from_le_bytes(*taken))
            }
            WireType::ThirtyTwoBit => {
                self.take(4)?;
                Field::Short
            }
            // Groups left the format before OTLP began.
            WireType::StartGroup | WireType::EndGroup => return Err(truncated()),
        };
        Ok((tag, field))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            // What follows a broken field has no meaning.
            self.0 = &[];
        }
        Some(field)
    }
}

/// The library's own error for a message that ends too early: a length without its bytes.
#[cold]
fn truncated() -> DecodeError {
    // A varint that never ends; the constructor of the error itself is not public.
    decode_varint(&mut &[0xff_u8][..]).expect_err("one byte that announces another is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_their_order() {
        let message = [
            0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x39, 7, 0, 0, 0, 0, 0, 0,
            1,
        ];
        let fields: Vec<_> = Fields::of(&message).map(Result::unwrap).collect();
        let fixed = Field::Fixed((1 << 56) + 7);
        let expected =
            [(1, Field::Number(150)), (2, Field::Bytes(b"hi")), (3, Field::Short), (7, fixed)];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_broken_field_is_an_error_and_the_end() {
        for broken in
            [&[0x12, 0x05, 1][..], &[0x12], &[0x0b], &[0x19, 1], &[0x1d, 1], &[0x00, 0x00]]
        {
            let fields: Vec<_> = Fields::of(broken).collect();
            assert!(fields.len() == 1 && fields[0].is_err(), "{broken:?}");
        }
    }
}
