//! The image of a node: kind's own where it can be pulled, else one that is made here.
//!
//! What is made: Debian's packages with kind's files over them (`node/rootfs.sh`), Kubernetes and its images from the programs of
//! [`crate::programs`]. It is kept below the cache as a compressed `docker save`, under a key of everything that went into it; the
//! Debian below it has a key of its own, so that a new Kubernetes needs no new Debian.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{self, Slot};
use crate::command::{Call, CallError};
use crate::debian;
use crate::engine::Engine;
use crate::image::{Image, ImageError, Layer};
use crate::programs::{self, BuildError, KUBERNETES, Obtained, Program};
use crate::steps::{Phase, Steps};
use crate::toolchain;

/// kind's own image, of the same minor version: the one that the notes of kind's release name.
pub(crate) const PINNED: &str =
    "kindest/node:v1.34.8@sha256:02722c2dedddcfc00febf5d27fbeb9b7b2c14294c82109ff4a85d89ac9ba3256";

/// The release of Debian that nodes are made of: its containerd and kind's configuration fit each other.
const DEBIAN: &str = "bookworm";
const PACKAGES: &str = include_str!("../node/packages.txt");
/// What the image is made with: a change of any makes another image.
const RECIPE: [&str; 2] = [include_str!("node.rs"), include_str!("node/pack.rs")];
const BASE_RECIPE: [&str; 4] = [
    DEBIAN,
    PACKAGES,
    include_str!("../node/rootfs.sh"),
    include_str!("../node/network.template"),
];

/// For pulling some hundred megabytes.
const PULL: Duration = Duration::from_mins(15);
/// For fetching and unpacking packages.
const PACKAGES_DEADLINE: Duration = Duration::from_mins(20);
/// For writing or reading an image.
const COPY: Duration = Duration::from_mins(5);

mod pack;

/// There is no node image.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It cannot be pulled, and not be made here.
    #[error("{PINNED} cannot be pulled, and only as root on Debian an image of nodes is made; {0}")]
    NotPulled(CallError),
    /// A program failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A program was not built, or the cache could not be used.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An image inside was not written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// kubeadm wants an image that we do not know how to make, or kind's files are not as they were.
    #[error("the recipe of nodes does not fit: {0}")]
    Recipe(String),
}

/// What nodes are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeImage {
    /// kind's own, with a network of pods of its own.
    Pinned,
    /// Made here, without a daemon that connects the networks of nodes.
    Made(String),
}

