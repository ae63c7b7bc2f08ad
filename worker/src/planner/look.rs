//! A look into files, where their names and sizes do not tell how they are cut: once, from beginning to end, a chunk at a time.

use std::sync::atomic::{AtomicBool, Ordering};

use braid_crds::workflow::Format;
use braid_engine::{
    cover::{CUTS, CoverError, RecordScan, Records, ScanError, Split, Unit, packing},
    plan::{FilePlan, Found, Needs, PlannedFile},
};

use super::{PlanningError, ahead};
use crate::{
    ground::Ground,
    reader::{InputError, checked, is_planned, rowgroups},
};

/// Finds what has to be known of files that are cut so. A file that changes meanwhile is an error. Blocks; ends with
/// [`PlanningError::Cut`] soon after `stop` is set.
pub(super) fn into(
    files: &[PlannedFile],
    format: Option<Format>,
    (split, columns): (Split, &[String]),
    ground: &Ground,
    stop: &AtomicBool,
) -> Result<Found, PlanningError> {
    if !matches!(split, Split::Files(_)) {
        let packed = files.iter().find_map(|file| Some((file, packing(&file.path, format)?)));
        if let Some((file, (packing, _))) = packed {
            return Err(PlanningError::Packed {
                path: file.path.to_string(),
                packing: packing.as_str(),
            });
        }
    }
    match (FilePlan::needs(format, split), split, format) {
        (Needs::Records, Split::Rows(unit), Some(format)) => {
            records(files, format, Unit::Rows(unit), ground, stop).map(Found::Records)
        }
        (Needs::Records, Split::Bytes(unit), Some(format)) => {
            records(files, format, Unit::Bytes(unit), ground, stop).map(Found::Records)
        }
        (Needs::RowGroups, _, _) => {
            let mut groups = Vec::with_capacity(files.len());
            for file in files {
                if stop.load(Ordering::Relaxed) {
                    return Err(PlanningError::Cut);
                }
                groups.push(rowgroups::count(file, &checked(ground, file)?, columns)?);
                is_planned(ground, file)?;
            }
            Ok(Found::RowGroups {
                groups,
                columns: columns.to_vec(),
            })
        }
        (Needs::Nothing, ..) => Ok(Found::Nothing),
        (Needs::Records, ..) => Err(CoverError::NoSplit.into()),
    }
}

fn records(
    files: &[PlannedFile],
    format: Format,
    unit: Unit,
    ground: &Ground,
    stop: &AtomicBool,
) -> Result<Vec<Records>, PlanningError> {
    let mut all = Vec::with_capacity(files.len());
    let mut cuts = 0;
    for planned in files {
        let wrong = |error| PlanningError::Records {
            path: planned.path.to_string(),
            error,
        };
        let file = checked(ground, planned)?;
        let mut scan = RecordScan::new(format, unit).map_err(wrong)?;
        ahead::read(file, planned.size, |chunk| {
            if stop.load(Ordering::Relaxed) {
                return Err(PlanningError::Cut);
            }
            let chunk = chunk.map_err(|source| InputError::Unreadable {
                path: planned.path.to_string(),
                source,
            })?;
            scan.feed(chunk).map_err(wrong)
        })?;
        let records = scan.finish().map_err(wrong)?;
        cuts += records.starts.len();
        if cuts > CUTS {
            return Err(wrong(ScanError::TooMany));
        }
        is_planned(ground, planned)?;
        all.push(records);
    }
    Ok(all)
}
