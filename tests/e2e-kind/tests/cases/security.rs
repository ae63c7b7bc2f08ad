//! Who can do what, tried from where they are: a worker's token in its pod, user code in its container, people by their roles.

use std::process::Output;

use braid_e2e_kind::{Prober, Space, USERLAND, suite};
use serde_json::{Value, json};

/// A run of two workers that goes on until it is cancelled.
fn hold(space: &Space) -> Vec<Value> {
    space.run(
        "hold",
        &json!({
            "pools": [{"name": "default", "workers": {"min": 2, "max": 2}}],
            "steps": [{
                "name": "sleep",
                "over": {"range": {"end": 100_000}},
                "run": {"image": USERLAND, "command": ["sleep", "10"]},
            }],
        }),
    );
    space.until("two workers have begun", || {
        let desks = space.list("workers.braid.dev");
        let begun = desks.iter().filter(|desk| desk["status"]["startId"].is_string());
        (begun.count() == 2).then_some(desks)
    })
}

fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout).trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    )
}

/// An object as the prober reads it, without what a replacement must not have.
fn read(prober: &Prober<'_>, kind: &str, name: &str, namespace: &str) -> Value {
    let output = prober.kubectl(&["get", kind, name, "--namespace", namespace, "--output=json"], None);
    let mut object: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(&output)));
    object["metadata"].as_object_mut().unwrap().remove("managedFields");
    object
}

/// Writes it as it is; the server goes all the way but for storing it. A version that somebody else has passed is read again.
fn rewrite(prober: &Prober<'_>, kind: &str, name: &str, namespace: &str, subresource: Option<&str>) -> Output {
    let mut arguments = vec![
        "replace",
        "--dry-run=server",
        "--validate=false",
        "--filename=-",
        "--namespace",
        namespace,
    ];
    let subresource = subresource.map(|name| format!("--subresource={name}"));
    arguments.extend(subresource.as_deref());
    // A Lease is renewed every two seconds, and a busy machine takes as long from the reading to the writing.
    for _ in 0..60 {
        let object = read(prober, kind, name, namespace);
        let output = prober.kubectl(&arguments, Some(&object.to_string()));
        if !words(&output).contains("Conflict") && !words(&output).contains("the object has been modified") {
            return output;
        }
    }
    panic!("{kind} {name} changes all the time");
}

/// The table of a worker's rights, each line asked from inside its pod with its own token.
#[test]
fn a_worker_writes_its_own_desk_and_its_own_lease_and_nothing_else() {
    let space = Space::restricted("token");
    let desks = hold(&space);
    let name = |desk: &Value| desk["metadata"]["name"].as_str().unwrap().to_owned();
    let (own, other) = (name(&desks[0]), name(&desks[1]));
    let prober = Prober::attach(&space, &own);
    let here = space.name();

    // By its role.
    let table = [
        ("get", "workers.braid.dev", here, true),
        ("watch", "workers.braid.dev", here, true),
        ("update", "workers.braid.dev/status", here, true),
        ("get", "plans.braid.dev", here, true),
        ("create", "plans.braid.dev", here, true),
        ("get", "leases.coordination.k8s.io", here, true),
        ("update", "leases.coordination.k8s.io", here, true),
        ("update", "workers.braid.dev", here, false),
        ("patch", "workers.braid.dev/status", here, false),
        ("create", "workers.braid.dev", here, false),
        ("delete", "workers.braid.dev", here, false),
        ("update", "plans.braid.dev", here, false),
        ("delete", "plans.braid.dev", here, false),
        ("create", "leases.coordination.k8s.io", here, false),
        ("delete", "leases.coordination.k8s.io", here, false),
        ("get", "workflows.braid.dev", here, false),
        ("update", "workflows.braid.dev/status", here, false),
        ("create", "workflows.braid.dev", here, false),
        ("update", "workerpools.braid.dev", here, false),
        ("get", "secrets", here, false),
        ("get", "configmaps", here, false),
        ("get", "pods", here, false),
        ("create", "pods", here, false),
        ("create", "jobs.batch", here, false),
        ("create", "serviceaccounts/token", here, false),
        ("create", "rolebindings.rbac.authorization.k8s.io", here, false),
        ("get", "workers.braid.dev", "default", false),
        ("get", "secrets", suite().namespace(), false),
        ("update", "leases.coordination.k8s.io", suite().namespace(), false),
    ];
    for (verb, what, namespace, expected) in table {
        let may = prober.may(verb, what, namespace);
        let place = if namespace == here { "its namespace" } else { namespace };
        eprintln!("worker: {verb} {what} in {place}: {}", if may { "yes" } else { "no" });
        assert_eq!(expected, may, "{verb} {what} in {namespace}");
    }

    // Among the objects that its role lets it write, by the admission policies.
    let writes = [
        ("workers.braid.dev", &own, Some("status"), true),
        ("workers.braid.dev", &other, Some("status"), false),
        ("leases.coordination.k8s.io", &own, None, true),
        ("leases.coordination.k8s.io", &other, None, false),
    ];
    for (kind, name, subresource, expected) in writes {
        let output = rewrite(&prober, kind, name, here, subresource);
        let whose = if *name == own { "its own" } else { "another's" };
        let part = subresource.map_or(String::new(), |part| format!("/{part}"));
        let answer = words(&output);
        eprintln!(
            "worker: writes {whose} {kind}{part}: {}",
            if expected { "yes" } else { answer.as_str() }
        );
        assert_eq!(expected, output.status.success(), "{whose} {kind}: {answer}");
        assert!(
            expected || answer.contains("ValidatingAdmissionPolicy"),
            "{whose} {kind}: refused by somebody else: {answer}"
        );
    }
}

