//! `braid submit`: a workflow, from its file into a cluster.
//!
//! Nothing is sent before the file has passed `lint`, and the server is asked to be as strict: a field that its definitions do not
//! have is refused, not dropped. The request is made once: whether an unanswered one was done only the server knows.

use braid_cli::manifest;
use braid_crds::Workflow;
use http::Uri;
use kube::{Resource as _, ResourceExt as _, api::PostParams, core::Request};

use crate::{
    args::{ProgressKind, RunOutput, SubmitArgs, SubmitOutput},
    attend::Wanted,
    cluster::{Busy, Cluster, ClusterError},
    code,
    exit::{Exit, Failure},
    out,
    place::{MANAGER, Remote},
    program, progress,
    run::{Signals, read},
    summary,
    watch::{Subject, line},
};

/// Creates a workflow.
pub async fn submit(args: &SubmitArgs) -> Result<Exit, Failure> {
    if args.timeout.is_some() && !(args.watch || args.wait) {
        return Err(Failure::usage(
            "--timeout goes with --watch or --wait: without them nothing is waited for",
        ));
    }
    let mut workflow = match read(&args.file, &args.params)? {
        Ok(workflow) => workflow,
        Err(problems) => {
            for problem in &problems {
                progress::say(&problem.to_string());
            }
            return Ok(Exit::Usage);
        }
    };
    manifest::override_params(&mut workflow, args.params.iter().map(String::as_str)).map_err(Failure::usage)?;
    name(&mut workflow, args)?;
    // From here on, so that nothing is created whose end would then not be told.
    let signals = Signals::new().map_err(Failure::unreachable)?;
    let mut cluster = Cluster::connect(&args.cluster, Busy::Told).await?;
    choose_namespace(&mut workflow, &mut cluster, args)?;
    workflow.status = None;
    let code = code::pack(&mut workflow)?;
    let dry = args.dry_run.is_some();
    if !dry {
        code.create(&cluster).await?;
    }
    let created = match create(&cluster, &workflow, dry).await {
        Ok(created) => created,
        Err((failure, there)) => {
            // A run that may be there may need it.
            if !there && !dry {
                code.discard(&cluster).await;
            }
            return Err(failure);
        }
    };
    if !dry {
        code.give(&cluster, &created).await?;
    }
    let remote = Remote::of(cluster, &created);
    if args.dry_run.is_some() || !(args.watch || args.wait) {
        print(&created, &remote, args)?;
        return Ok(Exit::Succeeded);
    }
    follow(&created, &remote, args, signals).await
}

/// Gives the run the name that it is to have.
fn name(workflow: &mut Workflow, args: &SubmitArgs) -> Result<(), Failure> {
    let metadata = &mut workflow.metadata;
    if let Some(name) = &args.name {
        metadata.name = Some(name.clone());
        metadata.generate_name = None;
    } else if args.generate_name
        && let Some(name) = metadata.name.take()
    {
        metadata.generate_name = Some(format!("{name}-"));
    }
    if metadata.name.is_none() && metadata.generate_name.is_none() {
        return Err(
            Failure::usage("the workflow has neither metadata.name nor metadata.generateName")
                .help("give it one with --name"),
        );
    }
    Ok(())
}

/// The namespace of the options, else that of the file, else that of the context.
fn choose_namespace(workflow: &mut Workflow, cluster: &mut Cluster, args: &SubmitArgs) -> Result<(), Failure> {
    match (&args.cluster.namespace, &workflow.metadata.namespace) {
        (Some(given), Some(written)) if given != written => {
            return Err(Failure::usage(format!(
                "the file says namespace {written}, and the command line says {given}"
            )));
        }
        (None, Some(written)) => cluster.namespace.clone_from(written),
        _ => {}
    }
    workflow.metadata.namespace = Some(cluster.namespace.clone());
    Ok(())
}

