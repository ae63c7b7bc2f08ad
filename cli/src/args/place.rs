//! Where a run is: on this machine or in a cluster. One rule for all commands, told in `braid --help`.

use std::path::PathBuf;

use braid_crds::Duration;
use clap::Args;

use crate::program;

/// Which run.
#[derive(Debug, Args)]
pub struct Target {
    /// The workflow's name (its running or youngest run), or the name of the run's state directory
    #[arg(required_unless_present = "state")]
    pub name: Option<String>,
    #[command(flatten)]
    pub place: Where,
}

/// Where it is.
#[derive(Debug, Default, Args)]
pub struct Where {
    /// A run on this machine
    #[arg(long, conflicts_with_all = CLUSTER)]
    pub local: bool,
    /// The run on this machine whose state is here
    #[arg(long, value_name = "DIR", conflicts_with_all = CLUSTER)]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// The options that speak of a cluster.
const CLUSTER: [&str; 7] = [
    "namespace",
    "context",
    "kubeconfig",
    "cluster",
    "user",
    "impersonate",
    "impersonate_groups",
];

/// What the options say of where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On this machine.
    Here,
    /// In the cluster.
    There,
    /// On this machine if there is such a run, else in the cluster.
    Either,
}

impl Where {
    /// What the options say.
    pub fn side(&self) -> Side {
        if self.local || self.state.is_some() {
            Side::Here
        } else if self.cluster.is_given() || program::is_plugin() {
            Side::There
        } else {
            Side::Either
        }
    }
}

/// Which cluster, as whom: as `kubectl` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ClusterArgs {
    /// The namespace [default: that of the context]
    #[arg(help_heading = "Cluster", short, long)]
    pub namespace: Option<String>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(help_heading = "Cluster", long)]
    pub context: Option<String>,
    /// The kubeconfig [default: those in $KUBECONFIG, else ~/.kube/config, else the pod's own account]
    #[arg(help_heading = "Cluster", long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster of the kubeconfig [default: that of the context]
    #[arg(help_heading = "Cluster", long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig [default: that of the context]
    #[arg(help_heading = "Cluster", long, value_name = "NAME")]
    pub user: Option<String>,
    /// Act as this user, if you may
    #[arg(help_heading = "Cluster", long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// Act as a member of this group; may be given several times
    #[arg(
        help_heading = "Cluster",
        long = "as-group",
        value_name = "GROUP",
        requires = "impersonate"
    )]
    pub impersonate_groups: Vec<String>,
    /// How long one request may take [default: 30s]
    #[arg(help_heading = "Cluster", long, value_name = "TIME")]
    pub request_timeout: Option<Duration>,
}

impl ClusterArgs {
    /// Whether a cluster is spoken of.
    pub fn is_given(&self) -> bool {
        let without_limit = Self {
            request_timeout: None,
            ..self.clone()
        };
        without_limit != Self::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_time_limit_speaks_of_no_cluster() {
        let mut args = ClusterArgs::default();
        assert!(!args.is_given());
        args.request_timeout = Some("5s".parse().unwrap());
        assert!(!args.is_given());
        args.namespace = Some("team".to_owned());
        assert!(args.is_given());
    }
}
