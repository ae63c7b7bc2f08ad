//! Publishing what was counted, and removing what was not.

use std::io;

use braid_crds::worker::{Fatal, Publication, Written};
use braid_engine::settlement::cut;
use nix::errno::Errno;

use super::{
    ATTEMPTS, OWN, PUBLISHED, Store, Target,
    folder::{self, Folder, Kind},
    manifest::{Listed, Manifest},
};

/// How many conflicts a manifest names.
const CONFLICTS: usize = 100;

/// Why something is not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// It may be, if it is tried again.
    #[error("{data}: {source}")]
    Again {
        /// The data.
        data: String,
        /// Why not now.
        source: io::Error,
    },
    /// It never will be.
    #[error("{}: {}", .0.reason, .0.message)]
    Never(Fatal),
}

impl Store {
    /// Does what is asked; all of it that can be done is done, whatever cannot. Blocks.
    pub(crate) fn publish(&self, order: &Publication) -> Result<(), PublishError> {
        let mut never = None;
        for entry in &order.entries {
            for target in &self.targets {
                self.publish_one(target, entry, &mut never)?;
            }
        }
        if let (Some(emission), Some((target, declared)), None) = (&order.emit, &self.emits, &never) {
            let entry = self.results();
            let written = self.write_results(target, &entry, emission, declared);
            written.map_err(|error| failed(target, error))?;
            self.publish_one(target, &entry, &mut never)?;
        }
        if let Some(why) = never {
            return Err(PublishError::Never(why));
        }
        if order.sweep {
            for target in self.targets.iter().chain(self.emits.iter().map(|(target, _)| target)) {
                if let Err(error) = self.sweep(target) {
                    // It takes room, and nothing else.
                    tracing::warn!(data = target.data, %error, "what attempts left cannot be removed");
                }
            }
        }
        Ok(())
    }

    /// Publishes an entry in one data. What can never be is noted, the first of it.
    fn publish_one(&self, target: &Target, entry: &Written, never: &mut Option<Fatal>) -> Result<(), PublishError> {
        match self.publish_entry(target, entry).map_err(|error| failed(target, error)) {
            Ok(conflicts) => {
                if let Some(first) = conflicts.first() {
                    let and = match conflicts.len() {
                        1 => String::new(),
                        more => format!(" and {} more", more - 1),
                    };
                    let message = format!(
                        "{}/{first}{and} cannot be published: the name is taken, by another partition or by what was there; \
                         give each file a name of its own, and each run a directory of its own",
                        target.data
                    );
                    never.get_or_insert_with(|| fatal("OutputExists", &message));
                }
            }
            Err(PublishError::Never(why)) => drop(never.get_or_insert(why)),
            Err(again) => return Err(again),
        }
        Ok(())
    }

    /// Makes the files of one shard visible in one data. Gives the paths that were taken.
    fn publish_entry(&self, target: &Target, entry: &Written) -> io::Result<Vec<String>> {
        let root = self.root(target)?;
        let manifests = root.walk([OWN, PUBLISHED, &self.uid, &self.step, &target.data], true)?;
        let known = || Manifest::read(&manifests, &entry.worker, entry.shard);
        let manifest = match known()? {
            Some(there) => there,
            None => match self.link_all(&root, target, entry) {
                Ok(manifest) => {
                    root.sync()?;
                    manifest.put(&manifests)?;
                    known()?.unwrap_or(manifest)
                }
                // Somebody else may just have done it.
                Err(error) => known()?.ok_or(error)?,
            },
        };
        self.clear(&root, target, entry);
        Ok(manifest.conflicts)
    }

    /// Whether an entry has a manifest in one data.
    pub(super) fn is_published(&self, target: &Target, entry: &Written) -> io::Result<bool> {
        let root = self.root(target)?;
        let manifests = root.walk([OWN, PUBLISHED, &self.uid, &self.step, &target.data], true)?;
        Ok(Manifest::read(&manifests, &entry.worker, entry.shard)?.is_some())
    }

