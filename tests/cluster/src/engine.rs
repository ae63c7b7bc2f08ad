//! The container engine: the one that answers, or one of our own.
//!
//! Where `docker info` answers, that engine is used and never stopped. Where not, and we are root on Debian, a dockerd is started that
//! nobody else uses: its data lie in the cache, its socket and process id below `/run`. It outlives us, as clusters do, and is
//! stopped by [`Engine::stop`].

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cache;
use crate::command::{Call, CallError};
use crate::debian;
use crate::programs::BuildError;
use crate::steps::{Phase, Steps};

/// For the engine to answer after its start.
const READY: Duration = Duration::from_mins(1);
/// For the engine to end: it ends what runs in it first.
const STOP: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);

/// Asks for no more than this machine can give.
const RUNTIME: &str = include_str!("../node/runc-without-sys-resource");
const RUNTIME_NAME: &str = "runc-without-sys-resource";
/// The capability's bit.
const SYS_RESOURCE: u32 = 24;

/// There is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// None answers, and this is no machine on which we start one.
    #[error(
        "no container engine answers, and only as root on Debian one is installed: install and start Docker \
         (https://docs.docker.com/engine/install/), then try again; `docker info` says: {0}"
    )]
    Absent(CallError),
    /// A program failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] BuildError),
    /// A file of the engine could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Our own engine did not come up.
    #[error("dockerd does not answer ({why}); what it says is in {}", log.display())]
    NotReady {
        /// What was seen last.
        why: String,
        /// Its log.
        log: PathBuf,
    },
    /// It did not end.
    #[error("dockerd (process {0}) did not end within {seconds} s", seconds = STOP.as_secs())]
    Stays(i32),
}

/// A running engine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where our own one listens; `None`: the one that the user's environment says.
    host: Option<String>,
}

/// Where our own engine has its files.
struct Places {
    /// Data and log; in the cache.
    data: PathBuf,
    /// Socket and process id: short paths, gone when the machine starts again.
    run: PathBuf,
}

impl Places {
    fn new() -> Result<Self, EngineError> {
        let data = cache::directory("engine")?;
        let name = cache::key([data.as_os_str().as_encoded_bytes()]);
        let name = name.get(..8).unwrap_or(&name);
        Ok(Self {
            run: PathBuf::from(format!("/run/braid-engine-{name}")),
            data,
        })
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.run.display())
    }

    fn pid_file(&self) -> PathBuf {
        self.run.join("dockerd.pid")
    }

    /// The process of our engine, if it lives. Another process may have its number by now; that one has not our file in its arguments.
    fn running(&self) -> Option<Pid> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = self.pid_file();
        let mut words = arguments.split(|byte| *byte == 0);
        words
            .any(|word| word == ours.as_os_str().as_encoded_bytes())
            .then(|| Pid::from_raw(pid))
    }
}

impl Engine {
    /// The engine that is there, or a new one.
    pub(crate) fn obtain(steps: &mut Steps, say: &dyn Fn(&str)) -> Result<Self, EngineError> {
        let absent = match Self::running() {
            Ok(engine) => return Ok(engine),
            Err(EngineError::Absent(error)) => error,
            Err(error) => return Err(error),
        };
        if !debian::may_install() {
            return Err(EngineError::Absent(absent));
        }
        debian::install(&["dockerd", "docker", "containerd", "runc", "iptables"], steps, say)?;
        let places = Places::new()?;
        let _lock = cache::lock(&places.data, &|| say("another process starts the engine; waiting"))?;
        // The package starts the engine where there is an init system, another process may have started ours.
        if let Ok(engine) = Self::running() {
            return Ok(engine);
        }
        steps.run(Phase::Create, "start the container engine", say, || start(&places))
    }

    /// The engine that answers; [`EngineError::Absent`]: none does.
    pub fn running() -> Result<Self, EngineError> {
        let theirs = Self { host: None };
        let absent = match theirs.answers() {
            Ok(()) => return Ok(theirs),
            Err(error) => error,
        };
        let ours = Self {
            host: Some(Places::new()?.host()),
        };
        match ours.answers() {
            Ok(()) => Ok(ours),
            Err(_) => Err(EngineError::Absent(absent)),
        }
    }

    fn answers(&self) -> Result<(), CallError> {
        // Without a server, the client fails only when it is asked for something of the server.
        let version = self.docker().args(["info", "--format", "{{.ServerVersion}}"]).run()?;
        if version.is_empty() {
            return self.docker().arg("version").run().map(drop);
        }
        Ok(())
    }

    /// Whether it is ours alone.
    pub fn is_private(&self) -> bool {
        self.host.is_some()
    }

    /// `DOCKER_HOST` for other programs, where the environment does not say it.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// A call of its client.
    pub(crate) fn docker(&self) -> Call {
        self.on(Call::new("docker"))
    }

