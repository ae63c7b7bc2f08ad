//! Container images without an engine: files become an OCI layout in one tar, which containerd, Docker and kind load.
//!
//! The same files make the same bytes: entries are in order, owned by root, without times. An image is for the machine's own
//! architecture. Layers are not compressed: images of this kind are loaded where they were written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cache;

#[cfg(test)]
mod tests;

/// An image was not written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A path inside an image is empty, absolute, or has `.` or `..` in it.
    #[error("{0:?} is no path inside an image: write it relative to the root, without `.` and `..`")]
    Path(String),
    /// A name without a tag would be `latest`, which a cluster always tries to pull.
    #[error("{0:?} is no name of an image: write it as `host/path:tag`, or `path:tag`")]
    Name(String),
    /// Images for this machine's architecture have no name.
    #[error("there are no images for {0}")]
    Architecture(&'static str),
}

/// What lies at a path of a layer.
#[derive(Clone, Debug)]
enum Entry {
    File { from: PathBuf, mode: u32 },
    Bytes { bytes: Vec<u8>, mode: u32 },
    Directory { mode: u32 },
    Symlink { target: String },
}

/// Files that come on top of the layers below.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// The file `from` of this machine, at `path`.
    #[must_use]
    pub fn file(self, path: &str, from: impl Into<PathBuf>, mode: u32) -> Self {
        let from = from.into();
        self.with(path, Entry::File { from, mode })
    }

    /// A file with this content.
    #[must_use]
    pub fn bytes(self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32) -> Self {
        let bytes = bytes.into();
        self.with(path, Entry::Bytes { bytes, mode })
    }

    /// A directory. Parents need not be said; they are made with mode 0755.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.with(path, Entry::Directory { mode })
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        let target = target.to_owned();
        self.with(path, Entry::Symlink { target })
    }

    /// All files, directories and links below a directory of this machine, with their modes.
    pub fn tree(mut self, directory: &Path) -> Result<Self, ImageError> {
        let mut open = vec![(directory.to_owned(), String::new())];
        while let Some((from, prefix)) = open.pop() {
            for found in std::fs::read_dir(&from).map_err(failed(&from))? {
                let found = found.map_err(failed(&from))?;
                let name = found.file_name();
                let name = name
                    .to_str()
                    .ok_or_else(|| ImageError::Path(name.to_string_lossy().into_owned()))?;
                let path = format!("{prefix}{name}");
                let from = found.path();
                let metadata = std::fs::symlink_metadata(&from).map_err(failed(&from))?;
                let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
                if metadata.is_symlink() {
                    let target = std::fs::read_link(&from).map_err(failed(&from))?;
                    self = self.symlink(&path, &target.to_string_lossy());
                } else if metadata.is_dir() {
                    self = self.directory(&path, mode);
                    open.push((from, format!("{path}/")));
                } else {
                    self = self.file(&path, from, mode);
                }
            }
        }
        Ok(self)
    }

    fn with(mut self, path: &str, entry: Entry) -> Self {
        self.entries.insert(path.to_owned(), entry);
        self
    }

    /// Writes the layer's tar.
    fn write(&self, out: &mut dyn Write) -> Result<(), ImageError> {
        let mut entries = self.entries.clone();
        for path in self.entries.keys() {
            if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(ImageError::Path(path.clone()));
            }
            for (end, _) in path.match_indices('/') {
                let parent = path.get(..end).unwrap_or_default().to_owned();
                entries.entry(parent).or_insert(Entry::Directory { mode: 0o755 });
            }
        }
        let mut tar = tar::Builder::new(out);
        // In the order of their names, a directory comes before what it holds.
        for (path, entry) in &entries {
            append(&mut tar, path, entry)?;
        }
        tar.finish().map_err(failed(Path::new("layer")))
    }
}

fn append(tar: &mut tar::Builder<&mut dyn Write>, path: &str, entry: &Entry) -> Result<(), ImageError> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let here = || failed(Path::new(path));
    match entry {
        Entry::File { from, mode } => {
            let file = File::open(from).map_err(failed(from))?;
            header.set_size(file.metadata().map_err(failed(from))?.len());
            header.set_mode(*mode);
            tar.append_data(&mut header, path, file).map_err(failed(from))
        }
        Entry::Bytes { bytes, mode } => {
            header.set_size(bytes.len() as u64);
            header.set_mode(*mode);
            tar.append_data(&mut header, path, bytes.as_slice()).map_err(here())
        }
        Entry::Directory { mode } => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            header.set_mode(*mode);
            tar.append_data(&mut header, format!("{path}/"), io::empty())
                .map_err(here())
        }
        Entry::Symlink { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target).map_err(here())
        }
    }
}

/// An image: what runs, as whom, on which files.
#[derive(Clone, Debug, Default)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    env: Vec<String>,
    user: String,
    labels: BTreeMap<String, String>,
    layers: Vec<Layer>,
}

impl Image {
    /// An image of no files, as `FROM scratch`. `name` is what a pod says, with its tag; without a host it is one of Docker Hub.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// The program that runs, and the first of its arguments.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// User and group that it runs as, as numbers: a pod that must not run as root is judged by them.
    #[must_use]
    pub fn user(mut self, user: u32, group: u32) -> Self {
        self.user = format!("{user}:{group}");
        self
    }

