//! Either side lies to the other.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use braid_worker::frames::{
    FromShim, InputShape, MAX_HELD, Outcome, ProgramFrame, StartFrame, ToShim, VERSION, encode,
};
use braid_worker::runner::{Failure, ShimCommand};
use bytes::{Bytes, BytesMut};

use crate::harness::*;

/// A shim with a worker made of bytes.
fn bare() -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(HANGS)).unwrap();
    let stdin = Stdio::from(OwnedFd::from(theirs));
    let child = Command::new(env!("CARGO_BIN_EXE_braid-shim"))
        .stdin(stdin)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (child, ours)
}

fn wire(frames: &[ToShim]) -> BytesMut {
    let mut wire = BytesMut::new();
    for frame in frames {
        encode(frame, &mut wire).unwrap();
    }
    wire
}

/// Sends bytes to a shim and gives its exit code and what it said.
fn tell(bytes: &[u8]) -> (i32, String) {
    let (mut child, mut socket) = bare();
    match socket.write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("{error}"),
        _ => {}
    }
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    // A reset says the same as an end.
    let _ = socket.read_to_end(&mut rest);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().expect("an exit code, not a signal"), said)
}

fn hello() -> ToShim {
    ToShim::Hello { version: VERSION }
}

fn program(slot: u8) -> ToShim {
    ToShim::Program(ProgramFrame {
        slot,
        run: "0123".into(),
        step: "work".to_owned(),
        concurrency: 1,
        command: vec!["sleep".to_owned(), "1000".to_owned()],
        script: None,
        args: Vec::new(),
        env: Vec::new(),
        grace_millis: 0,
        results_limit: None,
        sides: false,
        outputs: Vec::new(),
        checkpoint: None,
    })
}

fn start(attempt: u64, slot: u8, input: InputShape) -> ToShim {
    ToShim::Start(StartFrame {
        attempt,
        slot,
        partition: attempt,
        number: 1,
        timeout_millis: None,
        env: Vec::new(),
        input,
    })
}

#[test]
fn a_shim_ends_in_order_when_its_worker_does() {
    assert_eq!(tell(b""), (0, String::new()));
    assert_eq!(
        tell(&wire(&[hello(), program(0), start(1, 0, InputShape::None)])),
        (0, String::new())
    );
    // In the middle of a frame: the worker has died.
    assert_eq!(tell(&wire(&[hello()])[..3]), (0, String::new()));
}

#[test]
fn a_shim_refuses_what_breaks_the_protocol() {
    let one = InputShape::One { name: None, length: 1 };
    let data = |attempt| ToShim::InputData {
        attempt,
        data: Bytes::from_static(b"x"),
    };
    let too_many = [hello(), program(0)]
        .into_iter()
        .chain((0..=MAX_HELD as u64).map(|n| start(n, 0, InputShape::None)));
    let table: Vec<(BytesMut, &str)> = vec![
        (BytesMut::from(&u32::MAX.to_le_bytes()[..]), "longer than"),
        (BytesMut::from(&[0; 64][..]), "without a body"),
        (BytesMut::from(&[1, 0, 0, 0, 99][..]), "unknown kind 99"),
        (wire(&[program(0)]), "no greeting"),
        (wire(&[ToShim::Hello { version: 9 }]), "version 9"),
        (wire(&[hello(), hello()]), "greeting"),
        (wire(&[hello(), program(255)]), "slot 255"),
        (wire(&[hello(), start(1, 3, InputShape::None)]), "unknown program 3"),
        (
            wire(&[hello(), program(0), start(1, 0, one.clone()), start(1, 0, one.clone())]),
            "started already",
        ),
        (
            wire(&[hello(), program(0), start(1, 0, one.clone()), program(0)]),
            "slot 0",
        ),
        (
            wire(&[
                hello(),
                program(0),
                start(1, 0, one.clone()),
                ToShim::InputFile {
                    attempt: 1,
                    path: "x".into(),
                    skip: 0,
                    lines: false,
                },
            ]),
            "input",
        ),
        (
            wire(&[
                hello(),
                program(0),
                start(1, 0, InputShape::Many { length: 0 }),
                data(1),
            ]),
            "input",
        ),
        (
            wire(&[
                hello(),
                program(0),
                start(1, 0, one.clone()),
                start(2, 0, InputShape::None),
                data(2),
            ]),
            "input",
        ),
        (wire(&too_many.collect::<Vec<_>>()), "too many"),
    ];
    for (bytes, wanted) in table {
        let (code, said) = tell(&bytes);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(wanted), "{said:?} does not say {wanted:?}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_shim_ignores_what_may_have_crossed_on_the_way() {
    let (mut child, mut socket) = bare();
    let data = ToShim::InputData {
        attempt: 7,
        data: Bytes::from_static(b"x"),
    };
    let frames = [
        hello(),
        ToShim::Kill { attempt: 7 },
        data,
        ToShim::InputEnd { attempt: 7 },
        ToShim::Ping { nonce: 5 },
    ];
    socket.write_all(&wire(&frames)).unwrap();
    let mut wanted = BytesMut::new();
    encode(&FromShim::Ready { version: VERSION }, &mut wanted).unwrap();
    encode(&FromShim::Pong { nonce: 5 }, &mut wanted).unwrap();
    let mut answer = vec![0; wanted.len()];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, wanted);
    drop(socket);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_shim_without_a_socket_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_braid-shim"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a socket"));
}

