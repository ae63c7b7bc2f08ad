//! The canonical bytes of a plan, before they are deflated.
//!
//! `BRAIDPLAN`, a version, a kind. Files: the split, their number, and of each how many bytes its path shares with its
//! predecessor's, the rest of the path, the size, and the difference of the modification times. Items: their number,
//! and the JSON text of each.

use serde_json::Value;

use super::{FILES, FilePlan, ITEMS_BYTES, PATH_BYTES, PATHS_BYTES, Plan, PlanError, PlannedFile};
use crate::{
    cover::Split,
    varint::{self, ReadError, Reader},
};
use braid_crds::limits;

const HEADER: &[u8] = b"BRAIDPLAN\x01";
const ITEMS: u8 = 0;
const BY_FILES: u8 = 1;
const BY_BYTES: u8 = 2;

pub fn encode(plan: &Plan) -> Result<Vec<u8>, PlanError> {
    let mut bytes = HEADER.to_vec();
    match plan {
        Plan::Files(plan) => encode_files(plan, &mut bytes),
        Plan::Items(items) => encode_items(items, &mut bytes)?,
    }
    if bytes.len() > super::PLAN_BYTES {
        return Err(PlanError::TooLarge {
            what: format!("{} bytes, at most {}", bytes.len(), super::PLAN_BYTES),
        });
    }
    Ok(bytes)
}

fn encode_files(plan: &FilePlan, bytes: &mut Vec<u8>) {
    let (kind, unit) = match plan.split {
        Split::Files(files) => (BY_FILES, files),
        Split::Bytes(unit) => (BY_BYTES, unit),
    };
    bytes.push(kind);
    varint::put(bytes, u128::from(unit));
    varint::put(bytes, plan.files.len() as u128);
    let (mut path_before, mut modified_before) = ("", 0_i64);
    for file in &plan.files {
        let shared = shared_prefix(path_before, &file.path);
        varint::put(bytes, shared as u128);
        varint::put_text(bytes, file.path.get(shared..).unwrap_or_default());
        varint::put(bytes, u128::from(file.size));
        varint::put_signed(bytes, i128::from(file.modified_nanos) - i128::from(modified_before));
        (path_before, modified_before) = (&file.path, file.modified_nanos);
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
    let plan = match reader.byte()? {
        ITEMS => decode_items(&mut reader)?,
        BY_FILES => {
            let split = Split::Files(reader.narrow()?);
            decode_files(split, &mut reader, paths_bytes)?
        }
        BY_BYTES => {
            let split = Split::Bytes(reader.narrow()?);
            decode_files(split, &mut reader, paths_bytes)?
        }
        _ => return Err(ReadError::Number.into()),
    };
    reader.end()?;
    Ok(plan)
}

fn decode_files(split: Split, reader: &mut Reader<'_>, paths_bytes: usize) -> Result<Plan, PlanError> {
    let count: usize = reader.narrow()?;
    // An entry has at least four bytes: a number alone reserves no memory.
    if count > FILES || count > reader.left() / 4 {
        return Err(ReadError::Number.into());
    }
    let mut files: Vec<PlannedFile> = Vec::with_capacity(count);
    let (mut path, mut modified, mut paths) = (String::new(), 0_i128, 0_usize);
    for _ in 0..count {
        let shared: usize = reader.narrow()?;
        if shared > path.len() || !path.is_char_boundary(shared) {
            return Err(ReadError::Text.into());
        }
        path.truncate(shared);
        path.push_str(reader.text()?);
        paths = paths.saturating_add(path.len());
        if path.len() > PATH_BYTES || paths > paths_bytes {
            return Err(ReadError::Number.into());
        }
        let size = reader.narrow()?;
        modified = reader.signed()?.checked_add(modified).ok_or(ReadError::Number)?;
        files.push(PlannedFile {
            path: path.as_str().into(),
            size,
            modified_nanos: i64::try_from(modified).map_err(|_| ReadError::Number)?,
        });
    }
    FilePlan::new(files, split).map(Plan::Files)
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
