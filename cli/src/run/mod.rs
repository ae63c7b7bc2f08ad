//! `braid run`: a workflow on this machine, from its file to its summary.
//!
//! Nothing is started before the file has passed `lint`. State goes to a directory, so a run that was stopped, or killed,
//! goes on when it is started on that directory again: in the working directory that it was begun in, since what it
//! reads and runs may be named relative to that.

use std::{env, path::Path};

use braid_cli::{
    lint::{Linter, Problem},
    manifest,
};
use braid_crds::{Workflow, status::Phase};
use braid_local::{Hands, LocalCluster, LocalError, NAMESPACE, OperatorEnd, Settings};
use braid_worker::runner::ShimCommand;
use jiff::Timestamp;
use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::json;

use crate::{
    args::{ProgressKind, RunArgs, RunOutput},
    exit::{Exit, Failure},
    out,
    progress::{self, Progress},
    runs::{self, call},
    summary::{self, Place},
    text::Tint,
};

mod follow;
mod resume;
mod signals;
mod state;
mod volumes;

#[cfg(test)]
mod tests;

use follow::Ended;
pub use resume::quoted;
use resume::resume_command;
pub use signals::Signals;
use state::{Chosen, choose};

/// On the object: where the run was begun.
const DIRECTORY: &str = "braid.dev/directory";
/// On the object: `spec.suspend` was set by an interrupt, so the next start takes it back.
pub const INTERRUPTED: &str = "braid.dev/interrupted";

/// Runs a workflow to its end.
pub async fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let mut workflow = match read(&args.file)? {
        Ok(workflow) => workflow,
        Err(problems) => {
            for problem in &problems {
                progress::say(&problem.to_string());
            }
            return Ok(Exit::Usage);
        }
    };
    if workflow.metadata.name.is_none() {
        return Err(Failure::usage(format!(
            "{}: metadata.name is missing",
            args.file.display()
        )));
    }
    volumes::bring_home(&mut workflow).map_err(|name| {
        Failure::usage(format!(
            "{}: the data {name} are on a volume of a cluster",
            args.file.display()
        ))
        .help("on a laptop only hostPath is there; `braid submit` gives the run to a cluster")
    })?;
    if let Some(step) = workflow.spec.steps.iter().find(|step| {
        let code = step.run.code.as_ref();
        code.is_some_and(|code| code.config_map_ref.is_some())
    }) {
        return Err(Failure::usage(format!(
            "{}: the code of step {} is in a ConfigMap of a cluster",
            args.file.display(),
            step.name
        ))
        .help("on a laptop code.path names the directory; `braid submit` makes a ConfigMap of it"));
    }
    manifest::override_params(&mut workflow, args.params.iter().map(String::as_str)).map_err(Failure::usage)?;
    // From here on, so that nothing is begun that a signal would then not end in order.
    let signals = Signals::new().map_err(Failure::unreachable)?;
    let chosen = choose(args, &workflow).await?;
    if let Chosen::Finished(_, stored) = &chosen {
        return end(args, stored, &chosen);
    }
    if let Some(directory) = chosen.stored().and_then(|stored| stored.annotations().get(DIRECTORY)) {
        env::set_current_dir(directory).map_err(|error| {
            Failure::usage(error).doing(format!(
                "the run was begun in {directory:?}, which is no directory to go on in"
            ))
        })?;
    }
    let mut progress = Progress::new(args.progress);
    if let Some(note) = unused(&workflow) {
        progress.note(note);
    }
    let workers = args.workers.map(usize::from);
    let cluster = start(&chosen, workers, &progress).await?;
    let outcome = drive(args, &cluster, &chosen, workflow, signals, &mut progress).await;
    let clear = matches!(outcome, Ok(Ended::Finished(_))) && args.output == RunOutput::Table;
    progress.finish(clear);
    let at_once = !matches!(outcome, Ok(Ended::Finished(_) | Ended::Suspended(_)));
    let stopped = stop(cluster, at_once).await;
    match outcome? {
        Ended::Finished(workflow) => {
            let exit = end(args, &workflow, &chosen)?;
            stopped.map(|()| exit)
        }
        Ended::Suspended(workflow) | Ended::Stopped(workflow) => {
            if args.output == RunOutput::Json {
                out::json(&summary::document(&workflow))?;
            }
            if args.progress != ProgressKind::None {
                progress::say(&format!(
                    "braid: interrupted; nothing that was counted is lost. Go on with\n  {}",
                    resume_command(args, chosen.state())
                ));
            }
            stopped.map(|()| Exit::Interrupted)
        }
    }
}

