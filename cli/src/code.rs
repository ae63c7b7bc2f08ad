//! The code of functions, on its way into a cluster: directories become ConfigMaps.
//!
//! A ConfigMap is immutable, carries one archive `code.tar.gz`, is named by the archive's digest and belongs to one run: it is gone with
//! it. It is made before the run, so that no pod waits for it; a run that is refused takes it along.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use braid_crds::{Workflow, workflow::ConfigMapVolume};
use flate2::{Compression, GzBuilder};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    cluster::{Cluster, ClusterError},
    exit::Failure,
    place::MANAGER,
};

/// The key of the archive; the host of functions knows it.
const ARCHIVE: &str = "code.tar.gz";
/// A ConfigMap holds 1 MiB, its names included.
const MOST: usize = (1 << 20) - 4096;
/// So much code is looked at; what is more does not become so small.
const MOST_READ: u64 = 64 << 20;
/// Directories that are not code.
const SKIPPED: [&str; 2] = ["__pycache__", "node_modules"];

/// ConfigMaps that are to be made for a run.
#[derive(Debug, Default)]
pub struct Packed(Vec<ConfigMap>);

/// Reads the directories that a run names, and lets it name ConfigMaps instead.
pub fn pack(workflow: &mut Workflow) -> Result<Packed, Failure> {
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    let mut packed = Packed::default();
    for step in &mut workflow.spec.steps {
        let Some(code) = &mut step.run.code else { continue };
        let Some(path) = code.path.take() else { continue };
        let name = if let Some(name) = made.get(&path) {
            name.clone()
        } else {
            let archive = archive(Path::new(&path))?;
            let name = name_of(&archive);
            packed.0.push(ConfigMap {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    ..ObjectMeta::default()
                },
                binary_data: Some([(ARCHIVE.to_owned(), ByteString(archive))].into()),
                immutable: Some(true),
                ..ConfigMap::default()
            });
            made.insert(path, name.clone());
            name
        };
        code.config_map_ref = Some(ConfigMapVolume { name });
    }
    Ok(packed)
}

impl Packed {
    /// Makes them.
    pub async fn create(&self, cluster: &Cluster) -> Result<(), Failure> {
        let api = api(cluster);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        for (at, map) in self.0.iter().enumerate() {
            if let Err(error) = cluster.call(api.create(&params, map)).await {
                self.remove(cluster, at).await;
                return Err(Failure::from(error).doing("the ConfigMap with the code was not created"));
            }
        }
        Ok(())
    }

    /// Gives them to the run: they are gone when it is.
    pub async fn give(&self, cluster: &Cluster, workflow: &Workflow) -> Result<(), Failure> {
        let Some(owner) = workflow.owner_ref(&()) else {
            return Ok(());
        };
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
        for map in &self.0 {
            let patched = api(cluster);
            let name = map.name_any();
            let params = PatchParams::default();
            cluster
                .call(patched.patch(&name, &params, &patch))
                .await
                .map_err(|error| {
                    Failure::from(error).doing(format!(
                        "the run was created, but its ConfigMap {name} will not be deleted with it"
                    ))
                })?;
        }
        Ok(())
    }

    /// Takes them away again, because there is no run.
    pub async fn discard(&self, cluster: &Cluster) {
        self.remove(cluster, self.0.len()).await;
    }

    async fn remove(&self, cluster: &Cluster, count: usize) {
        for map in self.0.iter().take(count) {
            let api = api(cluster);
            let name = map.name_any();
            // What is left is small, and the failure before is the one to tell.
            let _ = cluster.call(api.delete(&name, &DeleteParams::default())).await;
        }
    }
}

/// Lets a run that takes over from another one have its code, too: the ConfigMaps that belong to that one are there until both are gone.
pub async fn share(cluster: &Cluster, source: &Workflow, taker: &Workflow) -> Result<(), Failure> {
    let names: BTreeSet<&str> = (source.spec.steps.iter())
        .filter_map(|step| Some(step.run.code.as_ref()?.config_map_ref.as_ref()?.name.as_str()))
        .collect();
    for name in names {
        let api = api(cluster);
        let shared = async {
            let Some(map) = cluster.call(api.get_opt(name)).await? else {
                return Ok(());
            };
            let mut owners = map.owner_references().to_vec();
            if !owners.iter().any(|owner| Some(&owner.uid) == source.uid().as_ref()) {
                return Ok(());
            }
            owners.extend(taker.owner_ref(&()));
            // At the version that was read: somebody else may take over, too.
            let metadata = json!({"resourceVersion": map.resource_version(), "ownerReferences": owners});
            let patch = Patch::Merge(json!({ "metadata": metadata }));
            cluster.call(api.patch(name, &PatchParams::default(), &patch)).await?;
            Ok(())
        };
        shared.await.map_err(|error: ClusterError| {
            Failure::from(error).doing(format!(
                "the run was created, but its code in the ConfigMap {name} will be deleted with {}",
                source.name_any()
            ))
        })?;
    }
    Ok(())
}

