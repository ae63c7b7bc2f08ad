//! The run that a command is about: on this machine or in a cluster.

use braid_crds::Workflow;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::Value;

use crate::{
    args::{Side, Where},
    cluster::{self, Busy, Cluster, ClusterError},
    exit::Failure,
    program,
    runs::{self, Run},
};

/// Whom the server's records of changes name.
pub const MANAGER: &str = "braid";

/// A run, wherever it is.
pub enum Found {
    /// On this machine.
    Here(Box<Run>),
    /// In a cluster.
    There(Box<Remote>),
}

/// A run in a cluster.
#[derive(Clone)]
pub struct Remote {
    /// The cluster.
    pub cluster: Cluster,
    /// The run's name.
    pub name: String,
    /// This machine has been asked, too.
    both: bool,
}

/// Finds the run that is meant, by the one rule (see [`crate::args`]). That a run of a cluster exists is seen when it is read.
pub async fn find(name: Option<&str>, place: &Where) -> Result<Found, Failure> {
    let Some(name) = name else {
        return here(None, place).await;
    };
    let both = match place.side() {
        Side::Here => return here(Some(name), place).await,
        Side::There => false,
        Side::Either => {
            let known = runs::of_workflow(name).map_err(Failure::unreachable)?;
            if !known.is_empty() || !cluster::is_there(&place.cluster) {
                return here(Some(name), place).await;
            }
            true
        }
    };
    let cluster = Cluster::connect(&place.cluster, Busy::Again).await?;
    Ok(Found::There(Box::new(Remote {
        cluster,
        name: name.to_owned(),
        both,
    })))
}

async fn here(name: Option<&str>, place: &Where) -> Result<Found, Failure> {
    let run = runs::find(name, place.state.as_deref()).await?;
    Ok(Found::Here(Box::new(run)))
}

impl Remote {
    /// A run that is there for sure.
    pub fn of(cluster: Cluster, workflow: &Workflow) -> Self {
        Self {
            cluster,
            name: workflow.name_any(),
            both: false,
        }
    }

    /// The runs of its namespace.
    pub fn api(&self) -> Api<Workflow> {
        self.cluster.api()
    }

    /// The run.
    pub async fn workflow(&self) -> Result<Workflow, Failure> {
        let api = self.api();
        self.told(self.cluster.call(api.get(&self.name)).await)
    }

    /// The run, if it is there.
    pub async fn find_workflow(&self) -> Result<Option<Workflow>, Failure> {
        let api = self.api();
        self.told(self.cluster.call(api.get_opt(&self.name)).await)
    }

    /// Changes the run.
    pub async fn patch(&self, change: &Value) -> Result<Workflow, Failure> {
        let api = self.api();
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(change);
        self.told(self.cluster.call(api.patch(&self.name, &params, &patch)).await)
    }

    fn told<T>(&self, answer: Result<T, ClusterError>) -> Result<T, Failure> {
        let nor = if self.both { ", nor on this machine" } else { "" };
        match answer {
            Err(ClusterError::NotFound(_)) => Err(Failure::usage(format!(
                "there is no run of {:?} in {}{nor}",
                self.name,
                self.cluster.place()
            ))
            .help(format!("`{} ls {}` lists all", program::name(), self.cluster.options()))),
            Err(error) if self.both && error.is_final() => {
                let name = &self.name;
                Err(Failure::from(error).doing(format!("{name} is no run on this machine, and in the cluster")))
            }
            other => Ok(other?),
        }
    }

    /// How it is named in a suggested command.
    pub fn named(&self) -> String {
        format!("{} {}", self.cluster.options(), self.name)
    }
}
