//! The wire protocol between a worker and its shim: length-prefixed frames over a stream socket.
//!
//! A frame is `u32` length of the body (little endian), then the body: one byte that names the kind, then the fields in
//! order. Numbers are little endian; byte strings and texts carry a `u32` length; lists a `u32` count.
//!
//! Both ends treat the other as hostile. Nothing here allocates by a number that the peer sent: a body is at most
//! [`MAX_BODY`] long, fields are slices of a body that has fully arrived, and lists are read entry by entry. Whatever is
//! wrong with the bytes is a [`FrameError`], after which the stream has no meaning any more and must be closed.

use braid_crds::limits;

mod wire;

mod from_shim;
mod key;
mod to_shim;

#[cfg(test)]
mod tests;

pub use from_shim::{FromShim, Outcome, Stream};
pub use key::LinkKey;
pub use to_shim::{InputShape, ProgramFrame, StartFrame, ToShim};
pub use wire::{Decoder, Frame, FrameError, encode};

/// The version of the protocol; the first frame of each side carries it. Both ends of a pod come from one image, so there is no
/// other to talk with: 2 tells the shim whose lines it prints, 3 has long-lived programs, 4 has files that
/// attempts write, 5 what they save for the next, 6 inputs that the worker has put into files.
pub const VERSION: u16 = 6;

/// The longest body of a frame, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// How many bytes of input one [`ToShim::InputData`] carries at most.
pub const CHUNK: usize = 128 << 10;

/// How many programs a shim holds at once; a [`ToShim::Program`] names its slot below this number.
pub const PROGRAM_SLOTS: u8 = 16;

/// How many attempts a shim holds that have not ended; one more is an error of the worker.
pub const MAX_HELD: usize = 1024;

/// How many bytes of a stream the shim holds for a program that does not read them; one more is the program's end.
pub const MAX_STREAM: usize = 8 << 20;

/// The longest line of output that is kept, in bytes; the rest of a longer one is dropped and the line is marked.
pub const MAX_LINE: usize = 16 << 10;

/// The most files that an attempt may write.
pub const MAX_FILES: usize = limits::WRITTEN_FILES;

/// The longest path of such a file below the directory of its data, in bytes.
pub const MAX_PATH: usize = limits::WRITTEN_PATH_BYTES;

/// The longest message of a failure, in bytes.
pub const MAX_MESSAGE: usize = 1 << 10;
