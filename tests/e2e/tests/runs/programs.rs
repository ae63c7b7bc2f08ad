//! Programs in every way that there is: the documentation's, and one that dies at random. The results are the same.

use std::{collections::BTreeMap, fs, process::Command};

use braid_e2e::{Home, root};
use serde_json::{Value, json};

/// The programs of the documentation, by the names of their files.
fn documented() -> BTreeMap<String, String> {
    let page = fs::read_to_string(root().join("docs/user-code.md")).unwrap();
    let mut programs = BTreeMap::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some((_, name)) = line.strip_prefix("```").and_then(|info| info.split_once(" file=")) else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        programs.insert(name.to_owned(), text.join("\n") + "\n");
    }
    programs
}

fn compile(home: &Home, command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .current_dir(home.path("."))
        .env("GOCACHE", home.path("go-cache"))
        .env("GO111MODULE", "off")
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[test]
fn the_documentations_programs_count_the_same() {
    let home = Home::default();
    let programs = documented();
    for (name, text) in &programs {
        home.write(name, text);
    }
    for part in 0..5 {
        let text = (0..900).fold(String::new(), |text, line| {
            text + &format!("line {line} of part {part}, naïve\n")
        });
        home.write(&format!("books/{part}/text.txt"), text);
    }
    compile(&home, &["go", "build", "-o", "words-go", "words.go"]);
    compile(&home, &["rustc", "-O", "-o", "words-rust", "words.rs"]);
    let words: u64 = home.shell("cat books/*/*.txt | wc -w").parse().unwrap();
    let here = |name: &str| home.path(name).to_string_lossy().into_owned();
    let lines = json!({"protocol": "Lines"});
    let ways = [
        ("sh", json!({"command": ["sh", here("words.sh")]})),
        ("rust", json!({"command": [here("words-rust")]})),
        ("function", json!({"function": "words:count", "code": {"path": "."}})),
        (
            "threads",
            json!({"function": "words:count", "code": {"path": "."}, "concurrency": 3}),
        ),
        (
            "lines",
            json!({"command": ["python3", "words_lines.py"], "serve": lines, "concurrency": 4}),
        ),
        (
            "go",
            json!({"command": [here("words-go")], "serve": lines, "concurrency": 16}),
        ),
        (
            "http",
            json!({"command": ["python3", "words_http.py"], "serve": {"protocol": "HTTP"}, "concurrency": 4}),
        ),
    ];
    let steps: Vec<Value> = ways
        .iter()
        .map(|(name, run)| {
            json!({
                "name": name,
                "over": {"data": "books", "split": {"bytes": "2Ki"}},
                "run": run,
                "results": [{"name": "words", "reduce": "Sum"}],
            })
        })
        .collect();
    let spec =
        json!({"data": [{"name": "books", "files": {"url": "books/**/*.txt", "format": "Text"}}], "steps": steps});
    let ended = home.run_spec("ways", &spec).exits(0);
    let of_sh = ended.counts("sh");
    assert!(of_sh.0 > 20, "{of_sh:?}");
    for (name, _) in &ways {
        assert_eq!(ended.results(name)["words"], json!(words), "{name}");
        assert_eq!(ended.counts(name), of_sh, "{name}");
    }
    // None of the page's programs goes unused.
    assert_eq!(programs.len(), 6, "{:?}", programs.keys());
}

/// Sums a column of CSV, times a number that all partitions read, in every way.
const SALES: &str = "
import csv, io, json, os, sys
def times(): return int(open(os.environ['BRAID_IN_FACTOR'] + '/factor.txt').read())
def sums(text):
    rows = list(csv.DictReader(io.StringIO(text, newline='')))
    return {'rows': len(rows), 'sum': times() * sum(int(row['n']) for row in rows)}
def function(item): return sums(item.text())
def joined(request):
    if 'files' not in request: return open(request['path'], newline='').read()
    text = ''
    for part in request['files']:
        if text and not text.endswith('\\n'): text += '\\n'
        text += open(request['path'] + '/' + part['path'], newline='').read()[part.get('skip', 0):]
    return text
if __name__ == '__main__':
    if sys.argv[1] == 'lines':
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps({'id': request['id'], 'results': sums(joined(request))}), flush=True)
    elif sys.argv[1] == 'http':
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            def log_message(self, *_): pass
            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length'])).decode()
                body = json.dumps(sums(body)).encode()
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)
        ThreadingHTTPServer(('127.0.0.1', int(os.environ['BRAID_PORT'])), Handler).serve_forever()
    else:
        json.dump(sums(sys.stdin.read()), open(os.environ['BRAID_RESULTS'], 'w'))
