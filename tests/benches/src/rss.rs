//! Resident memory.

use std::time::Duration;

use serde_json::json;

use crate::{
    Effort,
    figure::{Figure, rounded},
    machine, noop,
};

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let (rest, partitions) = if effort.quick {
        (Duration::from_secs(10), 200_000)
    } else {
        (Duration::from_mins(1), 1_000_000)
    };
    let mut figure = Figure::new(
        "rss",
        format!(
            "resident memory of one process with API server, operator and 2 workers, in MiB; idle: a run has ended {} s ago; \
             run alone (`braid-bench rss`), for memory that other measurements have freed is not given back at once",
            rest.as_secs()
        ),
        &["when", "MiB"],
    );
    figure.row([json!("before anything"), rounded(machine::rss_mib(), 1)]);
    let cluster = noop::cluster(None).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    figure.row([json!("started, no run yet"), rounded(machine::rss_mib(), 1)]);
    let mut peak = machine::rss_mib();
    {
        let mut run = Box::pin(noop::once(&cluster, "rss", partitions));
        loop {
            tokio::select! {
                ended = &mut run => { ended?; break; }
                () = tokio::time::sleep(Duration::from_millis(20)) => peak = peak.max(machine::rss_mib()),
            }
        }
    }
    figure.row([
        json!(format!("most while {partitions} partitions ran")),
        rounded(peak, 1),
    ]);
    tokio::time::sleep(rest).await;
    figure.row([json!("idle"), rounded(machine::rss_mib(), 1)]);
    cluster.stop().await?;
    Ok(figure)
}
