//! What is run for a partition: a command, a script, or a program that lives on.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConfigMapVolume;
use crate::{ByteSize, Duration, schema};

/// A program. `command` with `args`, or `script`, or `script` given to `command`: a process for each partition, or with `serve` one
/// that lives on. Or `function`, of Python.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.command) || has(self.script) || has(self.__function__)", "run needs a command, a script or a function"),
    validation = ("!has(self.__function__) || !(has(self.script) || has(self.args) || has(self.serve))", "a function goes without script, args and serve: Braid calls it, and command may say with which Python"),
    validation = ("!has(self.code) || has(self.__function__)", "code goes with function"),
    validation = ("!has(self.checkpoint) || !(has(self.serve) || has(self.__function__))", "programs that live on have no checkpoints: checkpoint goes with a process for each partition")
)]
pub struct Run {
    /// The program and its first words; with a script: what runs the script's file.
    /// `$(NAME)` is the environment variable NAME, `$$(NAME)` the text `$(NAME)`. As in a container, `$$` is one `$` wherever it
    /// stands: the `$$` of a shell, its process, is written `$$$$` here, or belongs into a script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 128), inner(length(max = 8192)))]
    pub command: Vec<String>,
    /// Further words, expanded as `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 8192)))]
    pub args: Vec<String>,
    /// A program text, run by `command`, or by `sh` where there is none. Never expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 24576))]
    pub script: Option<String>,
    /// Environment variables. `$( )` in a value is an expression, evaluated once when the step starts; `$$(` is the text `$(`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// The program lives on: one process in each worker, for all partitions. Absent: a process for each partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<Serve>,
    /// `MODULE:NAME`, a Python function (3.9 or newer) that is called with each partition's item, and with a context if it takes two
    /// arguments. What it returns are the results; an exception is a failed attempt. `command` is the interpreter, `python3` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 256),
        regex(
            pattern = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
        )
    )]
    pub function: Option<String>,
    /// Where the function's module is, if the interpreter does not know it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Each partition has a directory, `BRAID_CHECKPOINT`, in which it finds what its attempt before this one has saved: as long as that
    /// ran on the same laptop or in the same pod. `{}` is enough. Absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// Partitions in flight in one worker: processes, lines or requests without an answer, threads of a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: Option<i32>,
    /// The image of the container that the program runs in; absent: the one that the operator was started with. A laptop uses
    /// no images: the program runs on the machine as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// What the container may use, as in core/v1. Shared by all partitions that run in one worker at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub resources: Option<Value>,
    /// Environment variables from ConfigMaps and Secrets, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pod_parts")]
    pub env_from: Vec<Value>,
    /// Where volumes of the pool's template are seen, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pod_parts")]
    pub volume_mounts: Vec<Value>,
    /// Rights of the container, as in core/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub security_context: Option<Value>,
}

/// What attempts of a partition save for the next.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// How much a partition may save: more is removed, and its next attempt finds nothing. Absent: 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
}

/// How partitions reach a program that lives on.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.protocol == 'HTTP' || !(has(self.port) || has(self.path) || has(self.readyPath) || has(self.readyTimeout))", "port, path, readyPath and readyTimeout go with protocol: HTTP")
)]
pub struct Serve {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// HTTP: where it listens in a pod. Absent, and on a laptop: at a free port. The variable `BRAID_PORT` says it in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,
    /// HTTP: what partitions are posted to; absent: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// HTTP: what answers 2xx when the program is ready. Absent: it is ready when it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub ready_path: Option<String>,
    /// HTTP: how long it may take to be ready; then it is ended and started again. Absent: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_timeout: Option<Duration>,
}

/// How a program that lives on is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// One JSON on a line each way, over standard input and output.
    #[default]
    Lines,
    /// A POST for each partition.
    #[serde(rename = "HTTP")]
    Http,
}

/// Where a function's module is: one of these.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.path) != has(self.configMapRef)", "code is one of path, configMapRef"))]
pub struct Code {
    /// A directory of this machine, absolute or below the directory of the run. `braid submit` makes a ConfigMap of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// A ConfigMap in the namespace of the run, best an immutable one: a file for each key, or an archive `code.tar.gz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapVolume>,
}

/// An environment variable.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.valueFrom) || !has(self.value) || self.value == ''", "a variable has a value or valueFrom, not both"),
    validation = ("!self.name.startsWith('BRAID_')", "names that begin with BRAID_ are Braid's own")
)]
pub struct EnvVar {
    /// The variable's name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    pub value: String,
    /// Where its value comes from, as in core/v1: a key of a Secret or a ConfigMap, a field of the pod. Not on a laptop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub value_from: Option<Value>,
}
