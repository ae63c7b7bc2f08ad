//! `braid run`: a workflow on this machine, from its file to its summary.
//!
//! Nothing is started before the file has passed `lint`. State goes to a directory, so a run that was stopped, or killed,
//! goes on when it is started on that directory again: in the working directory that it was begun in, since what it
//! reads and runs may be named relative to that.

use std::{env, fs, path::Path};

use braid_cli::{
    lint::{Linter, Problem},
    manifest,
};
use braid_crds::{Workflow, status::Phase};
use braid_local::{Hands, LocalCluster, LocalError, NAMESPACE, OperatorEnd, Settings, StateDir};
use braid_worker::runner::ShimCommand;
use jiff::Timestamp;
use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::{
    anew,
    args::{ProgressKind, RunArgs, RunOutput, Target},
    exit::{Exit, Failure},
    out, program,
    progress::{self, Progress},
    runs::{self, call},
    summary::{self, Place},
    text::Tint,
    timeline::{self, Recorder},
};

mod expiry;
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
pub const DIRECTORY: &str = "braid.dev/directory";
/// On the object: `spec.suspend` was set by an interrupt, so the next start takes it back.
pub const INTERRUPTED: &str = "braid.dev/interrupted";

/// Runs a workflow to its end.
pub async fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let mut workflow = match read(&args.file, &args.params)? {
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
    bring_home(&mut workflow, &args.file)?;
    manifest::override_params(&mut workflow, args.params.iter().map(String::as_str)).map_err(Failure::usage)?;
    // From here on, so that nothing is begun that a signal would then not end in order.
    let signals = Signals::new().map_err(Failure::unreachable)?;
    let chosen = choose(args, &workflow).await?;
    if let Chosen::Finished(_, stored) = &chosen {
        return end(&how(args, &chosen, stored), stored);
    }
    let how = how(args, &chosen, &workflow);
    let stored = chosen.stored();
    let first = match stored {
        None => First::Create(Box::new(workflow)),
        Some(stored) => First::Change(state::renewal(stored, &workflow, args.resume)),
    };
    whole(&how, chosen.state(), stored, first, signals).await
}

fn how(args: &RunArgs, chosen: &Chosen, workflow: &Workflow) -> How {
    How {
        workers: args.workers,
        output: args.output,
        progress: args.progress,
        named: match &args.state {
            Some(_) => format!("--state {}", quoted(&chosen.state().path().to_string_lossy())),
            None => workflow.name_any(),
        },
        again: resume_command(args, chosen.state()),
    }
}

/// How a run is followed, and how it is spoken of.
#[derive(Debug)]
pub struct How {
    /// How many workers; absent: one for each processor.
    pub workers: Option<u16>,
    /// What is printed at its end.
    pub output: RunOutput,
    /// How progress is shown.
    pub progress: ProgressKind,
    /// What other commands are given to name it.
    pub named: String,
    /// The command that goes on with it.
    pub again: String,
}

impl How {
    /// The defaults, for a stored run that was found by its name or its directory.
    pub fn named(target: &Target, state: &StateDir, workflow: &Workflow) -> Self {
        let directory = quoted(&state.path().to_string_lossy());
        Self {
            workers: None,
            output: RunOutput::Table,
            progress: ProgressKind::Auto,
            named: match target.place.state {
                Some(_) => format!("--state {directory}"),
                None => workflow.name_any(),
            },
            again: format!("{} run FILE --state {directory}", program::name()),
        }
    }
}

/// What is done to a run first.
enum First {
    /// It is created.
    Create(Box<Workflow>),
    /// It is there, and is changed so.
    Change(Value),
}

/// Goes on with a stored run that no process runs, once it is changed so.
pub async fn go_on(how: &How, state: &StateDir, stored: &Workflow, change: Value) -> Result<Exit, Failure> {
    let signals = Signals::new().map_err(Failure::unreachable)?;
    whole(how, state, Some(stored), First::Change(change), signals).await
}

/// Runs a run until it has ended, rests, or is told to stop.
async fn whole(
    how: &How,
    state: &StateDir,
    stored: Option<&Workflow>,
    first: First,
    signals: Signals,
) -> Result<Exit, Failure> {
    if let Some(directory) = stored.and_then(|stored| stored.annotations().get(DIRECTORY)) {
        env::set_current_dir(directory).map_err(|error| {
            Failure::usage(error).doing(format!(
                "the run was begun in {directory:?}, which is no directory to go on in"
            ))
        })?;
    }
    let mut progress = Progress::new(how.progress);
    match stored {
        // It goes on.
        Some(_) => expiry::note(state, None)?,
        None => expiry::sweep(Timestamp::now(), &progress).await,
    }
    let meant = match &first {
        First::Create(workflow) => Some(workflow.as_ref()),
        First::Change(_) => stored,
    };
    if let Some(note) = meant.and_then(unused) {
        progress.note(note);
    }
    let workers = how.workers.map(usize::from);
    let cluster = start(state, stored.is_some(), workers, &progress).await?;
    let outcome = drive(&cluster, state, stored, first, signals, &mut progress).await;
    let rests = matches!(outcome, Ok(Ended::Finished(_) | Ended::Paused(_)));
    progress.finish(rests && how.output == RunOutput::Table);
    let at_once = !(rests || matches!(outcome, Ok(Ended::Suspended(_))));
    let stopped = stop(cluster, at_once).await;
    match outcome? {
        Ended::Finished(workflow) => {
            // Nobody goes on with it. What cannot be removed goes with the state.
            let _ = fs::remove_dir_all(state.checkpoints());
            let exit = end(how, &workflow)?;
            expiry::note(state, Some(&workflow))?;
            stopped.map(|()| exit)
        }
        Ended::Paused(workflow) => {
            end(how, &workflow)?;
            stopped.map(|()| Exit::NeedsPerson)
        }
        Ended::Suspended(workflow) | Ended::Stopped(workflow) => {
            if how.output == RunOutput::Json {
                out::json(&summary::document(&workflow))?;
            }
            if how.progress != ProgressKind::None {
                progress::say(&format!(
                    "braid: interrupted; nothing that was counted is lost. Go on with\n  {}",
                    how.again
                ));
            }
            stopped.map(|()| Exit::Interrupted)
        }
    }
}

