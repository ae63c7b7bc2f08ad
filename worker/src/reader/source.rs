//! Files that are opened when it is their turn: packed ones, and those of which there are many.

use std::io::{self, Read};

use braid_crds::workflow::Format;
use braid_engine::{
    cover::{Packing, packing},
    plan::PlannedFile,
};

use super::{InputError, checked, is_planned, unpack::Unpacked};
use crate::{
    ground::Ground,
    runner::{Made, MadeBytes},
};

/// A file that was planned.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    ground: Ground,
    planned: PlannedFile,
    packing: Option<Packing>,
}

impl Source {
    pub(crate) fn new(ground: Ground, planned: PlannedFile, format: Option<Format>) -> Self {
        let packing = packing(&planned.path, format).map(|(packing, _)| packing);
        Self {
            ground,
            planned,
            packing,
        }
    }

    /// Opens it, and checks that it is the planned one.
    pub(crate) fn begin(&self) -> Result<Box<dyn Read + Send>, InputError> {
        let file = checked(&self.ground, &self.planned)?;
        let planned = &self.planned;
        let inner: Box<dyn Read + Send> = match self.packing {
            Some(packing) => Box::new(Unpacked::new(file, &planned.path, planned.size, packing)),
            None => Box::new(file.take(planned.size)),
        };
        Ok(Box::new(Watched {
            inner,
            ground: self.ground.clone(),
            planned: planned.clone(),
        }))
    }
}

impl Made for Source {
    fn open(&self) -> io::Result<MadeBytes> {
        self.begin()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn length(&self) -> u64 {
        // As much as that many bytes can stand for: a hint where to put them, so that only what is surely small is put into
        // memory.
        let most = match self.packing {
            None => 1,
            Some(Packing::Gzip) => 1_032,
            Some(Packing::Zstd) => 32_768,
        };
        self.planned.size.saturating_mul(most)
    }
}

/// The bytes of a file that still is the planned one when it has been read.
struct Watched {
    inner: Box<dyn Read + Send>,
    ground: Ground,
    planned: PlannedFile,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            let checked = is_planned(&self.ground, &self.planned);
            checked.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(count)
    }
}