fn api(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client(), &cluster.namespace)
}

/// Of two runs with one code each has its own: nobody's end takes another's code away.
fn name_of(archive: &[u8]) -> String {
    let mut name = "braid-code-".to_owned();
    for byte in Sha256::digest(archive).iter().take(8) {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    let _ = write!(name, "-{:06x}", rand::random::<u32>() & 0xff_ffff);
    name
}

/// The files below a directory, as an archive. Equal files give equal bytes.
fn archive(directory: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::usage(error).doing(format!("the code in {} cannot be read", path.display()))
    };
    let mut files = Vec::new();
    collect(directory, &mut files).map_err(|(path, error)| failed(&path, error))?;
    if files.is_empty() {
        return Err(Failure::usage(format!(
            "there are no files in {}, which code.path names",
            directory.display()
        )));
    }
    files.sort();
    let sizes = files.iter().map(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
    let size = sizes.fold(0_u64, u64::saturating_add);
    if size > MOST_READ {
        return Err(Failure::usage(format!(
            "the files in {} have {size} bytes, and a ConfigMap holds {MOST}",
            directory.display(),
        ))
        .help("put the code into a directory of its own, large files and libraries into the image"));
    }
    let mut tar = tar::Builder::new(GzBuilder::new().mtime(0).write(Vec::new(), Compression::best()));
    for path in files {
        let bytes = fs::read(&path).map_err(|error| failed(&path, error))?;
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        let name = path.strip_prefix(directory).unwrap_or(&path);
        tar.append_data(&mut header, name, bytes.as_slice())
            .map_err(|error| failed(&path, error))?;
    }
    let bytes = tar.into_inner().and_then(flate2::write::GzEncoder::finish);
    let bytes = bytes.map_err(|error| failed(directory, error))?;
    if bytes.len() > MOST {
        return Err(Failure::usage(format!(
            "the code in {} has {} bytes in an archive, and a ConfigMap holds {MOST}",
            directory.display(),
            bytes.len()
        ))
        .help("put large files and libraries into the image"));
    }
    Ok(bytes)
}

/// Regular files; what is hidden is not code, and links are refused: they would be something else there.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), (PathBuf, std::io::Error)> {
    let at = |error| (directory.to_owned(), error);
    for entry in fs::read_dir(directory).map_err(at)? {
        let entry = entry.map_err(at)?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(at)?;
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                collect(&path, files)?;
            }
        } else if kind.is_file() {
            files.push(path);
        } else {
            return Err((path, std::io::Error::other("it is no regular file")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::{io::Read as _, os::unix::fs::symlink};

    use super::*;

    fn workflow(path: &Path) -> Workflow {
        let step = |name| json!({"name": name, "run": {"function": "a:f", "code": {"path": path}}});
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "a"},
            "spec": {"steps": [step("one"), step("two")]},
        }))
        .unwrap()
    }

    #[test]
    fn a_directory_becomes_one_archive_that_all_its_steps_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("pkg/__pycache__")).unwrap();
        fs::create_dir_all(folder.path().join(".git")).unwrap();
        for name in ["a.py", "pkg/b.py", "pkg/__pycache__/b.pyc", ".git/config", ".env"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let mut run = workflow(folder.path());
        let packed = pack(&mut run).unwrap();
        assert_eq!(packed.0.len(), 1);
        let name = packed.0[0].name_any();
        for step in &run.spec.steps {
            let code = step.run.code.as_ref().unwrap();
            assert_eq!(code.path, None);
            assert_eq!(code.config_map_ref.as_ref().unwrap().name, name);
        }
        let bytes = &packed.0[0].binary_data.as_ref().unwrap()[ARCHIVE].0;
        let mut names = Vec::new();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(entry.path().unwrap().to_str().unwrap(), text);
            names.push(text);
        }
        assert_eq!(names, ["a.py", "pkg/b.py"]);
        let again = pack(&mut workflow(folder.path())).unwrap();
        assert_eq!(again.0[0].binary_data, packed.0[0].binary_data);
        assert_ne!(again.0[0].name_any(), name);
    }

    #[test]
    fn what_cannot_be_carried_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(pack(&mut workflow(folder.path())).is_err());
        assert!(pack(&mut workflow(&folder.path().join("absent"))).is_err());
        symlink("/etc/passwd", folder.path().join("a.py")).unwrap();
        assert!(pack(&mut workflow(folder.path())).is_err());
        fs::remove_file(folder.path().join("a.py")).unwrap();
        let noise: Vec<u8> = (0..2_000_000).map(|_| rand::random()).collect();
        fs::write(folder.path().join("model"), noise).unwrap();
        assert!(pack(&mut workflow(folder.path())).is_err());
        let sparse = fs::File::create(folder.path().join("model")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert!(pack(&mut workflow(folder.path())).is_err());
    }
}
