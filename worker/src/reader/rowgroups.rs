//! Row groups of Parquet files, or some columns of them, as files of their own: parts of the old file between a head and a new footer.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, PoisonError},
};

use braid_engine::{
    parquet::{Footer, ParquetError, Selection, TAIL, footer_length},
    plan::PlannedFile,
};
use bytes::Bytes;

use super::InputError;
use crate::runner::Data;

/// So many footers are kept.
const KEPT: usize = 4;
/// And so many bytes of them, unless one alone has more.
const KEPT_BYTES: usize = 64 << 20;

/// The latest footers: every partition of a file needs its.
#[derive(Debug, Default)]
pub(crate) struct Footers(Mutex<Vec<(PlannedFile, Arc<Footer>)>>);

impl Footers {
    fn get(&self, planned: &PlannedFile, file: &File) -> Result<Arc<Footer>, InputError> {
        let known = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter()
                .find(|(known, _)| known == planned)
                .map(|(_, footer)| footer.clone())
        };
        if let Some(footer) = known {
            return Ok(footer);
        }
        let footer = Arc::new(read(planned, file)?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| known != planned);
        kept.insert(0, (planned.clone(), footer.clone()));
        let mut held = 0;
        let fits = kept.iter().take_while(|(_, footer)| {
            held += footer.held();
            held <= KEPT_BYTES
        });
        let fits = fits.count().clamp(1, KEPT);
        kept.truncate(fits);
        Ok(footer)
    }

    /// A file of some row groups, with some columns or all.
    pub(crate) fn select(
        &self,
        planned: &PlannedFile,
        file: File,
        groups: Range<u32>,
        columns: &[String],
    ) -> Result<Data, InputError> {
        let footer = self.get(planned, &file)?;
        let selection = footer.select(groups, columns).map_err(|error| wrong(planned, error))?;
        let Selection { head, copies, tail, .. } = selection;
        let file = Arc::new(file);
        let mut parts = vec![Data::Bytes(Bytes::from_static(head))];
        parts.extend(copies.into_iter().map(|copy| Data::File {
            file: file.clone(),
            offset: copy.start,
            length: copy.end - copy.start,
        }));
        parts.push(Data::Bytes(tail.into()));
        Ok(Data::Joined(parts))
    }
}

/// Reads the footer of a file, and how many row groups it has; each of them is known to be there, and so are the columns.
pub(crate) fn count(planned: &PlannedFile, file: &File, columns: &[String]) -> Result<u32, InputError> {
    let footer = read(planned, file)?;
    // Also of a file that has none.
    footer.select(0..0, columns).map_err(|error| wrong(planned, error))?;
    for group in 0..footer.groups() {
        footer
            .select(group..group + 1, columns)
            .map_err(|error| wrong(planned, error))?;
    }
    Ok(footer.groups())
}

fn read(planned: &PlannedFile, file: &File) -> Result<Footer, InputError> {
    let unreadable = |source| super::unreadable(planned, source);
    let Some(behind) = planned.size.checked_sub(TAIL as u64) else {
        return Err(wrong(planned, ParquetError::NoParquet));
    };
    let mut tail = [0; TAIL];
    file.read_exact_at(&mut tail, behind).map_err(unreadable)?;
    let length = footer_length(tail, planned.size).map_err(|error| wrong(planned, error))?;
    let size = usize::try_from(length).map_err(|_| wrong(planned, ParquetError::Length(length)))?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, behind.saturating_sub(length))
        .map_err(unreadable)?;
    Footer::new(bytes, planned.size).map_err(|error| wrong(planned, error))
}

fn wrong(planned: &PlannedFile, error: ParquetError) -> InputError {
    InputError::Unreadable {
        path: planned.path.to_string(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
