//! What user code gets: standard input, `BRAID_INPUT`, variables, scripts.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use braid_worker::runner::{Attempt, Data, Ending, Failure, Input, Item, Program, Runner, RunnerError};
use bytes::Bytes;

use crate::harness::*;

fn bytes(text: &'static str) -> Data {
    Data::Bytes(Bytes::from_static(text.as_bytes()))
}

fn one(name: Option<&str>, data: Data) -> impl FnOnce(&mut Attempt) {
    let name = name.map(Arc::from);
    move |attempt| attempt.input = Input::One { name, data }
}

fn many(files: &[(&str, &'static str)]) -> impl FnOnce(&mut Attempt) {
    let files = files
        .iter()
        .map(|(name, text)| (Arc::from(*name), bytes(text)).into())
        .collect();
    move |attempt| attempt.input = Input::Many(files)
}

#[tokio::test]
async fn no_input_is_an_empty_one() {
    let program = sh("cat; test -z \"${BRAID_INPUT+x}\" && readlink /proc/self/fd/0");
    assert_eq!(once(program).await.1.texts(), ["/dev/null"]);
}

#[tokio::test]
async fn bytes_are_standard_input_and_a_file_with_its_ending() {
    let program = sh("cat; cat $BRAID_INPUT; echo $BRAID_NAME; echo ${BRAID_INPUT##*.}");
    let (ending, bench) = once_with(program, one(Some("a/b.jpg"), bytes("x\n"))).await;
    assert_eq!(ending, Ending::Succeeded { results: None });
    assert_eq!(bench.texts(), ["x", "x", "a/b.jpg", "jpg"]);
    let (_, bench) = once_with(sh("wc -c; test -f $BRAID_INPUT"), one(None, bytes(""))).await;
    assert_eq!(bench.texts(), ["0"]);
}

#[tokio::test]
async fn inputs_larger_than_any_buffer_arrive_whole() {
    let data: Bytes = (0..9_000_000_u32)
        .map(|n| n.to_le_bytes()[(n % 3) as usize])
        .collect::<Vec<u8>>()
        .into();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"head").unwrap();
    file.write_all(&data).unwrap();
    file.write_all(b"tail").unwrap();
    let part = Data::File {
        file: Arc::new(file),
        offset: 4,
        length: data.len() as u64,
    };
    let reference = tempfile::NamedTempFile::new().unwrap();
    reference.as_file().write_all(&data).unwrap();
    let program = sh(&format!(
        "cmp - {0} && cmp $BRAID_INPUT {0}",
        reference.path().display()
    ));
    for data in [Data::Bytes(data), part] {
        let (ending, bench) = once_with(program.clone(), one(None, data)).await;
        assert_eq!(ending, Ending::Succeeded { results: None }, "{:?}", bench.texts());
    }
}

#[tokio::test]
async fn a_file_that_has_shrunk_is_an_error_and_nothing_runs() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"short").unwrap();
    let file: Arc<File> = Arc::new(file);
    let mut bench = Bench::new(patient());
    bench.prepare(sh("echo ran")).await;
    let ended = bench
        .run(one(
            None,
            Data::File {
                file,
                offset: 0,
                length: 400_000,
            },
        ))
        .await;
    assert_eq!(failure(&ended.ending), &Failure::InputUnreadable);
    let next = bench.run(|_| ()).await;
    assert_eq!(next.ending, Ending::Succeeded { results: None });
    assert_eq!(bench.texts(), ["ran"]);
}

#[tokio::test]
async fn several_files_are_a_directory_and_their_concatenation() {
    let program = sh("cat; cd $BRAID_INPUT && find . -type f | sort; cat d/e/b; test -z \"$BRAID_NAME\"");
    let (ending, bench) = once_with(
        program,
        many(&[("z", "1\n"), ("d/e/b", "2\n"), ("empty", ""), ("a", "3\n")]),
    )
    .await;
    assert_eq!(ending, Ending::Succeeded { results: None });
    assert_eq!(bench.texts(), ["1", "2", "3", "./a", "./d/e/b", "./empty", "./z", "2"]);
    assert_eq!(once_with(sh("wc -c"), many(&[])).await.1.texts(), ["0"]);
}

#[tokio::test]
async fn paths_that_leave_the_directory_are_refused() {
    for bad in ["../x", "/etc/x", "a/../../x", "", ".", "a/./../b"] {
        let (ending, bench) = once_with(sh("echo ran"), many(&[("ok", "1"), (bad, "2"), ("after", "3")])).await;
        assert_eq!(failure(&ending), &Failure::NotSetUp, "{bad:?}");
        assert!(bench.texts().is_empty());
    }
    let (ending, _) = once_with(sh("echo ran"), many(&[("same", "1"), ("same", "2")])).await;
    assert_eq!(failure(&ending), &Failure::NotSetUp);
}

