//! Signals to the shim, as bytes in a pipe that wakes its loop.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::ShimError;

/// The signals of this process. To be made once: a handler stays for good.
#[derive(Debug)]
pub(super) struct Signals {
    pipe: UnixStream,
    asked_to_end: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn receive() -> Result<Self, ShimError> {
        let failed = |error| ShimError::System("receive signals", error);
        let (pipe, raised) = UnixStream::pair().map_err(failed)?;
        pipe.set_nonblocking(true).map_err(failed)?;
        let asked_to_end = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            // The flag first: when the pipe wakes the loop it is set.
            signal_hook::flag::register(signal, Arc::clone(&asked_to_end)).map_err(failed)?;
            let raised = raised.try_clone().map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, raised).map_err(failed)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, raised).map_err(failed)?;
        Ok(Self { pipe, asked_to_end })
    }

    /// The same signals, for one connection.
    pub(super) fn again(&self) -> Result<Self, ShimError> {
        let pipe = self.pipe.try_clone();
        Ok(Self {
            pipe: pipe.map_err(|error| ShimError::System("receive signals", error))?,
            asked_to_end: Arc::clone(&self.asked_to_end),
        })
    }

    /// Whether somebody has asked the shim to end since this was last asked.
    pub(super) fn asked_to_end(&self) -> bool {
        self.asked_to_end.swap(false, Ordering::Relaxed)
    }

    /// The same, and it may be asked again.
    pub(super) fn is_asked_to_end(&self) -> bool {
        self.asked_to_end.load(Ordering::Relaxed)
    }

    /// Forgets what woke the loop.
    pub(super) fn drain(&mut self) {
        let mut drop = [0; 256];
        loop {
            match self.pipe.read(&mut drop) {
                Ok(256..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
