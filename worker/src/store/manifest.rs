//! Manifests: which files of a counted shard are visible. What a step has published is the union of its manifests.

use std::{
    io::{self, Write as _},
    path::Path,
};

use braid_crds::{ShardId, worker::WrittenBy};
use braid_engine::plan::PlannedFile;
use serde::{Deserialize, Serialize};

use super::{OWN, PUBLISHED, folder::Folder};
use crate::{
    ground::Ground,
    planner::{Pattern, PlanningError},
    reader::modified_nanos,
};

/// The files of one counted shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The uid of the Worker that had the shard.
    pub(super) worker: String,
    pub(super) shard: ShardId,
    /// In the order of partitions, then of paths.
    pub(super) files: Vec<Listed>,
    /// Paths that were taken by other files: these are not visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) conflicts: Vec<String>,
}

/// A file that is visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) partition: u64,
}

impl Manifest {
    fn name(worker: &str, shard: ShardId) -> String {
        format!("{worker}.{shard}.json")
    }

    /// Reads the manifest of a shard, if there is one.
    pub(super) fn read(folder: &Folder, worker: &str, shard: ShardId) -> io::Result<Option<Self>> {
        let name = Self::name(worker, shard);
        match folder.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(file) => {
                let found: Self = serde_json::from_reader(io::BufReader::new(file))?;
                if found.worker == worker && found.shard == shard {
                    return Ok(Some(found));
                }
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{name} is of another shard"),
                ))
            }
        }
    }

    /// Puts it where it belongs, if there is none yet: whole or not at all, and durable.
    pub(super) fn put(&self, folder: &Folder) -> io::Result<()> {
        let draft = format!("{:032x}.draft", rand::random::<u128>());
        let mut file = folder.create(&draft)?;
        let written = serde_json::to_vec(self)
            .map_err(io::Error::from)
            .and_then(|bytes| file.write_all(&bytes))
            .and_then(|()| file.sync_all())
            .and_then(
                |()| match folder.link(&draft, folder, &Self::name(&self.worker, self.shard)) {
                    // Whoever was here first has published the same shard: what that manifest says stands.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    linked => linked,
                },
            );
        folder.remove(&draft)?;
        written?;
        folder.sync()
    }
}

/// What a step of the run has published, in the order of the paths. Blocks.
pub(crate) fn list(ground: &Ground, url: &str, uid: &str, by: &WrittenBy) -> Result<Vec<PlannedFile>, PlanningError> {
    let directory = Pattern::directory(url)?;
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| PlanningError::Unreadable {
        path: path.display().to_string(),
        problem: error.to_string(),
    };
    let published = Folder::find(ground, &directory)
        .and_then(|root| root.walk([OWN, PUBLISHED, uid, &by.step, &by.data], false))
        .and_then(|folder| read_all(&folder));
    let manifests = match published {
        Err(error) if error.kind() == io::ErrorKind::NotFound && by.published => {
            let lost = format!(
                "step {} has published files there, and none of its lists is to be seen here; all nodes must see the same volume",
                by.step
            );
            return Err(unreadable(&directory, &lost));
        }
        // The step wrote nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unreadable(&directory, &error)),
        Ok(manifests) => manifests,
    };
    let mut files = Vec::new();
    for listed in manifests.into_iter().flat_map(|manifest| manifest.files) {
        let path = directory.join(&listed.path);
        let found = ground.metadata(&path).map_err(|error| unreadable(&path, &error))?;
        if !found.is_file() || found.len() != listed.bytes {
            return Err(unreadable(&path, &"it is not what was published"));
        }
        files.push(PlannedFile {
            path: path.to_string_lossy().into(),
            size: listed.bytes,
            modified_nanos: modified_nanos(&found),
        });
    }
    files.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

fn read_all(folder: &Folder) -> io::Result<Vec<Manifest>> {
    let entries = folder.entries()?.into_iter();
    let named = entries.filter(|(name, _)| Path::new(name).extension().is_some_and(|ending| ending == "json"));
    named
        .map(|(name, _)| Ok(serde_json::from_reader(io::BufReader::new(folder.open(&name)?))?))
        .collect()
}
