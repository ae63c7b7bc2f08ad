//! Frames and records as bytes, and the file they are appended to.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::BuildError;
use crate::store::Key;

/// The first bytes of every log; the number is the format's version.
pub(super) const MAGIC: &[u8; 16] = b"braid-log 1     ";
/// Bytes before a frame's payload.
pub(super) const HEADER: usize = 12;
/// No frame is longer: a length above this is damage.
pub(super) const MAX_FRAME: usize = 64 * 1024 * 1024;

/// The header of a frame.
pub(super) fn header(payload: &[u8]) -> [u8; HEADER] {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = crc32fast::hash(payload).to_le_bytes();
    let mut header = [0; HEADER];
    let (first, check) = header.split_at_mut(8);
    first.copy_from_slice(&[length, crc].concat());
    check.copy_from_slice(&crc32fast::hash(first).to_le_bytes());
    header
}

/// The payload's length and checksum, if the header is whole.
pub(super) fn parse_header(header: [u8; HEADER]) -> Option<(usize, u32)> {
    let (fields, check) = header.split_first_chunk::<8>()?;
    let (length, crc) = fields.split_first_chunk::<4>()?;
    let word = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let intact = crc32fast::hash(fields) == word(check)?;
    let length = usize::try_from(word(length)?).ok()?;
    (intact && length <= MAX_FRAME).then_some((length, word(crc)?))
}

/// Appends one record. `raw` is the object's JSON; `None` records a deletion.
pub(super) fn encode(payload: &mut Vec<u8>, version: u64, resource: &str, key: &Key, raw: Option<&[u8]>) {
    let quoted = |text: &str| Value::from(text).to_string();
    let (namespace, name) = (quoted(&key.namespace), quoted(&key.name));
    payload.extend_from_slice(
        format!(
            r#"{{"v":{version},"r":{},"ns":{namespace},"n":{name}"#,
            quoted(resource)
        )
        .as_bytes(),
    );
    if let Some(raw) = raw {
        payload.extend_from_slice(br#","o":"#);
        payload.extend_from_slice(raw);
    }
    payload.extend_from_slice(b"}\n");
}

/// Appends a record that only keeps the counter.
pub(super) fn encode_version(payload: &mut Vec<u8>, version: u64) {
    payload.extend_from_slice(format!("{{\"v\":{version}}}\n").as_bytes());
}

/// An open log. After an error it must not be written again.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LogFile {
    /// Opens the log for appending after its first `length` bytes; what follows is cut off. A length of 0 begins a new one.
    pub(super) fn open(path: &Path, length: u64) -> Result<Self, BuildError> {
        let io = |what| move |e| BuildError::io(what, path, e);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("open"))?;
        file.set_len(length).map_err(io("cut"))?;
        file.seek(SeekFrom::Start(length)).map_err(io("seek in"))?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            length,
        };
        if length == 0 {
            log.write(MAGIC)?;
        }
        log.file.sync_all().map_err(io("sync"))?;
        sync_directory(path)?;
        Ok(log)
    }

    /// Begins a log at `path`, over whatever is there.
    pub(super) fn create(path: &Path) -> Result<Self, BuildError> {
        Self::open(path, 0)
    }

    /// An open file, as it is.
    #[cfg(test)]
    pub(super) fn for_tests(path: &Path, file: File) -> Self {
        Self {
            path: path.to_owned(),
            file,
            length: 0,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends a frame and returns when it is on disk.
    pub(super) fn append(&mut self, payload: &[u8]) -> Result<(), BuildError> {
        let before = self.length;
        let frame = [&header(payload), payload].concat();
        let synced = self.write(&frame).and_then(|()| self.sync());
        if synced.is_err() {
            // Best effort: leave a file that ends with a whole frame. A torn end would be cut at the next start anyway.
            let _ = self.file.set_len(before);
        }
        synced
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.file
            .write_all(bytes)
            .map_err(|e| BuildError::io("write", &self.path, e))?;
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), BuildError> {
        self.file.sync_data().map_err(|e| BuildError::io("sync", &self.path, e))
    }

    /// Puts this log in the place of another.
    pub(super) fn rename(mut self, to: &Path) -> Result<Self, BuildError> {
        std::fs::rename(&self.path, to).map_err(|e| BuildError::io("rename", &self.path, e))?;
        sync_directory(to)?;
        to.clone_into(&mut self.path);
        Ok(self)
    }
}

/// Makes a new or renamed file's name durable.
fn sync_directory(path: &Path) -> Result<(), BuildError> {
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|e| BuildError::io("sync", directory, e))
}