    fn link_all(&self, root: &Folder, target: &Target, entry: &Written) -> io::Result<Manifest> {
        let mut manifest = Manifest {
            worker: entry.worker.clone(),
            shard: entry.shard,
            ..Manifest::default()
        };
        let attempts = root.walk(self.attempts(target, &entry.start_id), false).map_err(lost)?;
        for outputs in &entry.outputs {
            let shard = attempts.below(&outputs.shard.to_string()).map_err(lost)?;
            for partition in outputs.partitions.ranges().flat_map(|range| range.start()..range.end()) {
                let from = shard.below(&partition.to_string()).map_err(lost)?;
                link_tree(&from, root, "", partition, &mut manifest)?;
            }
        }
        Ok(manifest)
    }

    /// Removes the attempts' names of what is published. What cannot be removed is when the step ends.
    fn clear(&self, root: &Folder, target: &Target, entry: &Written) {
        let clear = || {
            let attempts = root.walk(self.attempts(target, &entry.start_id), false)?;
            for outputs in &entry.outputs {
                let shard = attempts.below(&outputs.shard.to_string())?;
                for partition in outputs.partitions.ranges().flat_map(|range| range.start()..range.end()) {
                    shard.remove(&partition.to_string())?;
                }
            }
            Ok::<_, io::Error>(())
        };
        match clear() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(data = target.data, %error, "what is published keeps its attempts' names for now");
            }
            _ => {}
        }
    }

    /// Removes what attempts of the step left in one data, and the directories that are empty then.
    fn sweep(&self, target: &Target) -> io::Result<()> {
        let root = self.root(target)?;
        let round = match root.walk([OWN, ATTEMPTS, &self.uid, &self.step, &self.round], false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            round => round?,
        };
        round.remove(&target.data)?;
        root.below(OWN)?.prune(&[ATTEMPTS, &self.uid, &self.step, &self.round])
    }
}

/// Gives all files below a directory their names below `to`.
fn link_tree(from: &Folder, to: &Folder, prefix: &str, partition: u64, manifest: &mut Manifest) -> io::Result<()> {
    for (name, kind) in from.entries()? {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        match kind {
            Kind::Directory => link_tree(&from.below(&name)?, &to.make(&name)?, &path, partition, manifest)?,
            Kind::File => {
                let Some(own) = from.look(&name)? else {
                    return Err(io::ErrorKind::NotFound.into());
                };
                let is_ours = match from.link(&name, to, &name) {
                    Ok(()) => true,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        to.look(&name)?.is_some_and(|there| folder::is_same(&own, &there))
                    }
                    Err(error) => return Err(error),
                };
                if is_ours {
                    manifest.files.push(Listed {
                        path,
                        bytes: u64::try_from(own.st_size).unwrap_or(0),
                        partition,
                    });
                } else if manifest.conflicts.len() < CONFLICTS {
                    manifest.conflicts.push(path);
                }
            }
            // The worker itself makes files and directories only.
            Kind::Other => {}
        }
    }
    Ok(())
}

/// What an attempt wrote is not there, and no manifest says that it was published.
fn lost(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::InvalidData,
            "files that were counted are gone from the directory .braid; it must be left alone while the run goes on",
        ),
        _ => error,
    }
}

fn failed(target: &Target, source: io::Error) -> PublishError {
    let for_ever = matches!(
        source.kind(),
        io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::Unsupported
            | io::ErrorKind::TooManyLinks
    );
    if for_ever {
        let message = format!("{}: {source}{}", target.data, advice(&source));
        return PublishError::Never(fatal("NotPublished", &message));
    }
    PublishError::Again {
        data: target.data.clone(),
        source,
    }
}

/// What can be done about it.
fn advice(error: &io::Error) -> &'static str {
    match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
        (_, Some(Errno::EACCES)) => {
            "; workers must be able to write there: in a cluster user 65532, or a group that the pool's template gives them, \
             securityContext.fsGroup"
        }
        (
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::CrossesDevices,
            _,
        ) => "; publishing needs a file system with hard links",
        _ => "",
    }
}

fn fatal(reason: &str, message: &str) -> Fatal {
    Fatal {
        reason: reason.to_owned(),
        message: cut(message),
    }
}