/// Makes paths of data whose volume is a directory. An error is what only a cluster has.
pub fn bring_home(workflow: &mut Workflow, file: &Path) -> Result<(), Failure> {
    if let Some(from) = &workflow.spec.resume_from {
        return Err(anew::not_here(&from.name).doing(file.display().to_string()));
    }
    volumes::bring_home(workflow).map_err(|name| {
        Failure::usage(format!(
            "{}: the data {name} are on a volume of a cluster",
            file.display()
        ))
        .help("on a laptop only hostPath is there; `braid submit` gives the run to a cluster")
    })?;
    let mut steps = workflow.spec.steps.iter();
    let in_a_cluster = steps.find(|step| {
        let code = step.run.code.as_ref();
        code.is_some_and(|code| code.config_map_ref.is_some())
    });
    match in_a_cluster {
        None => Ok(()),
        Some(step) => Err(Failure::usage(format!(
            "{}: the code of step {} is in a ConfigMap of a cluster",
            file.display(),
            step.name
        ))
        .help("on a laptop code.path names the directory; `braid submit` makes a ConfigMap of it")),
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

/// The one workflow of a file with params `NAME=VALUE`, or what is wrong with it. Whatever else a file holds would be forgotten, so it holds nothing else.
pub fn read(file: &Path, params: &[String]) -> Result<Result<Workflow, Vec<Problem>>, Failure> {
    let (mut workflows, documents) = match Linter::new()
        .map_err(Failure::unreachable)?
        .giving(params)
        .counted(file)
    {
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

async fn start(
    state: &StateDir,
    goes_on: bool,
    workers: Option<usize>,
    progress: &Progress,
) -> Result<LocalCluster, Failure> {
    let directory = env::current_dir().map_err(|error| Failure::unreachable(error).doing("the working directory"))?;
    let program = env::current_exe().map_err(|error| Failure::unreachable(error).doing("this program's own path"))?;
    let shim = ShimCommand {
        program,
        args: vec!["shim".into(), "--checkpoints".into(), state.checkpoints().into()],
    };
    let mut settings = Settings::new(directory, Hands::Shim(shim));
    settings.state = Some(state.clone());
    settings.workers = workers.unwrap_or(settings.workers);
    let (workers, noun) = match settings.workers {
        1 => (1, "worker"),
        more => (more, "workers"),
    };
    let verb = if goes_on { "going on, " } else { "" };
    progress.note(&format!(
        "{verb}local, {workers} {noun}, state in {}",
        state.path().display()
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
    cluster: &LocalCluster,
    state: &StateDir,
    stored: Option<&Workflow>,
    first: First,
    signals: Signals,
    progress: &mut Progress,
) -> Result<Ended, Failure> {
    let api: Api<Workflow> = Api::namespaced(cluster.client(), NAMESPACE);
    let created = match (first, stored) {
        (First::Create(mut workflow), _) => {
            if let Ok(directory) = env::current_dir() {
                let directory = directory.to_string_lossy().into_owned();
                workflow.annotations_mut().insert(DIRECTORY.to_owned(), directory);
            }
            workflow.metadata.namespace = Some(NAMESPACE.to_owned());
            call(api.create(&PostParams::default(), &workflow)).await
        }
        (First::Change(change), Some(stored)) => {
            let params = kube::api::PatchParams::default();
            call(api.patch(&stored.name_any(), &params, &kube::api::Patch::Merge(&change))).await
        }
        (First::Change(_), None) => return Err(runs::RunError::Empty(state.path().to_owned()).into()),
    };
    let workflow = created.map_err(refused)?;
    let timeline = state.path().join(timeline::FILE);
    let recorder = Recorder::start(timeline, &cluster.client(), &workflow);
    let interrupt = json!({
        "metadata": {"annotations": {INTERRUPTED: "true"}},
        "spec": {"suspend": true},
    });
    let following = Box::pin(follow::follow(&api, workflow, &interrupt, signals, progress));
    let ended = match cluster.operator() {
        Some(operator) => while_led(following, operator.ended()).await,
        None => following.await,
    };
    let last = ended.as_ref().ok().map(|ended| match ended {
        Ended::Finished(workflow) | Ended::Paused(workflow) | Ended::Suspended(workflow) | Ended::Stopped(workflow) => {
            workflow
        }
    });
    if let Err(error) = recorder.finish(last).await {
        progress.note(&format!("the timeline of the run has a hole: {error}"));
    }
    ended
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
fn end(how: &How, workflow: &Workflow) -> Result<Exit, Failure> {
    match how.output {
        RunOutput::Json => out::json(&summary::document(workflow))?,
        RunOutput::Table => {
            let place = Place {
                running: false,
                name: &how.named,
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
