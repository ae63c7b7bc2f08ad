//! How large the status of a run gets when partitions fail at random.

use std::time::Duration;

use anyhow::ensure;
use braid_crds::limits;
use braid_local::{Hands, LocalCluster, Settings};
use braid_testkit as kit;
use bytes::Bytes;
use serde_json::json;

use crate::{Effort, figure::Figure};

/// The budget, in bytes, at 100,000 partitions.
const BUDGET: usize = 100_000;

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let partitions: u64 = if effort.quick { 20_000 } else { 100_000 };
    let mut figure = Figure::new(
        "status",
        format!(
            "bytes of status, as JSON, of a run that has ended: {partitions} partitions, one Sum, failures by a hash of the \
             partition, all tolerated; the budget is {BUDGET} bytes at 100000 partitions, the limit {}",
            limits::STATUS_BYTES
        ),
        &[
            "failed_percent",
            "failed",
            "bytes",
            "ledger_bytes",
            "failed_bytes",
            "within_budget",
        ],
    );
    for permille in [0_u32, 10, 500] {
        let results = Some(Bytes::from_static(b"{\"n\":1}"));
        let hands = Hands::NoopFailing { results, permille };
        let mut settings = Settings::new(".".into(), hands);
        settings.workers = 2;
        let cluster = LocalCluster::start(settings).await?;
        let client = cluster.client();
        let spec = json!({"steps": [{
            "name": "noop",
            "over": {"range": {"end": partitions}},
            "run": {"command": ["noop"]},
            "results": [{"name": "n", "reduce": "Sum"}],
            "maxFailedPartitions": "100%",
        }]});
        kit::submit(&client, "status", spec).await?;
        let run = kit::ended(&client, "status", Duration::from_mins(5)).await?;
        let step = kit::step(&run, "noop")?;
        ensure!(
            step.partitions.succeeded + step.partitions.failed == partitions
                && kit::value(step, "n") == json!(step.partitions.succeeded),
            "the fold is wrong: {:?} {:?}",
            step.partitions,
            step.stopping
        );
        let bytes = serde_json::to_vec(&run.status)?.len();
        figure.row([
            json!(f64::from(permille) / 10.0),
            json!(step.partitions.failed),
            json!(bytes),
            json!(serde_json::to_vec(&step.ledger)?.len()),
            json!(serde_json::to_vec(&step.failed)?.len()),
            json!(bytes <= BUDGET),
        ]);
        cluster.stop().await?;
        ensure!(
            bytes <= BUDGET,
            "a status of {bytes} bytes is over the budget of {BUDGET}"
        );
    }
    Ok(figure)
}
