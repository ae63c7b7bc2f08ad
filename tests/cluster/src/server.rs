//! A real API server for one test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tempfile::TempDir;

use crate::arguments;
use crate::certificates::{Authority, CertificateError, Pair};
use crate::kubeconfig::{self, Person};
use crate::process::{Process, ProcessError};
use crate::programs::{self, BuildError, Obtained, Program};

/// Longest time for one server to be ready: a busy machine with a cold page cache.
const READY: Duration = Duration::from_mins(2);
/// Longest time for one request of ours.
const REQUEST: Duration = Duration::from_secs(30);
/// Time for a process to end by itself.
const STOP: Duration = Duration::from_secs(20);
/// Between two looks at something that must happen.
const LOOK: Duration = Duration::from_millis(50);
/// A port that was free may be taken a moment later: so often is another one tried.
const PORTS: usize = 5;

/// Why there is no server, or why it did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The programs are not there.
    #[error(transparent)]
    Programs(#[from] BuildError),
    /// No certificates.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// A process did not do what it should.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The working directory.
    #[error("the directory of a server: {0}")]
    Directory(#[from] std::io::Error),
    /// No client could be made.
    #[error("a client of the server: {0}")]
    Client(String),
    /// The server refused something that a test's set-up needs.
    #[error("{what}: {why}")]
    Refused {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// Something did not happen in time.
    #[error("after {} s: {what}", REQUEST.as_secs())]
    Late {
        /// What should have.
        what: String,
    },
    /// The server found something wrong in a definition.
    #[error("{name} is not established: {conditions}")]
    Definition {
        /// The definition's name.
        name: String,
        /// What the server says.
        conditions: String,
    },
}

/// What a server starts with.
#[derive(Default)]
pub struct Builder {
    definitions: Vec<CustomResourceDefinition>,
}

impl Builder {
    /// Definitions that are established before anything else happens.
    #[must_use]
    pub fn crds(mut self, definitions: impl IntoIterator<Item = CustomResourceDefinition>) -> Self {
        self.definitions.extend(definitions);
        self
    }

    /// Builds the programs if need be, and starts them. Ready are: the API, the definitions and the controllers.
    pub async fn start(self) -> Result<RealApiServer, StartError> {
        let programs = tokio::task::spawn_blocking(|| programs::obtain(&Program::SERVER_AND_CLIENT, &tell)).await;
        let programs = programs.map_err(|error| StartError::Client(error.to_string()))??;
        let mut server = RealApiServer::start(programs).await?;
        for definition in &self.definitions {
            server.establish(definition).await?;
        }
        // The collector learns the kinds that there are at its start; later ones it would find only after half a minute.
        server.start_controllers()?;
        Ok(server)
    }
}

/// Builds take minutes: say so.
#[expect(clippy::print_stderr, reason = "of tests, which have no other place for it")]
fn tell(what: &str) {
    eprintln!("braid-cluster: {what}");
}

/// A running API server with its etcd and controllers. Dropped, everything is killed.
pub struct RealApiServer {
    // Dropped in this order.
    controllers: Option<Process>,
    apiserver: Process,
    etcd: Process,
    programs: Obtained,
    authority: Authority,
    admin: Pair,
    url: String,
    home: Home,
}

impl RealApiServer {
    /// A server to be.
    pub fn builder() -> Builder {
        Builder::default()
    }

    async fn start(programs: Obtained) -> Result<Self, StartError> {
        let mut home = Home::new()?;
        let authority = Authority::new()?;
        let admin = authority.client("admin", &["system:masters"])?;
        arguments::write_files(home.path(), &authority)?;
        let mut tries = 1;
        loop {
            match Self::start_on_ports(&programs, home.path(), &authority, &admin).await {
                Ok((etcd, apiserver, url)) => {
                    return Ok(Self {
                        controllers: None,
                        apiserver,
                        etcd,
                        programs,
                        authority,
                        admin,
                        url,
                        home,
                    });
                }
                Err(StartError::Process(ProcessError::Ended { tail, .. }))
                    if tail.contains("address already in use") && tries < PORTS =>
                {
                    tries += 1;
                }
                Err(error) => {
                    home.keep();
                    return Err(error);
                }
            }
        }
    }

    async fn start_on_ports(
        programs: &Obtained,
        directory: &Path,
        authority: &Authority,
        admin: &Pair,
    ) -> Result<(Process, Process, String), StartError> {
        let [store, serving] = free_ports()?;
        let run = |program: Program, arguments: &[String]| {
            let path = programs.path(program).unwrap_or(Path::new(program.name()));
            Process::start(program.name(), path, arguments, directory)
        };
        let mut etcd = run(Program::Etcd, &arguments::etcd(store))?;
        let mut apiserver = run(Program::KubeApiserver, &arguments::apiserver(store, serving))?;
        let url = format!("https://127.0.0.1:{serving}");
        let text = kubeconfig::text(&url, authority.pem(), admin, "default", None);
        let client = client(&text).await?;
        let begun = Instant::now();
        loop {
            etcd.lives()?;
            apiserver.lives()?;
            // A server that lives is asked until it says yes.
            let Err(unready) = get_text(&client, "/readyz?verbose").await else {
                return Ok((etcd, apiserver, url));
            };
            if begun.elapsed() > READY {
                return Err(apiserver.late(begun.elapsed(), unready).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Installs a definition and waits until it is established and nothing is wrong with it.
    pub async fn establish(
        &mut self,
        definition: &CustomResourceDefinition,
    ) -> Result<CustomResourceDefinition, StartError> {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client("default").await?);
        let made = in_time(&name, definitions.create(&PostParams::default(), definition)).await?;
        let mut seen = made;
        let begun = Instant::now();
        loop {
            let conditions = seen.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let holds = |kind: &str| conditions.clone().any(|it| it.type_ == kind && it.status == "True");
            let wrong = holds("NonStructuralSchema")
                || conditions
                    .clone()
                    .any(|it| it.type_ == "NamesAccepted" && it.status == "False");
            if holds("Established") && !wrong {
                break;
            }
            if wrong || begun.elapsed() > REQUEST {
                let conditions = conditions.map(|it| {
                    format!(
                        "{}={} {}",
                        it.type_,
                        it.status,
                        it.message.as_deref().unwrap_or_default()
                    )
                });
                return Err(StartError::Definition {
                    conditions: conditions.collect::<Vec<_>>().join("; "),
                    name,
                });
            }
            tokio::time::sleep(LOOK).await;
            seen = in_time(&name, definitions.get(&name)).await?;
        }
        // Established is said a moment before it is served.
        let spec = &definition.spec;
        let version = spec
            .versions
            .first()
            .map(|version| version.name.as_str())
            .unwrap_or_default();
        let path = format!("/apis/{}/{version}/{}?limit=1", spec.group, spec.names.plural);
        self.until_served(&path).await?;
        Ok(seen)
    }

    async fn until_served(&self, path: &str) -> Result<(), StartError> {
        let client = self.client("default").await?;
        let begun = Instant::now();
        while let Err(last) = get_text(&client, path).await {
            if begun.elapsed() > REQUEST {
                return Err(StartError::Late {
                    what: format!("{path}: {last}"),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until the server describes these definitions to `kubectl explain`: it puts that together a while after they are established.
    pub async fn until_described(&self, definitions: &[CustomResourceDefinition]) -> Result<(), StartError> {
        let client = self.client("default").await?;
        let begun = Instant::now();
        for definition in definitions {
            let (spec, kind) = (&definition.spec, &definition.spec.names.kind);
            for version in &spec.versions {
                let path = format!("/openapi/v3/apis/{}/{}", spec.group, version.name);
                let is_there = |text: String| text.contains(&format!("\"kind\":\"{kind}\""));
                while !get_text(&client, &path).await.is_ok_and(is_there) {
                    if begun.elapsed() > REQUEST {
                        return Err(StartError::Late {
                            what: format!("{path} does not describe {kind}"),
                        });
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
        Ok(())
    }

    fn start_controllers(&mut self) -> Result<(), StartError> {
        let pair = self.authority.client("system:kube-controller-manager", &[])?;
        let text = kubeconfig::text(&self.url, self.authority.pem(), &pair, "kube-system", None);
        std::fs::write(self.home.path().join(arguments::CONTROLLERS_KUBECONFIG), text)?;
        let program = Program::KubeControllerManager;
        let path = self.programs.path(program).unwrap_or(Path::new(program.name()));
        self.controllers = Some(Process::start(
            program.name(),
            path,
            &arguments::controllers(),
            self.home.path(),
        )?);
        Ok(())
    }

    /// The process of kube-apiserver.
    pub fn pid(&self) -> i32 {
        self.apiserver.pid()
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of its authority, its own and its key, as PEM: for who stands in for it.
    pub fn identity(&self) -> Result<[String; 3], StartError> {
        let file = |name: &str| std::fs::read_to_string(self.home.path().join(name));
        Ok([file("ca.crt")?, file("apiserver.crt")?, file("apiserver.key")?])
    }

    /// A client of an administrator.
    pub async fn client(&self, namespace: &str) -> Result<Client, StartError> {
        client(&self.kubeconfig(namespace, None)).await
    }

    /// A client of somebody else.
    pub async fn client_as(&self, namespace: &str, person: &Person) -> Result<Client, StartError> {
        client(&self.kubeconfig(namespace, Some(person))).await
    }

    /// A kubeconfig for other programs: the administrator's, speaking for somebody else if one is given. It holds a key.
    pub fn kubeconfig(&self, namespace: &str, person: Option<&Person>) -> String {
        kubeconfig::text(&self.url, self.authority.pem(), &self.admin, namespace, person)
    }

    /// `kubectl` of the same version, as an administrator.
    pub fn kubectl(&self, namespace: &str) -> Result<Command, StartError> {
        let file = self.home.path().join(format!("{namespace}.kubeconfig"));
        std::fs::write(&file, self.kubeconfig(namespace, None))?;
        let mut command = Command::new(self.programs.path(Program::Kubectl).unwrap_or(Path::new("kubectl")));
        // Its caches of discovery belong to this server alone.
        command.env("KUBECONFIG", file).env("HOME", self.home.path());
        Ok(command)
    }

    /// Creates a namespace and waits for what every namespace has: its default service account.
    pub async fn create_namespace(&self, name: &str) -> Result<(), StartError> {
        let client = self.client(name).await?;
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        in_time(name, namespaces.create(&PostParams::default(), &namespace)).await?;
        let accounts: Api<ServiceAccount> = Api::default_namespaced(client);
        let begun = Instant::now();
        while in_time(name, accounts.get_opt("default")).await?.is_none() {
            if begun.elapsed() > REQUEST {
                return Err(StartError::Late {
                    what: format!("{name} has no default service account"),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Ends everything in order.
    pub async fn stop(self) {
        for process in [self.controllers, Some(self.apiserver), Some(self.etcd)]
            .into_iter()
            .flatten()
        {
            process.stop(STOP).await;
        }
    }
}

/// Where a server works: logs, data, keys. Removed at the end, but for that of a test that failed.
struct Home {
    directory: TempDir,
}

impl Home {
    fn new() -> Result<Self, StartError> {
        let directory = tempfile::Builder::new().prefix("braid-cluster-").tempdir()?;
        Ok(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn keep(&mut self) {
        self.directory.disable_cleanup(true);
        tell(&format!("the logs stay in {}", self.path().display()));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}

async fn client(kubeconfig: &str) -> Result<Client, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Client(error.to_string());
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(|error| failed(&error))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| failed(&error))?;
    Client::try_from(config).map_err(|error| failed(&error))
}

/// The answer's text, or what was wrong.
async fn get_text(client: &Client, path: &str) -> Result<String, String> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(REQUEST, client.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} s", REQUEST.as_secs())),
    }
}

async fn in_time<T>(what: &str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, StartError> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(answer) => answer.map_err(|error| StartError::Refused {
            what: what.to_owned(),
            why: match error {
                kube::Error::Api(status) => status.message,
                other => other.to_string(),
            },
        }),
        Err(_) => Err(StartError::Late { what: what.to_owned() }),
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<[u16; 2], StartError> {
    let listeners = [
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    ];
    let [one, other] = listeners.map(|listener| listener.local_addr().map(|address| address.port()));
    Ok([one?, other?])
}
