//! Manifests on a real server and on the embedded one: both must say the same, word for word.
//!
//! What people read when they have made a mistake is the server's message; `braid run` and `braid lint` show the embedded server's.

use std::fs;
use std::path::Path;

use braid_apiserver::ApiServer;
use kube::Client;
use serde_json::Value;

use crate::fixture::{self, yaml_files};

/// The manifests' namespace.
const NAMESPACE: &str = "manifests";

/// What a server says.
#[derive(Debug, PartialEq)]
enum Answer {
    /// It takes the object, as it would be stored: without what is of one server alone.
    Taken(Value),
    /// Code, reason, message, and causes in order: field, reason, message.
    Refused(u16, String, String, Vec<(String, String, String)>),
}

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(mut object) => {
            let metadata = object["metadata"].as_object_mut().unwrap();
            for own in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
                metadata.remove(own);
            }
            Answer::Taken(object)
        }
        // Where there is no such kind, a real server's answer is no Status.
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Answer::Refused(404, String::new(), String::new(), Vec::new())
        }
        Err(kube::Error::Api(status)) => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let mut causes: Vec<_> = causes
                .map(|cause| (cause.field.clone(), cause.reason.clone(), cause.message.clone()))
                .collect();
            causes.sort();
            Answer::Refused(status.code, status.reason.clone(), status.message.clone(), causes)
        }
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

/// The answer to creating the object, and if it has a status, to writing that.
async fn offer(client: &Client, object: &Value) -> Answer {
    let api_version = object["apiVersion"].as_str().unwrap_or("braid.dev/v1alpha1");
    let kind = object["kind"].as_str().unwrap_or("Workflow");
    let path = format!("/apis/{api_version}/namespaces/{NAMESPACE}/{}s", kind.to_lowercase());
    if object["status"].is_null() {
        return send(
            client,
            "POST",
            &format!("{path}?fieldValidation=Strict&dryRun=All"),
            object,
        )
        .await;
    }
    let created = send(client, "POST", &format!("{path}?fieldValidation=Strict"), object).await;
    let Answer::Taken(mut stored) = created else {
        return created;
    };
    let name = stored["metadata"]["name"].as_str().unwrap().to_owned();
    let current: Value = client
        .request(http::Request::get(format!("{path}/{name}")).body(Vec::new()).unwrap())
        .await
        .unwrap();
    stored["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    stored["status"] = object["status"].clone();
    let answer = send(
        client,
        "PUT",
        &format!("{path}/{name}/status?fieldValidation=Strict"),
        &stored,
    )
    .await;
    send(client, "DELETE", &format!("{path}/{name}"), &Value::Null).await;
    answer
}

/// The object of a file; `None`: it is no YAML of one object.
fn read(file: &Path) -> Option<Value> {
    let text = fs::read_to_string(file).unwrap();
    serde_saphyr::from_str::<Value>(&text).ok().filter(Value::is_object)
}

struct Servers {
    real: Client,
    embedded: Client,
}

impl Servers {
    async fn differences(&self, file: &Path, object: &Value) -> (Answer, Option<String>) {
        let real = offer(&self.real, object).await;
        let embedded = offer(&self.embedded, object).await;
        let name = file.file_name().unwrap().to_string_lossy();
        let difference = (real != embedded).then(|| format!("{name}:\n  real     {real:?}\n  embedded {embedded:?}"));
        (real, difference)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_judged_as_by_the_embedded_server() {
    let server = fixture::server().await;
    let embedded = ApiServer::builder()
        .crds(braid_conformance::definitions())
        .build()
        .await
        .unwrap();
    server.create_namespace(NAMESPACE).await.unwrap();
    let servers = Servers {
        real: server.client(NAMESPACE).await.unwrap(),
        embedded: embedded.client(NAMESPACE),
    };
    let (mut refused, mut taken, mut unread) = (0, 0, 0);
    let mut wrong = Vec::new();
    for file in yaml_files("tests/manifests/wrong") {
        let Some(object) = read(&file) else {
            unread += 1;
            continue;
        };
        let (answer, difference) = servers.differences(&file, &object).await;
        wrong.extend(difference);
        let text = fs::read_to_string(&file).unwrap();
        let rule = text.lines().find_map(|line| line.strip_prefix("# rule: ")).unwrap();
        // The operator, not the server, refuses what takes an understanding of the whole.
        let for_server = ["schema ", "cel ", "field ", "metadata ", "kind "]
            .iter()
            .any(|kind| rule.starts_with(kind));
        match answer {
            Answer::Refused(..) => refused += 1,
            Answer::Taken(_) if for_server => wrong.push(format!("{} is taken", file.display())),
            Answer::Taken(_) => taken += 1,
        }
    }
    println!("wrong manifests: {refused} refused, {taken} left to the operator, {unread} no YAML of one object");
    let mut examples = 0;
    for file in yaml_files("examples") {
        let object = read(&file).unwrap_or_else(|| panic!("{}", file.display()));
        let (answer, difference) = servers.differences(&file, &object).await;
        wrong.extend(difference);
        if let Answer::Refused(..) = answer {
            wrong.push(format!("{} is refused: {answer:?}", file.display()));
        }
        examples += 1;
    }
    println!("examples: {examples} taken");
    embedded.shutdown().await.unwrap();
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(refused > 150 && examples >= 4, "{refused} refused, {examples} examples");
}
