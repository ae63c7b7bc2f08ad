//! A cluster: its API server, as the user of a kubeconfig or of a pod.
//!
//! Every request ends within the limit, watches are begun anew by the server or by us at least every minute, so no wait is
//! without an end. What a cluster says is untrusted: it is cleaned where it is printed.

use std::{future::Future, time::Duration};

use braid_crds::Workflow;
use kube::{Api, Client, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use crate::args::ClusterArgs;

mod config;
mod error;

pub use config::is_there;
pub use error::{ClusterError, explain};

/// How long one request may take, if nobody says.
const CALL: Duration = Duration::from_secs(30);
/// How long the credentials may take: a plugin may ask a person.
const LOGIN: Duration = Duration::from_mins(3);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a watch lasts before it is asked for again.
pub const WATCH: Duration = Duration::from_mins(1);
/// How long a connection may be silent, watches included.
const SILENCE: Duration = Duration::from_secs(90);

/// What becomes of a request that a server was too busy for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// It is made again: for what changes nothing.
    Again,
    /// It is told: it may have been done all the same.
    Told,
}

/// A way to a cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// Its name, for people.
    pub told: String,
    /// Its address.
    pub server: String,
    /// The namespace that is meant.
    pub namespace: String,
    /// How long one request may take.
    limit: Duration,
    given: ClusterArgs,
}

impl Cluster {
    /// The cluster that the options and the environment name. Nothing is asked of it yet.
    pub async fn connect(args: &ClusterArgs, busy: Busy) -> Result<Self, ClusterError> {
        let mut chosen = config::choose(args).await?;
        let limit = args.request_timeout.as_ref().map_or(CALL, braid_crds::Duration::get);
        let config = &mut chosen.config;
        config.connect_timeout = Some(CONNECT.min(limit));
        config.read_timeout = Some(SILENCE.max(limit));
        config.write_timeout = Some(limit);
        config.reset_reader_on_write = true;
        config.default_retry = busy == Busy::Again;
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let namespace = config.default_namespace.clone();
        let (config, told) = (chosen.config, chosen.told);
        // A plugin for credentials is waited for, which would hold up a thread of ours.
        let handle = tokio::runtime::Handle::current();
        let made = tokio::task::spawn_blocking(move || {
            let _entered = handle.enter();
            Client::try_from(config)
        });
        let client = match tokio::time::timeout(LOGIN, made).await {
            Ok(Ok(made)) => made.map_err(|error| explain(&error, &told, &server))?,
            Ok(Err(error)) => return Err(ClusterError::Kubeconfig(error.to_string())),
            Err(_) => {
                return Err(ClusterError::Credentials {
                    cluster: told,
                    problem: format!("the plugin has not given any for {}s", LOGIN.as_secs()),
                });
            }
        };
        Ok(Self {
            client,
            told,
            server,
            namespace,
            limit,
            given: args.clone(),
        })
    }

    /// The client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
    {
        self.api_in(&self.namespace)
    }

    /// Objects of a kind in another namespace.
    pub fn api_in<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// The runs of the namespace, or of all.
    pub fn workflows(&self, all: bool) -> Api<Workflow> {
        if all { Api::all(self.client()) } else { self.api() }
    }

    /// Waits for an answer, for as long as one may take.
    pub async fn call<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ClusterError> {
        match tokio::time::timeout(self.limit, request).await {
            Ok(answer) => answer.map_err(|error| self.explain(&error)),
            Err(_) => Err(ClusterError::Silent {
                cluster: self.told.clone(),
                server: self.server.clone(),
                limit: self.limit,
            }),
        }
    }

    /// Waits for a part of an answer.
    pub async fn in_time<T>(&self, part: impl Future<Output = std::io::Result<T>>) -> Result<T, ClusterError> {
        match tokio::time::timeout(self.limit, part).await {
            Ok(read) => read.map_err(|error| ClusterError::Unreachable {
                cluster: self.told.clone(),
                server: self.server.clone(),
                problem: error.to_string(),
            }),
            Err(_) => Err(ClusterError::Silent {
                cluster: self.told.clone(),
                server: self.server.clone(),
                limit: self.limit,
            }),
        }
    }

    /// What an error of this cluster's client means.
    pub fn explain(&self, error: &kube::Error) -> ClusterError {
        explain(error, &self.told, &self.server)
    }

    /// Where runs are, for people.
    pub fn place(&self) -> String {
        format!("namespace {} of {}", self.namespace, self.told)
    }

    /// The options that name this place in a suggested command.
    pub fn options(&self) -> String {
        let quoted = crate::run::quoted;
        let mut words = vec![format!("-n {}", quoted(&self.namespace))];
        let given = &self.given;
        for (flag, value) in [
            ("--context", given.context.clone()),
            (
                "--kubeconfig",
                given.kubeconfig.as_ref().map(|path| path.display().to_string()),
            ),
            ("--cluster", given.cluster.clone()),
            ("--user", given.user.clone()),
            ("--as", given.impersonate.clone()),
        ] {
            words.extend(value.map(|value| format!("{flag} {}", quoted(&value))));
        }
        words.extend(
            given
                .impersonate_groups
                .iter()
                .map(|group| format!("--as-group {}", quoted(group))),
        );
        words.join(" ")
    }
}
