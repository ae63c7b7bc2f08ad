//! An image for user code: a shell, Python and the programs that every Debian has, under one name wherever it comes from.
//!
//! Where a registry answers it is Python's own image of Debian; as root on Debian it is made of packages. It is kept below the cache as a tar
//! that [`crate::kind::load`] takes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache;
use crate::command::{Call, CallError};
use crate::debian;
use crate::engine::Engine;
use crate::image::{Image, ImageError, Layer};
use crate::programs::BuildError;
use crate::steps::{Phase, Steps};

/// What pods say. Its tag tells it apart from what a registry has.
pub const NAME: &str = "braid.local/userland:bookworm";
/// Where a registry has the same programs.
const PUBLIC: &str = "docker.io/library/python:3.11-slim-bookworm";
const RELEASE: &str = "bookworm";
/// What is in it besides.
const PACKAGES: &str = "--include=python3";
/// A change of it makes another image.
const RECIPE: &str = include_str!("userland.rs");
/// What nobody runs, and devices, which every container has of its own.
const TRIMMED: &str = r#"cd "$1"
rm -rf dev proc sys run/* tmp/* debootstrap var/cache/* var/lib/apt/lists/* var/log/* \
    usr/share/doc usr/share/man usr/share/locale usr/share/info usr/share/zoneinfo
mkdir dev proc sys
chmod 1777 tmp"#;

/// For fetching and unpacking packages, or for pulling.
const FETCH: Duration = Duration::from_mins(10);

/// There is no image for user code.
#[derive(Debug, thiserror::Error)]
pub enum UserlandError {
    /// It cannot be pulled, and not be made here.
    #[error("{PUBLIC} cannot be pulled, and only as root on Debian another one is made; {0}")]
    NotPulled(CallError),
    /// A program failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] BuildError),
    /// The image was not written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> UserlandError {
    let path = path.to_owned();
    move |source| UserlandError::File { path, source }
}

/// The image's tar: kept, pulled or made, in this order. Blocks; the first time for a minute or two.
pub fn obtain(engine: &Engine, steps: &mut Steps, say: &dyn Fn(&str)) -> Result<PathBuf, UserlandError> {
    let directory = cache::directory("images")?;
    let key = cache::key([RECIPE, std::env::consts::ARCH]);
    let kept = directory.join(format!("userland-{key}.tar"));
    let _lock = cache::lock(&directory, &|| {
        say("another process makes the image of user code; waiting");
    })?;
    if kept.is_file() {
        return Ok(kept);
    }
    let scratch = tempfile::Builder::new().prefix(".new-").tempdir_in(&directory);
    let scratch = scratch.map_err(failed(&directory))?;
    let new = scratch.path().join("image.tar");
    let pulled = steps.run(Phase::Download, "pull the image of user code", say, || {
        engine.docker().args(["pull", "--quiet", PUBLIC]).within(FETCH).run()?;
        engine.docker().args(["tag", PUBLIC, NAME]).run()?;
        let save = engine.docker().args(["save", "--output"]).arg(&new).arg(NAME);
        save.within(FETCH).run()
    });
    if let Err(error) = pulled {
        if !debian::may_install() {
            return Err(UserlandError::NotPulled(error));
        }
        say("there is no registry: the image of user code is made here");
        debian::install(&["debootstrap"], steps, say)?;
        let root = scratch.path().join("root");
        steps.run(Phase::Build, "make the image of user code", say, || make(&root, &new))?;
    }
    fs::rename(&new, &kept).map_err(failed(&kept))?;
    Ok(kept)
}

fn make(root: &Path, file: &Path) -> Result<(), UserlandError> {
    Call::new("debootstrap")
        .args(["--variant=minbase", PACKAGES, RELEASE])
        .arg(root)
        .within(FETCH)
        .run()?;
    Call::new("sh").args(["-euc", TRIMMED, "sh"]).arg(root).run()?;
    Image::new(NAME)
        .entrypoint(["/bin/sh"])
        .layer(Layer::default().tree(root)?)
        .write(file)?;
    Ok(())
}