/// What a workflow says for a cluster that has no meaning here.
fn unused(workflow: &Workflow) -> Option<&'static str> {
    let runs = || workflow.spec.steps.iter().map(|step| &step.run);
    let elsewhere =
        runs().any(|run| !run.env_from.is_empty() || run.env.iter().any(|variable| variable.value_from.is_some()));
    let pods = !workflow.spec.pools.is_empty()
        || runs().any(|run| run.image.is_some() || run.resources.is_some() || !run.volume_mounts.is_empty());
    if elsewhere {
        Some(
            "images and pools are not used here: programs run on this machine as it is, and variables from Secrets and ConfigMaps \
             are those of this shell",
        )
    } else {
        pods.then_some("images and pools are not used here: programs run on this machine as it is")
    }
}

/// The one workflow of a file, or what is wrong with it. Whatever else a file holds would be forgotten, so it holds nothing else.
pub fn read(file: &Path) -> Result<Result<Workflow, Vec<Problem>>, Failure> {
    let (mut workflows, documents) = match Linter::new().map_err(Failure::unreachable)?.counted(file) {
        Ok(read) => read,
        Err(problems) => return Ok(Err(problems)),
    };
    let (Some(workflow), true) = (workflows.pop(), documents == 1) else {
        let what = if documents == 1 {
            "no workflow".to_owned()
        } else {
            format!("{documents} documents")
        };
        return Err(
            Failure::usage(format!("{} has {what}, and a run is of one", file.display()))
                .help("give each workflow a file of its own"),
        );
    };
    Ok(Ok(workflow))
}

async fn start(chosen: &Chosen, workers: Option<usize>, progress: &Progress) -> Result<LocalCluster, Failure> {
    let directory = env::current_dir().map_err(|error| Failure::unreachable(error).doing("the working directory"))?;
    let program = env::current_exe().map_err(|error| Failure::unreachable(error).doing("this program's own path"))?;
    let shim = ShimCommand {
        program,
        args: vec!["shim".into()],
    };
    let mut settings = Settings::new(directory, Hands::Shim(shim));
    settings.state = Some(chosen.state().clone());
    settings.workers = workers.unwrap_or(settings.workers);
    let (workers, noun) = match settings.workers {
        1 => (1, "worker"),
        more => (more, "workers"),
    };
    let verb = if chosen.stored().is_some() { "going on, " } else { "" };
    progress.note(&format!(
        "{verb}local, {workers} {noun}, state in {}",
        chosen.state().path().display()
    ));
    let mut tries = runs::TRIES.0;
    loop {
        let error = match LocalCluster::start(settings.clone()).await {
            Ok(cluster) => return Ok(cluster),
            Err(error) => error,
        };
        let in_use = matches!(&error, LocalError::Server(braid_apiserver::BuildError::Locked { .. }));
        tries -= 1;
        // Another command may be reading the state, which takes a moment.
        if in_use && tries > 0 {
            tokio::time::sleep(runs::TRIES.1).await;
            continue;
        }
        let failure = Failure::unreachable(error).doing("cannot start");
        return Err(if in_use {
            failure.help("`braid get --state DIR` shows that run")
        } else {
            failure
        });
    }
}

