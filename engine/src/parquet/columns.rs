//! Some columns of a file's schema.
//!
//! A schema is a tree, written as a list: each element is followed by as many trees as it says that it has children. Leaves are what the
//! row groups have chunks of, in the order of the list. A column is an element below the root, with all that is in it.

use super::{
    ParquetError,
    thrift::{BINARY, Cursor, Field, I32, STRUCT, Writer},
};

/// So many names are told of a file that has not the one that is wanted.
const TOLD: usize = 20;

/// Columns that are taken, of all.
#[derive(Debug)]
pub(super) struct Columns {
    /// Whether each leaf is.
    leaves: Vec<bool>,
    /// The elements of the new schema, and how many there are.
    schema: Vec<u8>,
    elements: usize,
}

/// An element of the schema.
struct Element {
    name: String,
    children: u64,
    is_leaf: bool,
}

fn element(bytes: &[u8], fields: &[Field]) -> Result<Element, ParquetError> {
    let name = fields.iter().find(|field| field.id == 4 && field.kind == BINARY);
    let name = name.ok_or(ParquetError::Missing("schema.name"))?;
    let children = match fields.iter().find(|field| field.id == 5 && field.kind == I32) {
        None => 0,
        Some(field) => {
            let children = Cursor::new(bytes, field.value.start).integer()?;
            u64::try_from(children).map_err(|_| ParquetError::Footer(field.value.start))?
        }
    };
    Ok(Element {
        name: Cursor::new(bytes, name.value.start).text()?.into_owned(),
        children,
        is_leaf: fields.iter().any(|field| field.id == 1),
    })
}

impl Columns {
    /// Those of these names, of the schema that a field of the footer holds.
    pub(super) fn of(bytes: &[u8], schema: &Field, names: &[String]) -> Result<Self, ParquetError> {
        let mut cursor = Cursor::new(bytes, schema.value.start);
        let (kind, count) = cursor.list()?;
        if kind != STRUCT || count == 0 {
            return Err(ParquetError::Footer(schema.value.start));
        }
        let root = cursor.fields()?;
        let columns = element(bytes, &root)?.children;
        let mut left = count - 1;
        let (mut leaves, mut kept, mut elements, mut there) = (Vec::new(), Vec::new(), 1, Vec::new());
        let mut taken = 0_i64;
        for _ in 0..columns {
            let start = cursor.at();
            let (mut open, mut size, mut wanted) = (1_u64, 0, None);
            while open > 0 {
                let at = cursor.at();
                left = left.checked_sub(1).ok_or(ParquetError::Footer(at))?;
                let element = element(bytes, &cursor.fields()?)?;
                open = (open - 1).saturating_add(element.children);
                size += 1;
                let wanted = *wanted.get_or_insert_with(|| {
                    let wanted = names.contains(&element.name);
                    there.push(element.name.clone());
                    wanted
                });
                if element.is_leaf {
                    leaves.push(wanted);
                }
            }
            if wanted == Some(true) {
                kept.extend_from_slice(bytes.get(start..cursor.at()).unwrap_or_default());
                elements += size;
                taken += 1;
            }
        }
        if left > 0 {
            return Err(ParquetError::Footer(cursor.at()));
        }
        if let Some(name) = names.iter().find(|name| !there.contains(name)) {
            let more = there.len().saturating_sub(TOLD);
            there.truncate(TOLD);
            let mut there = there.join(", ");
            if more > 0 {
                there.extend([" and ", &more.to_string(), " more"]);
            }
            return Err(ParquetError::NoColumn {
                name: name.clone(),
                there,
            });
        }
        let mut writer = Writer::default();
        for field in &root {
            match field.id {
                5 => writer.number(field, taken),
                _ => writer.copy(field, bytes),
            }
        }
        Ok(Self {
            leaves,
            schema: [writer.end(), kept].concat(),
            elements,
        })
    }

    /// How many leaves all columns have.
    pub(super) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Whether a leaf is of a column that is taken.
    pub(super) fn has(&self, leaf: usize) -> bool {
        self.leaves.get(leaf).copied().unwrap_or(false)
    }

    /// The schema, as the field that holds it.
    pub(super) fn write_schema(&self, field: &Field, writer: &mut Writer) {
        writer.list(field, self.elements);
        writer.bytes.extend_from_slice(&self.schema);
    }

    /// How values of the leaves are ordered, as the field that holds it. Of a list that is not of the leaves nothing is kept: readers
    /// do without.
    pub(super) fn write_orders(&self, field: &Field, bytes: &[u8], writer: &mut Writer) -> Result<(), ParquetError> {
        let mut cursor = Cursor::new(bytes, field.value.start);
        let (kind, count) = cursor.list()?;
        if kind != STRUCT || count != self.leaves.len() {
            return Ok(());
        }
        let mut kept = Vec::new();
        for taken in &self.leaves {
            let start = cursor.at();
            cursor.skip(kind, 1)?;
            if *taken {
                kept.extend_from_slice(bytes.get(start..cursor.at()).unwrap_or_default());
            }
        }
        writer.list(field, self.leaves.iter().filter(|taken| **taken).count());
        writer.bytes.extend_from_slice(&kept);
        Ok(())
    }
}