impl NodeImage {
    /// Its name to the engine.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Pinned => PINNED,
            Self::Made(name) => name,
        }
    }

    /// The image that is there, that can be pulled, or that is made: in this order.
    pub(crate) fn obtain(engine: &Engine, steps: &mut Steps, say: &(dyn Fn(&str) + Sync)) -> Result<Self, NodeError> {
        let has = |name: &str| engine.docker().args(["image", "inspect", name]).run().is_ok();
        if has(PINNED) {
            return Ok(Self::Pinned);
        }
        let key = key()?;
        let made = format!("braid.local/kind-node:{KUBERNETES}-{key}");
        if has(&made) {
            return Ok(Self::Made(made));
        }
        let directory = cache::directory("nodes")?;
        let kept = directory.join(format!("node-{key}.tar.zst"));
        if !kept.is_file() {
            let pull = || engine.docker().args(["pull", "--quiet", PINNED]).within(PULL).run();
            match steps.run(Phase::Download, "pull kind's node image", say, pull) {
                Ok(_) => return Ok(Self::Pinned),
                Err(error) if !debian::may_install() => return Err(NodeError::NotPulled(error)),
                Err(_) => say("there is no registry: the node image is made here"),
            }
        }
        debian::install(&["debootstrap", "zstd"], steps, say)?;
        let _lock = cache::lock(&directory, &|| say("another process makes the node image; waiting"))?;
        if has(&made) {
            return Ok(Self::Made(made));
        }
        if kept.is_file() {
            steps.run(Phase::Create, "load the node image", say, || {
                let unpacked = Call::new("zstd").args(["-q", "-dc"]).arg(&kept);
                let load = engine.docker().arg("load").reading(unpacked).within(COPY);
                load.run()
            })?;
            return Ok(Self::Made(made));
        }
        let scratch = tempfile::Builder::new().prefix(".new-").tempdir_in(&directory);
        let scratch = scratch.map_err(failed(&directory))?;
        make(engine, &directory, scratch.path(), &made, steps, say)?;
        steps.run(Phase::Build, "keep the node image", say, || {
            let new = scratch.path().join("node.tar.zst");
            let saved = engine.docker().args(["save", &made]);
            let compress = Call::new("zstd").args(["-q", "-3", "-T0", "-o"]).arg(&new);
            compress.reading(saved).within(COPY).run()?;
            fs::rename(&new, &kept).map_err(failed(&kept))
        })?;
        Ok(Self::Made(made))
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> NodeError {
    let path = path.to_owned();
    move |source| NodeError::File { path, source }
}

/// Of everything that goes into a node.
fn key() -> Result<String, NodeError> {
    let root = cache::directory("programs")?;
    let mut parts: Vec<String> = RECIPE.map(str::to_owned).to_vec();
    parts.push(base_key()?);
    for program in Program::NODE {
        parts.push(Slot::new(&root, program)?.key());
    }
    Ok(cache::key(parts))
}

/// Of the Debian below it.
fn base_key() -> Result<String, NodeError> {
    let kind = Slot::new(&cache::directory("programs")?, Program::Kind)?.key();
    Ok(cache::key(
        BASE_RECIPE
            .iter()
            .copied()
            .chain([kind.as_str(), std::env::consts::ARCH]),
    ))
}

/// The Debian of nodes.
pub(crate) struct Base {
    /// Its root file system, a compressed tar.
    pub(crate) tar: PathBuf,
    /// What kube-proxy's image has of it.
    pub(crate) iptables: PathBuf,
    /// The image of pods' own containers that containerd is configured with.
    pub(crate) sandbox: String,
}

fn make(
    engine: &Engine,
    directory: &Path,
    scratch: &Path,
    name: &str,
    steps: &mut Steps,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(), NodeError> {
    // Packages come from the network while programs are built.
    let (base, programs) = std::thread::scope(|scope| {
        let packages = scope.spawn(|| {
            let mut steps = Steps::default();
            base(directory, scratch, &mut steps, say).map(|base| (base, steps))
        });
        let programs = obtain(&Program::NODE, steps, say);
        let base = packages.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (base, programs)
    });
    let (base, base_steps) = base?;
    steps.append(base_steps);
    let programs = programs?;
    let images = steps.run(Phase::Build, "write the images of the control plane", say, || {
        write_images(&programs, &base, scratch)
    })?;
    steps.run(Phase::Build, "pack the node image", say, || {
        pack::pack(engine, &base, &programs, &images, name)
    })
}

/// Programs, with their times in the table.
pub(crate) fn obtain(
    wanted: &[Program],
    steps: &mut Steps,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Obtained, BuildError> {
    let obtained = programs::obtain(wanted, say)?;
    if !obtained.downloads.is_zero() {
        steps.add(Phase::Download, "sources of programs", obtained.downloads);
    }
    for built in &obtained.programs {
        if let Some(took) = built.took {
            steps.add(Phase::Build, built.program.name(), took);
        }
    }
    Ok(obtained)
}

/// Finds or makes the Debian of nodes.
fn base(directory: &Path, scratch: &Path, steps: &mut Steps, say: &(dyn Fn(&str) + Sync)) -> Result<Base, NodeError> {
    let files = steps.run(Phase::Download, "kind's files", say, || {
        toolchain::sources(Program::Kind)
    })?;
    let files = files.join("images/base/files");
    let kept = directory.join(format!("base-{}", base_key()?));
    let base = Base {
        tar: kept.join("rootfs.tar.zst"),
        iptables: kept.join("iptables"),
        sandbox: sandbox(&files)?,
    };
    if kept.is_dir() {
        return Ok(base);
    }
    let new = scratch.join("base");
    fs::create_dir(&new).map_err(failed(&new))?;
    let debootstrap = || {
        let packages: Vec<&str> = PACKAGES.split_whitespace().collect();
        Call::new("debootstrap")
            .args([
                "--variant=minbase".to_owned(),
                format!("--include={}", packages.join(",")),
            ])
            .within(PACKAGES_DEADLINE)
    };
    let packages = scratch.join("packages.tar");
    steps.run(Phase::Download, "Debian's packages", say, || {
        let option = format!("--make-tarball={}", packages.display());
        debootstrap().args([&option, DEBIAN]).arg(scratch.join("fetched")).run()
    })?;
    let root = scratch.join("rootfs");
    steps.run(Phase::Build, "the root file system", say, || {
        let option = format!("--unpack-tarball={}", packages.display());
        debootstrap().args([&option, DEBIAN]).arg(&root).run()?;
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
        let script = Call::new("sh").arg(recipe.join("rootfs.sh")).args([
            &root,
            &files,
            &recipe.join("network.template"),
            &new.join("iptables"),
        ]);
        script.within(COPY).run()?;
        let tar = Call::new("tar")
            .args(["--numeric-owner", "-C"])
            .arg(&root)
            .args(["-c", "."]);
        let out = new.join("rootfs.tar.zst");
        let compress = Call::new("zstd").args(["-q", "-3", "-T0", "-o"]).arg(&out);
        compress.reading(tar).within(COPY).run()
    })?;
    fs::rename(&new, &kept).map_err(failed(&kept))?;
    Ok(base)
}

/// What kind's configuration of containerd says about sandboxes.
fn sandbox(files: &Path) -> Result<String, NodeError> {
    let path = files.join("etc/containerd/config.toml");
    let text = fs::read_to_string(&path).map_err(failed(&path))?;
    let found = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("sandbox_image = "));
    found
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| NodeError::Recipe(format!("{} names no sandbox_image", path.display())))
}

/// Writes the images that kubeadm and containerd ask for.
fn write_images(programs: &Obtained, base: &Base, scratch: &Path) -> Result<Vec<PathBuf>, NodeError> {
    let list = Call::new(path(programs, Program::Kubeadm)?)
        .args(["config", "images", "list", "--kubernetes-version", KUBERNETES])
        .run()?;
    let mut names: Vec<&str> = list.lines().chain([base.sandbox.as_str()]).collect();
    names.sort_unstable();
    names.dedup();
    let mut files = Vec::new();
    for name in names {
        let file = scratch.join(format!("image-{}.tar", files.len()));
        image(name, programs, base)?.write(&file)?;
        files.push(file);
    }
    Ok(files)
}

/// An image by its public name: the program that the name's last part says, where kubeadm expects it.
fn image(name: &str, programs: &Obtained, base: &Base) -> Result<Image, NodeError> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let last = last.split(':').next().unwrap_or(last);
    let program = Program::NODE.into_iter().find(|program| program.name() == last);
    let program = program.ok_or_else(|| NodeError::Recipe(format!("nobody knows how to make {name}")))?;
    let file = path(programs, program)?;
    Ok(match program {
        // These two are not called by a command.
        Program::Coredns | Program::Pause => Image::new(name)
            .entrypoint([format!("/{last}")])
            .layer(Layer::default().file(last, file, 0o755)),
        _ => {
            let layer = Layer::default().file(&format!("usr/local/bin/{last}"), file, 0o755);
            let image = Image::new(name);
            match program {
                Program::KubeProxy => image.layer(Layer::default().tree(&base.iptables)?).layer(layer),
                _ => image.layer(layer),
            }
        }
    })
}