#[tokio::test]
async fn input_that_nobody_reads_hurts_nobody() {
    let data = Data::Bytes(Bytes::from(vec![b'x'; 3_000_000]));
    let many = ["a", "b"].map(|name| (Arc::from(name), data.clone()).into()).to_vec();
    assert_eq!(
        once_with(sh("exit 0"), one(None, data)).await.0,
        Ending::Succeeded { results: None }
    );
    let unread = once_with(sh("exec <&-; sleep 0.1; exit 0"), move |attempt| {
        attempt.input = Input::Many(many);
    })
    .await;
    assert_eq!(unread.0, Ending::Succeeded { results: None });
}

#[tokio::test]
async fn variables_are_those_of_the_contract() {
    let names = "BRAID_PARTITION BRAID_ATTEMPT BRAID_UID BRAID_ITEM BRAID_ITEM_LR BRAID_ITEM_NAME_X COLOUR";
    let program = sh(&format!(
        "for n in {names}; do eval echo $n=\\$$n; done; test -n \"$PATH\""
    ));
    let item = serde_json::json!({"lr": 0.1, "name-x": "two words"});
    let (ending, bench) = once_with(program, move |attempt| {
        attempt.partition = 17;
        attempt.attempt = 2;
        attempt.item = Item::Json(Arc::new(item));
    })
    .await;
    assert_eq!(ending, Ending::Succeeded { results: None });
    let wanted = [
        "BRAID_PARTITION=17",
        "BRAID_ATTEMPT=2",
        "BRAID_UID=u1/count/17",
        "BRAID_ITEM={\"lr\":0.1,\"name-x\":\"two words\"}",
        "BRAID_ITEM_LR=0.1",
        "BRAID_ITEM_NAME_X=two words",
        "COLOUR=green",
    ];
    assert_eq!(bench.texts(), wanted);
    let (_, bench) = once_with(sh("echo $BRAID_ITEM"), |attempt| attempt.item = Item::Number(-3)).await;
    assert_eq!(bench.texts(), ["-3"]);
}

#[tokio::test]
async fn arguments_are_expanded_by_the_variables_of_the_contract_only() {
    let mut program = command(&[
        "printf",
        "%s\\n",
        "$(COLOUR)-$(BRAID_PARTITION)",
        "$$(COLOUR)",
        "$(HOME)",
        "$HOME",
    ]);
    program.args = vec!["$(BRAID_RESULTS)".to_owned(), "$(BRAID_ITEM)".to_owned()];
    let (_, bench) = once_with(program, |attempt| {
        attempt.partition = 5;
        attempt.item = Item::Json(Arc::new(serde_json::json!("$(COLOUR) `id`")));
    })
    .await;
    let texts = bench.texts();
    assert_eq!(texts[..4], ["green-5", "$(COLOUR)", "$(HOME)", "$HOME"]);
    assert!(texts[4].starts_with('/'), "{}", texts[4]);
    assert_eq!(texts[5], "\"$(COLOUR) `id`\"");
}

#[tokio::test]
async fn scripts_run_by_their_command_or_by_sh() {
    let mut program = Program {
        script: Some("echo \"$1 $2\"; cat".to_owned()),
        ..program()
    };
    program.args = vec!["a b".to_owned(), "$(COLOUR)".to_owned()];
    let (_, bench) = once_with(program, one(None, bytes("in\n"))).await;
    assert_eq!(bench.texts(), ["a b green", "in"]);
    let script = Some("BEGIN { print \"awk\", ARGV[1] }\n".to_owned());
    let program = Program {
        script,
        args: vec!["x".to_owned()],
        ..command(&["awk", "-f"])
    };
    assert_eq!(once(program).await.1.texts(), ["awk x"]);
}

#[tokio::test]
async fn what_cannot_be_run_at_all_is_refused_before_anything_is_sent() {
    let mut bench = Bench::new(patient());
    let refused = |program: Program, runner: &mut braid_worker::runner::ShimRunner| {
        futures::executor::block_on(runner.prepare(Arc::new(program))).unwrap_err()
    };
    let runner = &mut bench.runner;
    assert!(matches!(refused(program(), runner), RunnerError::Invalid(_)));
    let huge = Program {
        script: Some("x".repeat(2 << 20)),
        ..program()
    };
    assert!(matches!(refused(huge, runner), RunnerError::TooLarge { .. }));
    let mut named = sh("true");
    named.env.push(("A=B".to_owned(), String::new()));
    assert!(matches!(refused(named, runner), RunnerError::Invalid(_)));
    let greedy = Program {
        results_limit: Some(u32::MAX),
        ..sh("true")
    };
    assert!(matches!(refused(greedy, runner), RunnerError::TooLarge { .. }));
    let attempt = bench.attempt();
    assert!(matches!(
        bench.runner.start(attempt).await.unwrap_err(),
        RunnerError::UnknownProgram(_)
    ));
}
