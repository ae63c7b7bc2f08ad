//! Which cuts go with which format, and which files are unpacked.

use braid_crds::workflow::Format;

use super::{CoverError, Split};

/// Whether files of a format can be cut so.
///
/// # Errors
/// If not: what can be done instead.
pub fn check(format: Option<Format>, split: Split) -> Result<(), CoverError> {
    let (by, instead) = match (format, split) {
        (_, Split::Files(_))
        | (Some(Format::Text | Format::Csv | Format::JsonLines), Split::Bytes(_) | Split::Rows(_))
        | (Some(Format::Parquet), Split::RowGroups(_)) => return Ok(()),
        (None, Split::RowGroups(_)) => (
            "rowGroups",
            "only Parquet has row groups: say format: Parquet, or use split: {files: N}",
        ),
        (None, Split::Bytes(_)) => (
            "bytes",
            "say which records it has, for example format: Text, or use split: {files: N}",
        ),
        (None, Split::Rows(_)) => (
            "rows",
            "say which records it has, for example format: Text, or use split: {files: N}",
        ),
        (Some(Format::Parquet), Split::Bytes(_)) => ("bytes", "use split: {rowGroups: N} or {files: N}"),
        (Some(Format::Parquet), Split::Rows(_)) => ("rows", "use split: {rowGroups: N} or {files: N}"),
        (Some(_), Split::RowGroups(_)) => (
            "rowGroups",
            "only Parquet has row groups: use split: {rows: N}, {bytes: N} or {files: N}",
        ),
    };
    Err(CoverError::Format {
        format: format.map_or("none", Format::as_str),
        by,
        instead,
    })
}

/// Whether files of a format can be cut by keys.
///
/// # Errors
/// If not: what can be done instead.
pub fn check_keys(format: Option<Format>) -> Result<(), CoverError> {
    let instead = match format {
        Some(Format::Csv | Format::JsonLines) => return Ok(()),
        None => "say which fields it has: format: CSV or JSONLines",
        Some(Format::Text) => "lines of text have no fields: say format: CSV or JSONLines if it is such",
        Some(Format::Parquet) => {
            "use split: {rowGroups: N}, and let the step write CSV or JSONLines, which a later step can split by keys"
        }
    };
    Err(CoverError::Format {
        format: format.map_or("none", Format::as_str),
        by: "keys",
        instead,
    })
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// RFC 1952; any number of members.
    Gzip,
    /// RFC 8878; any number of frames.
    Zstd,
}

impl Packing {
    /// As people call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// How a file of that format is packed, by the ending of its name, and its name without that ending. `None`: its bytes are
/// given as they are.
#[must_use]
pub fn packing(path: &str, format: Option<Format>) -> Option<(Packing, &str)> {
    if !matches!(format, Some(Format::Text | Format::Csv | Format::JsonLines)) {
        return None;
    }
    let (packing, name) = match (path.strip_suffix(".gz"), path.strip_suffix(".zst")) {
        (Some(name), _) => (Packing::Gzip, name),
        (_, Some(name)) => (Packing::Zstd, name),
        _ => return None,
    };
    // `.gz` alone is a name, not an ending.
    (!name.is_empty() && !name.ends_with('/')).then_some((packing, name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn cuts_go_with_formats() {
        let formats = [
            None,
            Some(Format::Text),
            Some(Format::Csv),
            Some(Format::JsonLines),
            Some(Format::Parquet),
        ];
        let table = |split| formats.map(|format| u8::from(check(format, split).is_ok()));
        assert_eq!(table(Split::Files(1)), [1, 1, 1, 1, 1]);
        assert_eq!(table(Split::Bytes(1)), [0, 1, 1, 1, 0]);
        assert_eq!(table(Split::Rows(1)), [0, 1, 1, 1, 0]);
        assert_eq!(table(Split::RowGroups(1)), [0, 0, 0, 0, 1]);
        assert_eq!(
            formats.map(|format| u8::from(check_keys(format).is_ok())),
            [0, 0, 1, 1, 0]
        );
        let error = check(Some(Format::Parquet), Split::Rows(1)).unwrap_err().to_string();
        assert!(
            error.contains("format Parquet cannot be split by rows: use split: {rowGroups"),
            "{error}"
        );
    }

    #[test]
    fn packed_files_are_known_by_their_names() {
        let csv = Some(Format::Csv);
        assert_eq!(packing("a/b.csv.gz", csv), Some((Packing::Gzip, "a/b.csv")));
        assert_eq!(packing("b.zst", Some(Format::Text)), Some((Packing::Zstd, "b")));
        for (path, format) in [
            ("a.csv", csv),
            ("a.gz", None),
            ("a.parquet.gz", Some(Format::Parquet)),
            ("a/.gz", csv),
            (".zst", csv),
        ] {
            assert_eq!(packing(path, format), None, "{path}");
        }
    }
}