    /// A call that uses this engine.
    pub(crate) fn on(&self, call: Call) -> Call {
        match &self.host {
            Some(host) => call.env("DOCKER_HOST", host),
            None => call,
        }
    }

    /// Stops our own engine; false: there was none. Its images stay in the cache.
    pub fn stop() -> Result<bool, EngineError> {
        let places = Places::new()?;
        let Some(pid) = places.running() else {
            return Ok(false);
        };
        // One that has just ended is no failure.
        let _ = kill(pid, Signal::SIGTERM);
        let begun = Instant::now();
        while places.running().is_some() {
            if begun.elapsed() > STOP {
                return Err(EngineError::Stays(pid.as_raw()));
            }
            std::thread::sleep(LOOK);
        }
        fs::remove_dir_all(&places.run).map_err(|source| EngineError::File {
            path: places.run.clone(),
            source,
        })?;
        Ok(true)
    }
}

fn start(places: &Places) -> Result<Engine, EngineError> {
    let log = places.data.join("dockerd.log");
    let at = |path: &PathBuf| {
        let path = path.clone();
        move |source| EngineError::File { path, source }
    };
    fs::create_dir_all(&places.run).map_err(at(&places.run))?;
    let output = File::create(&log).map_err(at(&log))?;
    let mut command = Command::new("dockerd");
    command
        .arg(format!("--host={}", places.host()))
        .arg(format!("--data-root={}", places.data.join("data").display()))
        .arg(format!("--exec-root={}", places.run.join("exec").display()))
        // As two words: it is how our process is known.
        .arg("--pidfile")
        .arg(places.pid_file())
        // kind makes a network of its own.
        .arg("--bridge=none")
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(at(&log))?)
        .stderr(output)
        .current_dir("/")
        // It outlives us: an interrupt from the terminal is not meant for it.
        .process_group(0);
    if !has_sys_resource() {
        let runtime = places.data.join(RUNTIME_NAME);
        write_executable(&runtime).map_err(at(&runtime))?;
        command
            .arg(format!("--add-runtime={RUNTIME_NAME}={}", runtime.display()))
            .arg(format!("--default-runtime={RUNTIME_NAME}"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let not_ready = |why: String| EngineError::NotReady { why, log: log.clone() };
    let mut daemon: Child = command.spawn().map_err(|error| not_ready(error.to_string()))?;
    let engine = Engine {
        host: Some(places.host()),
    };
    let begun = Instant::now();
    while let Err(error) = engine.answers() {
        if let Ok(Some(status)) = daemon.try_wait() {
            return Err(not_ready(format!("it ended: {status}")));
        }
        if begun.elapsed() > READY {
            // Nobody could use it: it must not stay.
            let _ = daemon.kill();
            let _ = daemon.wait();
            return Err(not_ready(error.to_string()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(engine)
}

fn write_executable(path: &PathBuf) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(path)?;
    io::Write::write_all(&mut file, RUNTIME.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Whether processes of ours can have the capability that privileged containers ask for.
fn has_sys_resource() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    bounding_set(&status).is_none_or(|set| set & (1 << SYS_RESOURCE) != 0)
}

/// The capabilities that a process and its children can have.
fn bounding_set(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn capabilities_are_read() {
        let status = |set: &str| format!("Name:\tx\nCapPrm:\t0000000000000000\nCapBnd:\t{set}\nCapAmb:\t0\n");
        let has = |set: &str| bounding_set(&status(set)).map(|set| set & (1 << SYS_RESOURCE) != 0);
        assert_eq!(Some(true), has("000001ffffffffff"));
        assert_eq!(Some(false), has("000001fffeffffff"));
        assert_eq!(None, bounding_set("Name:\tx\n"));
    }

    #[test]
    fn the_runtime_asks_for_one_capability_less() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        write_executable(&path("wrapper")).unwrap();
        // A runc that shows what it was given.
        fs::write(path("runc"), "#!/bin/sh\necho \"$@\"; cat \"$SHOWN\"\n").unwrap();
        fs::set_permissions(path("runc"), fs::Permissions::from_mode(0o755)).unwrap();
        let search = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        let config = r#"{"bounding":["CAP_SYS_RESOURCE","CAP_A","CAP_SYS_RESOURCE"],"inheritable":["CAP_SYS_RESOURCE","CAP_B"]}"#;
        let stripped = r#"{"bounding":["CAP_A"],"inheritable":["CAP_B"]}"#;
        for (file, words) in [("config.json", ["create", "--bundle"]), ("process", ["exec", "-p"])] {
            fs::write(path(file), config).unwrap();
            let given = if file == "process" {
                path(file)
            } else {
                directory.path().to_owned()
            };
            let shown = Call::new(path("wrapper"))
                .args(words)
                .arg(&given)
                .env("PATH", &search)
                .env("SHOWN", path(file))
                .run()
                .unwrap();
            assert_eq!(format!("{} {}\n{stripped}", words.join(" "), given.display()), shown);
        }
    }
}
