//! Makes the image of a node out of its parts: Debian, Kubernetes, and the images that containerd has before anything is pulled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Base, NodeError, open, path};
use crate::command::Call;
use crate::engine::Engine;
use crate::programs::{KUBERNETES, Obtained, Program};

/// For one step of it, on a slow disk.
const STEP: Duration = Duration::from_mins(5);
/// What every node starts.
const ENTRYPOINT: &str = r#"ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]"#;
/// systemd's own signal for an orderly end.
const STOP_SIGNAL: &str = "SIGRTMIN+3";

/// Waits for containerd inside.
const CONTAINERD_ANSWERS: &str = "until ctr version >/dev/null 2>&1; do sleep 0.1; done";
/// Ends containerd inside, so that what it wrote is whole.
const END_CONTAINERD: &str = "pkill -x containerd; while pgrep -x containerd >/dev/null; do sleep 0.1; done
rm -rf /tmp/* /run/containerd";

/// A container and the image below it; both go when this does.
struct Workshop<'a> {
    engine: &'a Engine,
    name: String,
}

impl Workshop<'_> {
    fn exec(&self) -> Call {
        self.engine.docker().args(["exec", "-i", &self.name]).within(STEP)
    }

    fn shell(&self, script: &str) -> Result<String, NodeError> {
        Ok(self.exec().args(["sh", "-ec", script]).run()?)
    }

    fn copy(&self, from: &Path, to: &str) -> Result<(), NodeError> {
        let to_there = format!("{}:{to}", self.name);
        self.engine
            .docker()
            .arg("cp")
            .arg(from)
            .arg(to_there)
            .within(STEP)
            .run()?;
        self.shell(&format!("chown 0:0 {to} && chmod 0755 {to}"))?;
        Ok(())
    }
}

impl Drop for Workshop<'_> {
    fn drop(&mut self) {
        // Whatever of the two is not there needs no removal.
        let remove = |words: &[&str]| self.engine.docker().args(words).within(STEP).run();
        let _ = remove(&["rm", "--force", "--volumes", &self.name]);
        let _ = remove(&["rmi", "--no-prune", &self.name]);
    }
}

/// Makes the image `name`.
pub(super) fn pack(
    engine: &Engine,
    base: &Base,
    programs: &Obtained,
    images: &[PathBuf],
    name: &str,
) -> Result<(), NodeError> {
    let workshop = Workshop {
        engine,
        name: format!("braid-node-{}", std::process::id()),
    };
    let rootfs = Call::new("zstd").args(["-q", "-dc"]).arg(&base.tar);
    let import = engine
        .docker()
        .args(["import", "--change", "ENV container=docker", "-", &workshop.name]);
    import.reading(rootfs).within(STEP).run()?;
    engine
        .docker()
        .args(["run", "--detach", "--name", &workshop.name, "--network=none"])
        // An import has no place for the signal; a commit keeps that of the container.
        .args(["--stop-signal", STOP_SIGNAL, "--security-opt=seccomp=unconfined"])
        .args(["--entrypoint=sleep", &workshop.name, "infinity"])
        .within(STEP)
        .run()?;
    for (program, to) in [
        (Program::Kubeadm, "/usr/bin/kubeadm"),
        (Program::Kubelet, "/usr/bin/kubelet"),
        (Program::Kubectl, "/usr/bin/kubectl"),
        (Program::Crictl, "/usr/local/bin/crictl"),
    ] {
        workshop.copy(path(programs, program)?, to)?;
    }
    workshop.shell(&format!(
        "printf %s {KUBERNETES} >/kind/version; mkdir -p /kind/manifests"
    ))?;
    let containerd = engine.docker().args(["exec", "--detach", &workshop.name, "containerd"]);
    containerd.run()?;
    workshop.shell(CONTAINERD_ANSWERS)?;
    for image in images {
        workshop
            .exec()
            .args([
                "ctr",
                "--namespace=k8s.io",
                "images",
                "import",
                "--all-platforms",
                "--digests",
            ])
            // Nothing can be unpacked on a file system that is an overlay itself: containerd does it when a container starts.
            .args(["--no-unpack", "-"])
            .stdin(open(image)?)
            .run()?;
    }
    workshop.shell(END_CONTAINERD)?;
    let commit = engine
        .docker()
        .args(["commit", "--change", ENTRYPOINT, &workshop.name, name]);
    commit.within(STEP).run()?;
    Ok(())
}