    /// A label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Files on top of those of the layers before.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Writes the image into a file; its digest, `sha256:..`. A file that is not whole is removed.
    pub fn write(&self, path: &Path) -> Result<String, ImageError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(parent).map_err(failed(parent))?;
        let digest = self.write_to(file.as_file_mut(), path)?;
        file.persist(path).map_err(|error| failed(path)(error.error))?;
        Ok(digest)
    }

    fn write_to(&self, out: &mut File, path: &Path) -> Result<String, ImageError> {
        let (repository, tag) = self.repository_and_tag()?;
        let architecture = architecture()?;
        let mut archive = Archive::new(out, path);
        archive.add(
            "oci-layout",
            json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes(),
        )?;
        let mut layers = Vec::new();
        for layer in &self.layers {
            let mut file = tempfile::tempfile().map_err(failed(path))?;
            let mut hashing = Hashing::new(&mut file);
            layer.write(&mut hashing)?;
            let (digest, size) = hashing.end();
            file.seek(SeekFrom::Start(0)).map_err(failed(path))?;
            archive.add_blob(&digest, size, file)?;
            layers.push((digest, size));
        }
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": self.config(),
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|(digest, _)| digest).collect::<Vec<_>>()},
        });
        let config = archive.add_json(&config)?;
        let layer = |(digest, size): &(String, u64)| descriptor("layer.v1.tar", digest, *size);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", &config.0, config.1),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let (digest, size) = archive.add_json(&manifest)?;
        let entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": size,
            "annotations": {
                "io.containerd.image.name": format!("{repository}:{tag}"),
                "org.opencontainers.image.ref.name": tag,
            },
            "platform": {"architecture": architecture, "os": "linux"},
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        archive.add("index.json", index.to_string().as_bytes())?;
        // For engines that do not read layouts.
        let saved = json!([{
            "Config": blob(&config.0),
            "RepoTags": [self.name],
            "Layers": layers.iter().map(|(digest, _)| blob(digest)).collect::<Vec<_>>(),
        }]);
        archive.add("manifest.json", saved.to_string().as_bytes())?;
        archive.end()?;
        Ok(digest)
    }

    fn config(&self) -> Value {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        let given = self.env.iter().any(|variable| variable.starts_with("PATH="));
        let env: Vec<&String> = self.env.iter().chain((!given).then_some(&path)).collect();
        json!({
            "Entrypoint": self.entrypoint,
            "Env": env,
            "Labels": self.labels,
            "User": self.user,
            "WorkingDir": "/",
        })
    }

    /// The whole name of the repository, as containerd keeps it, and the tag.
    fn repository_and_tag(&self) -> Result<(String, &str), ImageError> {
        let wrong = || ImageError::Name(self.name.clone());
        let (repository, tag) = self.name.rsplit_once(':').ok_or_else(wrong)?;
        let is_tag =
            |tag: &str| !tag.is_empty() && tag.chars().all(|it| it.is_ascii_alphanumeric() || "._-".contains(it));
        if repository.is_empty() || !is_tag(tag) || repository.split('/').any(str::is_empty) {
            return Err(wrong());
        }
        let full = match repository.split_once('/') {
            None => format!("docker.io/library/{repository}"),
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => repository.to_owned(),
            Some(_) => format!("docker.io/{repository}"),
        };
        Ok((full, tag))
    }
}

/// As OCI calls it.
fn architecture() -> Result<&'static str, ImageError> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(ImageError::Architecture(other)),
    }
}

fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size})
}

/// Where a blob lies.
fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::File { path, source }
}

/// The tar of a layout.
struct Archive<'a> {
    tar: tar::Builder<&'a mut File>,
    path: PathBuf,
    blobs: Vec<String>,
}

impl<'a> Archive<'a> {
    fn new(out: &'a mut File, path: &Path) -> Self {
        Self {
            tar: tar::Builder::new(out),
            path: path.to_owned(),
            blobs: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.add_data(name, bytes.len() as u64, bytes)
    }

    fn add_data(&mut self, name: &str, size: u64, data: impl Read) -> Result<(), ImageError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        let appended = self.tar.append_data(&mut header, name, data);
        appended.map_err(failed(&self.path))
    }

    /// A blob that is there already is not written again: two layers may be the same.
    fn add_blob(&mut self, digest: &str, size: u64, data: impl Read) -> Result<(), ImageError> {
        let name = blob(digest);
        if self.blobs.contains(&name) {
            return Ok(());
        }
        self.add_data(&name, size, data)?;
        self.blobs.push(name);
        Ok(())
    }

    fn add_json(&mut self, value: &Value) -> Result<(String, u64), ImageError> {
        let text = value.to_string();
        let mut hashing = Hashing::new(io::sink());
        hashing.write_all(text.as_bytes()).map_err(failed(&self.path))?;
        let (digest, size) = hashing.end();
        self.add_blob(&digest, size, text.as_bytes())?;
        Ok((digest, size))
    }

    fn end(mut self) -> Result<(), ImageError> {
        self.tar.finish().map_err(failed(&self.path))
    }
}

/// Counts and digests what is written through it.
struct Hashing<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            digest: Sha256::new(),
            size: 0,
        }
    }

    fn end(self) -> (String, u64) {
        let hex = cache::hex(&self.digest.finalize());
        (format!("sha256:{hex}"), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
