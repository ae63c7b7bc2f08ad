//! As much of Thrift's compact protocol as it takes to go through a structure without knowing all of its fields.
//!
//! Values that nobody asks for are skipped and later copied as they are, so what writers add to the format is kept.

use std::{borrow::Cow, ops::Range};

use super::ParquetError;

/// Types of values.
pub(super) const BOOL_TRUE: u8 = 1;
pub(super) const BOOL_FALSE: u8 = 2;
pub(super) const BYTE: u8 = 3;
pub(super) const I16: u8 = 4;
pub(super) const I32: u8 = 5;
pub(super) const I64: u8 = 6;
pub(super) const DOUBLE: u8 = 7;
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const SET: u8 = 10;
pub(super) const MAP: u8 = 11;
pub(super) const STRUCT: u8 = 12;
pub(super) const UUID: u8 = 13;

/// The deepest nesting; Parquet's own is about six.
const DEPTH: u32 = 32;

/// A field of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) id: i16,
    pub(super) kind: u8,
    /// Where its value is.
    pub(super) value: Range<usize>,
}

/// Goes through bytes.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// From there on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8, ParquetError> {
        let byte = self.bytes.get(self.at).ok_or(ParquetError::Footer(self.at))?;
        self.at += 1;
        Ok(*byte)
    }

    fn advance(&mut self, count: u64) -> Result<(), ParquetError> {
        let left = self.bytes.len().saturating_sub(self.at);
        let count = usize::try_from(count).ok().filter(|count| *count <= left);
        self.at += count.ok_or(ParquetError::Footer(self.at))?;
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u64, ParquetError> {
        let start = self.at;
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ParquetError::Footer(start))
    }

    /// An integer of any size.
    pub(super) fn integer(&mut self) -> Result<i64, ParquetError> {
        let number = self.unsigned()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    /// A text; bytes that are none are replaced.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, ParquetError> {
        let length = self.unsigned()?;
        let from = self.at;
        self.advance(length)?;
        Ok(String::from_utf8_lossy(
            self.bytes.get(from..self.at).unwrap_or_default(),
        ))
    }

    /// The type of a list's elements, and their number: at most as many as there are bytes left.
    pub(super) fn list(&mut self) -> Result<(u8, usize), ParquetError> {
        let start = self.at;
        let head = self.byte()?;
        let short = u64::from(head >> 4);
        let count = if short == 15 { self.unsigned()? } else { short };
        let left = self.bytes.len().saturating_sub(self.at);
        let count = usize::try_from(count).ok().filter(|count| *count <= left);
        Ok((head & 0x0f, count.ok_or(ParquetError::Footer(start))?))
    }

    /// The fields of a structure.
    pub(super) fn fields(&mut self) -> Result<Vec<Field>, ParquetError> {
        let mut fields = Vec::new();
        self.structure(0, |field| fields.push(field))?;
        Ok(fields)
    }

    fn structure(&mut self, depth: u32, mut each: impl FnMut(Field)) -> Result<(), ParquetError> {
        let mut id = 0_i16;
        loop {
            let start = self.at;
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            let kind = head & 0x0f;
            id = match i16::from(head >> 4) {
                0 => i16::try_from(self.integer()?).map_err(|_| ParquetError::Footer(start))?,
                delta => id.checked_add(delta).ok_or(ParquetError::Footer(start))?,
            };
            let from = self.at;
            // The value of a boolean field is its type.
            if !matches!(kind, BOOL_TRUE | BOOL_FALSE) {
                self.skip(kind, depth + 1)?;
            }
            each(Field {
                id,
                kind,
                value: from..self.at,
            });
        }
    }

    /// Goes behind a value.
    pub(super) fn skip(&mut self, kind: u8, depth: u32) -> Result<(), ParquetError> {
        let start = self.at;
        if depth > DEPTH {
            return Err(ParquetError::Footer(start));
        }
        match kind {
            BOOL_TRUE | BOOL_FALSE | BYTE => self.advance(1),
            I16 | I32 | I64 => self.unsigned().map(drop),
            DOUBLE => self.advance(8),
            UUID => self.advance(16),
            BINARY => {
                let length = self.unsigned()?;
                self.advance(length)
            }
            LIST | SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip(kind, depth + 1))
            }
            MAP => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                for _ in 0..count {
                    self.skip(kinds >> 4, depth + 1)?;
                    self.skip(kinds & 0x0f, depth + 1)?;
                }
                Ok(())
            }
            STRUCT => self.structure(depth, |_| {}),
            _ => Err(ParquetError::Footer(start)),
        }
    }
}

/// Writes a structure, field by field.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    id: i16,
}

impl Writer {
    /// A structure within another.
    pub(super) fn inner(bytes: Vec<u8>) -> Self {
        Self { bytes, id: 0 }
    }

    fn head(&mut self, id: i16, kind: u8) {
        let delta = id.checked_sub(self.id).and_then(|delta| u8::try_from(delta).ok());
        if let Some(delta @ 1..=15) = delta {
            self.bytes.push(delta << 4 | kind);
        } else {
            self.bytes.push(kind);
            self.integer(i64::from(id));
        }
        self.id = id;
    }

    pub(super) fn unsigned(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }

    fn integer(&mut self, number: i64) {
        self.unsigned((number << 1 ^ number >> 63).cast_unsigned());
    }

    /// A field as it was.
    pub(super) fn copy(&mut self, field: &Field, from: &[u8]) {
        self.head(field.id, field.kind);
        let value = from.get(field.value.clone()).unwrap_or_default();
        self.bytes.extend_from_slice(value);
    }

    /// A field with another number.
    pub(super) fn number(&mut self, field: &Field, number: i64) {
        self.head(field.id, field.kind);
        self.integer(number);
    }

    /// The head of a list of structures, as a field.
    pub(super) fn list(&mut self, field: &Field, count: usize) {
        self.head(field.id, LIST);
        if let Ok(count @ 0..15) = u8::try_from(count) {
            self.bytes.push(count << 4 | STRUCT);
        } else {
            self.bytes.push(0xf0 | STRUCT);
            self.unsigned(count as u64);
        }
    }

    /// The head of a structure, as a field.
    pub(super) fn structure(&mut self, field: &Field) {
        self.head(field.id, STRUCT);
    }

    /// The end of a structure.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}
