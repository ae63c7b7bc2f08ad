//! Programs that live on: lines, functions and HTTP, and peers that break what was agreed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use braid_worker::runner::{
    Attempt, Data, Ending, Failure, Finished, Http, Input, Item, Limits, Program, ProgramId, Runner as _, Serve,
};
use bytes::Bytes;

use crate::harness::{Bench, HANGS, failure, lives, message, program, results, soon};

/// What a server in Python begins with: `lines()` gives requests, `say` answers.
const LINES: &str = r#"
import json, os, sys, time
def lines():
    for line in sys.stdin:
        yield json.loads(line)
def raw(text):
    os.write(1, text.encode())
def say(r, results=None):
    raw(json.dumps({"id": r["id"], "results": results or {"n": r["partition"]}}) + "\n")
"#;

/// What an HTTP server in Python begins with; `answer(handler, body)` is the test's.
const HTTP: &str = r#"
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self): self.say(200 if ready(self) else 503, b"")
    def do_POST(self): answer(self, self.rfile.read(int(self.headers["Content-Length"])))
    def say(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
def ready(h): return True
def serve(): ThreadingHTTPServer(("127.0.0.1", int(os.environ["BRAID_PORT"])), Handler).serve_forever()
"#;

fn served(serve: Serve, concurrency: u16, text: &str) -> Program {
    Program {
        command: ["python3", "-c", text].map(str::to_owned).into(),
        serve: Some(serve),
        concurrency,
        ..program()
    }
}

pub(crate) fn lines(concurrency: u16, text: &str) -> Program {
    served(Serve::Lines { ahead: false }, concurrency, &format!("{LINES}\n{text}"))
}

pub(crate) fn http(concurrency: u16, text: &str) -> Program {
    let http = Http {
        port: None,
        path: "/work".to_owned(),
        ready_path: Some("/ready".to_owned()),
        ready_within: HANGS,
    };
    let text = format!("{HTTP}\n{text}\nserve()");
    served(Serve::Http(Box::new(http)), concurrency, &text)
}

fn function(concurrency: u16, name: &str) -> Program {
    Program {
        command: vec!["python3".to_owned()],
        script: Some(include_str!("../../src/runner/function.py").to_owned()),
        args: vec![name.to_owned()],
        serve: Some(Serve::Lines { ahead: true }),
        concurrency,
        env: vec![
            ("BRAID_STEP".to_owned(), "count".to_owned()),
            ("BRAID_WORKFLOW".to_owned(), "w".to_owned()),
            ("BRAID_CONCURRENCY".to_owned(), concurrency.to_string()),
        ],
        ..program()
    }
}

fn limits() -> Limits {
    Limits {
        first_pause: Duration::from_millis(10),
        ..Limits::default()
    }
}

pub(crate) async fn bench(program: Program) -> Bench {
    let mut bench = Bench::new(limits());
    bench.prepare(program).await;
    bench
}

/// Runs so many attempts, each once, as many at a time as there is room for. Partitions begin at 101.
pub(crate) async fn all(bench: &mut Bench, count: usize, change: impl Fn(&mut Attempt)) -> BTreeMap<u64, Finished> {
    let (mut started, mut ended) = (0, BTreeMap::new());
    while ended.len() < count {
        while started < count && bench.runner.capacity(ProgramId(1)) > 0 {
            let mut attempt = bench.attempt();
            change(&mut attempt);
            bench.start(attempt).await;
            started += 1;
        }
        for finished in soon(bench.runner.next()).await.unwrap() {
            assert!(ended.insert(finished.partition, finished).is_none(), "one ended twice");
        }
    }
    ended
}

fn own(partition: u64) -> Ending {
    Ending::Succeeded {
        results: Some(Bytes::from(format!("{{\"n\": {partition}}}"))),
    }
}

/// All but these succeed with their own number.
fn assert_own(ended: &BTreeMap<u64, Finished>, but: &[u64]) {
    for (partition, finished) in ended {
        if !but.contains(partition) {
            assert_eq!(finished.ending, own(*partition));
        }
    }
}

#[tokio::test]
async fn one_process_answers_all() {
    let text = r#"
open(os.environ["DIR"] + "/starts", "a").write("x\n")
for r in lines(): say(r)
"#;
    let mut bench = bench(lines(16, text)).await;
    let ended = all(&mut bench, 1000, |_| ()).await;
    assert_own(&ended, &[]);
    assert_eq!(bench.file("starts").await, "x");
}

#[tokio::test]
async fn answers_may_come_in_any_order_and_no_more_than_agreed_are_in_flight() {
    let text = r"
waiting = []
for r in lines():
    waiting.append(r)
    if len(waiting) == 4:
        for r in reversed(waiting): say(r)
        waiting = []
";
    let mut bench = bench(lines(4, text)).await;
    assert_own(&all(&mut bench, 400, |_| ()).await, &[]);
}

#[tokio::test]
async fn a_request_has_the_item_or_the_path() {
    let text = r#"
for r in lines():
    if "path" in r: say(r, {"text": open(r["path"]).read(), "name": r["name"], "end": r["path"][-4:]})
    else: say(r, {"item": r["item"], "uid": r["uid"], "attempt": r["attempt"]})
"#;
    let mut bench = bench(lines(2, text)).await;
    let ended = bench
        .run(|attempt| attempt.item = Item::Json(Arc::new(serde_json::json!({"a": [1, "ü"]}))))
        .await;
    assert_eq!(
        ended.ending,
        results(r#"{"item": {"a": [1, "\u00fc"]}, "uid": "u1/count/101", "attempt": 1}"#)
    );
    for text in ["some bytes", ""] {
        let ended = bench
            .run(|attempt| {
                attempt.input = Input::One {
                    name: Some("x/y.csv".into()),
                    data: Data::Bytes(Bytes::from_static(text.as_bytes())),
                };
            })
            .await;
        let Ending::Succeeded { results: Some(found) } = &ended.ending else {
            panic!("{ended:?}");
        };
        let wanted = format!(r#"{{"text": "{text}", "name": "x/y.csv", "end": ".csv"}}"#);
        assert_eq!(std::str::from_utf8(found).unwrap(), wanted);
    }
}

#[tokio::test]
async fn an_error_is_one_partition_s() {
    let text = r#"
for r in lines():
    if r["partition"] == 103: raw('{"id":%d,"error":"no 103"}\n' % r["id"])
    elif r["partition"] == 104: raw('{"id":%d,"error":"never","retry":false}\n' % r["id"])
    else: say(r)
"#;
    let mut bench = bench(lines(4, text)).await;
    let ended = all(&mut bench, 10, |_| ()).await;
    assert_own(&ended, &[103, 104]);
    assert_eq!(*failure(&ended[&103].ending), Failure::Said { retry: true });
    assert_eq!(message(&ended[&103].ending), "no 103");
    assert!(!failure(&ended[&104].ending).may_be_retried());
}

#[tokio::test]
async fn who_kills_the_process_is_found_among_many() {
    let text = r#"
for r in lines():
    if r["partition"] == 113:
        print("not 113!", file=sys.stderr)
        sys.exit(3)
    say(r)
"#;
    let mut bench = bench(lines(16, text)).await;
    let ended = all(&mut bench, 100, |_| ()).await;
    assert_own(&ended, &[113]);
    assert_eq!(*failure(&ended[&113].ending), Failure::Exit(3));
    assert!(message(&ended[&113].ending).contains("not 113!"), "{ended:?}");
}

#[tokio::test]
async fn whatever_is_no_answer_ends_the_process_and_is_blamed_on_one() {
    for (what, says) in [
        ("raw('hello\\n')", "hello"),
        ("raw('{\"id\":999999}\\n')", "999999"),
        ("raw('x' * 3000000)", "more than"),
        ("[say(r), say(r)]", ""),
        ("sys.exit(0)", "exit code 0"),
    ] {
        let text = format!("for r in lines():\n    if r['partition'] == 107: {what}\n    else: say(r)");
        let mut bench = bench(lines(8, &text)).await;
        let ended = all(&mut bench, 30, |_| ()).await;
        if says.is_empty() {
            // It was answered before it was answered again.
            assert_own(&ended, &[]);
            continue;
        }
        assert_own(&ended, &[107]);
        assert_eq!(*failure(&ended[&107].ending), Failure::BadAnswer, "{what}");
        assert!(message(&ended[&107].ending).contains(says), "{what}: {ended:?}");
    }
}

#[tokio::test]
async fn one_that_is_late_is_ended_and_the_others_are_asked_again() {
    let text = r#"
import threading
def work(r):
    if r["partition"] == 105: time.sleep(3600)
    say(r)
for r in lines(): threading.Thread(target=work, args=(r,), daemon=True).start()
"#;
    let mut bench = bench(lines(4, text)).await;
    let late = Duration::from_secs(2);
    let ended = all(&mut bench, 12, |attempt| attempt.timeout = Some(late)).await;
    assert_own(&ended, &[105]);
    assert_eq!(*failure(&ended[&105].ending), Failure::Timeout(late));
}

#[tokio::test]
async fn results_have_a_limit_and_cost_nobody_else() {
    let text = "for r in lines(): say(r, {'n': 'x' * 2000} if r['partition'] == 102 else None)";
    let mut bench = bench(lines(2, text)).await;
    let ended = all(&mut bench, 5, |_| ()).await;
    assert_own(&ended, &[102]);
    assert!(matches!(
        failure(&ended[&102].ending),
        Failure::ResultTooLarge { limit: 1024, .. }
    ));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_fails_all_at_once() {
    let absent = Program {
        command: vec!["no-such-program".to_owned()],
        ..lines(4, "")
    };
    let mut bench = bench(absent).await;
    let ended = all(&mut bench, 4, |_| ()).await;
    assert!(
        ended
            .values()
            .all(|ended| *failure(&ended.ending) == Failure::CommandNotFound)
    );
}

#[tokio::test]
async fn one_that_ends_before_it_has_answered_says_why() {
    let mut bench = bench(lines(1, "sys.exit('no such table')")).await;
    let ended = bench.run(|_| ()).await.ending;
    assert_eq!(*failure(&ended), Failure::Exit(1));
    let text = message(&ended);
    assert!(
        text.contains("before it had answered anything") && text.contains("no such table"),
        "{text}"
    );
}

#[tokio::test]
async fn nothing_is_lost_when_it_dies_at_random() {
    let text = r"
import random
for r in lines():
    if random.random() < 0.02: os.kill(os.getpid(), 9)
    say(r)
";
    let mut bench = bench(lines(8, text)).await;
    let (mut failed, mut flying) = (0, 0);
    let mut missing: Vec<u64> = (0..300).collect();
    while !missing.is_empty() || flying > 0 {
        while bench.runner.capacity(ProgramId(1)) > 0
            && let Some(partition) = missing.pop()
        {
            let mut attempt = bench.attempt();
            attempt.partition = partition;
            bench.start(attempt).await;
            flying += 1;
        }
        for finished in soon(bench.runner.next()).await.unwrap() {
            flying -= 1;
            match &finished.ending {
                Ending::Succeeded { .. } => assert_eq!(finished.ending, own(finished.partition)),
                Ending::Failed { failure, .. } => {
                    assert_eq!(*failure, Failure::Signal(9));
                    failed += 1;
                    missing.push(finished.partition);
                }
            }
        }
    }
    assert!(failed < 100, "{failed}");
}

#[tokio::test]
async fn a_kill_waits_for_an_answer_within_the_grace() {
    let text = r#"
for r in lines():
    open(os.environ["DIR"] + "/pid", "w").write("%d\n" % os.getpid())
    time.sleep(3600)
"#;
    let mut bench = bench(lines(1, text)).await;
    let attempt = bench.attempt();
    let id = bench.start(attempt).await;
    let pid = bench.file("pid").await;
    assert!(lives(&pid));
    bench.runner.kill(id).await.unwrap();
    let ended = bench.ended(1).await.remove(0);
    assert_eq!(*failure(&ended.ending), Failure::Killed);
    assert!(!lives(&pid));
}

#[tokio::test]
async fn at_the_end_it_is_told_and_may_finish() {
    let text = r#"
for r in lines(): say(r)
open(os.environ["DIR"] + "/end", "w").write("well\n")
"#;
    let mut bench = bench(lines(1, text)).await;
    bench.run(|_| ()).await;
    let Bench { runner, dir, .. } = bench;
    soon(runner.shutdown()).await;
    assert_eq!(std::fs::read_to_string(dir.path().join("end")).unwrap(), "well\n");
}

#[tokio::test]
async fn what_it_writes_to_standard_error_is_its_log() {
    let text = "for r in lines(): print('about', r['partition'], file=sys.stderr, flush=True); say(r)";
    let mut bench = bench(lines(1, text)).await;
    all(&mut bench, 50, |_| ()).await;
    let logged = bench.logged();
    assert_eq!(logged.len(), 50);
    for line in logged {
        assert_eq!(line.line, format!("about {}", line.partition));
    }
}

/// A module, beside the bench's directory, on the path of Python.
pub(crate) async fn with_module(concurrency: u16, name: &str, text: &str) -> Bench {
    let mut bench = Bench::new(limits());
    std::fs::write(bench.dir.path().join("work.py"), text).unwrap();
    let mut program = function(concurrency, name);
    let code = bench.dir.path().to_string_lossy().into_owned();
    program.env.push(("BRAID_CODE".to_owned(), code));
    bench.prepare(program).await;
    bench
}

#[tokio::test]
async fn a_function_is_called_for_each_item() {
    let text = r#"
from decimal import Decimal
def double(item):
    if item == 13: raise ValueError("unlucky")
    print("about", item)
    return {"n": item * 2, "d": Decimal("1.10")}
def known(item, ctx):
    return [ctx.partition, ctx.attempt, ctx.uid, ctx.step, ctx.path, ctx.name]
def words(item):
    return {"n": sum(len(line.split()) for line in item.lines()), "text": item.text(), "name": item.name}
"#;
    for concurrency in [1, 3] {
        let mut bench = with_module(concurrency, "work:double", text).await;
        let ended = all(&mut bench, 50, |attempt| {
            attempt.item = Item::Number(attempt.partition.cast_signed() - 101);
        })
        .await;
        for (partition, finished) in &ended {
            if *partition == 114 {
                assert_eq!(*failure(&finished.ending), Failure::Said { retry: true });
                assert_eq!(message(&finished.ending), "ValueError: unlucky (work.py:4 in double)");
            } else {
                let wanted = format!("{{\"n\":{},\"d\":\"1.10\"}}", (partition - 101) * 2);
                let results = Some(Bytes::from(wanted));
                assert_eq!(finished.ending, Ending::Succeeded { results });
            }
        }
        let logged = bench.logged();
        let about = logged.iter().filter(|line| line.line.starts_with(b"about "));
        let mut count = 0;
        for line in about {
            assert_eq!(line.line, format!("about {}", line.partition - 101));
            count += 1;
        }
        assert_eq!(count, 49);
        let error = logged.iter().find(|line| line.line == "ValueError: unlucky");
        assert_eq!(error.unwrap().partition, 114);
    }
    let mut bench = with_module(1, "work:known", text).await;
    let wanted = r#"[101,1,"u1/count/101","count",null,null]"#;
    assert_eq!(bench.run(|_| ()).await.ending, results(wanted));
    let mut bench = with_module(1, "work:words", text).await;
    let ended = bench.run(|attempt| {
        attempt.input = Input::One {
            name: Some("a.txt".into()),
            data: Data::Bytes(Bytes::from_static("one two\nthrée".as_bytes())),
        };
    });
    let wanted = r#"{"n":3,"text":"one two\nthr\u00e9e","name":"a.txt"}"#;
    assert_eq!(ended.await.ending, results(wanted));
}

#[tokio::test]
async fn a_function_that_cannot_be_had_says_why() {
    for (name, text, says) in [
        ("absent:f", "", "No module named 'absent'"),
        ("work:absent", "", "has no attribute 'absent'"),
        ("work:f", "async def f(item): pass", "no function that can be called"),
        ("work:f", "f = (", "SyntaxError"),
    ] {
        let mut bench = with_module(1, name, text).await;
        let ended = bench.run(|_| ()).await.ending;
        assert_eq!(*failure(&ended), Failure::Exit(1));
        assert!(message(&ended).contains(says), "{ended:?}");
    }
}

#[tokio::test]
async fn a_function_that_hangs_or_dies_is_found_among_those_sent_ahead() {
    let text = r#"
import os, time
def f(item, ctx):
    if ctx.partition == 1500: time.sleep(3600)
    if ctx.partition == 1900: os._exit(7)
    return {"n": ctx.partition}
"#;
    let mut bench = with_module(1, "work:f", text).await;
    let late = Duration::from_secs(2);
    let ended = all(&mut bench, 2000, |attempt| attempt.timeout = Some(late)).await;
    assert_eq!(*failure(&ended[&1500].ending), Failure::Timeout(late));
    assert_eq!(*failure(&ended[&1900].ending), Failure::Exit(7));
    for (partition, finished) in ended.iter().filter(|(partition, _)| !matches!(partition, 1500 | 1900)) {
        let results = Some(Bytes::from(format!("{{\"n\":{partition}}}")));
        assert_eq!(finished.ending, Ending::Succeeded { results });
    }
}

#[tokio::test]
async fn a_partition_is_posted_and_the_answer_is_its_results() {
    let text = r#"
def answer(h, body):
    said = {name: h.headers[name] for name in ("Braid-Partition", "Braid-Uid", "Braid-Name", "Content-Type") if h.headers[name]}
    h.say(200, json.dumps({"path": h.path, "body": body.decode(), **said}).encode())
"#;
    let mut bench = bench(http(4, text)).await;
    let ended = bench.run(|attempt| attempt.item = Item::Number(5)).await.ending;
    let wanted = r#"{"path": "/work", "body": "5", "Braid-Partition": "101", "Braid-Uid": "u1/count/101", "Content-Type": "application/json"}"#;
    assert_eq!(ended, results(wanted));
    let ended = bench.run(|attempt| {
        let data = || Data::Bytes(Bytes::from(vec![b'y'; 300_000]));
        attempt.input = Input::Many(vec![("a".into(), data()).into(), ("b".into(), data()).into()]);
    });
    let Failure::ResultTooLarge { .. } = failure(&ended.await.ending) else {
        panic!("600 kB came back");
    };
    let same = all(&mut bench, 200, |attempt| attempt.item = Item::Number(1)).await;
    assert!(
        same.values()
            .all(|ended| matches!(ended.ending, Ending::Succeeded { .. }))
    );
}

#[tokio::test]
async fn statuses_are_waits_failures_or_faults() {
    let text = r#"
seen = set()
def answer(h, body):
    p = int(h.headers["Braid-Partition"])
    if p in (101, 102) and p not in seen:
        seen.add(p)
        return h.say(429 if p == 101 else 503, b"later", Retry_After="0")
    if p == 103: return h.say(404, b"no such thing\n")
    if p == 104: return h.say(500, b"oops")
    if p == 105: return h.say(302, b"", Location="http://127.0.0.1:1/")
    if p == 106: return h.say(503, b"no word of when")
    h.say(200, json.dumps({"n": p}).encode())
"#;
    let mut bench = bench(http(3, text)).await;
    let ended = all(&mut bench, 10, |_| ()).await;
    assert_own(&ended, &[103, 104, 105, 106]);
    for (partition, status, retried) in [(103, 404, false), (104, 500, true), (105, 302, false), (106, 503, true)] {
        let failure = failure(&ended[&partition].ending);
        assert_eq!((failure, failure.may_be_retried()), (&Failure::Http(status), retried));
    }
    assert_eq!(message(&ended[&103].ending), "HTTP 404: no such thing");
}

#[tokio::test]
async fn a_server_that_dies_or_hangs_is_started_again_and_the_culprit_is_found() {
    let text = r#"
import threading
def answer(h, body):
    p = int(h.headers["Braid-Partition"])
    if p == 109: os._exit(5)
    if p == 117: time.sleep(3600)
    if p == 121: return h.connection.shutdown(2)
    h.say(200, json.dumps({"n": p}).encode())
"#;
    let mut bench = bench(http(6, text)).await;
    let late = Duration::from_secs(3);
    let ended = all(&mut bench, 40, |attempt| attempt.timeout = Some(late)).await;
    assert_own(&ended, &[109, 117, 121]);
    assert_eq!(*failure(&ended[&109].ending), Failure::Exit(5));
    assert_eq!(*failure(&ended[&117].ending), Failure::Timeout(late));
    assert_eq!(*failure(&ended[&121].ending), Failure::BadAnswer);
}

#[tokio::test]
async fn a_server_that_is_never_ready_says_so() {
    let mut program = http(2, "def ready(h): return False");
    if let Some(Serve::Http(http)) = &mut program.serve {
        http.ready_within = Duration::from_secs(2);
    }
    let mut bench = bench(program).await;
    let ended = bench.run(|_| ()).await.ending;
    assert_eq!(*failure(&ended), Failure::BadAnswer);
    let text = message(&ended);
    assert!(
        text.contains("not ready within 2s") && text.contains("/ready answers 503"),
        "{text}"
    );

    let mut program = http(2, "sys.exit('no configuration')");
    program.id = ProgramId(1);
    let mut bench = self::bench(program).await;
    let ended = bench.run(|_| ()).await.ending;
    assert_eq!(*failure(&ended), Failure::Exit(1));
    assert!(message(&ended).contains("no configuration"), "{ended:?}");
}

#[tokio::test]
async fn endless_answers_and_nonsense_are_bounded() {
    let text = r#"
def answer(h, body):
    p = int(h.headers["Braid-Partition"])
    if p == 102:
        h.send_response(200); h.end_headers()
        try:
            while True: h.wfile.write(b"x" * 65536)
        except OSError: return
    if p == 103:
        h.wfile.write(b"hello, this is no HTTP\r\n\r\n" * 10); h.close_connection = True; return
    if p == 104:
        h.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100000 + b"\r\n"); h.close_connection = True; return
    h.say(200, json.dumps({"n": p}).encode())
"#;
    let mut bench = bench(http(2, text)).await;
    let ended = all(&mut bench, 8, |_| ()).await;
    assert_own(&ended, &[102, 103, 104]);
    assert!(matches!(failure(&ended[&102].ending), Failure::ResultTooLarge { .. }));
    assert_eq!(*failure(&ended[&103].ending), Failure::BadAnswer);
    assert_eq!(*failure(&ended[&104].ending), Failure::BadAnswer);
}
