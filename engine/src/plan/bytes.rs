//! The canonical bytes of a plan, before they are deflated.
//!
//! `BRAIDPLAN`, a version, a kind. Files: the split, their number, and of each how many bytes its path shares with its
//! predecessor's, the rest of the path, the size, and the difference of the modification times. Items: their number,
//! and the JSON text of each.
//!
//! Kinds are added, never changed: a worker that does not know one says so, and reads nothing. The first three are those of
//! files that are given as they are, and of lines by bytes. `FORMATTED` has a format, a way to cut, and of each file what was
//! found in it: the length of the header and where partitions begin, as differences; or the number of row groups, behind the
//! names of their columns where not all are taken. `READS` has the lists of files that all partitions read, then the plan of the partitions.

use braid_crds::{limits, workflow::Format};
use serde_json::Value;

use super::{Body, FILES, FilePlan, Found, ITEMS_BYTES, PATH_BYTES, PATHS_BYTES, Plan, PlanError, PlannedFile, Read};
use crate::{
    cover::{CUTS, Records, Split},
    varint::{self, ReadError, Reader},
};

const HEADER: &[u8] = b"BRAIDPLAN\x01";
const ITEMS: u8 = 0;
const BY_FILES: u8 = 1;
const BY_BYTES: u8 = 2;
const FORMATTED: u8 = 3;
const READS: u8 = 4;
const NUMBERS: u8 = 5;

/// A way to cut files that have a format: row groups, of which some columns are taken.
const BY_COLUMNS: u8 = 5;

const FORMATS: [Option<Format>; 5] = [
    None,
    Some(Format::Text),
    Some(Format::Csv),
    Some(Format::JsonLines),
    Some(Format::Parquet),
];

pub fn encode(plan: &Plan) -> Result<Vec<u8>, PlanError> {
    let mut bytes = HEADER.to_vec();
    if !plan.reads.is_empty() {
        bytes.push(READS);
        varint::put(&mut bytes, plan.reads.len() as u128);
        for read in &plan.reads {
            varint::put_text(&mut bytes, &read.data);
            bytes.push(format_byte(read.format));
            encode_list(&read.files, &mut bytes, |_, _| {});
        }
    }
    match &plan.body {
        Body::Numbers => bytes.push(NUMBERS),
        Body::Files(plan) => encode_files(plan, &mut bytes),
        Body::Items(items) => encode_items(items, &mut bytes)?,
    }
    if bytes.len() > super::PLAN_BYTES {
        return Err(PlanError::TooLarge {
            what: format!("{} bytes, at most {}", bytes.len(), super::PLAN_BYTES),
        });
    }
    Ok(bytes)
}

fn format_byte(format: Option<Format>) -> u8 {
    let place = FORMATS.iter().zip(0..).find(|(known, _)| **known == format);
    place.map_or(u8::MAX, |(_, byte)| byte)
}

fn encode_files(plan: &FilePlan, bytes: &mut Vec<u8>) {
    let columns = match &plan.found {
        Found::RowGroups { columns, .. } => columns.as_slice(),
        Found::Nothing | Found::Records(_) => &[],
    };
    let (way, unit) = match plan.split {
        Split::Files(unit) => (BY_FILES, unit),
        Split::Bytes(unit) => (BY_BYTES, unit),
        Split::Rows(unit) => (3, unit),
        Split::RowGroups(unit) if columns.is_empty() => (4, unit),
        Split::RowGroups(unit) => (BY_COLUMNS, unit),
    };
    match (plan.format, way) {
        (None, BY_FILES) | (Some(Format::Text), BY_BYTES) => bytes.push(way),
        _ => bytes.extend([FORMATTED, format_byte(plan.format), way]),
    }
    varint::put(bytes, u128::from(unit));
    if way == BY_COLUMNS {
        varint::put(bytes, columns.len() as u128);
        for column in columns {
            varint::put_text(bytes, column);
        }
    }
    encode_list(&plan.files, bytes, |place, bytes| match &plan.found {
        Found::Nothing => {}
        Found::Records(records) => {
            let Some(records) = records.get(place) else { return };
            varint::put(bytes, u128::from(records.header));
            varint::put(bytes, records.starts.len() as u128);
            let mut before = records.header;
            for start in &records.starts {
                varint::put(bytes, u128::from(start.saturating_sub(before)));
                before = *start;
            }
        }
        Found::RowGroups { groups, .. } => {
            let Some(groups) = groups.get(place) else { return };
            varint::put(bytes, u128::from(*groups));
        }
    });
}

