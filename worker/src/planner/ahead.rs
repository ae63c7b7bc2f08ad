//! Reading a file once, from beginning to end: a thread reads on while what it has read is looked at.

use std::{
    fs::File,
    io::{self, Read as _},
    sync::mpsc::{Receiver, SyncSender, channel, sync_channel},
    thread,
};

/// So many bytes are read at once.
pub(super) const CHUNK: usize = 1 << 20;

/// So many such pieces are in memory at most.
const PIECES: usize = 3;

/// Gives the first `size` bytes of a file, piece by piece. What is wrong with it is given, too, and then nothing more. Blocks.
///
/// # Errors
/// The first of `take`, after which nothing more is read.
pub(super) fn read<E>(
    mut file: File,
    size: u64,
    mut take: impl FnMut(io::Result<&[u8]>) -> Result<(), E>,
) -> Result<(), E> {
    if size == 0 {
        return Ok(());
    }
    if size <= CHUNK as u64 {
        let mut piece = Vec::new();
        let read = fill(&mut file, &mut piece, size);
        return take(read.map(|()| piece.as_slice()));
    }
    let (full, filled) = sync_channel::<io::Result<Vec<u8>>>(PIECES);
    let (back, empty) = channel();
    thread::scope(move |scope| {
        // When this closure ends, so do the channels, and by that the thread.
        let (filled, back) = (filled, back);
        let reading = thread::Builder::new().name("read-ahead".to_owned());
        let begun = reading.spawn_scoped(scope, move || send(file, size, &empty, &full));
        if let Err(error) = begun {
            return take(Err(error));
        }
        for read in &filled {
            match read {
                Ok(piece) => {
                    take(Ok(&piece))?;
                    // Nobody wants it when all has been read.
                    let _ = back.send(piece);
                }
                Err(error) => return take(Err(error)),
            }
        }
        Ok(())
    })
}

/// Reads all, and sends it until nobody wants it any more.
fn send(mut file: File, size: u64, empty: &Receiver<Vec<u8>>, full: &SyncSender<io::Result<Vec<u8>>>) {
    let (mut left, mut made) = (size, 0);
    while left > 0 {
        let mut piece = if made < PIECES {
            made += 1;
            Vec::new()
        } else {
            let Ok(piece) = empty.recv() else { return };
            piece
        };
        let read = fill(&mut file, &mut piece, left);
        left -= piece.len() as u64;
        let failed = read.is_err();
        if full.send(read.map(|()| piece)).is_err() || failed {
            return;
        }
    }
}

/// Reads some of the bytes that are left.
fn fill(file: &mut File, piece: &mut Vec<u8>, left: u64) -> io::Result<()> {
    piece.resize(usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK)), 0);
    file.read_exact(piece).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return io::Error::new(error.kind(), "it is shorter than it was when it was listed");
        }
        error
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file.reopen().unwrap()
    }

    fn all(bytes: &[u8], size: usize) -> (Vec<u8>, Option<io::ErrorKind>) {
        let (mut read, mut wrong) = (Vec::new(), None);
        let done: Result<(), ()> = super::read(file(bytes), size as u64, |piece| {
            match piece {
                Ok(piece) => read.extend_from_slice(piece),
                Err(error) => wrong = Some(error.kind()),
            }
            Ok(())
        });
        done.unwrap();
        (read, wrong)
    }

    #[test]
    fn all_bytes_are_given_once_and_in_order() {
        let bytes: Vec<u8> = (0..7 * CHUNK + 5).map(|at| at.to_le_bytes()[at % 3]).collect();
        for size in [0, 1, CHUNK, CHUNK + 1, bytes.len()] {
            assert!(all(&bytes, size) == (bytes[..size].to_vec(), None), "{size}");
        }
    }

    #[test]
    fn a_file_that_has_shrunk_is_an_error_once() {
        for (length, size) in [(0, 1), (10, 11), (3 * CHUNK - 1, 9 * CHUNK)] {
            let (read, wrong) = all(&vec![7; length], size);
            assert_eq!(wrong, Some(io::ErrorKind::UnexpectedEof));
            assert!(read.len() <= length && read.len() + CHUNK > length);
        }
    }

    #[test]
    fn nothing_is_read_on_for_one_who_has_refused() {
        let mut taken = 0;
        let refused = super::read(file(&vec![1; 20 * CHUNK]), 20 * CHUNK as u64, |_| {
            taken += 1;
            Err("enough")
        });
        assert_eq!((refused, taken), (Err("enough"), 1));
    }
}
