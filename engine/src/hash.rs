//! The hash of what has to hash alike for ever, on every machine and in every version.

use sha2::{Digest as _, Sha256};

/// The first eight bytes of the SHA-256 of some bytes, one piece behind the other.
pub fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut digest = Sha256::new();
    pieces.into_iter().for_each(|piece| digest.update(piece));
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    u64::from_be_bytes(first)
}