fn encode_list(files: &[PlannedFile], bytes: &mut Vec<u8>, also: impl Fn(usize, &mut Vec<u8>)) {
    varint::put(bytes, files.len() as u128);
    let (mut path_before, mut modified_before) = ("", 0_i64);
    for (place, file) in files.iter().enumerate() {
        let shared = shared_prefix(path_before, &file.path);
        varint::put(bytes, shared as u128);
        varint::put_text(bytes, file.path.get(shared..).unwrap_or_default());
        varint::put(bytes, u128::from(file.size));
        varint::put_signed(bytes, i128::from(file.modified_nanos) - i128::from(modified_before));
        (path_before, modified_before) = (&file.path, file.modified_nanos);
        also(place, bytes);
    }
}

fn encode_items(items: &[Value], bytes: &mut Vec<u8>) -> Result<(), PlanError> {
    bytes.push(ITEMS);
    varint::put(bytes, items.len() as u128);
    let start = bytes.len();
    for item in items {
        varint::put_text(bytes, &item.to_string());
    }
    let length = bytes.len() - start;
    if length <= ITEMS_BYTES {
        return Ok(());
    }
    Err(PlanError::TooLarge {
        what: format!("{length} bytes of items, at most {ITEMS_BYTES}"),
    })
}

/// How many bytes two paths share at their beginning, ended at a character.
fn shared_prefix(before: &str, path: &str) -> usize {
    let shared = before
        .bytes()
        .zip(path.bytes())
        .take_while(|(left, right)| left == right)
        .count();
    path.floor_char_boundary(shared)
}

pub fn decode(bytes: &[u8]) -> Result<Plan, PlanError> {
    decode_within(bytes, PATHS_BYTES)
}

/// Decodes a plan whose paths have together at most so many bytes.
pub(super) fn decode_within(bytes: &[u8], paths_bytes: usize) -> Result<Plan, PlanError> {
    let mut reader = Reader::new(bytes);
    if reader.bytes(HEADER.len())? != HEADER {
        return Err(ReadError::Number.into());
    }
    let mut left = paths_bytes;
    let mut kind = reader.byte()?;
    let mut reads = Vec::new();
    if kind == READS {
        let count: usize = reader.narrow()?;
        if count == 0 || count > limits::READS {
            return Err(ReadError::Number.into());
        }
        for _ in 0..count {
            let data = reader.text()?.into();
            let format = decode_format(&mut reader)?;
            let files = decode_list(&mut reader, &mut left, |_, _| Ok(()))?;
            reads.push(Read { data, format, files });
        }
        kind = reader.byte()?;
    }
    let plan = match kind {
        NUMBERS => Plan::numbers(),
        ITEMS => decode_items(&mut reader)?,
        BY_FILES | BY_BYTES => {
            let format = (kind == BY_BYTES).then_some(Format::Text);
            decode_files(format, kind, &mut reader, &mut left)?
        }
        FORMATTED => {
            let format = decode_format(&mut reader)?;
            let way = reader.byte()?;
            decode_files(format, way, &mut reader, &mut left)?
        }
        _ => return Err(ReadError::Number.into()),
    };
    reader.end()?;
    plan.reading(reads)
}

fn decode_format(reader: &mut Reader<'_>) -> Result<Option<Format>, PlanError> {
    let byte = reader.byte()?;
    let format = FORMATS.get(usize::from(byte));
    Ok(*format.ok_or(ReadError::Number)?)
}

