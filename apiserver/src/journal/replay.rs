//! Reads a log back.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::file::{HEADER, MAGIC, parse_header};
use crate::error::BuildError;
use crate::resource::ResourceId;
use crate::store::{Key, Stored};

/// What a log says.
pub(super) struct Replayed {
    pub(super) objects: Vec<(ResourceId, Key, Arc<Stored>)>,
    /// The highest version ever written, also of what is deleted since.
    pub(super) highest: u64,
    /// Bytes of whole frames; what follows is to be cut. 0: there is no log yet.
    pub(super) length: u64,
}

#[derive(Deserialize)]
struct Record {
    v: u64,
    #[serde(default)]
    r: String,
    #[serde(default)]
    ns: String,
    #[serde(default)]
    n: String,
    o: Option<Value>,
}

/// Reads the log at `path`; no file is an empty one.
pub(super) fn replay(path: &Path, names: &[String]) -> Result<Replayed, BuildError> {
    let mut reader = match File::open(path) {
        Ok(file) => {
            let length = file.metadata().map_err(|e| BuildError::io("read", path, e))?.len();
            Reader {
                path,
                source: BufReader::new(file),
                offset: 0,
                length,
            }
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Ok(Replayed {
                objects: Vec::new(),
                highest: 0,
                length: 0,
            });
        }
        Err(e) => return Err(BuildError::io("open", path, e)),
    };
    if !reader.magic()? {
        return Ok(Replayed {
            objects: Vec::new(),
            highest: 0,
            length: 0,
        });
    }
    let mut objects: BTreeMap<(String, Key), Value> = BTreeMap::new();
    let mut highest = 0;
    loop {
        let at = reader.offset;
        let Some(payload) = reader.frame()? else { break };
        for line in payload.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let record: Record = serde_json::from_slice(line)
                .map_err(|e| reader.corrupt(at, &format!("a record does not parse: {e}")))?;
            highest = highest.max(record.v);
            if record.r.is_empty() {
                continue;
            }
            let key = (record.r, Key::new(&record.ns, &record.n));
            match record.o {
                Some(object) => objects.insert(key, object),
                None => objects.remove(&key),
            };
        }
    }
    let ids: HashMap<&str, ResourceId> = names
        .iter()
        .enumerate()
        .map(|(i, n)| (n.as_str(), ResourceId(i)))
        .collect();
    let mut found = Vec::with_capacity(objects.len());
    for ((resource, key), value) in objects {
        let Some(id) = ids.get(resource.as_str()) else {
            return Err(BuildError::Unserved {
                path: path.to_owned(),
                resource,
                name: key.name.to_string(),
            });
        };
        let version = crate::object::meta_str(&value, "resourceVersion").parse().unwrap_or(0);
        let raw = serde_json::to_vec(&value).unwrap_or_default().into();
        found.push((*id, key, Arc::new(Stored { value, raw, version })));
    }
    Ok(Replayed {
        objects: found,
        highest,
        length: reader.offset,
    })
}

struct Reader<'a> {
    path: &'a Path,
    source: BufReader<File>,
    /// End of the last whole frame.
    offset: u64,
    length: u64,
}

impl Reader<'_> {
    fn corrupt(&self, offset: u64, why: &str) -> BuildError {
        BuildError::Corrupt {
            path: self.path.to_owned(),
            offset,
            why: why.to_owned(),
        }
    }

    /// False if the file was torn before its first bytes were whole.
    fn magic(&mut self) -> Result<bool, BuildError> {
        let mut magic = [0; MAGIC.len()];
        if !self.fill(&mut magic)? {
            return Ok(false);
        }
        self.offset = MAGIC.len() as u64;
        if &magic == MAGIC {
            Ok(true)
        } else {
            Err(self.corrupt(0, "it is not a log of this version of Braid"))
        }
    }

    /// The next frame; `None` at the end, torn or not.
    fn frame(&mut self) -> Result<Option<Vec<u8>>, BuildError> {
        if self.offset == self.length {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        if !self.fill(&mut header)? {
            return Ok(self.torn());
        }
        let Some((length, crc)) = parse_header(header) else {
            // A file that grew before its data arrived ends in zeros.
            return if header == [0; HEADER] && self.rest_is_zero()? {
                Ok(self.torn())
            } else {
                Err(self.corrupt(self.offset, "the head of a frame is damaged"))
            };
        };
        let end = self.offset + (HEADER + length) as u64;
        if end > self.length {
            return Ok(self.torn());
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        if crc32fast::hash(&payload) != crc {
            return if end == self.length {
                Ok(self.torn())
            } else {
                Err(self.corrupt(self.offset, "the checksum of a frame does not match"))
            };
        }
        self.offset = end;
        Ok(Some(payload))
    }

    fn torn(&self) -> Option<Vec<u8>> {
        tracing::warn!(
            path = %self.path.display(), offset = self.offset, bytes = self.length - self.offset,
            "the log ends in a write that was never acknowledged; it is cut off"
        );
        None
    }

    /// False at the end of the file.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, BuildError> {
        match self.source.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(BuildError::io("read", self.path, e)),
        }
    }

    fn rest_is_zero(&mut self) -> Result<bool, BuildError> {
        let mut buffer = [0; 8192];
        loop {
            let read = self
                .source
                .read(&mut buffer)
                .map_err(|e| BuildError::io("read", self.path, e))?;
            match buffer.get(..read) {
                None | Some([]) => return Ok(true),
                Some(bytes) if bytes.iter().any(|b| *b != 0) => return Ok(false),
                Some(_) => {}
            }
        }
    }
}