/// Creates the run. An error says whether it may be there all the same.
pub async fn create(cluster: &Cluster, workflow: &Workflow, dry_run: bool) -> Result<Workflow, (Failure, bool)> {
    let never = |failure| (failure, false);
    let params = PostParams {
        dry_run,
        field_manager: Some(MANAGER.to_owned()),
    };
    let body = serde_json::to_vec(workflow).map_err(|error| never(Failure::unreachable(error)))?;
    let path = Workflow::url_path(&(), Some(&cluster.namespace));
    let request = Request::new(path).create(&params, body);
    let mut request = request.map_err(|error| never(Failure::usage(error)))?;
    *request.uri_mut() = strict(request.uri()).map_err(|error| never(Failure::unreachable(error)))?;
    match cluster.call(cluster.client().request::<Workflow>(request)).await {
        Ok(created) => Ok(created),
        Err(ClusterError::Refused(message)) => Err(never(refused(&message, workflow, cluster))),
        // A time-out of the server's own is no refusal, either.
        Err(error) if !dry_run && !error.is_final() => {
            let help = format!(
                "it may have been created all the same: {} ls {}",
                program::name(),
                cluster.options()
            );
            Err((Failure::from(error).help(help), true))
        }
        Err(error) => Err(never(Failure::from(error).doing("the workflow was not created"))),
    }
}

/// The same request, with every unknown field refused.
fn strict(uri: &Uri) -> Result<Uri, http::uri::InvalidUri> {
    let query = uri.query().unwrap_or_default();
    let separator = if query.is_empty() { "" } else { "&" };
    format!("{}?{query}{separator}fieldValidation=Strict", uri.path()).parse()
}

fn refused(message: &str, workflow: &Workflow, cluster: &Cluster) -> Failure {
    let failure = Failure::usage(message.to_owned()).doing("the workflow is refused");
    let name = program::name();
    if message.contains("already exists") {
        failure.help(format!(
            "it is another run: {name} get {} {}; --generate-name or --name gives this one another name",
            cluster.options(),
            workflow.name_any()
        ))
    } else if message.contains("unknown field") {
        failure.help(format!(
            "the definitions of the cluster are of another version than this program: {name} doctor"
        ))
    } else {
        failure
    }
}

fn print(workflow: &Workflow, remote: &Remote, args: &SubmitArgs) -> Result<(), Failure> {
    match args.output {
        SubmitOutput::Json => out::json(workflow)?,
        SubmitOutput::Yaml => out::yaml(workflow)?,
        SubmitOutput::Name => out::lines(&[summary::qualified(workflow)])?,
        SubmitOutput::Text => {
            let how = if args.dry_run.is_some() {
                "would be created (server dry run)"
            } else {
                "created"
            };
            out::lines(&[format!("{} {how}", summary::qualified(workflow))])?;
            if args.dry_run.is_none() {
                progress::say(&format!(
                    "braid: in {}; {} watch {}",
                    remote.cluster.place(),
                    program::name(),
                    remote.named()
                ));
            }
            return Ok(());
        }
    };
    Ok(())
}

/// Attends to what was created, and ends as it does.
async fn follow(created: &Workflow, remote: &Remote, args: &SubmitArgs, signals: Signals) -> Result<Exit, Failure> {
    let timeout = args.timeout.as_ref().map(braid_crds::Duration::get);
    let subject = Subject::there(remote, created);
    if args.progress != ProgressKind::None {
        progress::say(&format!(
            "braid: {} created in {}",
            summary::qualified(created),
            remote.cluster.place()
        ));
    }
    if args.watch {
        let output = (args.output == SubmitOutput::Text).then_some(RunOutput::Table);
        let (exit, workflow) = subject.watch(timeout, output, args.progress, signals).await?;
        return finish(exit, workflow.as_deref(), args);
    }
    let wanted = Wanted {
        event: crate::args::Event::Finished,
        timeout,
        not_for_people: false,
    };
    let (exit, workflow) = subject.wait(wanted, signals).await?;
    if let (SubmitOutput::Text, Some(workflow)) = (args.output, &workflow) {
        out::lines(&[line(workflow)])?;
    }
    finish(exit, workflow.as_deref(), args)
}

/// Prints the run as it has ended.
fn finish(exit: Exit, workflow: Option<&Workflow>, args: &SubmitArgs) -> Result<Exit, Failure> {
    if let Some(workflow) = workflow {
        match args.output {
            SubmitOutput::Json => drop(out::json(workflow)?),
            SubmitOutput::Yaml => drop(out::yaml(workflow)?),
            SubmitOutput::Name => drop(out::lines(&[summary::qualified(workflow)])?),
            SubmitOutput::Text => {}
        }
    }
    Ok(exit)
}
