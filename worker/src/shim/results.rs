//! Reading the results file that user code has left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use nix::libc;

use crate::frames::Outcome;

/// What stands at the path of the results file.
pub(super) enum Found {
    Nothing,
    Results(Bytes),
    Refused(Outcome, String),
}

/// Opens what user code has left: never what a link leads to, and without waiting for a writer. It may be no regular file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Reads the file if it is a regular one of at most `limit` bytes. Never follows a link, never waits for a writer.
pub(super) fn read(path: &Path, limit: u32) -> Found {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Found::Nothing,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return refused("it is a symbolic link"),
        Err(error) => return refused(&error.to_string()),
    };
    match file.metadata() {
        Ok(meta) if !meta.is_file() => return refused("it is not a regular file"),
        Ok(meta) if meta.len() > u64::from(limit) => return too_large(meta.len(), limit),
        Ok(_) => {}
        Err(error) => return refused(&error.to_string()),
    }
    // The file may still grow under our eyes, so the limit is kept while reading, too.
    let mut bytes = Vec::new();
    match file.take(u64::from(limit) + 1).read_to_end(&mut bytes) {
        Ok(count) if count as u64 > u64::from(limit) => too_large(count as u64, limit),
        Ok(_) => Found::Results(Bytes::from(bytes)),
        Err(error) => refused(&error.to_string()),
    }
}

fn refused(why: &str) -> Found {
    Found::Refused(
        Outcome::ResultUnreadable,
        format!("the file $BRAID_RESULTS cannot be read: {why}"),
    )
}

fn too_large(size: u64, limit: u32) -> Found {
    let message = format!("the file $BRAID_RESULTS has {size} bytes, more than the {limit} allowed");
    Found::Refused(Outcome::ResultTooLarge(size), message)
}

/// Removes whatever stands at a private path; nothing is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::IsADirectory | ErrorKind::PermissionDenied) => {
            fs::remove_dir_all(path)
        }
        other => other,
    }
}
