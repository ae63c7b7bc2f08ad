//! Row groups of a Parquet file, and of those some columns, as a Parquet file of their own, without a look at a single value.
//!
//! The chunks of columns are copied as they are, whatever their encoding and compression; the footer is written anew, with
//! the same schema and metadata, only those row groups, and their chunks where they are now. What points elsewhere into the old
//! file (page indexes, Bloom filters) is left out: readers do without. Fields that this code does not know are kept. Where some columns
//! are taken, what writers say beside the schema about all of them (key-value metadata, the order of rows) is left out, too.
//!
//! A footer may have been written by anybody: nothing is allocated by a number in it but what its own length allows, and chunks
//! must lie in the file and together be no longer than it.

use std::ops::Range;

use self::{
    columns::Columns,
    thrift::{Cursor, Field, I16, I32, I64, LIST, STRUCT, Writer},
};

mod columns;
mod thrift;

/// How many bytes at the end of a file say where its footer is.
pub const TAIL: usize = 8;
/// The longest footer, in bytes.
pub const FOOTER_BYTES: u64 = 64 << 20;

const MAGIC: &[u8; 4] = b"PAR1";
const SEALED: &[u8; 4] = b"PARE";

/// Why row groups cannot be taken out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParquetError {
    /// It does not end as such a file does.
    #[error("it is no Parquet file: it does not end with PAR1")]
    NoParquet,
    /// The footer or columns are encrypted.
    #[error("it is encrypted: its row groups cannot be taken apart; use split: {{files: 1}}")]
    Encrypted,
    /// A footer that cannot be there.
    #[error("its footer should have {0} bytes, which is more than the file has, or more than {FOOTER_BYTES}")]
    Length(u64),
    /// A footer that does not read.
    #[error("its footer does not read, at byte {0} of the footer")]
    Footer(usize),
    /// A field that has to be there.
    #[error("its footer has no field {0}")]
    Missing(&'static str),
    /// A chunk of a column that is not in the file.
    #[error("a column of its row group {0} is not where the footer says, or lies outside the file")]
    Chunk(usize),
    /// There is no such row group.
    #[error("it has no row group {0}")]
    NoGroup(u32),
    /// There is no such column at the top of its schema.
    #[error("it has no column {name:?}; it has {there}")]
    NoColumn {
        /// The name that was asked for.
        name: String,
        /// The names that there are, or the first of them.
        there: String,
    },
}

/// The footer of a file.
#[derive(Clone, Debug)]
pub struct Footer {
    bytes: Vec<u8>,
    /// Of the file; everything but the footer and what is behind it.
    body: u64,
    fields: Vec<Field>,
    groups: Vec<Range<usize>>,
}

/// A file of some row groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What the file begins with.
    pub head: &'static [u8],
    /// The parts of the old file that follow.
    pub copies: Vec<Range<u64>>,
    /// What it ends with.
    pub tail: Vec<u8>,
    /// How many rows it has.
    pub rows: i64,
}