/// User code looks for a token, for the worker, and for its key, in every place that its container has.
#[test]
fn user_code_has_no_way_to_a_token() {
    let space = Space::restricted("user-code");
    let script = r#"
found=""
note() { found="$found$1; "; }
[ -e /var/run/secrets ] && note "there is /var/run/secrets"
# A token is three pieces of base64 with dots between them, and begins so. This text itself must not.
for file in $(find / -xdev -type f -size -64k -readable -not -path '/proc/*' -not -path '/sys/*' -not -path '/usr/*' 2>/dev/null); do
    grep -qa 'eyJ''hbGciOi' "$file" 2>/dev/null && note "a token in $file"
done
for dir in $(find /braid /tmp /run /dev/shm -type d 2>/dev/null); do
    for file in "$dir"/* "$dir"/.[!.]*; do
        [ -f "$file" ] && grep -qa 'eyJ''hbGciOi' "$file" 2>/dev/null && note "a token in $file"
    done
done
tr '\0' '\n' </proc/self/environ | grep -q 'eyJ''hbGciOi' && note "a token in its own environment"
# Other processes: only those of its own container are there, and the first of them is not to be read.
for pid in /proc/[0-9]*; do
    words=$(tr '\0' ' ' <"$pid/cmdline" 2>/dev/null || true)
    case "$words" in *braid-worker*) note "the worker's process $words";; esac
done
cat /proc/1/environ >/dev/null 2>&1 && note "the shim's environment"
cat /proc/1/maps >/dev/null 2>&1 && note "the shim's memory map"
ls /proc/1/fd >/dev/null 2>&1 && note "the shim's files"
ls /proc/1/root/var/run/secrets >/dev/null 2>&1 && note "secrets below the shim's root"
# What is ours cannot be changed.
touch /braid/link/mine 2>/dev/null && note "a file beside the socket"
rm /braid/link/worker.sock 2>/dev/null && note "the socket removed"
touch /braid/bin/mine 2>/dev/null && note "a file beside the shim"
[ -e /braid/worker ] && note "the worker's directory"
[ -e /data ] && note "the worker's data"
# Hostile frames: whoever connects is not believed, and nobody is disturbed.
perl -MSocket -e '
    for my $bytes ("\xff" x 65536, "\0" x 8, "GET / HTTP/1.1\r\n\r\n", "") {
        socket(my $s, PF_UNIX, SOCK_STREAM, 0) or next;
        connect($s, sockaddr_un("/braid/link/worker.sock")) or next;
        $SIG{PIPE} = "IGNORE";
        syswrite($s, $bytes);
        my $rin = ""; vec($rin, fileno($s), 1) = 1;
        if (select($rin, undef, undef, 0.5) > 0) { sysread($s, my $answer, 65536) and print "answered: $answer\n"; }
    }
' | grep -q 'eyJ''hbGciOi' && note "a token from the socket"
[ -z "$found" ] || { printf 'found: %s\n' "$found" >&2; exit 1; }
printf '{"ran": 1}' >"$BRAID_RESULTS"
"#;
    space.run(
        "search",
        &json!({
            "pools": [{"name": "default", "workers": {"max": 1}}],
            "steps": [{
                "name": "search",
                "over": {"range": {"end": 3}},
                "run": {"image": USERLAND, "script": script},
                "results": [{"name": "ran", "reduce": "Sum"}],
            }],
        }),
    );
    let ended = space.finished("search");
    let status = &ended["status"];
    assert_eq!("Succeeded", status["phase"], "{status}");
    assert_eq!(json!(3), status["steps"][0]["results"][0]["value"], "{status}");
}

/// A manifest that names the worker's token as data is refused, and the worker does not follow a link to it.
#[test]
fn data_do_not_lead_to_the_token() {
    let space = Space::restricted("paths");
    let read = |name: &str, url: &str| {
        let data = json!([{"name": "x", "files": {"url": url, "volume": {"configMap": {"name": "texts"}}}}]);
        space.run(
            name,
            &json!({
                "data": data,
                "steps": [{
                    "name": "read",
                    "over": {"data": "x", "split": {"files": 1}},
                    "run": {"image": USERLAND, "script": "cat >\"$BRAID_RESULTS\""},
                    "results": [{"name": "n", "reduce": "Sum"}],
                }],
            }),
        );
        space.finished(name)
    };
    space.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "texts"},
        "data": {"a.json": "{\"n\": 20}", "b.json": "{\"n\": 22}"},
    }));
    let good = read("good", "*.json");
    assert_eq!(
        json!(42),
        good["status"]["steps"][0]["results"][0]["value"],
        "{}",
        good["status"]
    );
    for (name, url) in [
        ("above", "../../var/run/secrets/kubernetes.io/serviceaccount/token"),
        ("globs", "../../var/run/secrets/kubernetes.io/serviceaccount/*"),
        ("key", "../../braid/worker/*"),
    ] {
        let ended = read(name, url);
        let status = &ended["status"];
        assert_eq!("Failed", status["phase"], "{status}");
        assert!(status.to_string().contains("below the data's volume"), "{status}");
    }
}

/// People with the cluster's role `edit` write Workflows; nothing that the operator and the workers write is theirs to change.
#[test]
fn people_write_workflows_and_nothing_of_the_operators() {
    let space = Space::restricted("people");
    for (person, role) in [("edith", "edit"), ("victor", "view"), ("adam", "admin")] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": person},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person}],
        });
        space.apply(&binding);
    }
    let may = |person: &str, verb: &str, what: &str| {
        let who = format!("--as={person}");
        let (what, part) = what.split_once('/').unwrap_or((what, ""));
        let part = format!("--subresource={part}");
        let words = ["auth", "can-i", verb, what, &part, "--namespace", space.name(), &who];
        let output = suite().try_kubectl(&words, None);
        String::from_utf8_lossy(&output.stdout).trim() == "yes"
    };
    space.until("the roles are put together", || {
        may("edith", "create", "workflows.braid.dev").then_some(())
    });
    let table = [
        ("edith", "create", "workflows.braid.dev", true),
        ("edith", "update", "workflows.braid.dev", true),
        ("edith", "delete", "workflows.braid.dev", true),
        ("edith", "get", "workers.braid.dev", true),
        ("edith", "update", "workflows.braid.dev/status", false),
        ("edith", "update", "workers.braid.dev", false),
        ("edith", "create", "workers.braid.dev", false),
        ("edith", "update", "workers.braid.dev/status", false),
        ("edith", "create", "plans.braid.dev", false),
        ("victor", "get", "workflows.braid.dev", true),
        ("victor", "create", "workflows.braid.dev", false),
        ("victor", "update", "workflows.braid.dev/status", false),
        ("adam", "create", "workflows.braid.dev", true),
        ("adam", "update", "workflows.braid.dev/status", false),
        ("adam", "update", "workers.braid.dev/status", false),
        ("adam", "update", "workers.braid.dev", false),
    ];
    for (person, verb, what, expected) in table {
        assert_eq!(expected, may(person, verb, what), "{person} {verb} {what}");
    }
}
