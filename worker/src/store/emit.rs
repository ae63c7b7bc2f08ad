//! The folded results of a step, written as if an attempt had: under a name that nobody looks at, and published as all files are.

use std::io::{self, Write as _};

use braid_crds::{
    Intervals, PartitionRange, ShardId, StartId,
    worker::{CardResult, Emission, Outputs, Written},
};
use braid_engine::emission;

use super::{Store, Target};

/// Stands for the worker and its start: whoever writes the results of a round writes the same bytes to the same place.
const RESULTS: &str = "results";

impl Store {
    /// Names the results of the step's round as the files of a shard are named. A round's results have a manifest of their own, so those
    /// of a step that was opened again are never taken for those that were there.
    pub(super) fn results(&self) -> Written {
        let shard = ShardId(self.round.parse().unwrap_or_default());
        Written {
            worker: RESULTS.to_owned(),
            shard,
            start_id: StartId(RESULTS.to_owned()),
            outputs: vec![Outputs {
                shard,
                partitions: Intervals::from_iter([PartitionRange::new(0, 1)]),
            }],
        }
    }

    /// Writes the results, whole or not at all, unless somebody has done it or they are published.
    pub(super) fn write_results(
        &self,
        target: &Target,
        entry: &Written,
        emission: &Emission,
        declared: &[CardResult],
    ) -> io::Result<()> {
        let written = self.write_lines(target, entry, &emission::lines(emission, declared));
        // Whoever has published them may be clearing away what is written here.
        match written {
            Err(_) if self.is_published(target, entry)? => Ok(()),
            written => written,
        }
    }

    fn write_lines(&self, target: &Target, entry: &Written, lines: &str) -> io::Result<()> {
        let (number, file) = (entry.shard.to_string(), emission::file_name(&self.step));
        let drafts = self.root(target)?.walk(self.attempts(target, &entry.start_id), true)?;
        let folder = drafts.make(&number)?.make("0")?;
        if folder.look(&file)?.is_some() {
            return Ok(());
        }
        // Beside the directory of the partition: nothing there is published.
        let draft = format!("{:032x}.draft", rand::random::<u128>());
        let mut written = drafts.create(&draft)?;
        written.write_all(lines.as_bytes())?;
        written.sync_all()?;
        match drafts.link(&draft, &folder, &file) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked?,
        }
        drafts.remove(&draft)
    }
}
