//! Data for programs that live on: several files, and what all partitions read.

use std::sync::Arc;

use braid_worker::runner::{Attempt, Data, Ending, Failure, Input, InputFile, Runner as _, RunnerError, Side, Sides};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::harness::{failure, message, results};
use crate::served::{all, bench, http, lines, with_module};

/// Three files of CSV as one, which the last line of the first does not end.
fn several() -> Input {
    let file = |path: &str, text: &'static str, skip| InputFile {
        path: path.into(),
        data: Data::Bytes(Bytes::from_static(text.as_bytes())),
        skip,
        lines: true,
    };
    Input::Many(vec![
        file("b.csv", "n\n1", 0),
        file("a/empty.csv", "n\n", 2),
        file("a/a.csv", "n\n2\n", 2),
    ])
}

#[tokio::test]
async fn several_files_come_as_one_and_each_by_itself() {
    let text = "
def f(item):
    return [item.text(), list(item.lines()), [open(path).read() for path in item.files()]]
";
    let mut function = with_module(1, "work:f", text).await;
    let ended = function.run(|attempt| attempt.input = several()).await;
    let wanted = r#"["n\n1\n2\n",["n","1","2"],["n\n1","n\n","n\n2\n"]]"#;
    assert_eq!(ended.ending, results(wanted));

    let text = "for r in lines(): say(r, [[f, open(r['path'] + '/' + f['path']).read()] for f in r['files']])";
    let mut program = bench(lines(1, text)).await;
    let ended = program.run(|attempt| attempt.input = several()).await;
    let Ending::Succeeded { results: Some(found) } = &ended.ending else {
        panic!("{ended:?}");
    };
    let wanted = json!([
        [{"path": "b.csv", "lines": true}, "n\n1"],
        [{"path": "a/empty.csv", "skip": 2, "lines": true}, "n\n"],
        [{"path": "a/a.csv", "skip": 2, "lines": true}, "n\n2\n"],
    ]);
    assert_eq!(serde_json::from_slice::<Value>(found).unwrap(), wanted);

    let text = "def answer(h, body): h.say(200, json.dumps(body.decode()).encode())";
    let mut server = bench(http(1, text)).await;
    let ended = server.run(|attempt| attempt.input = several()).await;
    assert_eq!(ended.ending, results(r#""n\n1\n2\n""#));
}

/// Files that all partitions read.
fn beside(data: Data) -> Sides {
    let sides = Sides::default();
    sides.set(vec![Side {
        variable: "BRAID_IN_SHOPS".to_owned(),
        files: vec![InputFile::from((Arc::from("shops.csv"), data))],
    }]);
    sides
}

#[tokio::test]
async fn what_all_partitions_read_is_there_before_the_program() {
    let text = "
beside = open(os.environ['BRAID_IN_SHOPS'] + '/shops.csv').read()
for r in lines(): say(r, beside)
";
    let long = Bytes::from(vec![b'x'; 300_000]);
    let mut program = lines(4, text);
    program.sides = beside(Data::Bytes(long.clone()));
    program.results_limit = Some(512 << 10);
    let mut bench = bench(program).await;
    let ended = all(&mut bench, 9, |_| ()).await;
    let wanted = Bytes::from([b"\"", &long[..], b"\""].concat());
    for finished in ended.values() {
        let results = Some(wanted.clone());
        assert_eq!(finished.ending, Ending::Succeeded { results });
    }
}

#[tokio::test]
async fn what_cannot_be_read_beside_ends_all_that_wait_for_it() {
    let file = Arc::new(tempfile::tempfile().unwrap());
    let mut program = lines(4, "for r in lines(): say(r)");
    // Shorter than it was.
    program.sides = beside(Data::File {
        file,
        offset: 0,
        length: 9,
    });
    let mut bench = bench(program).await;
    let attempts: Vec<Attempt> = (0..3).map(|_| bench.attempt()).collect();
    for attempt in attempts {
        bench.start(attempt).await;
    }
    for finished in bench.ended(3).await {
        assert_eq!(*failure(&finished.ending), Failure::InputUnreadable);
        assert!(
            message(&finished.ending).starts_with("what all partitions read"),
            "{finished:?}"
        );
    }
    let late = bench.attempt();
    assert!(matches!(bench.runner.start(late).await, Err(RunnerError::Side(_))));
}
