//! Rewrites the log with the living objects only.

use std::path::Path;
use std::sync::Arc;

use super::file::{self, LogFile};
use super::{FRAME_BYTES, file::header};
use crate::error::BuildError;
use crate::resource::ResourceId;
use crate::store::{Key, Stored};

/// A log smaller than this is left alone.
const LEAST_BYTES: u64 = 8 * 1024 * 1024;
/// The log may be this many times as large as the objects in it.
const FACTOR: u64 = 4;

/// Is the log so large that rewriting pays?
pub(super) fn is_due(log_bytes: u64, live_bytes: u64) -> bool {
    log_bytes > LEAST_BYTES && log_bytes / FACTOR > live_bytes
}

/// Writes a new log beside `path` and puts it in its place. Until the rename the old one is whole, after it the new one.
pub(super) fn compact(
    path: &Path,
    names: &[String],
    version: u64,
    objects: &[(ResourceId, Key, Arc<Stored>)],
) -> Result<LogFile, BuildError> {
    let mut log = LogFile::create(&path.with_extension("new"))?;
    let mut payload = Vec::new();
    // The newest version may be that of a deletion, which leaves no object to show it.
    file::encode_version(&mut payload, version);
    for (resource, key, object) in objects {
        let name = names.get(resource.0).map(String::as_str).unwrap_or_default();
        file::encode(&mut payload, object.version, name, key, Some(&object.raw));
        if payload.len() >= FRAME_BYTES {
            flush(&mut log, &mut payload)?;
        }
    }
    flush(&mut log, &mut payload)?;
    log.sync()?;
    let log = log.rename(path)?;
    tracing::debug!(bytes = log.length(), objects = objects.len(), "rewrote the log");
    Ok(log)
}

fn flush(log: &mut LogFile, payload: &mut Vec<u8>) -> Result<(), BuildError> {
    if !payload.is_empty() {
        log.write(&header(payload))?;
        log.write(payload)?;
        payload.clear();
    }
    Ok(())
}
