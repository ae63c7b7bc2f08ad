//! Data that steps run over, read and write: where they are, and what their records are.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Data by name. Its kind is its synchronisation: files are listed once and pinned; those that a step writes are new, and never replace others.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// A DNS label.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Files, by path and glob.
    pub files: Files,
}

/// Files on the machine where the workers run, or on a volume.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.volume) == has(oldSelf.volume) && has(self.format) == has(oldSelf.format)", "files are immutable: create another Workflow"))]
pub struct Files {
    /// Where they are in a cluster; workers read it, and programs do not see it. On a laptop only `hostPath` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<FilesVolume>,
    /// A path with `*`, `**`, `?`, `[..]` and `{a,b}`; `$( )` is an expression. Below the root of the volume, if there is one;
    /// else, on a laptop, absolute or below the directory of the run, and a leading `~/` is the home directory. Of data that a step
    /// writes: a directory, without wildcards; it need not be there.
    #[schemars(length(min = 1, max = 1024))]
    pub url: String,
    /// How the bytes divide into records; absent: they do not, files are given whole and as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// A volume with files: one of these.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[has(self.persistentVolumeClaim), has(self.hostPath), has(self.configMap)].filter(given, given).size() == 1", "a volume is one of persistentVolumeClaim, hostPath, configMap")
)]
pub struct FilesVolume {
    /// A claim in the namespace of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimVolume>,
    /// A directory of the nodes, or of the laptop. Clusters may forbid it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathVolume>,
    /// The keys of a `ConfigMap` in the namespace of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolume>,
}

/// A claim.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimVolume {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}

/// A directory of the nodes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPathVolume {
    /// Its absolute path.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/"))]
    pub path: String,
}

/// A `ConfigMap`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapVolume {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How the bytes of a file divide into records. Files of `Text`, `CSV` and `JSONLines` whose names end in `.gz` or `.zst` are
/// unpacked before programs see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// Lines, ended by a line feed.
    Text,
    /// Records of RFC 4180: a header, then a record to a line, where quoted fields may have line ends. Each partition begins
    /// with the header.
    #[serde(rename = "CSV")]
    Csv,
    /// A JSON value to a line. Empty lines are none.
    #[serde(rename = "JSONLines")]
    JsonLines,
    /// Row groups.
    Parquet,
}

impl Format {
    /// As manifests have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "Text",
            Self::Csv => "CSV",
            Self::JsonLines => "JSONLines",
            Self::Parquet => "Parquet",
        }
    }
}
