//! What a write of a run's status costs a real API server, which judges the whole object by all rules each time.

use std::time::Instant;

use anyhow::ensure;
use braid_cluster::RealApiServer;
use braid_crds::{StepStatus, Workflow, WorkflowStatus};
use braid_testkit as kit;
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use serde_json::json;

use crate::{
    Effort,
    figure::{Figure, rounded},
    machine, steps,
};

/// Writes before it is measured: a server compiles and caches on its way.
const WARM: i32 = 20;

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let (chains, writes): (&[usize], i32) = if effort.quick {
        (&[6], 20)
    } else {
        (&[1, 6, 20, 41, 64], 200)
    };
    let mut figure = Figure::new(
        "judged-real",
        format!(
            "milliseconds of {writes} writes of the status of a run, one after the other, by its steps, each with two results: of the clock \
             until it is answered, and of the processor in kube-apiserver, which has nothing else to do; etcd without fsync"
        ),
        &["steps", "p50_ms", "p99_ms", "processor_ms"],
    );
    let server = RealApiServer::builder().crds(braid_crds::definitions()).start().await?;
    let client = server.client(braid_local::NAMESPACE).await?;
    for count in chains {
        let (mut micros, processor) = written(&client, &server, *count, writes).await?;
        figure.row([
            json!(count),
            steps::at(&mut micros, 50),
            steps::at(&mut micros, 99),
            rounded(processor * 1_000.0 / f64::from(writes), 2),
        ]);
    }
    server.stop().await;
    Ok(figure)
}

/// Microseconds of each write, and the server's seconds of all.
async fn written(
    client: &Client,
    server: &RealApiServer,
    count: usize,
    writes: i32,
) -> anyhow::Result<(Vec<i64>, f64)> {
    let runs: Api<Workflow> = Api::namespaced(client.clone(), braid_local::NAMESPACE);
    let mut run = kit::submit(client, &format!("chain-{count}"), steps::spec(count)).await?;
    let step = |step: &braid_crds::workflow::Step| StepStatus {
        name: step.name.clone(),
        ..StepStatus::default()
    };
    run.status = Some(WorkflowStatus {
        steps: run.spec.steps.iter().map(step).collect(),
        ..WorkflowStatus::default()
    });
    let (mut micros, mut before) = (Vec::new(), f64::NAN);
    for write in -WARM..writes {
        if write == 0 {
            before = machine::cpu_seconds_of(server.pid());
        }
        if let Some(status) = &mut run.status {
            status.resumed = WARM + write;
        }
        let begun = Instant::now();
        run = runs
            .replace_status(&run.name_any(), &PostParams::default(), &run)
            .await?;
        if write >= 0 {
            micros.push(i64::try_from(begun.elapsed().as_micros())?);
        }
    }
    let told = run.status.as_ref().map(|status| status.resumed);
    ensure!(told == Some(WARM + writes - 1), "the last write was lost: {told:?}");
    Ok((micros, machine::cpu_seconds_of(server.pid()) - before))
}
