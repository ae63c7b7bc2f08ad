//! Planning by a worker: files are listed, looked into where that is needed ([`look`]), pinned and written down as `Plan`
//! objects.
//!
//! What a pattern matches:
//! - It is a path, relative to the worker's base directory or absolute. `*` and `?` match within one name, `**` any number
//!   of directories, `[ab]` and `{a,b}` alternatives.
//! - Regular files only; a symbolic link to one counts as that file (that is how mounted volumes look), links to
//!   directories are not followed, so no listing can go round in circles.
//! - Names that begin with a dot are left out, unless the pattern itself has such a name.
//! - Order is by the bytes of the path. Nothing matched is an error: it is nearly always a mistake in the pattern.

use std::{
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use braid_crds::{
    GROUP, Plan as PlanObject, VERSION, labels,
    status::PlanRef,
    worker::{FilesSource, ReadsSource, RunRef, WrittenBy},
};
use braid_engine::{
    cover::Split,
    plan::{Body, FILES, FilePlan, Plan, PlannedFile, Read, holds_same},
};
use braid_sync::{CallError, call::within};
use globset::{GlobBuilder, GlobMatcher};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, api::PostParams};
use walkdir::WalkDir;

use crate::{
    desk::pause,
    ground::Ground,
    reader::{modified_nanos, plans},
    store,
};

mod ahead;
mod error;
mod look;
mod shuffle;
pub mod survey;

pub(crate) use error::PlanningError;
pub(crate) use shuffle::Shuffle;

/// The deepest directory that is looked into.
const DEPTH: usize = 64;
/// The most entries that are looked at.
const ENTRIES: usize = 20_000_000;

/// A pattern, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    /// The directories before the first special character: where the listing begins, and what names are relative to.
    root: PathBuf,
    /// `None`: the pattern is one file's path.
    glob: Option<GlobMatcher>,
    /// Whether names that begin with a dot count.
    hidden: bool,
}

impl Pattern {
    /// Takes a pattern apart. A leading `~/` is the home directory of whoever runs the worker.
    pub(crate) fn new(text: &str) -> Result<Self, PlanningError> {
        match (text.strip_prefix("~/"), std::env::home_dir()) {
            (Some(below), Some(home)) => Self::resolved(&home.join(below).to_string_lossy()),
            _ => Self::resolved(text),
        }
    }

    fn resolved(text: &str) -> Result<Self, PlanningError> {
        if text.contains("://") {
            return Err(PlanningError::NotAPath(text.chars().take(200).collect()));
        }
        let wrong = |problem: String| PlanningError::Pattern {
            pattern: text.chars().take(200).collect(),
            problem,
        };
        if text.is_empty() {
            return Err(wrong("it is empty".into()));
        }
        // `./a` and `a` are the same file, and have to be the same path in a plan.
        let whole: PathBuf = Path::new(text)
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        let parts: Vec<Component<'_>> = whole.components().collect();
        let special = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{', '\\']);
        let fixed = parts.iter().position(special);
        // Of the part with wildcards: a fixed directory says nothing about what is wanted below it.
        let hidden = parts
            .iter()
            .skip(fixed.unwrap_or(0))
            .any(|part| matches!(part, Component::Normal(name) if name.to_string_lossy().starts_with('.')));
        let root: PathBuf = match fixed {
            Some(fixed) => parts.iter().take(fixed).collect(),
            None => whole.parent().map(Path::to_path_buf).unwrap_or_default(),
        };
        let glob = match fixed {
            None => None,
            Some(_) => Some(
                GlobBuilder::new(&whole.to_string_lossy())
                    .literal_separator(true)
                    .backslash_escape(true)
                    .build()
                    .map_err(|error| wrong(error.kind().to_string()))?
                    .compile_matcher(),
            ),
        };
        let text = whole.to_string_lossy().into_owned();
        Ok(Self {
            text,
            root,
            glob,
            hidden,
        })
    }

    /// The directory that a text names, which has no wildcards.
    pub(crate) fn directory(text: &str) -> Result<PathBuf, PlanningError> {
        let pattern = Self::new(text)?;
        match pattern.glob {
            None => Ok(PathBuf::from(pattern.text)),
            Some(_) => Err(PlanningError::Pattern {
                pattern: pattern.text,
                problem: "a step writes there, so it is a directory and has no wildcards".into(),
            }),
        }
    }

    /// What names are relative to.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The files that match, in the order of their paths' bytes. Blocks.
    pub(crate) fn list(&self, ground: &Ground) -> Result<Vec<PlannedFile>, PlanningError> {
        let Some(glob) = &self.glob else {
            return self.single(ground);
        };
        self.check(ground)?;
        let start = ground.base().join(&self.root);
        let mut files = Vec::new();
        let shown = |name: &std::ffi::OsStr| self.hidden || !name.to_string_lossy().starts_with('.');
        let entries = WalkDir::new(&start)
            .follow_root_links(matches!(ground, Ground::Open(_)))
            .max_depth(DEPTH)
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || shown(entry.file_name()));
        for (count, entry) in entries.enumerate() {
            if count >= ENTRIES {
                return Err(PlanningError::TooMany(ENTRIES));
            }
            let entry = match entry {
                Ok(entry) => entry,
                // What goes away while we look was not there.
                Err(error) if is_gone(error.io_error()) && error.depth() > 0 => continue,
                Err(error) if is_gone(error.io_error()) => break,
                Err(error) => {
                    return Err(PlanningError::Unreadable {
                        path: error.path().unwrap_or(&start).display().to_string(),
                        problem: error.io_error().map_or_else(|| error.to_string(), ToString::to_string),
                    });
                }
            };
            let below = entry.path().strip_prefix(&start).unwrap_or(entry.path());
            let path = self.root.join(below);
            if entry.file_type().is_dir() || !glob.is_match(&path) {
                continue;
            }
            match ground.metadata(&path) {
                Ok(metadata) if metadata.is_file() => files.push(planned(&path, &metadata)?),
                Ok(_) => {}
                Err(error) if is_gone(Some(&error)) => {}
                Err(error) => {
                    return Err(PlanningError::Unreadable {
                        path: path.display().to_string(),
                        problem: error.to_string(),
                    });
                }
            }
            if files.len() > FILES {
                return Err(PlanningError::TooMany(FILES));
            }
        }
        if files.is_empty() {
            return Err(self.no_files(&start));
        }
        files.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        Ok(files)
    }

