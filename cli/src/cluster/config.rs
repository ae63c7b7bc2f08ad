//! Which cluster, and with whose credentials: read as kubectl reads it.
//!
//! First the file of `--kubeconfig`, else those of `$KUBECONFIG` (a list; what is not there is left out), else `~/.kube/config`; and if
//! none of them names a cluster, the account of the pod that this runs in. Errors never repeat what is in a kubeconfig: it holds
//! keys.

use std::{
    env,
    path::{Path, PathBuf},
};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::ClusterError;
use crate::args::ClusterArgs;

/// A cluster as it is to be reached.
pub struct Chosen {
    /// How.
    pub config: Config,
    /// What it is called, for people.
    pub told: String,
}

/// Reads what the options and the environment say.
pub async fn choose(args: &ClusterArgs) -> Result<Chosen, ClusterError> {
    let read = read(args)?;
    let chosen = match read {
        Some(kubeconfig) => from_kubeconfig(kubeconfig, args).await?,
        None if named(args) => {
            return Err(ClusterError::NoCluster(
                "--context, --cluster and --user are looked up in a kubeconfig, and there is none".to_owned(),
            ));
        }
        None => from_pod()?,
    };
    Ok(with_options(chosen, args))
}

/// Whether there is anything that names a cluster, without reading it.
pub fn is_there(args: &ClusterArgs) -> bool {
    args.kubeconfig.is_some() || files().iter().any(|file| file.is_file()) || is_pod()
}

fn named(args: &ClusterArgs) -> bool {
    args.context.is_some() || args.cluster.is_some() || args.user.is_some()
}

