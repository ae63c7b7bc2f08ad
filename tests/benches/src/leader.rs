//! How long nothing is assigned when the leading operator dies.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use braid_crds::Worker;
use braid_local::{Hands, LocalCluster, Settings};
use braid_testkit as kit;
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::{
    Effort,
    figure::{Figure, median, rounded},
};

/// The highest number of a shard on any desk: it only grows.
async fn assigned(workers: &Api<Worker>) -> anyhow::Result<i64> {
    let desks = workers.list(&ListParams::default()).await?;
    Ok(desks.iter().map(|desk| desk.spec.next_shard_id.0).sum())
}

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let rounds = if effort.quick { 1 } else { 3 };
    let mut figure = Figure::new(
        "leader",
        format!(
            "from the abort of the leading operator (its Lease is not released) to the first shard that the next one assigns, \
             in seconds; a second operator stands by; workers go on meanwhile with what they hold; median of {rounds}"
        ),
        &["lease_s", "median_s", "longest_s"],
    );
    let leases: &[u64] = if effort.quick { &[3] } else { &[3, 15] };
    for lease in leases {
        let mut gaps = Vec::new();
        for _ in 0..rounds {
            gaps.push(once(Duration::from_secs(*lease)).await?);
        }
        let longest = gaps.iter().copied().fold(0.0, f64::max);
        figure.row([json!(lease), rounded(median(gaps), 2), rounded(longest, 2)]);
    }
    Ok(figure)
}

async fn once(lease: Duration) -> anyhow::Result<f64> {
    let mut settings = Settings::new(".".into(), Hands::Shim(kit::own_shim()?));
    settings.workers = 2;
    settings.leader_lease = lease;
    let cluster = LocalCluster::start(settings).await?;
    let client = cluster.client();
    let spec = json!({"steps": [{
        "name": "work",
        "over": {"range": {"end": 1_000_000}},
        "run": {"command": ["sleep", "0.02"]},
    }]});
    kit::submit(&client, "leader", spec).await?;
    let workers: Api<Worker> = Api::default_namespaced(client.clone());
    while assigned(&workers).await? == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _second = cluster.operate("second");
    // Past its first renewals, and at no special time of the Lease.
    tokio::time::sleep(lease.mul_f64(0.7) + Duration::from_secs(1)).await;
    cluster.operator().context("no operator")?.kill();
    let killed = Instant::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = assigned(&workers).await?;
    while assigned(&workers).await? == before {
        ensure!(killed.elapsed() < 10 * lease, "nobody took over");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let gap = killed.elapsed().as_secs_f64();
    cluster.stop().await?;
    Ok(gap)
}
