//! `braid report`: a run as one HTML page, without scripts and without anything that is loaded from elsewhere.
//!
//! The page is a pure function of the run's object and of its [`timeline`]. Everything in it that somebody gave
//! (names, messages, results) is text, whatever it holds.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    args::ReportArgs,
    exit::{Exit, Failure},
    out,
    place::{self, Found},
    progress,
    timeline::{self, Timeline},
};

mod chart;
mod graph;
mod html;
mod lanes;
mod page;
mod shards;
mod tables;

/// Writes the page of a run.
pub async fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    let (workflow, kept) = match place::find(args.target.name.as_deref(), &args.target.place).await? {
        Found::Here(run) => {
            let kept = run.state.path().join(timeline::FILE);
            let workflow = run.workflow().await;
            run.close().await?;
            (workflow?, Some(kept))
        }
        Found::There(remote) => (remote.workflow().await?, None),
    };
    let timeline = match args.timeline.as_deref() {
        Some(given) if !given.exists() => {
            return Err(Failure::usage(format!("there is no timeline in {}", given.display()))
                .help("`braid watch NAME --timeline FILE` writes one while the run goes on"));
        }
        Some(given) => read(given)?,
        None => kept.as_deref().map(read).transpose()?.unwrap_or_default(),
    };
    let page = page::page(&workflow, &timeline, Timestamp::now());
    let file = match args.output.as_deref() {
        Some(path) if path.as_os_str() == "-" => {
            out::write(&page)?;
            return Ok(Exit::Succeeded);
        }
        Some(path) => path.to_owned(),
        None => PathBuf::from(format!("{}.html", workflow.name_any())),
    };
    write(&file, &page)?;
    progress::say(&format!("braid: {}", file.display()));
    Ok(Exit::Succeeded)
}

fn read(path: &Path) -> Result<Timeline, Failure> {
    timeline::read(path)
        .map_err(|error| Failure::unreachable(error).doing(format!("cannot read the timeline {}", path.display())))
}

/// Whole or not at all: a browser may be looking at an older one.
fn write(path: &Path, page: &str) -> Result<(), Failure> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let part = directory.join(format!(".braid-report-{}.part", std::process::id()));
    let written = fs::File::create(&part)
        .and_then(|mut file| file.write_all(page.as_bytes()))
        .and_then(|()| fs::rename(&part, path));
    written.map_err(|error| {
        // What is left of it, if it could be made at all.
        let _ = fs::remove_file(&part);
        Failure::usage(error).doing(format!("cannot write {}", path.display()))
    })
}