    /// In a pod only what is mounted as data is there to be listed.
    fn check(&self, ground: &Ground) -> Result<(), PlanningError> {
        let stays = Path::new(&self.text)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if stays || matches!(ground, Ground::Open(_)) {
            return Ok(());
        }
        Err(PlanningError::Pattern {
            pattern: self.text.clone(),
            problem: "in a pod it must be below the data's volume; name one under files.volume, and a path in it"
                .into(),
        })
    }

    fn single(&self, ground: &Ground) -> Result<Vec<PlannedFile>, PlanningError> {
        self.check(ground)?;
        match ground.metadata(Path::new(&self.text)) {
            Ok(metadata) if metadata.is_file() => Ok(vec![planned(Path::new(&self.text), &metadata)?]),
            Ok(metadata) if metadata.is_dir() => Err(PlanningError::Pattern {
                pattern: self.text.clone(),
                problem: format!("it is a directory; for all files in it write {}/**", self.text),
            }),
            Ok(_) => Err(PlanningError::Unreadable {
                path: self.text.clone(),
                problem: "it is no regular file".into(),
            }),
            Err(error) if is_gone(Some(&error)) => Err(self.no_files(&ground.base().join(&self.root))),
            Err(error) => Err(PlanningError::Unreadable {
                path: self.text.clone(),
                problem: error.to_string(),
            }),
        }
    }

    fn no_files(&self, start: &Path) -> PlanningError {
        PlanningError::NoFiles {
            pattern: self.text.clone(),
            root: start.display().to_string(),
        }
    }
}

fn is_gone(error: Option<&std::io::Error>) -> bool {
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn planned(path: &Path, metadata: &std::fs::Metadata) -> Result<PlannedFile, PlanningError> {
    let text = path
        .to_str()
        .ok_or_else(|| PlanningError::NotText(path.to_string_lossy().chars().take(200).collect()))?;
    Ok(PlannedFile {
        path: text.into(),
        size: metadata.len(),
        modified_nanos: modified_nanos(metadata),
    })
}

/// What a plan is to be made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Order {
    /// The files that the step runs over.
    pub(crate) files: Option<FilesSource>,
    /// Where the parts go, if they are split by keys.
    pub(crate) shuffle: Option<Shuffle>,
    /// In how many pieces the plan of the items is that the step runs over; 0: it does not.
    pub(crate) items: i32,
    /// What all partitions read.
    pub(crate) reads: Option<ReadsSource>,
}

