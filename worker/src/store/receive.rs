//! What an attempt wrote, as it arrives.

use std::{
    fs::File,
    io::{self, Write as _},
};

use braid_crds::limits;

use super::{
    OWN, Outlet,
    folder::{self, Folder},
};

/// Why what an attempt wrote is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is a file of that name.
    #[error(
        "{data}/{path} is there already, and files are never replaced; give each file a name of its own, and each run a directory of its own"
    )]
    Exists {
        /// The data.
        data: String,
        /// The path.
        path: String,
    },
    /// No file can have that path.
    #[error("{data}/{path} cannot be a file of data: {why}")]
    Path {
        /// The data.
        data: String,
        /// The path.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// The system's fault, or that of who may write where.
    #[error("the files of data {data} cannot be stored: {problem}")]
    NotStored {
        /// The data.
        data: String,
        /// Why.
        problem: String,
    },
}

/// The files of one attempt, while they arrive.
#[derive(Debug)]
pub(crate) struct Receiving {
    outlet: Outlet,
    /// For each data: its directory, and that of the attempt.
    folders: Vec<(Folder, Folder)>,
    /// The file that is arriving, and of which data.
    open: Option<(usize, File)>,
}

impl Receiving {
    /// Makes the directories. What an earlier attempt of the partition has left under the same name goes. Blocks, as all here does.
    pub(crate) fn begin(outlet: &Outlet) -> Result<Self, Refusal> {
        let store = &outlet.store;
        let (shard, partition) = (outlet.shard.to_string(), outlet.partition.to_string());
        let folders = store.targets.iter().map(|target| {
            let make = || {
                let root = store.root(target)?;
                let own = root.walk(store.attempts(target, &store.start), true)?.make(&shard)?;
                own.remove(&partition)?;
                Ok::<_, io::Error>((root, own.make(&partition)?))
            };
            make().map_err(|error| not_stored(&target.data, &error))
        });
        Ok(Self {
            folders: folders.collect::<Result<_, _>>()?,
            outlet: outlet.clone(),
            open: None,
        })
    }

    fn data(&self, at: usize) -> &str {
        self.outlet.store.targets.get(at).map_or("", |target| &target.data)
    }

    /// The next file begins.
    pub(crate) fn file(&mut self, at: usize, path: &str) -> Result<(), Refusal> {
        self.open = None;
        let data = self.data(at).to_owned();
        let wrong = |why| Refusal::Path {
            data: data.clone(),
            path: path.chars().take(200).collect(),
            why,
        };
        let failed = |error: io::Error| not_stored(&data, &error);
        let names = folder::names(path).ok_or_else(|| wrong("it does not stay below the directory"))?;
        let (Some((last, parents)), Some((root, own))) = (names.split_last(), self.folders.get(at)) else {
            return Err(wrong("it has no name"));
        };
        if path.len() > limits::WRITTEN_PATH_BYTES {
            return Err(wrong("it is too long"));
        }
        if names.first() == Some(&OWN) {
            return Err(wrong("the directory .braid is Braid's own"));
        }
        // Told now, the partition fails before it is counted; of two that are written at the same time it is seen at the publishing.
        let there = root
            .walk(parents.iter().copied(), false)
            .and_then(|folder| folder.look(last));
        match there {
            Ok(Some(_)) => {
                return Err(Refusal::Exists {
                    data,
                    path: path.to_owned(),
                });
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let folder = own.walk(parents.iter().copied(), true).map_err(failed)?;
        self.open = Some((at, folder.create(last).map_err(failed)?));
        Ok(())
    }

    /// More bytes of the file.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Some((at, file)) = &mut self.open else {
            return Ok(());
        };
        let (at, written) = (*at, file.write_all(bytes));
        written.map_err(|error| not_stored(self.data(at), &error))
    }
}

fn not_stored(data: &str, error: &io::Error) -> Refusal {
    Refusal::NotStored {
        data: data.to_owned(),
        problem: error.to_string(),
    }
}