";

#[test]
fn records_and_what_all_read_reach_programs_that_live_on() {
    let home = Home::default();
    home.write("sales.py", SALES);
    home.write("factor.txt", "7");
    for part in 0..4_u64 {
        let rows = (0..250).fold("n,text\n".to_owned(), |text, row| {
            text + &format!("{},\"a line\nend, {row}\"\n", part * 1000 + row)
        });
        // The last line of one is not ended.
        home.write(&format!("sales/{part}.csv"), rows.trim_end().as_bytes());
    }
    home.shell("gzip -k sales/*.csv && mkdir packed && mv sales/*.gz packed");
    let ways = [
        ("process", json!({"command": ["python3", "sales.py", "process"]})),
        ("function", json!({"function": "sales:function", "code": {"path": "."}})),
        (
            "lines",
            json!({"command": ["python3", "sales.py", "lines"], "serve": {"protocol": "Lines"}, "concurrency": 4}),
        ),
        (
            "http",
            json!({"command": ["python3", "sales.py", "http"], "serve": {"protocol": "HTTP"}, "concurrency": 4}),
        ),
    ];
    let splits = [
        ("rows", "sales", json!({"rows": 30})),
        ("several", "sales", json!({"files": 3})),
        ("packed", "packed", json!({"files": 2})),
    ];
    let step = |(split, data, how): &(&str, &str, Value), (way, run): &(&str, Value)| {
        json!({
            "name": format!("{split}-{way}"),
            "over": {"data": data, "split": how},
            "reads": [{"data": "factor"}],
            "run": run,
            "results": [{"name": "rows", "reduce": "Sum"}, {"name": "sum", "reduce": "Sum"}],
        })
    };
    let steps: Vec<Value> = splits
        .iter()
        .flat_map(|split| ways.iter().map(move |way| step(split, way)))
        .collect();
    let files = |name: &str, url: &str| json!({"name": name, "files": {"url": url, "format": "CSV"}});
    let spec = json!({
        "data": [
            files("sales", "sales/*.csv"),
            files("packed", "packed/*.gz"),
            {"name": "factor", "files": {"url": "factor.txt"}},
        ],
        "steps": steps,
    });
    let ended = home.run_spec("sales", &spec).exits(0);
    let sum: u64 = (0..4).flat_map(|part| (0..250).map(move |row| part * 1000 + row)).sum();
    for (split, _, _) in &splits {
        for (way, _) in &ways {
            let step = format!("{split}-{way}");
            assert_eq!(*ended.results(&step), json!({"rows": 1000, "sum": sum * 7}), "{step}");
        }
    }
}

/// Dies by a signal about once in twenty partitions, each time of other ones.
const MORTAL: &str = "
import json, os, random, signal, sys
def work(n):
    if random.random() < 0.05: os.kill(os.getpid(), signal.SIGKILL)
    return {'n': n, 'key': {str(n % 7): 1}}
def serve(handler):
    from http.server import ThreadingHTTPServer
    ThreadingHTTPServer(('127.0.0.1', int(os.environ['BRAID_PORT'])), handler).serve_forever()
