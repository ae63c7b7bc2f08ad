//! `cargo xtask images`: the images of the operator and of the worker, without a container engine.
//!
//! The programs are linked statically, so that an image is they alone. Each image is one tar of an OCI layout, which
//! containerd, Docker and kind load and tools of registries copy. `images/Dockerfile` makes the same images with an engine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use braid_cluster::image::{Image, Layer};
use clap::Args;

use crate::{cargo, root};

/// Where images are, as the chart says it.
const REGISTRY: &str = "ghcr.io/braid-dev";
/// Their tag: the version of all crates.
const TAG: &str = env!("CARGO_PKG_VERSION");
/// The user and the group that they run as.
const USER: u32 = 65_532;
/// The target whose C library can be linked statically without another toolchain. It is named to cargo even where it is the
/// machine's own: then build scripts and macros are not linked so.
const TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// An image and the programs in it; the first one is its entrypoint.
struct Recipe {
    /// Its name; without a host it is one of [`REGISTRY`], with the tag of this version.
    name: &'static str,
    title: &'static str,
    package: &'static str,
    programs: &'static [&'static str],
}

const RECIPES: [Recipe; 2] = [
    Recipe {
        name: "braid-operator",
        title: "Braid's operator",
        package: "braid-operator",
        programs: &["braid-operator"],
    },
    Recipe {
        name: "braid-worker",
        title: "Braid's worker and the shim that it gives to user code's containers",
        package: "braid-worker",
        programs: &["braid-worker", "braid-shim"],
    },
];

/// User code of the tests.
const TALLY: Recipe = Recipe {
    name: "braid.local/braid-tally:test",
    title: "A program of the tests",
    package: "braid-e2e-kind",
    programs: &["braid-tally"],
};

/// Options of `images`.
#[derive(Args)]
pub struct ImagesOptions {
    /// Where the tars are written
    #[arg(long, default_value = "target/images")]
    out: PathBuf,
    /// Optimises as a release does, which takes several times as long
    #[arg(long)]
    release: bool,
}

/// Builds the images, and says where the time went.
pub fn run(options: &ImagesOptions) -> anyhow::Result<()> {
    let built = build(&options.out, options.release, &RECIPES)?;
    println!("programs {}, images {}", seconds(built.programs), seconds(built.images));
    for image in built.files {
        println!("{:<48} {}", image.name, image.file.display());
    }
    Ok(())
}

/// An image in a file.
pub struct File {
    /// What a pod says.
    pub name: String,
    /// The tar of its layout.
    pub file: PathBuf,
}

/// What was built, and how long it took.
pub struct Built {
    /// The images.
    pub files: Vec<File>,
    /// Building programs.
    pub programs: Duration,
    /// Writing images.
    pub images: Duration,
}

/// Builds what the tests on a cluster load, into a directory which is made if need be.
pub fn for_tests(out: &Path) -> anyhow::Result<Built> {
    let [operator, worker] = RECIPES;
    build(out, false, &[operator, worker, TALLY])
}

fn build(out: &Path, release: bool, recipes: &[Recipe]) -> anyhow::Result<Built> {
    let begun = Instant::now();
    let profile = if release { "release" } else { "image" };
    let programs = compile(profile, recipes)?;
    let compiled = begun.elapsed();
    let out = std::path::absolute(out).with_context(|| format!("{}", out.display()))?;
    std::fs::create_dir_all(&out).with_context(|| format!("{}", out.display()))?;
    let mut files = Vec::new();
    for recipe in recipes {
        let name = match recipe.name.split_once('/') {
            None => format!("{REGISTRY}/{}:{TAG}", recipe.name),
            Some(_) => recipe.name.to_owned(),
        };
        let file = out.join(format!("{}.tar", recipe.programs.first().unwrap_or(&recipe.name)));
        image(&name, recipe, &programs).write(&file)?;
        files.push(File { name, file });
    }
    Ok(Built {
        files,
        programs: compiled,
        images: begun.elapsed().saturating_sub(compiled),
    })
}

/// The directory of the programs, which are as the sources are now.
fn compile(profile: &str, recipes: &[Recipe]) -> anyhow::Result<PathBuf> {
    let target = root()?.join("target");
    let mut command = cargo();
    command
        .current_dir(root()?)
        .stdin(Stdio::null())
        .args(["build", "--locked", "--profile", profile, "--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        // It wins over `RUSTFLAGS`: what the environment says of other builds is not about this one.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    for recipe in recipes {
        command.args(["--package", recipe.package]);
        for program in recipe.programs {
            command.args(["--bin", program]);
        }
    }
    if !command.status().context("cargo build")?.success() {
        bail!("the programs of the images were not built, see above");
    }
    Ok(target.join(TARGET).join(profile))
}

fn image(name: &str, recipe: &Recipe, programs: &Path) -> Image {
    let layer = recipe.programs.iter().fold(Layer::default(), |layer, program| {
        layer.file(program, programs.join(program), 0o755)
    });
    Image::new(name)
        .entrypoint(recipe.programs.first().map(|program| format!("/{program}")))
        .user(USER, USER)
        .label("org.opencontainers.image.title", recipe.title)
        .label("org.opencontainers.image.version", TAG)
        .label("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE"))
        .label("org.opencontainers.image.url", env!("CARGO_PKG_REPOSITORY"))
        .layer(layer)
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