/// How long the footer is, from the last bytes of a file of that size.
///
/// # Errors
/// See [`ParquetError`].
pub fn footer_length(tail: [u8; TAIL], size: u64) -> Result<u64, ParquetError> {
    let [a, b, c, d, magic @ ..] = tail;
    match &magic {
        MAGIC => {}
        SEALED => return Err(ParquetError::Encrypted),
        _ => return Err(ParquetError::NoParquet),
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    // The file begins with the magic, too.
    if length > FOOTER_BYTES || length.saturating_add(TAIL as u64 + 4) > size {
        return Err(ParquetError::Length(length));
    }
    Ok(length)
}

impl Footer {
    /// Reads the footer of a file of that size.
    ///
    /// # Errors
    /// See [`ParquetError`].
    pub fn new(bytes: Vec<u8>, size: u64) -> Result<Self, ParquetError> {
        let fields = Cursor::new(&bytes, 0).fields()?;
        if fields.iter().any(|field| matches!(field.id, 8 | 9)) {
            return Err(ParquetError::Encrypted);
        }
        let list = find(&fields, 4, LIST, "row_groups")?;
        let mut cursor = Cursor::new(&bytes, list.value.start);
        let (kind, count) = cursor.list()?;
        if kind != STRUCT && count > 0 {
            return Err(ParquetError::Footer(list.value.start));
        }
        let mut groups = Vec::with_capacity(count);
        for _ in 0..count {
            let start = cursor.at();
            cursor.skip(kind, 1)?;
            groups.push(start..cursor.at());
        }
        find(&fields, 2, LIST, "schema")?;
        find(&fields, 3, I64, "num_rows")?;
        let body = size.saturating_sub((bytes.len() + TAIL) as u64);
        Ok(Self {
            bytes,
            body,
            fields,
            groups,
        })
    }

    /// How many row groups the file has.
    #[must_use]
    pub fn groups(&self) -> u32 {
        u32::try_from(self.groups.len()).unwrap_or(u32::MAX)
    }

    /// How many bytes of memory it takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len() + self.groups.len() * size_of::<Range<usize>>()
    }

    /// A file of these row groups with the columns of these names, whatever their order; none named: with all.
    ///
    /// # Errors
    /// See [`ParquetError`].
    pub fn select(&self, groups: Range<u32>, columns: &[String]) -> Result<Selection, ParquetError> {
        let chosen = match columns {
            [] => None,
            names => Some(Columns::of(&self.bytes, find(&self.fields, 2, LIST, "schema")?, names)?),
        };
        let chosen = chosen.as_ref();
        let mut file = File {
            body: self.body,
            end: MAGIC.len() as u64,
            copies: Vec::new(),
            unpacked: 0,
        };
        let (mut rows, mut written) = (0_i64, Vec::new());
        for (number, ordinal) in groups.clone().zip(0_i64..) {
            let place = usize::try_from(number).unwrap_or(usize::MAX);
            let span = self.groups.get(place).ok_or(ParquetError::NoGroup(number))?;
            let (bytes, count) = self.group(span.start, (place, ordinal), chosen, &mut file)?;
            written.extend(bytes);
            rows = rows.checked_add(count).ok_or(ParquetError::Chunk(place))?;
        }
        let mut writer = Writer::default();
        for field in &self.fields {
            match (field.id, chosen) {
                (2, Some(columns)) => columns.write_schema(field, &mut writer),
                (3, _) => writer.number(field, rows),
                (4, _) => {
                    writer.list(field, groups.len());
                    writer.bytes.extend_from_slice(&written);
                }
                // What is said of all columns by name.
                (5, Some(_)) => {}
                (7, Some(columns)) => columns.write_orders(field, &self.bytes, &mut writer)?,
                _ => writer.copy(field, &self.bytes),
            }
        }
        let mut tail = writer.end();
        let length = u32::try_from(tail.len()).map_err(|_| ParquetError::Length(tail.len() as u64))?;
        tail.extend(length.to_le_bytes());
        tail.extend(MAGIC);
        Ok(Selection {
            head: MAGIC,
            copies: file.copies,
            tail,
            rows,
        })
    }

    /// The structure of a row group that is now the `ordinal`-th, and its rows.
    fn group(
        &self,
        at: usize,
        (place, ordinal): (usize, i64),
        chosen: Option<&Columns>,
        file: &mut File,
    ) -> Result<(Vec<u8>, i64), ParquetError> {
        let fields = Cursor::new(&self.bytes, at).fields()?;
        let rows = self.integer(find(&fields, 3, I64, "row_groups.num_rows")?)?;
        let start = file.end;
        let mut columns = Vec::new();
        let list = find(&fields, 1, LIST, "row_groups.columns")?;
        let mut cursor = Cursor::new(&self.bytes, list.value.start);
        let (kind, count) = cursor.list()?;
        if kind != STRUCT && count > 0 {
            return Err(ParquetError::Footer(list.value.start));
        }
        if chosen.is_some_and(|chosen| chosen.leaves() != count) {
            return Err(ParquetError::Footer(list.value.start));
        }
        let (mut taken, unpacked) = (0, file.unpacked);
        for leaf in 0..count {
            let chunk = cursor.fields()?;
            if chosen.is_none_or(|chosen| chosen.has(leaf)) {
                columns = self.chunk(&chunk, place, columns, file)?;
                taken += 1;
            }
        }
        if rows < 0 {
            return Err(ParquetError::Chunk(place));
        }
        let mut writer = Writer::default();
        for field in &fields {
            match (field.id, field.kind) {
                (1, _) => {
                    writer.list(field, taken);
                    writer.bytes.extend_from_slice(&columns);
                }
                (2, I64) if chosen.is_some() => writer.number(field, file.unpacked.saturating_sub(unpacked)),
                // Which columns the rows are sorted by, as numbers of columns.
                (4, _) if chosen.is_some() => {}
                (6, I64) if chosen.is_some() => writer.number(field, signed(file.end - start)),
                (5, I64) => writer.number(field, signed(start)),
                // It has 16 bits; where nothing is encrypted, readers do not use it.
                (7, I16) => writer.number(field, ordinal.min(i64::from(i16::MAX))),
                _ => writer.copy(field, &self.bytes),
            }
        }
        Ok((writer.end(), rows))
    }

    /// Appends the structure of a column's chunk to `written`.
    fn chunk(
        &self,
        fields: &[Field],
        place: usize,
        written: Vec<u8>,
        file: &mut File,
    ) -> Result<Vec<u8>, ParquetError> {
        if fields.iter().any(|field| matches!(field.id, 8 | 9)) {
            return Err(ParquetError::Encrypted);
        }
        // A path: the chunk is in another file.
        let elsewhere = fields.iter().find(|field| field.id == 1);
        if elsewhere.is_some_and(|field| field.value.len() > 1) {
            return Err(ParquetError::Chunk(place));
        }
        let metadata = find(fields, 3, STRUCT, "columns.meta_data")?;
        let inner = Cursor::new(&self.bytes, metadata.value.start).fields()?;
        let length = self.offset(find(&inner, 7, I64, "columns.total_compressed_size")?, place)?;
        let data = self.offset(find(&inner, 9, I64, "columns.data_page_offset")?, place)?;
        let begin = MAGIC.len() as u64;
        // A chunk without rows may have a dictionary and no page of data, which is then said to be at 0.
        let dictionary = match inner.iter().find(|field| field.id == 11 && field.kind == I64) {
            Some(field) => Some(self.offset(field, place)?).filter(|at| *at >= begin && (*at < data || data < begin)),
            None => None,
        };
        let from = dictionary.unwrap_or(data);
        let to = file.copy(from, length).ok_or(ParquetError::Chunk(place))?;
        if let Some(field) = inner.iter().find(|field| field.id == 6 && field.kind == I64) {
            file.unpacked = file.unpacked.saturating_add(self.integer(field)?);
        }
        let moved = |at: u64| signed(at.checked_sub(from).map_or(at, |behind| behind.saturating_add(to)));

        let mut writer = Writer::inner(written);
        for field in fields {
            match field.id {
                2 => writer.number(field, signed(to)),
                3 => {
                    writer.structure(field);
                    let mut column = Writer::inner(std::mem::take(&mut writer.bytes));
                    for field in &inner {
                        match field.id {
                            9 => column.number(field, moved(data)),
                            11 => {
                                if let Some(at) = dictionary {
                                    column.number(field, moved(at));
                                }
                            }
                            // The index page and the Bloom filter, which are left behind.
                            10 | 14 | 15 => {}
                            _ => column.copy(field, &self.bytes),
                        }
                    }
                    writer.bytes = column.end();
                }
                // Indexes of pages, which are left behind; a path that is empty.
                1 | 4..=7 => {}
                _ => writer.copy(field, &self.bytes),
            }
        }
        Ok(writer.end())
    }

    fn integer(&self, field: &Field) -> Result<i64, ParquetError> {
        Cursor::new(&self.bytes, field.value.start).integer()
    }

    fn offset(&self, field: &Field, place: usize) -> Result<u64, ParquetError> {
        u64::try_from(self.integer(field)?).map_err(|_| ParquetError::Chunk(place))
    }
}

