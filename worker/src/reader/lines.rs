//! Where the lines of a range of a file are, found by looking at its two borders only.
//!
//! The lines of `[start, end)` are those that begin there, as [`braid_engine::cover::LineCover`] has it; this gives the same
//! bytes as that, without reading what lies between.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

const CHUNK: usize = 64 << 10;

/// The bytes of the lines that begin in `[start, end)` of a file of `size` bytes.
pub(crate) fn of_range(file: &File, start: u64, end: u64, size: u64) -> io::Result<Range<u64>> {
    if start >= end {
        return Ok(start..start);
    }
    // A line that goes across the whole range is given up at the range's end.
    let Some(first) = line_start(file, start, end - 1)? else {
        return Ok(start..start);
    };
    let last = line_start(file, end, size)?.unwrap_or(size);
    Ok(first..last.max(first))
}

/// Where the first line begins that begins at `offset` or later, if the line feed before it lies before `limit`.
fn line_start(file: &File, offset: u64, limit: u64) -> io::Result<Option<u64>> {
    let Some(mut position) = offset.checked_sub(1) else {
        return Ok(Some(0));
    };
    let mut chunk = vec![0; CHUNK];
    while position < limit {
        let want = usize::try_from(limit - position).map_or(CHUNK, |left| left.min(CHUNK));
        let buffer = chunk.get_mut(..want).unwrap_or_default();
        let read = match file.read_at(buffer, position) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it is shorter than it was when it was opened",
                ));
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let seen = buffer.get(..read).unwrap_or_default();
        if let Some(index) = seen.iter().position(|byte| *byte == b'\n') {
            return Ok(Some(position + index as u64 + 1));
        }
        position += read as u64;
    }
    Ok(None)
}
