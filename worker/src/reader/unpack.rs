//! Packed files: unpacked while they are read, in bounded memory, and never to more than a bound.
//!
//! gzip of any number of members, zstd of any number of frames; checksums are checked. A few bytes can stand for as many as
//! anybody likes, so a file may give [`FREE`] bytes, and beyond that [`RATIO`] times its own size: enough for data that people
//! pack, and an end for what is made to fill a disk.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use braid_engine::cover::Packing;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

/// Any file may give so many bytes.
pub(crate) const FREE: u64 = 1 << 30;
/// And beyond that so many times its own size.
pub(crate) const RATIO: u64 = 200;
/// The largest window of a zstd frame, in bytes: what `zstd` itself takes unless told otherwise. That much memory is held.
const WINDOW: u64 = 128 << 20;
const BUFFER: usize = 128 << 10;

/// A packed file, unpacked.
pub(crate) struct Unpacked {
    path: String,
    packing: Packing,
    inner: Inner,
    given: u64,
    limit: u64,
    read: Arc<AtomicU64>,
    failed: bool,
}

enum Inner {
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
    Zstd(Box<Frames<BufReader<Counted>>>),
}

impl Unpacked {
    /// Reads `file`, of `size` bytes, whose name for errors is `path`.
    pub(crate) fn new(file: File, path: &str, size: u64, packing: Packing) -> Self {
        Self::within(FREE.max(size.saturating_mul(RATIO)), file, path, packing)
    }

    /// The same, that gives so many bytes at most.
    pub(crate) fn within(limit: u64, file: File, path: &str, packing: Packing) -> Self {
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            file,
            read: read.clone(),
        };
        let source = BufReader::with_capacity(BUFFER, counted);
        Self {
            path: path.to_owned(),
            packing,
            inner: match packing {
                Packing::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(source))),
                Packing::Zstd => Inner::Zstd(Box::new(Frames::new(source))),
            },
            given: 0,
            limit,
            read,
            failed: false,
        }
    }

    fn failure(&mut self, what: &str) -> io::Error {
        self.failed = true;
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} cannot be unpacked as {}: {what}, within the first {} bytes of the file, after {} bytes that it gave",
                self.path,
                self.packing.as_str(),
                self.read.load(Ordering::Relaxed),
                self.given
            ),
        )
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("it could not be unpacked before"));
        }
        let read = match &mut self.inner {
            Inner::Gzip(decoder) => decoder.read(buffer),
            Inner::Zstd(frames) => frames.read(buffer),
        };
        match read {
            Ok(count) => {
                self.given += count as u64;
                if self.given > self.limit {
                    let limit = self.limit;
                    return Err(self.failure(&format!(
                        "it gives more than {limit} bytes, which is the most for a file of its size ({FREE} bytes, or {RATIO} \
                         times its own); unpack it before the run"
                    )));
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.failure("it ends in the middle: it is cut off, or was still being written"))
            }
            Err(error) => Err(self.failure(&error.to_string())),
        }
    }
}

/// Counts what is read of a file.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The frames of a zstd file, one after the other.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    /// A frame is being read.
    within: bool,
    /// There was one.
    begun: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Self {
            source,
            decoder,
            within: false,
            begun: false,
        }
    }

    /// Begins the next frame. `false`: there is none.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                if self.begun {
                    return Ok(false);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    (self.within, self.begun) = (true, true);
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    self.begun = true;
                    let skipped = io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.told(&error)),
            }
        }
    }

    /// An error within a frame; where the file has ended, that is what is wrong.
    fn told(&mut self, error: &FrameDecoderError) -> io::Error {
        if self.source.fill_buf().is_ok_and(<[u8]>::is_empty) {
            return io::ErrorKind::UnexpectedEof.into();
        }
        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within && !self.begin()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let strategy = BlockDecodingStrategy::UptoBlocks(1);
                if let Err(error) = self.decoder.decode_blocks(&mut self.source, strategy) {
                    return Err(self.told(&error));
                }
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.within = false;
            let wanted = self.decoder.get_checksum_from_data();
            if wanted.is_some() && wanted != self.decoder.get_calculated_checksum() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is another"));
            }
        }
    }
}