/// A shim that says these bytes, then waits.
fn liar(bytes: &[u8]) -> (ShimCommand, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let script = format!("cat {} >&0; exec sleep 1000", file.path().display());
    (
        ShimCommand {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
        },
        file,
    )
}

fn said(frames: &[FromShim]) -> BytesMut {
    let mut wire = BytesMut::new();
    for frame in frames {
        encode(frame, &mut wire).unwrap();
    }
    wire
}

fn finished(attempt: u64, outcome: Outcome, results: Option<usize>) -> FromShim {
    let results = results.map(|size| Bytes::from(vec![b'x'; size]));
    FromShim::Finished {
        attempt,
        outcome,
        results,
        message: String::new(),
        micros: 1,
    }
}

#[tokio::test]
async fn a_worker_gives_up_a_shim_that_lies() {
    use braid_worker::runner::logs::Stream;
    let ready = || FromShim::Ready { version: VERSION };
    let log = |attempt, size| {
        let line = Bytes::from(vec![b'x'; size]);
        FromShim::Log {
            attempt,
            stream: Stream::Stdout,
            cut: false,
            line,
        }
    };
    let table: Vec<(BytesMut, &str)> = vec![
        (BytesMut::from(&u32::MAX.to_le_bytes()[..]), "longer than"),
        (BytesMut::from(&b"HTTP/1.1 200 OK\r\n\r\n"[..]), "longer than"),
        (BytesMut::from(&[0; 8][..]), "without a body"),
        (said(&[finished(1, Outcome::Exit(0), None)]), "did not greet"),
        (said(&[FromShim::Ready { version: 77 }]), "version 77"),
        (said(&[ready(), ready()]), "greeted"),
        (
            said(&[ready(), finished(99, Outcome::Exit(0), None)]),
            "unknown attempt 99",
        ),
        (said(&[ready(), log(99, 1)]), "unknown attempt 99"),
        (said(&[ready(), log(1, 20_000)]), "line of 20000 bytes"),
        (
            said(&[ready(), finished(1, Outcome::Exit(0), Some(1025))]),
            "cannot have",
        ),
        (said(&[ready(), finished(1, Outcome::Exit(1), Some(1))]), "cannot have"),
    ];
    for (bytes, wanted) in table {
        let (command, _file) = liar(&bytes);
        let mut bench = Bench::with(command, patient());
        bench.prepare(sh("true")).await;
        let ended = bench.run(|_| ()).await;
        assert_eq!(failure(&ended.ending), &Failure::ShimDied);
        assert!(
            message(&ended.ending).contains(wanted),
            "{:?} does not say {wanted:?}",
            message(&ended.ending)
        );
    }
}

#[tokio::test]
async fn a_worker_gives_up_a_shim_that_says_nothing_or_half_a_frame() {
    for bytes in [&b""[..], &[200, 0, 0, 0, 3, 1]] {
        let (command, _file) = liar(bytes);
        let mut bench = Bench::with(command, hasty());
        bench.prepare(sh("true")).await;
        let ended = bench.run(|attempt| attempt.timeout = None).await;
        assert_eq!(failure(&ended.ending), &Failure::ShimDied);
        assert!(message(&ended.ending).contains("does not answer"), "{:?}", ended.ending);
    }
}

#[tokio::test]
async fn a_shim_that_always_dies_is_started_more_and_more_rarely() {
    let command = ShimCommand {
        program: "/bin/false".into(),
        args: Vec::new(),
    };
    let limits = braid_worker::runner::Limits {
        first_pause: Duration::from_millis(20),
        ..hasty()
    };
    let mut bench = Bench::with(command, limits);
    bench.prepare(sh("true")).await;
    let begin = std::time::Instant::now();
    for _ in 0..5 {
        let ended = bench.run(|_| ()).await;
        assert_eq!(failure(&ended.ending), &Failure::ShimDied);
    }
    // Each is started that long after the end of the one before.
    let pauses = Duration::from_millis(20 + 40 + 80 + 160);
    assert!(begin.elapsed() >= pauses, "{:?}", begin.elapsed());
}