/// Stops a look into files when the one who asked for it is gone.
#[derive(Debug, Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lists files and looks into them where that is needed, writes the plan's objects, and gives what a commit says of it. Tries
/// on while the API server does not answer. Dropped, it stops looking.
pub(crate) async fn plan(
    api: Api<PlanObject>,
    (run, pool): (RunRef, Option<OwnerReference>),
    order: Order,
    ground: Ground,
    deadline: Duration,
) -> Result<PlanRef, PlanningError> {
    let body = if order.items > 0 {
        let plan = plans::fetch(api.clone(), run.clone(), order.items, deadline).await?;
        match plan.body() {
            Body::Items(items) => Some(items.clone()),
            Body::Files(_) | Body::Numbers => None,
        }
    } else {
        None
    };
    let stop = StopOnDrop::default();
    let stopped = stop.0.clone();
    let uid = run.uid.clone();
    let encoded = tokio::task::spawn_blocking(move || {
        // Before parts are written, which nobody would remove if there were no plan.
        let reads = order.reads.iter().flat_map(|reads| &reads.data);
        let reads = reads.map(|read| {
            Ok::<_, PlanningError>(Read {
                data: read.data.as_str().into(),
                format: read.format.into(),
                files: listed(&read.url, read.written_by.as_ref(), &uid, &ground)?,
            })
        });
        let reads = reads.collect::<Result<_, _>>()?;
        let plan = match (&order.files, body) {
            (Some(source), _) => Plan::from(files(source, order.shuffle.as_ref(), &uid, &ground, &stopped)?),
            (None, Some(items)) => Plan::items(items)?,
            (None, None) => Plan::numbers(),
        };
        Ok::<_, PlanningError>(plan.reading(reads)?.encode()?)
    })
    .await
    .map_err(|_| PlanningError::Cut)??;
    for (name, spec) in encoded.objects(&run.workflow, &run.uid, &run.step, run.round) {
        let metadata = metadata(&run, pool.as_ref(), &name)?;
        write(&api, PlanObject { metadata, spec }, deadline).await?;
    }
    drop(stop);
    Ok(encoded.reference().clone())
}

/// The files of a pattern, or those that a step of the same run has published. Blocks.
fn listed(
    url: &str,
    written_by: Option<&WrittenBy>,
    uid: &str,
    ground: &Ground,
) -> Result<Vec<PlannedFile>, PlanningError> {
    match written_by {
        Some(by) => store::list(ground, url, uid, by),
        None => Pattern::new(url)?.list(ground),
    }
}

/// Lists the files of a source and finds how they are cut. Blocks.
fn files(
    source: &FilesSource,
    shuffle: Option<&Shuffle>,
    uid: &str,
    ground: &Ground,
    stop: &AtomicBool,
) -> Result<FilePlan, PlanningError> {
    if let (Some(keys), Some(shuffle)) = (&source.keys, shuffle) {
        return shuffle::files(source, keys, shuffle, uid, ground, stop);
    }
    let (split, format) = (Split::try_from(source)?, source.format.into());
    braid_engine::cover::check(format, split)?;
    let files = listed(&source.url, source.written_by.as_ref(), uid, ground)?;
    let found = look::into(&files, format, (split, &source.columns), ground, stop)?;
    Ok(FilePlan::with(files, format, split, found)?)
}

/// Whose a plan is: the run's; that of a run of another namespace is the pool's, since owners cannot be elsewhere.
fn metadata(run: &RunRef, pool: Option<&OwnerReference>, name: &str) -> Result<ObjectMeta, PlanningError> {
    let of = |owner: OwnerReference| ObjectMeta {
        name: Some(name.to_owned()),
        owner_references: Some(vec![OwnerReference {
            controller: None,
            block_owner_deletion: None,
            ..owner
        }]),
        ..ObjectMeta::default()
    };
    let Some(namespace) = &run.namespace else {
        return Ok(of(OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "Workflow".into(),
            name: run.workflow.clone(),
            uid: run.uid.clone(),
            ..OwnerReference::default()
        }));
    };
    let pool = pool.ok_or_else(|| PlanningError::Refused {
        name: name.into(),
        problem: "the Worker has no WorkerPool as its owner, which the Plan would be of".into(),
    })?;
    Ok(ObjectMeta {
        labels: Some(labels::lent(&pool.uid, namespace, &run.workflow, &run.uid)),
        ..of(pool.clone())
    })
}

/// Makes one object, or finds that it is there already.
async fn write(api: &Api<PlanObject>, object: PlanObject, deadline: Duration) -> Result<(), PlanningError> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let spec = &object.spec;
    let mut failures = 0;
    loop {
        tokio::time::sleep(pause(failures)).await;
        failures = u32::saturating_add(failures, 1);
        match within(deadline, api.create(&PostParams::default(), &object)).await {
            Ok(_) => return Ok(()),
            Err(CallError::Conflict(_)) => match within(deadline, api.get(name)).await {
                Ok(there) if holds_same(&there.spec, spec) => return Ok(()),
                Ok(_) => return Err(PlanningError::Taken(name.into())),
                Err(error) => tracing::debug!(plan = %name, %error, "the Plan cannot be read back; trying on"),
            },
            Err(CallError::Refused(kube::Error::Api(status))) if matches!(status.code, 400 | 403 | 413 | 422) => {
                return Err(PlanningError::Refused {
                    name: name.into(),
                    problem: status.message.clone(),
                });
            }
            Err(error) => tracing::debug!(plan = %name, %error, "the Plan cannot be written; trying on"),
        }
    }
}

#[cfg(test)]
mod tests;
