//! `braid get`: one run.

use jiff::Timestamp;

use crate::{
    args::{GetArgs, GetOutput},
    exit::{Exit, Failure},
    out, runs,
    summary::{self, Place},
    text::Tint,
};
use kube::ResourceExt as _;

/// Shows a run.
pub async fn get(args: &GetArgs) -> Result<Exit, Failure> {
    let run = runs::find(&args.target).await?;
    let (running, directory) = (run.is_running(), run.state.path().to_owned());
    let workflow = run.workflow().await;
    run.close().await?;
    let workflow = workflow?;
    match args.output {
        GetOutput::Json => out::json(&workflow)?,
        GetOutput::Yaml => {
            let text = serde_saphyr::to_string(&workflow).map_err(Failure::unreachable)?;
            out::write(&text)?
        }
        GetOutput::Table => {
            let name = match &args.target.state {
                Some(directory) => format!("--state {}", directory.display()),
                None => workflow.name_any(),
            };
            let place = Place { running, name: &name };
            let tint = Tint::of(&std::io::stdout());
            let mut lines = summary::lines(&workflow, place, Timestamp::now(), tint);
            lines.extend([String::new(), format!("state: {}", directory.display())]);
            out::lines(&lines)?
        }
    };
    Ok(Exit::Succeeded)
}
