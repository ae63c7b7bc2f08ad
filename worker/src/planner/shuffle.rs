//! Planning a shuffle: the records of all files are written into parts, once, and the plan is of these files.

use std::{
    io::{self, Read as _},
    sync::atomic::{AtomicBool, Ordering},
};

use braid_crds::{
    worker::{FilesSource, KeysSource},
    workflow::Format,
};
use braid_engine::{
    cover::{CoverError, Split, packing},
    plan::{FilePlan, PlannedFile},
    shuffle::{Parts, RouteError, Router},
};

use super::{PlanningError, ahead::CHUNK, listed, planned};
use crate::{
    ground::Ground,
    reader::{InputError, Source},
    store::Place,
};

/// Who plans a shuffle, and where its parts go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shuffle {
    /// Where they are.
    pub(crate) place: Place,
    /// A name that no other planner has.
    pub(crate) planner: String,
}

/// Sends records to their parts by what a source says.
fn router(source: &FilesSource, keys: &KeysSource) -> Result<Router, PlanningError> {
    let into = u32::try_from(keys.into).map_err(|_| CoverError::NoSplit)?;
    Ok(Router::new(source.format.into(), &keys.by, into)?)
}

/// Writes the parts, and gives the plan of them: a partition for each. Blocks; ends with [`PlanningError::Cut`] soon after `stop` is
/// set. What it has written by then is removed.
pub(super) fn files(
    source: &FilesSource,
    keys: &KeysSource,
    shuffle: &Shuffle,
    uid: &str,
    ground: &Ground,
    stop: &AtomicBool,
) -> Result<FilePlan, PlanningError> {
    let mut router = router(source, keys)?;
    let into = u32::try_from(keys.into).map_err(|_| CoverError::NoSplit)?;
    let format = source.format.into();
    let files = listed(&source.url, source.written_by.as_ref(), uid, ground)?;
    let unwritten = |error: io::Error| PlanningError::Parts {
        directory: shuffle.place.shown(),
        problem: error.to_string(),
    };
    let ending = match format {
        Some(Format::JsonLines) => "jsonl",
        _ => "csv",
    };
    let mut parts = (shuffle.place)
        .begin(&shuffle.planner, into, ending)
        .map_err(unwritten)?;
    let mut chunk = vec![0; CHUNK];
    for file in &files {
        read(file, format, &mut router, &mut parts, &mut chunk, ground, stop)
            .map_err(|failed| failed.of(file, format, unwritten))?;
    }
    let paths = parts.finish().map_err(unwritten)?;
    let parts = paths.iter().map(|path| {
        let metadata = ground.metadata(path).map_err(unwritten)?;
        planned(path, &metadata)
    });
    Ok(FilePlan::new(
        parts.collect::<Result<_, _>>()?,
        format,
        Split::Files(1),
    )?)
}

/// Looks at the first record, or the header before it: whether the data have such keys at all. Blocks.
pub(super) fn look(
    source: &FilesSource,
    keys: &KeysSource,
    files: &[PlannedFile],
    ground: &Ground,
) -> Result<(), PlanningError> {
    let mut router = router(source, keys)?;
    let format = source.format.into();
    let mut chunk = vec![0; CHUNK];
    for file in files {
        let stop = AtomicBool::new(false);
        match read(file, format, &mut router, &mut First, &mut chunk, ground, &stop) {
            // It is empty.
            Ok(()) => {}
            Err(Failed::Route(RouteError::Taker(Enough))) => return Ok(()),
            Err(failed) => return Err(failed.of(file, format, |Enough| PlanningError::Cut)),
        }
    }
    Ok(())
}

/// Takes nothing: the first that comes is enough.
struct First;

struct Enough;

impl Parts for First {
    type Error = Enough;

    fn header(&mut self, _: &[u8]) -> Result<(), Enough> {
        Err(Enough)
    }

    fn record(&mut self, _: u32, _: &[u8]) -> Result<(), Enough> {
        Err(Enough)
    }
}

/// Why a file is not read to its end.
enum Failed<E> {
    Planning(PlanningError),
    Route(RouteError<E>),
}

impl<E> From<RouteError<E>> for Failed<E> {
    fn from(error: RouteError<E>) -> Self {
        Self::Route(error)
    }
}

impl<E> Failed<E> {
    /// As an error of planning, with the name of the file.
    fn of(
        self,
        file: &PlannedFile,
        format: Option<Format>,
        not_taken: impl FnOnce(E) -> PlanningError,
    ) -> PlanningError {
        match self {
            Self::Planning(error) => error,
            Self::Route(RouteError::Taker(error)) => not_taken(error),
            Self::Route(RouteError::Wrong(error)) => PlanningError::Shuffle {
                path: match packing(&file.path, format) {
                    Some(_) => format!("{} (unpacked)", file.path),
                    None => file.path.to_string(),
                },
                error,
            },
        }
    }
}

/// Sends the records of one file to their parts.
fn read<P: Parts>(
    file: &PlannedFile,
    format: Option<Format>,
    router: &mut Router,
    parts: &mut P,
    chunk: &mut [u8],
    ground: &Ground,
    stop: &AtomicBool,
) -> Result<(), Failed<P::Error>> {
    let unreadable = |error: InputError| Failed::Planning(error.into());
    router.begin(&file.path).map_err(RouteError::Wrong)?;
    let mut reader = Source::new(ground.clone(), file.clone(), format)
        .begin()
        .map_err(unreadable)?;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Failed::Planning(PlanningError::Cut));
        }
        match reader.read(chunk) {
            Ok(0) => return Ok(router.end(parts)?),
            Ok(count) => router.feed(chunk.get(..count).unwrap_or_default(), parts)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(unreadable(match error.downcast::<InputError>() {
                    Ok(changed) => changed,
                    Err(source) => InputError::Unreadable {
                        path: file.path.to_string(),
                        source,
                    },
                }));
            }
        }
    }
}
