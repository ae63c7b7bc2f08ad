//! The shim's end of the socket: frames in, frames out, never blocking.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use bytes::{Buf, BytesMut};

use super::ShimError;
use crate::frames::{Decoder, FromShim, ToShim, encode};

/// Above so many bytes that the worker has not taken, children's output is left in their pipes.
const HIGH_WATER: usize = 256 << 10;

/// How many bytes are read at once.
const READ: usize = 64 << 10;

pub(super) struct Link {
    socket: UnixStream,
    decoder: Decoder,
    out: BytesMut,
    read: Box<[u8]>,
}

impl Link {
    pub(super) fn new(socket: UnixStream) -> Result<Self, ShimError> {
        socket.peer_addr().map_err(ShimError::NotASocket)?;
        socket.set_nonblocking(true).map_err(ShimError::Socket)?;
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            out: BytesMut::new(),
            read: vec![0; READ].into(),
        })
    }

    /// Reads what is there. `false`: the worker has closed its end.
    pub(super) fn receive(&mut self) -> Result<bool, ShimError> {
        loop {
            match self.socket.read(&mut self.read) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.decoder
                        .buffer()
                        .extend_from_slice(self.read.get(..count).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(ShimError::Socket(error)),
            }
        }
    }

    /// The next frame that has been received.
    pub(super) fn next(&mut self) -> Result<Option<ToShim>, ShimError> {
        Ok(self.decoder.next_frame()?)
    }

    /// Puts a frame in line; [`Self::flush`] sends it.
    pub(super) fn send(&mut self, frame: &FromShim) -> Result<(), ShimError> {
        Ok(encode(frame, &mut self.out)?)
    }

    /// Sends as much as the socket takes. `false`: the worker has closed its end.
    pub(super) fn flush(&mut self) -> Result<bool, ShimError> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(count) => self.out.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    return Ok(false);
                }
                Err(error) => return Err(ShimError::Socket(error)),
            }
        }
        Ok(true)
    }

    /// How many bytes wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Whether more may be put in line for the worker than what must be.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < HIGH_WATER
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