fn decode_files(format: Option<Format>, way: u8, reader: &mut Reader<'_>, left: &mut usize) -> Result<Plan, PlanError> {
    let unit = reader.narrow()?;
    let split = match way {
        BY_FILES => Split::Files(unit),
        BY_BYTES => Split::Bytes(unit),
        3 => Split::Rows(unit),
        4 | BY_COLUMNS => Split::RowGroups(unit),
        _ => return Err(ReadError::Number.into()),
    };
    let mut found = match FilePlan::needs(format, split) {
        super::Needs::Nothing => Found::Nothing,
        super::Needs::Records => Found::Records(Vec::new()),
        super::Needs::RowGroups => Found::RowGroups {
            groups: Vec::new(),
            columns: if way == BY_COLUMNS {
                decode_columns(reader)?
            } else {
                Vec::new()
            },
        },
    };
    let mut cuts = 0_usize;
    let files = decode_list(reader, left, |reader, size| {
        match &mut found {
            Found::Nothing => {}
            Found::Records(all) => all.push(decode_records(reader, size, &mut cuts)?),
            Found::RowGroups { groups, .. } => groups.push(reader.narrow()?),
        }
        Ok(())
    })?;
    FilePlan::with(files, format, split, found).map(Plan::from)
}

fn decode_columns(reader: &mut Reader<'_>) -> Result<Vec<String>, PlanError> {
    let count: usize = reader.narrow()?;
    if count == 0 || count > limits::COLUMNS {
        return Err(ReadError::Number.into());
    }
    (0..count).map(|_| Ok(reader.text()?.into())).collect()
}

fn decode_records(reader: &mut Reader<'_>, size: u64, cuts: &mut usize) -> Result<Records, PlanError> {
    let header: u64 = reader.narrow()?;
    let count: usize = reader.narrow()?;
    *cuts = cuts.saturating_add(count);
    // A start has at least one byte: a number alone reserves no memory.
    if *cuts > CUTS || count > reader.left() {
        return Err(ReadError::Number.into());
    }
    let mut starts = Vec::with_capacity(count);
    let mut start = header;
    for _ in 0..count {
        let step: u64 = reader.narrow()?;
        start = start
            .checked_add(step)
            .filter(|start| *start < size)
            .ok_or(ReadError::Number)?;
        starts.push(start);
    }
    Ok(Records { header, starts })
}

fn decode_list(
    reader: &mut Reader<'_>,
    left: &mut usize,
    mut also: impl FnMut(&mut Reader<'_>, u64) -> Result<(), PlanError>,
) -> Result<Vec<PlannedFile>, PlanError> {
    let count: usize = reader.narrow()?;
    // An entry has at least four bytes: a number alone reserves no memory.
    if count > FILES || count > reader.left() / 4 {
        return Err(ReadError::Number.into());
    }
    let mut files: Vec<PlannedFile> = Vec::with_capacity(count);
    let (mut path, mut modified) = (String::new(), 0_i128);
    for _ in 0..count {
        let shared: usize = reader.narrow()?;
        if shared > path.len() || !path.is_char_boundary(shared) {
            return Err(ReadError::Text.into());
        }
        path.truncate(shared);
        path.push_str(reader.text()?);
        *left = left.checked_sub(path.len()).ok_or(ReadError::Number)?;
        if path.len() > PATH_BYTES {
            return Err(ReadError::Number.into());
        }
        let size = reader.narrow()?;
        modified = reader.signed()?.checked_add(modified).ok_or(ReadError::Number)?;
        files.push(PlannedFile {
            path: path.as_str().into(),
            size,
            modified_nanos: i64::try_from(modified).map_err(|_| ReadError::Number)?,
        });
        also(reader, size)?;
    }
    Ok(files)
}

fn decode_items(reader: &mut Reader<'_>) -> Result<Plan, PlanError> {
    let count: usize = reader.narrow()?;
    if count > limits::ITEMS || reader.left() > ITEMS_BYTES {
        return Err(ReadError::Number.into());
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(serde_json::from_str(reader.text()?).map_err(|_| PlanError::Item)?);
    }
    Plan::items(items)
}