/// What has been copied.
#[derive(Debug)]
struct File {
    body: u64,
    /// How long the new file is.
    end: u64,
    copies: Vec<Range<u64>>,
    /// How many bytes its pages have before they were packed, as the old file says.
    unpacked: i64,
}

impl File {
    /// Copies a part of the old file's body; where to.
    fn copy(&mut self, from: u64, length: u64) -> Option<u64> {
        let to = self.end;
        if length == 0 {
            // A chunk without rows may be said to be anywhere.
            return Some(to);
        }
        let end = from.checked_add(length).filter(|end| *end <= self.body)?;
        if from < MAGIC.len() as u64 {
            return None;
        }
        // Chunks do not overlap, so together they are never longer than the file.
        self.end = to.checked_add(length).filter(|end| *end <= self.body)?;
        match self.copies.last_mut() {
            Some(last) if last.end == from => last.end = end,
            _ => self.copies.push(from..end),
        }
        Some(to)
    }
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn find<'a>(fields: &'a [Field], id: i16, kind: u8, name: &'static str) -> Result<&'a Field, ParquetError> {
    let field = fields.iter().find(|field| field.id == id);
    field
        .filter(|field| field.kind == kind || (kind == I64 && field.kind == I32))
        .ok_or(ParquetError::Missing(name))
}

#[cfg(test)]
mod tests;
