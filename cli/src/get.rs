//! `braid get`: one run, or without a name all of them.

use braid_crds::Workflow;
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    args::{GetArgs, GetOutput},
    exit::{Exit, Failure},
    ls, out,
    place::{self, Found},
    run::quoted,
    summary::{self, Place},
    text::{Tint, clean},
};

/// Shows a run.
pub async fn get(args: &GetArgs) -> Result<Exit, Failure> {
    if args.name.is_none() && args.place.state.is_none() {
        return ls::list(&args.place, args.all_namespaces, args.output).await;
    }
    match place::find(args.name.as_deref(), &args.place).await? {
        Found::Here(run) => {
            let (running, directory) = (run.is_running(), run.state.path().to_owned());
            let workflow = run.workflow().await;
            run.close().await?;
            let workflow = workflow?;
            let name = match &args.place.state {
                Some(directory) => format!("--state {}", quoted(&directory.to_string_lossy())),
                None => workflow.name_any(),
            };
            let place = Place { running, name: &name };
            show(
                &workflow,
                args.output,
                place,
                &format!("state: {}", directory.display()),
            )
        }
        Found::There(remote) => {
            let workflow = remote.workflow().await?;
            let name = remote.named();
            let place = Place {
                running: true,
                name: &name,
            };
            show(
                &workflow,
                args.output,
                place,
                &format!("in {}", clean(&remote.cluster.place(), 300)),
            )
        }
    }
}

fn show(workflow: &Workflow, output: GetOutput, place: Place<'_>, last: &str) -> Result<Exit, Failure> {
    match output {
        GetOutput::Json => out::json(workflow)?,
        GetOutput::Yaml => out::yaml(workflow)?,
        GetOutput::Name => out::lines(&[summary::qualified(workflow)])?,
        GetOutput::Table => {
            let tint = Tint::of(&std::io::stdout());
            let mut lines = summary::lines(workflow, place, Timestamp::now(), tint);
            lines.extend([String::new(), last.to_owned()]);
            out::lines(&lines)?
        }
    };
    Ok(Exit::Succeeded)
}