fn is_pod() -> bool {
    env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// The files that there may be without `--kubeconfig`.
fn files() -> Vec<PathBuf> {
    let listed: Vec<PathBuf> = env::var_os("KUBECONFIG")
        .map(|list| {
            env::split_paths(&list)
                .filter(|path| !path.as_os_str().is_empty())
                .collect()
        })
        .unwrap_or_default();
    if listed.is_empty() {
        env::home_dir()
            .map(|home| home.join(".kube").join("config"))
            .into_iter()
            .collect()
    } else {
        listed
    }
}

/// What the files say together; the first that says something wins.
fn read(args: &ClusterArgs) -> Result<Option<Kubeconfig>, ClusterError> {
    if let Some(file) = &args.kubeconfig {
        return read_file(file).map(Some);
    }
    let mut merged: Option<Kubeconfig> = None;
    for file in files() {
        if !file.exists() {
            continue;
        }
        let next = read_file(&file)?;
        merged = Some(match merged {
            None => next,
            Some(before) => before.merge(next).map_err(|error| wrong(&error))?,
        });
    }
    Ok(merged.filter(|kubeconfig| !kubeconfig.contexts.is_empty() || !kubeconfig.clusters.is_empty()))
}

fn read_file(file: &Path) -> Result<Kubeconfig, ClusterError> {
    Kubeconfig::read_from(file).map_err(|error| match error {
        // What is wrong is told without the text that it is in.
        KubeconfigError::Parse(error) => {
            let place = error
                .location()
                .map_or_else(String::new, |at| format!(":{}:{}", at.line(), at.column()));
            ClusterError::Kubeconfig(format!("{}{place} is no kubeconfig", file.display()))
        }
        KubeconfigError::ReadConfig(error, path) => {
            ClusterError::Kubeconfig(format!("cannot read {}: {error}", path.display()))
        }
        other => wrong(&other),
    })
}

/// What is wrong with a kubeconfig. The variants that are told in full say names and paths only.
fn wrong(error: &KubeconfigError) -> ClusterError {
    ClusterError::Kubeconfig(match error {
        KubeconfigError::CurrentContextNotSet => {
            "no context is current: choose one with --context, or kubectl config use-context".to_owned()
        }
        KubeconfigError::LoadContext(name) => format!("there is no context {name:?}: kubectl config get-contexts"),
        KubeconfigError::LoadClusterOfContext(name) => format!("there is no cluster {name:?}"),
        KubeconfigError::Parse(_) => "it cannot be read".to_owned(),
        KubeconfigError::ParseCertificates(_) => "the certificate of the authority is none".to_owned(),
        other => other.to_string(),
    })
}

async fn from_kubeconfig(kubeconfig: Kubeconfig, args: &ClusterArgs) -> Result<Chosen, ClusterError> {
    let context = args.context.clone().or_else(|| kubeconfig.current_context.clone());
    let own_proxy = context
        .as_ref()
        .and_then(|name| kubeconfig.contexts.iter().find(|context| context.name == *name))
        .and_then(|context| context.context.as_ref().map(|context| context.cluster.clone()))
        .map(|of_context| args.cluster.clone().unwrap_or(of_context))
        .and_then(|name| kubeconfig.clusters.iter().find(|cluster| cluster.name == name))
        .and_then(|cluster| cluster.cluster.as_ref()?.proxy_url.clone())
        .is_some_and(|url| !url.is_empty());
    let options = KubeConfigOptions {
        context: args.context.clone(),
        cluster: args.cluster.clone(),
        user: args.user.clone(),
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| wrong(&error))?;
    // A proxy of the environment is not for servers that it excepts.
    if !own_proxy
        && config
            .cluster_url
            .host()
            .is_some_and(|host| is_direct(host, &excepted()))
    {
        config.proxy_url = None;
    }
    let told = format!("context {}", context.unwrap_or_default());
    Ok(Chosen { config, told })
}

fn from_pod() -> Result<Chosen, ClusterError> {
    if !is_pod() {
        let looked = files()
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>();
        let looked = if looked.is_empty() {
            "$KUBECONFIG is not set, and there is no home directory".to_owned()
        } else {
            format!("there is none in {}", looked.join(", "))
        };
        return Err(ClusterError::NoCluster(format!(
            "no kubeconfig names one ({looked}), and this is no pod"
        )));
    }
    let config = Config::incluster().map_err(|error| {
        ClusterError::NoCluster(format!(
            "this is a pod, but its account cannot be used: {}",
            super::error::chain(&error)
        ))
    })?;
    Ok(Chosen {
        config,
        told: "this pod's cluster".to_owned(),
    })
}

fn with_options(mut chosen: Chosen, args: &ClusterArgs) -> Chosen {
    let config = &mut chosen.config;
    if let Some(namespace) = &args.namespace {
        config.default_namespace.clone_from(namespace);
    }
    if let Some(user) = &args.impersonate {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups =
            (!args.impersonate_groups.is_empty()).then(|| args.impersonate_groups.clone());
        config.auth_info.impersonate_uid = None;
        config.auth_info.impersonate_user_extra = None;
    }
    chosen
}

fn excepted() -> String {
    env::var("NO_PROXY")
        .or_else(|_| env::var("no_proxy"))
        .unwrap_or_default()
}

/// Whether a host is reached without the environment's proxy: this machine always, and what `NO_PROXY` lists by name or by suffix.
fn is_direct(host: &str, excepted: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let loopback = bare
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    loopback
        || bare == "localhost"
        || excepted
            .split(',')
            .map(|entry| entry.trim().to_ascii_lowercase())
            .filter(|entry| !entry.is_empty())
            .any(|entry| {
                let name = entry.trim_start_matches("*.").trim_start_matches('.');
                entry == "*" || bare == name || bare.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_not_for_everybody() {
        let direct = |host, excepted| is_direct(host, excepted);
        assert!(direct("127.0.0.1", ""));
        assert!(direct("[::1]", ""));
        assert!(direct("LOCALHOST", ""));
        assert!(direct("api.corp.example", "other, .corp.example"));
        assert!(direct("corp.example", ".corp.example"));
        assert!(direct("10.1.2.3", "10.1.2.3"));
        assert!(direct("anything", "*"));
        assert!(!direct("notcorp.example", "corp.example"));
        assert!(!direct("api.example", ""));
    }
}
