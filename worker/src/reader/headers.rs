//! Headers of CSV files that come to one partition: on standard input they are one file, with one header.

use std::io::{self, Read};

use braid_crds::workflow::Format;
use braid_engine::{
    cover::{RecordScan, Unit, bare_header},
    plan::PlannedFile,
};

use super::{InputError, source::Source};
use crate::ground::Ground;

const BLOCK: usize = 16 << 10;

/// The first header of several files, which the others must have, too.
#[derive(Debug, Default)]
pub(super) struct Headers(Option<(String, Vec<u8>)>);

impl Headers {
    /// How many bytes of this file are left out on standard input.
    pub(super) fn skip(&mut self, ground: &Ground, planned: &PlannedFile) -> Result<u64, InputError> {
        let header = header(ground, planned)?;
        if header.is_empty() {
            return Ok(0);
        }
        let length = header.len() as u64;
        match &self.0 {
            None => {
                self.0 = Some((planned.path.to_string(), bare_header(&header).to_vec()));
                Ok(0)
            }
            Some((_, first)) if *first == bare_header(&header) => Ok(length),
            Some((first, _)) => Err(InputError::Headers {
                path: planned.path.to_string(),
                first: first.clone(),
            }),
        }
    }
}

fn header(ground: &Ground, planned: &PlannedFile) -> Result<Vec<u8>, InputError> {
    let unreadable = |source: io::Error| super::unreadable(planned, source);
    let mut reader = Source::new(ground.clone(), planned.clone(), Some(Format::Csv)).begin()?;
    let wrong = |error: braid_engine::cover::ScanError| {
        super::unreadable(planned, io::Error::new(io::ErrorKind::InvalidData, error))
    };
    let mut scan = RecordScan::new(Format::Csv, Unit::Rows(u64::MAX)).map_err(wrong)?;
    let mut begun = Vec::new();
    loop {
        let before = begun.len();
        let read = (&mut reader)
            .take(BLOCK as u64)
            .read_to_end(&mut begun)
            .map_err(unreadable)?;
        scan.feed(begun.get(before..).unwrap_or_default()).map_err(wrong)?;
        let header = match scan.header() {
            Some(header) => header,
            None if read == 0 => scan.clone().finish().map_err(wrong)?.header,
            None => continue,
        };
        begun.truncate(usize::try_from(header).unwrap_or(usize::MAX));
        return Ok(begun);
    }
}