/// Creates the workflow, or brings the stored one up to date, and follows it to its end.
async fn drive(
    args: &RunArgs,
    cluster: &LocalCluster,
    chosen: &Chosen,
    mut workflow: Workflow,
    signals: Signals,
    progress: &mut Progress,
) -> Result<Ended, Failure> {
    let api: Api<Workflow> = Api::namespaced(cluster.client(), NAMESPACE);
    let created = match chosen.stored() {
        None => {
            if let Ok(directory) = env::current_dir() {
                let directory = directory.to_string_lossy().into_owned();
                workflow.annotations_mut().insert(DIRECTORY.to_owned(), directory);
            }
            workflow.metadata.namespace = Some(NAMESPACE.to_owned());
            call(api.create(&PostParams::default(), &workflow)).await
        }
        Some(stored) => {
            let change = state::renewal(stored, &workflow, args.resume);
            let params = kube::api::PatchParams::default();
            call(api.patch(&stored.name_any(), &params, &kube::api::Patch::Merge(&change))).await
        }
    };
    let workflow = created.map_err(refused)?;
    let interrupt = json!({
        "metadata": {"annotations": {INTERRUPTED: "true"}},
        "spec": {"suspend": true},
    });
    let following = Box::pin(follow::follow(&api, workflow, &interrupt, signals, progress));
    match cluster.operator() {
        Some(operator) => while_led(following, operator.ended()).await,
        None => following.await,
    }
}

/// Follows for as long as there is an operator: without one nothing would ever change.
async fn while_led(
    following: impl Future<Output = Result<Ended, Failure>>,
    ended: impl Future<Output = OperatorEnd>,
) -> Result<Ended, Failure> {
    tokio::select! {
        // A run that has ended has ended, whatever became of the operator then.
        biased;
        followed = following => followed,
        end = ended => Err(Failure::new(Exit::Internal, end)
            .doing("the run cannot go on")
            .help("nothing that was counted is lost: start it again on the same state; if it happens again, it is a defect of braid")),
    }
}

/// The server's own words about a manifest; or that there was no answer.
fn refused(error: crate::runs::RunError) -> Failure {
    match error {
        crate::runs::RunError::Api(kube::Error::Api(status)) if (400..500).contains(&status.code) => {
            Failure::usage(status.message).doing("the workflow is refused")
        }
        other => other.into(),
    }
}

/// Ends what runs: in order, and where it should not be waited for, without it.
async fn stop(cluster: LocalCluster, at_once: bool) -> Result<(), Failure> {
    if at_once {
        // First, so that it replaces none of the workers that end now.
        if let Some(operator) = cluster.operator() {
            operator.kill();
        }
        for uid in cluster.pods().alive() {
            cluster.pods().kill(&uid);
        }
    }
    cluster
        .stop()
        .await
        .map_err(|error| Failure::unreachable(error).doing("the state could not be closed"))
}

/// Prints what the run has come to.
fn end(args: &RunArgs, workflow: &Workflow, chosen: &Chosen) -> Result<Exit, Failure> {
    match args.output {
        RunOutput::Json => out::json(&summary::document(workflow))?,
        RunOutput::Table => {
            let name = match &args.state {
                Some(_) => format!("--state {}", quoted(&chosen.state().path().to_string_lossy())),
                None => workflow.name_any(),
            };
            let place = Place {
                running: false,
                name: &name,
            };
            let tint = Tint::of(&std::io::stdout());
            out::lines(&summary::lines(workflow, place, Timestamp::now(), tint))?
        }
    };
    Ok(exit_of(workflow))
}

/// What the end of a run means.
pub fn exit_of(workflow: &Workflow) -> Exit {
    let status = workflow.status.clone().unwrap_or_default();
    let refused = status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Accepted" && condition.status == "False");
    match status.phase {
        Phase::Succeeded => Exit::Succeeded,
        Phase::Cancelled => Exit::Cancelled,
        _ if refused => Exit::Cancelled,
        _ => Exit::Failed,
    }
}
