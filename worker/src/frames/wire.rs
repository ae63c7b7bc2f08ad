//! Reading and writing of fields, and the decoder that cuts a byte stream into frames.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{LinkKey, MAX_BODY};

/// What can be wrong with the bytes of a peer, or with a frame that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length in front of a body, or the length of a frame to be sent, is above [`MAX_BODY`].
    #[error("a frame of {0} bytes is longer than the {MAX_BODY} allowed")]
    TooLong(usize),
    /// A body has no bytes, so not even a kind.
    #[error("a frame without a body")]
    Empty,
    /// The kind is not one of this version of the protocol.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    /// A body ends in the middle of the named field.
    #[error("a frame ends inside its field `{0}`")]
    Truncated(&'static str),
    /// A body goes on behind its last field.
    #[error("a frame has {0} bytes behind its last field")]
    Trailing(usize),
    /// A field has a value that its type does not know.
    #[error("a frame's field `{0}` has an impossible value")]
    BadValue(&'static str),
    /// A text is not UTF-8.
    #[error("a frame's field `{0}` is not UTF-8")]
    NotUtf8(&'static str),
}

/// A message that has a form on the wire.
pub trait Frame: Sized {
    /// Appends the body, from the kind on.
    fn put(&self, out: &mut BytesMut);
    /// Reads a body whose first byte, the kind, has been taken off.
    fn take(kind: u8, body: &mut Fields) -> Result<Self, FrameError>;
}

/// Appends `frame` with its length in front. On an error nothing has been appended.
pub fn encode<F: Frame>(frame: &F, out: &mut BytesMut) -> Result<(), FrameError> {
    let start = out.len();
    out.put_u32_le(0);
    frame.put(out);
    let body = out.len() - start - 4;
    let length = u32::try_from(body).ok().filter(|_| body <= MAX_BODY);
    if let (Some(length), Some(head)) = (length, out.get_mut(start..start + 4)) {
        head.copy_from_slice(&length.to_le_bytes());
        Ok(())
    } else {
        out.truncate(start);
        Err(FrameError::TooLong(body))
    }
}

/// Cuts a stream of bytes into frames. Holds at most one frame and what was read behind it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// The buffer into which the caller reads; bytes are only ever appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame, or `None` when more bytes are needed.
    pub fn next_frame<F: Frame>(&mut self) -> Result<Option<F>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_BODY {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < 4 + length {
            self.buffer.reserve(4 + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut body = self.buffer.split_to(length).freeze();
        if body.is_empty() {
            return Err(FrameError::Empty);
        }
        let kind = body.get_u8();
        let mut fields = Fields(body);
        let frame = F::take(kind, &mut fields)?;
        if fields.0.is_empty() {
            Ok(Some(frame))
        } else {
            Err(FrameError::Trailing(fields.0.len()))
        }
    }

    /// Whether the stream may end here, that is: not inside a frame.
    pub fn is_at_border(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// The fields of one body that are not read yet.
#[derive(Debug)]
pub struct Fields(Bytes);

impl Fields {
    pub(super) fn u8(&mut self, name: &'static str) -> Result<u8, FrameError> {
        self.0.try_get_u8().map_err(|_| FrameError::Truncated(name))
    }

    pub(super) fn u16(&mut self, name: &'static str) -> Result<u16, FrameError> {
        self.0.try_get_u16_le().map_err(|_| FrameError::Truncated(name))
    }

    pub(super) fn u32(&mut self, name: &'static str) -> Result<u32, FrameError> {
        self.0.try_get_u32_le().map_err(|_| FrameError::Truncated(name))
    }

    pub(super) fn i32(&mut self, name: &'static str) -> Result<i32, FrameError> {
        self.0.try_get_i32_le().map_err(|_| FrameError::Truncated(name))
    }

    pub(super) fn u64(&mut self, name: &'static str) -> Result<u64, FrameError> {
        self.0.try_get_u64_le().map_err(|_| FrameError::Truncated(name))
    }

    pub(super) fn bool(&mut self, name: &'static str) -> Result<bool, FrameError> {
        match self.u8(name)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError::BadValue(name)),
        }
    }

    pub(super) fn bytes(&mut self, name: &'static str) -> Result<Bytes, FrameError> {
        let length = self.u32(name)? as usize;
        if length > self.0.len() {
            return Err(FrameError::Truncated(name));
        }
        Ok(self.0.split_to(length))
    }

    pub(super) fn key(&mut self, name: &'static str) -> Result<LinkKey, FrameError> {
        LinkKey::from_bytes(&self.bytes(name)?).ok_or(FrameError::BadValue(name))
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<String, FrameError> {
        let bytes = self.bytes(name)?;
        std::str::from_utf8(&bytes)
            .map(str::to_owned)
            .map_err(|_| FrameError::NotUtf8(name))
    }

    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, FrameError>,
    ) -> Result<Option<T>, FrameError> {
        if self.bool(name)? {
            read(self, name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A list. Every entry takes bytes of the body, so its length bounds the list, whatever the count says.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Self, &'static str) -> Result<T, FrameError>,
    ) -> Result<Vec<T>, FrameError> {
        let count = self.u32(name)?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self, name)?);
        }
        Ok(list)
    }

    pub(super) fn pair(&mut self, name: &'static str) -> Result<(String, String), FrameError> {
        Ok((self.text(name)?, self.text(name)?))
    }
}

/// A length that does not fit cannot pass [`encode`] either: such a body is above [`MAX_BODY`].
fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.put_slice(bytes);
}

pub(super) fn put_optional<T>(out: &mut BytesMut, value: Option<T>, put: impl FnOnce(&mut BytesMut, T)) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn put_list<T>(out: &mut BytesMut, list: &[T], mut put: impl FnMut(&mut BytesMut, &T)) {
    put_length(out, list.len());
    for entry in list {
        put(out, entry);
    }
}

pub(super) fn put_pair(out: &mut BytesMut, (name, value): &(String, String)) {
    put_bytes(out, name.as_bytes());
    put_bytes(out, value.as_bytes());
}
