#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{Pattern, PlanningError};
use crate::ground::Ground;

fn tree(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    dir
}

fn list(dir: &Path, pattern: &str) -> Result<Vec<String>, PlanningError> {
    let files = Pattern::new(pattern)?.list(&Ground::Open(dir.to_path_buf()))?;
    Ok(files.into_iter().map(|file| file.path.into()).collect())
}

#[test]
fn stars_stay_in_their_directory_and_double_stars_do_not() {
    let dir = tree(&["b/a.txt", "b/Z.txt", "b/c/d.txt", "b/c/e.md", "c/x.txt"]);
    assert_eq!(list(dir.path(), "b/*.txt").unwrap(), ["b/Z.txt", "b/a.txt"]);
    assert_eq!(
        list(dir.path(), "b/**/*.txt").unwrap(),
        ["b/Z.txt", "b/a.txt", "b/c/d.txt"]
    );
    assert_eq!(list(dir.path(), "./b/c/e.md").unwrap(), ["b/c/e.md"]);
    assert_eq!(list(dir.path(), "{b,c}/[xZ].txt").unwrap(), ["b/Z.txt", "c/x.txt"]);
    let absolute = format!("{}/c/*", dir.path().display());
    assert_eq!(
        list(Path::new("/"), &absolute).unwrap(),
        [format!("{}/c/x.txt", dir.path().display())]
    );
}

#[test]
fn order_is_by_bytes_of_the_whole_path() {
    let dir = tree(&["a/b", "a-b", "a.b", "aa"]);
    assert_eq!(list(dir.path(), "**").unwrap(), ["a-b", "a.b", "a/b", "aa"]);
}

#[test]
fn hidden_names_count_only_when_asked_for() {
    let dir = tree(&["a/.git/x", "a/.h", "a/v"]);
    assert_eq!(list(dir.path(), "a/**").unwrap(), ["a/v"]);
    assert_eq!(list(dir.path(), "a/.*").unwrap(), ["a/.h"]);
}

#[test]
fn links_to_files_count_and_links_to_directories_are_not_followed() {
    let dir = tree(&["a/real", "b/other"]);
    symlink(dir.path().join("a/real"), dir.path().join("b/link")).unwrap();
    symlink(dir.path(), dir.path().join("b/loop")).unwrap();
    symlink("nowhere", dir.path().join("b/broken")).unwrap();
    assert_eq!(list(dir.path(), "b/**").unwrap(), ["b/link", "b/other"]);
}

#[test]
fn nothing_matched_is_an_error_that_says_where_was_looked() {
    let dir = tree(&["a/x.txt"]);
    for pattern in ["a/*.csv", "nowhere/*.txt", "a/y.txt"] {
        let error = list(dir.path(), pattern).unwrap_err();
        assert!(matches!(error, PlanningError::NoFiles { .. }), "{error}");
        assert_eq!(error.to_fatal().reason, "NoFiles");
    }
}

#[test]
fn what_cannot_be_a_pattern_is_told() {
    let dir = tree(&["a/x.txt"]);
    for (pattern, says) in [
        ("s3://bucket/x", "not a path"),
        ("a/[", "not a pattern"),
        ("", "empty"),
        ("a", "a/**"),
    ] {
        let error = list(dir.path(), pattern).unwrap_err().to_string();
        assert!(error.contains(says), "{pattern}: {error}");
    }
}

mod formats;
mod shuffles;
