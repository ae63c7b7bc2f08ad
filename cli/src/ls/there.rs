//! The runs in a cluster: page by page, so that only what is shown of them is kept.

use braid_crds::Workflow;
use jiff::Timestamp;
use kube::{ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use super::here::{sums, totals};
use crate::{
    cluster::Cluster,
    exit::Failure,
    summary::{colour, qualified, time_of},
    text::{Align, Colour, Table, Tint, clean, clock, count},
};

/// Runs that the server gives at once.
const PAGE: u32 = 100;

/// What is shown of a run.
struct Listed {
    document: Value,
    name: String,
    cells: [String; 9],
}

/// The runs in a cluster.
pub struct There {
    runs: Vec<Listed>,
    all: bool,
    place: String,
}

impl There {
    /// Reads those of the namespace, or of all.
    pub async fn read(cluster: &Cluster, all: bool, tint: Tint) -> Result<Self, Failure> {
        let api = cluster.workflows(all);
        let now = Timestamp::now();
        let mut runs = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = cluster.call(api.list(&params)).await?;
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            runs.extend(page.items.iter().map(|workflow| listed(workflow, now, tint)));
            match next {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        Ok(Self {
            runs,
            all,
            place: if all {
                format!("any namespace of {}", cluster.told)
            } else {
                cluster.place()
            },
        })
    }

    /// For programs.
    pub fn documents(&self) -> Vec<&Value> {
        self.runs.iter().map(|run| &run.document).collect()
    }

    /// The names, as `kubectl` has them.
    pub fn names(&self) -> Vec<String> {
        self.runs.iter().map(|run| run.name.clone()).collect()
    }

    /// For people.
    pub fn lines(&self, tint: Tint) -> Vec<String> {
        use Align::{Left, Right};
        if self.runs.is_empty() {
            return vec![format!("no runs in {}", clean(&self.place, 300))];
        }
        let skipped = usize::from(!self.all);
        let columns = [Left, Left, Left, Right, Right, Right, Right, Right, Left];
        let heads = [
            "NAMESPACE",
            "NAME",
            "PHASE",
            "STEPS",
            "PARTITIONS",
            "FAILED",
            "WORKERS",
            "STARTED",
            "MESSAGE",
        ];
        let shown: Vec<Align> = columns.into_iter().skip(skipped).collect();
        let mut table = Table::new(&shown);
        table.row(
            heads
                .into_iter()
                .skip(skipped)
                .map(|head| tint.paint(Colour::Dim, head)),
        );
        for run in &self.runs {
            table.row(run.cells.iter().skip(skipped).cloned());
        }
        table.lines("")
    }
}

fn listed(workflow: &Workflow, now: Timestamp, tint: Tint) -> Listed {
    let status = workflow.status.clone().unwrap_or_default();
    let summary = status.summary.clone().unwrap_or_default();
    let (total, succeeded, failed) = sums(Some(&status));
    let mut since = status.clone();
    since.finished_at = None;
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let cells = [
        clean(&workflow.namespace().unwrap_or_default(), 63),
        clean(&workflow.name_any(), 63),
        tint.paint(colour(status.phase), &format!("{:?}", status.phase)),
        dash(clean(&summary.steps, 20)),
        format!("{}/{}", count(succeeded.saturating_add(failed)), count(total)),
        count(failed),
        dash(clean(&summary.workers, 20)),
        time_of(&since, now).map_or_else(|| "-".to_owned(), |time| format!("{} ago", clock(time))),
        clean(&summary.message, 80),
    ];
    let document = json!({
        "name": workflow.name_any(),
        "namespace": workflow.namespace(),
        "uid": workflow.uid(),
        "phase": status.phase,
        "message": summary.message,
        "partitions": totals(workflow),
        "startedAt": status.started_at,
        "finishedAt": status.finished_at,
    });
    Listed {
        document,
        name: qualified(workflow),
        cells,
    }
}