/// The file of a program that was obtained.
pub(crate) fn path(programs: &Obtained, program: Program) -> Result<&Path, NodeError> {
    let found = programs.path(program);
    found.ok_or_else(|| NodeError::Recipe(format!("{} was not built", program.name())))
}

/// Opens a file to be read by another program.
pub(crate) fn open(path: &Path) -> Result<File, NodeError> {
    File::open(path).map_err(failed(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn kinds_own_image_is_of_the_same_minor_version_and_pinned() {
        let minor = KUBERNETES.rsplit_once('.').unwrap().0;
        assert!(PINNED.starts_with(&format!("kindest/node:{minor}.")));
        let digest = PINNED.split_once("@sha256:").unwrap().1;
        assert!(digest.len() == 64 && digest.chars().all(|it| it.is_ascii_hexdigit()));
    }

    #[test]
    fn the_sandbox_is_read_from_kinds_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let configuration = directory.path().join("etc/containerd");
        fs::create_dir_all(&configuration).unwrap();
        fs::write(
            configuration.join("config.toml"),
            "# x\n  sandbox_image = \"host/pause:1\"\n",
        )
        .unwrap();
        assert_eq!("host/pause:1", sandbox(directory.path()).unwrap());
        fs::write(configuration.join("config.toml"), "").unwrap();
        assert!(matches!(sandbox(directory.path()), Err(NodeError::Recipe(_))));
    }

    #[test]
    fn an_image_that_nobody_can_make_is_named() {
        let base = Base {
            tar: PathBuf::new(),
            iptables: PathBuf::new(),
            sandbox: String::new(),
        };
        let error = image("registry.k8s.io/new-thing:v1", &Obtained::default(), &base).unwrap_err();
        assert!(error.to_string().contains("registry.k8s.io/new-thing:v1"), "{error}");
    }
}
