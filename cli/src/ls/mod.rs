//! `braid ls`: runs, on this machine or in a cluster.

use crate::{
    args::{GetOutput, LsArgs, LsOutput, Side, Where},
    cluster::{self, Busy, Cluster},
    exit::{Exit, Failure},
    out,
    text::Tint,
};

mod here;
mod there;

use here::Here;
use there::There;

/// Lists runs.
pub async fn ls(args: &LsArgs) -> Result<Exit, Failure> {
    let output = match args.output {
        LsOutput::Table => GetOutput::Table,
        LsOutput::Json => GetOutput::Json,
        LsOutput::Name => GetOutput::Name,
    };
    list(&args.place, args.all_namespaces, output).await
}

/// Lists runs. Where neither side is named those on this machine, if there are any, else those in the cluster, if there is one.
pub async fn list(place: &Where, all: bool, output: GetOutput) -> Result<Exit, Failure> {
    let side = if all { Side::There } else { place.side() };
    let tint = Tint::of(&std::io::stdout());
    if side != Side::There {
        let runs = Here::read(place.state.as_deref()).await?;
        if side == Side::Here || !runs.is_empty() || !cluster::is_there(&place.cluster) {
            match output {
                GetOutput::Json => out::json(&runs.documents())?,
                GetOutput::Yaml => out::yaml(&runs.documents())?,
                GetOutput::Name => names(&runs.names())?,
                GetOutput::Table => out::lines(&runs.lines(tint))?,
            };
            return Ok(runs.exit());
        }
    }
    let cluster = Cluster::connect(&place.cluster, Busy::Again).await?;
    let runs = There::read(&cluster, all, tint).await?;
    match output {
        GetOutput::Json => out::json(&runs.documents())?,
        GetOutput::Yaml => out::yaml(&runs.documents())?,
        GetOutput::Name => names(&runs.names())?,
        GetOutput::Table => out::lines(&runs.lines(tint))?,
    };
    Ok(Exit::Succeeded)
}

/// Nothing at all where there is none.
fn names(names: &[String]) -> Result<out::Reader, Failure> {
    if names.is_empty() {
        return Ok(out::Reader::There);
    }
    out::lines(names)
}