if __name__ == '__main__':
    if sys.argv[1] == 'lines':
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps({'id': request['id'], 'results': work(request['item'])}), flush=True)
    elif sys.argv[1] == 'http':
        from http.server import BaseHTTPRequestHandler
        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            def log_message(self, *_): pass
            def do_POST(self):
                body = json.dumps(work(int(self.rfile.read(int(self.headers['Content-Length']))))).encode()
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)
        serve(Handler)
    else:
        json.dump(work(int(os.environ['BRAID_ITEM'])), open(os.environ['BRAID_RESULTS'], 'w'))
";

#[test]
fn whatever_dies_the_results_are_the_same() {
    let home = Home::default();
    home.write("mortal.py", MORTAL);
    let ways = [
        (
            "process",
            json!({"command": ["python3", "mortal.py", "process"], "concurrency": 2}),
        ),
        ("function", json!({"function": "mortal:work", "code": {"path": "."}})),
        (
            "lines",
            json!({"command": ["python3", "mortal.py", "lines"], "serve": {"protocol": "Lines"}, "concurrency": 8}),
        ),
        (
            "http",
            json!({"command": ["python3", "mortal.py", "http"], "serve": {"protocol": "HTTP"}, "concurrency": 3}),
        ),
    ];
    let steps: Vec<Value> = ways
        .iter()
        .map(|(name, run)| {
            json!({
                "name": name,
                "over": {"range": {"start": 1000, "end": 1060}},
                "run": run,
                "retry": {"attempts": 20, "backoff": {"initial": "10ms", "max": "50ms"}},
                "results": [
                    {"name": "sum", "from": "n", "reduce": "Sum"},
                    {"name": "most", "from": "n", "reduce": "Max"},
                    {"name": "by", "from": "key", "reduce": "Sum", "keyed": true},
                ],
            })
        })
        .collect();
    let ended = home.run_spec("mortal", &json!({"steps": steps})).exits(0);
    let first = ended.results("process").clone();
    assert_eq!(first["sum"], json!((1000..1060_u64).sum::<u64>()));
    for (name, _) in &ways {
        assert_eq!(ended.counts(name), (60, 60, 0), "{name}");
        assert_eq!(*ended.results(name), first, "{name}");
    }
}

#[test]
fn what_a_program_says_of_itself_is_in_the_status() {
    let home = Home::default();
    let step = |name: &str, run: Value| {
        json!({
            "name": name,
            "over": {"range": {"end": 3}},
            "run": run,
            "maxFailedPartitions": "100%",
            "results": [{"name": "n", "reduce": "Sum"}],
        })
    };
    home.write(
        "bad.py",
        "def f(n):\n    if n == 1: raise KeyError('k')\n    return n\n",
    );
    let lines = json!({"protocol": "Lines"});
    let spec = json!({"steps": [
        step("exception", json!({"function": "bad:f", "code": {"path": "."}})),
        step("nonsense", json!({"command": ["echo", "hello"], "serve": lines})),
        step("absent", json!({"command": ["no-such-program"], "serve": lines})),
        step("unready", json!({"command": ["sleep", "60"], "serve": {"protocol": "HTTP", "readyTimeout": "100ms"}})),
    ]});
    let ended = home.run_spec("said", &spec).exits(0);
    let cause = |step: &str| {
        let cause = &ended.step(step)["failures"][0];
        (
            cause["reason"].as_str().unwrap().to_owned(),
            cause["count"].as_u64().unwrap(),
            cause["message"].as_str().unwrap().to_owned(),
        )
    };
    let wanted = ("Error".to_owned(), 1, "KeyError: 'k' (bad.py:2 in f)".to_owned());
    assert_eq!(cause("exception"), wanted);
    assert_eq!(*ended.results("exception"), json!({"n": 2}));
    let (reason, count, message) = cause("nonsense");
    assert!(
        reason == "BadAnswer" && count == 3 && message.contains("hello"),
        "{message}"
    );
    assert_eq!((cause("absent").0.as_str(), cause("absent").1), ("NotRunnable", 3));
    let (reason, count, message) = cause("unready");
    assert!(
        reason == "BadAnswer" && count == 3 && message.contains("not ready within"),
        "{message}"
    );
}
