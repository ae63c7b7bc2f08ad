//! A plan's bytes deflated, named and cut into objects; and back.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use braid_crds::{PlanDigest, PlanSpec, Round, limits, status::PlanRef};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use sha2::{Digest as _, Sha256};

use super::{PLAN_BYTES, Plan, PlanError, bytes};

/// The longest data of a chunk, in base64.
const CHUNK_TEXT: usize = limits::PLAN_CHUNK_BYTES.div_ceil(3) * 4;

/// A plan in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    reference: PlanRef,
    chunks: Vec<String>,
}

impl Plan {
    /// The plan's pieces, and what a status pins of them.
    pub fn encode(&self) -> Result<Encoded, PlanError> {
        let deflated = deflate(&bytes::encode(self)?).map_err(|_| PlanError::Inflate)?;
        let pieces = deflated.chunks(limits::PLAN_CHUNK_BYTES);
        let chunks = i32::try_from(pieces.len())
            .ok()
            .filter(|chunks| *chunks <= limits::PLAN_CHUNKS)
            .ok_or_else(|| PlanError::TooLarge {
                what: format!(
                    "{} bytes deflated, at most {} times {}",
                    deflated.len(),
                    limits::PLAN_CHUNKS,
                    limits::PLAN_CHUNK_BYTES
                ),
            })?;
        let reference = PlanRef {
            digest: digest(&deflated),
            chunks,
            ..self.summary()
        };
        Ok(Encoded {
            reference,
            chunks: pieces.map(|piece| STANDARD.encode(piece)).collect(),
        })
    }

    /// Reads the plan of that digest from all of its objects, in any order.
    pub fn decode<'a>(wanted: &PlanDigest, specs: impl IntoIterator<Item = &'a PlanSpec>) -> Result<Self, PlanError> {
        let mut pieces: Vec<&PlanSpec> = specs.into_iter().collect();
        pieces.sort_by_key(|piece| piece.chunk);
        let chunks = pieces.first().map_or(0, |piece| piece.chunks);
        if chunks > limits::PLAN_CHUNKS || usize::try_from(chunks) != Ok(pieces.len()) || pieces.is_empty() {
            return Err(PlanError::Chunks(format!("{} of {chunks}", pieces.len())));
        }
        let mut deflated = Vec::new();
        for (number, piece) in (0..).zip(pieces) {
            if piece.chunk != number || piece.chunks != chunks || piece.digest != *wanted {
                return Err(PlanError::Chunks(format!("number {number} is missing")));
            }
            if piece.data.len() > CHUNK_TEXT {
                return Err(PlanError::Chunks(format!("number {number} is too long")));
            }
            let data = STANDARD
                .decode(&piece.data)
                .map_err(|_| PlanError::Chunks(format!("number {number} is not base64")))?;
            deflated.extend_from_slice(&data);
        }
        if digest(&deflated) != *wanted {
            return Err(PlanError::Digest(wanted.clone()));
        }
        let canonical = inflate(&deflated, PLAN_BYTES).ok_or(PlanError::Inflate)?;
        bytes::decode(&canonical)
    }
}

impl Encoded {
    /// What a status pins.
    #[must_use]
    pub fn reference(&self) -> &PlanRef {
        &self.reference
    }

    /// The objects: a name and a spec each.
    pub fn objects(
        &self,
        workflow: &str,
        uid: &str,
        step: &str,
        round: Round,
    ) -> impl ExactSizeIterator<Item = (String, PlanSpec)> {
        self.chunks
            .iter()
            .zip(0..self.reference.chunks)
            .map(move |(data, chunk)| {
                let spec = PlanSpec {
                    workflow_uid: uid.to_owned(),
                    step: step.to_owned(),
                    round,
                    digest: self.reference.digest.clone(),
                    chunk,
                    chunks: self.reference.chunks,
                    data: data.clone(),
                };
                (plan_name(workflow, uid, step, &self.reference.digest, chunk), spec)
            })
    }
}

/// Whether an object that was there already holds the same piece: everything but the round, since a later round of the
/// same files has the same names.
#[must_use]
pub fn holds_same(there: &PlanSpec, ours: &PlanSpec) -> bool {
    let apart_from_round = PlanSpec {
        round: ours.round,
        ..there.clone()
    };
    apart_from_round == *ours
}

/// The name of a plan's object: the workflow's name (24 characters), its uid (8), a digest of the step and the whole
/// plan (12), and the piece's number.
#[must_use]
pub fn plan_name(workflow: &str, uid: &str, step: &str, digest: &PlanDigest, chunk: i32) -> String {
    let workflow: String = workflow.chars().take(24).collect();
    let workflow = workflow.trim_end_matches(['-', '.']);
    let uid: String = (uid.chars())
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(8)
        .collect();
    let mut named = hex(&Sha256::digest(format!("{step}\0{digest}")));
    named.truncate(12);
    format!("{workflow}-{uid}-{named}-{chunk}")
}

fn digest(bytes: &[u8]) -> PlanDigest {
    PlanDigest(format!("sha256:{}", hex(&Sha256::digest(bytes))))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

pub(super) fn deflate(canonical: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(canonical)?;
    encoder.finish()
}

/// What was deflated, if that is at most so many bytes. Never holds more than one byte beyond.
pub(super) fn inflate(deflated: &[u8], at_most: usize) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    DeflateDecoder::new(deflated)
        .take(at_most as u64 + 1)
        .read_to_end(&mut inflated)
        .ok()
        .filter(|length| *length <= at_most)?;
    Some(inflated)
}

/// One object of these bytes, with their digest.
#[cfg(test)]
pub fn sealed_for_tests(canonical: &[u8]) -> (PlanDigest, PlanSpec) {
    let deflated = deflate(canonical).unwrap_or_default();
    let spec = PlanSpec {
        digest: digest(&deflated),
        chunks: 1,
        data: STANDARD.encode(&deflated),
        ..PlanSpec::default()
    };
    (spec.digest.clone(), spec)
}
