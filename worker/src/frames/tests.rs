#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((".{0,20}", ".{0,40}"), 0..5)
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn input() -> impl Strategy<Value = InputShape> {
    prop_oneof![
        Just(InputShape::None),
        (option::of(".{0,20}"), any::<u64>()).prop_map(|(name, length)| InputShape::One { name, length }),
        any::<u64>().prop_map(|length| InputShape::Many { length }),
        Just(InputShape::Stream),
        Just(InputShape::Beside),
        ".{0,60}".prop_map(|path| InputShape::Placed { path }),
        ".{0,60}".prop_map(|path| InputShape::PlacedMany { path }),
    ]
}

fn to_shim() -> impl Strategy<Value = ToShim> {
    let program = (
        (
            any::<u8>(),
            ".{0,20}",
            ".{0,20}",
            any::<u16>(),
            vec(".{0,20}", 0..4),
            option::of(".{0,200}"),
        ),
        (
            vec(".{0,20}", 0..4),
            pairs(),
            any::<u64>(),
            option::of(any::<u32>()),
            any::<bool>(),
            vec(".{0,20}", 0..4),
            option::of((".{0,20}", any::<u64>())),
        ),
    )
        .prop_map(
            |(
                (slot, run, step, concurrency, command, script),
                (args, env, grace_millis, results_limit, sides, outputs, checkpoint),
            )| {
                ToShim::Program(ProgramFrame {
                    slot,
                    run,
                    step,
                    concurrency,
                    command,
                    script,
                    args,
                    env,
                    grace_millis,
                    results_limit,
                    sides,
                    outputs,
                    checkpoint,
                })
            },
        );
    let which = (any::<u64>(), any::<u8>(), any::<u64>(), any::<u32>());
    let start = (which, option::of(any::<u64>()), pairs(), input()).prop_map(
        |((attempt, slot, partition, number), timeout_millis, env, input)| {
            ToShim::Start(StartFrame {
                attempt,
                slot,
                partition,
                number,
                timeout_millis,
                env,
                input,
            })
        },
    );
    prop_oneof![
        any::<u16>().prop_map(|version| ToShim::Hello { version }),
        (any::<u64>(), input()).prop_map(|(attempt, input)| ToShim::Store { attempt, input }),
        any::<u64>().prop_map(|attempt| ToShim::Forget { attempt }),
        (any::<u64>(), any::<u64>(), any::<u32>()).prop_map(|(attempt, partition, number)| ToShim::About {
            attempt,
            partition,
            number
        }),
        program,
        start,
        (any::<u64>(), ".{0,60}", any::<u64>(), any::<bool>()).prop_map(|(attempt, path, skip, lines)| {
            ToShim::InputFile {
                attempt,
                path,
                skip,
                lines,
            }
        }),
        (any::<u64>(), bytes(300)).prop_map(|(attempt, data)| ToShim::InputData { attempt, data }),
        any::<u64>().prop_map(|attempt| ToShim::InputEnd { attempt }),
        any::<u64>().prop_map(|attempt| ToShim::Kill { attempt }),
        any::<u64>().prop_map(|millis| ToShim::Extend { millis }),
        any::<u64>().prop_map(|nonce| ToShim::Ping { nonce }),
        key().prop_map(|key| ToShim::Key { key }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        any::<i32>().prop_map(Outcome::Exit),
        any::<i32>().prop_map(Outcome::Signal),
        Just(Outcome::TimedOut),
        Just(Outcome::OutOfMemory),
        Just(Outcome::Killed),
        Just(Outcome::CommandNotFound),
        Just(Outcome::NotExecutable),
        Just(Outcome::NotSetUp),
        any::<u64>().prop_map(Outcome::ResultTooLarge),
        Just(Outcome::ResultUnreadable),
        Just(Outcome::BadOutput),
    ]
}

fn key() -> impl Strategy<Value = LinkKey> {
    any::<[u8; LinkKey::BYTES]>().prop_map(|bytes| LinkKey::from_bytes(&bytes).unwrap())
}

fn from_shim() -> impl Strategy<Value = FromShim> {
    prop_oneof![
        any::<u16>().prop_map(|version| FromShim::Ready { version }),
        (any::<u64>(), vec(any::<u8>(), 0..50)).prop_map(|(attempt, data)| FromShim::Output {
            attempt,
            data: data.into()
        }),
        (any::<u64>(), proptest::result::maybe_ok(".{0,20}", ".{0,20}"))
            .prop_map(|(attempt, place)| FromShim::Stored { attempt, place }),
        (any::<u64>(), any::<bool>(), any::<bool>(), bytes(300)).prop_map(|(attempt, err, cut, line)| {
            FromShim::Log {
                attempt,
                stream: if err { Stream::Stderr } else { Stream::Stdout },
                cut,
                line,
            }
        }),
        (any::<u64>(), outcome(), option::of(bytes(300)), ".{0,40}", any::<u64>()).prop_map(
            |(attempt, outcome, results, message, micros)| FromShim::Finished {
                attempt,
                outcome,
                results,
                message,
                micros
            }
        ),
        (any::<u64>(), any::<u8>(), ".{0,60}").prop_map(|(attempt, data, path)| FromShim::OutFile {
            attempt,
            data,
            path
        }),
        (any::<u64>(), bytes(300)).prop_map(|(attempt, data)| FromShim::OutData { attempt, data }),
        Just(FromShim::Draining),
        any::<u64>().prop_map(|nonce| FromShim::Pong { nonce }),
        key().prop_map(|key| FromShim::Key { key }),
    ]
}

/// Encodes all, feeds the bytes in pieces of `step`, and gives what came out.
fn through<F: Frame>(frames: &[F], step: usize) -> Vec<F> {
    let mut wire = BytesMut::new();
    for frame in frames {
        encode(frame, &mut wire).unwrap();
    }
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for piece in wire.chunks(step) {
        decoder.buffer().extend_from_slice(piece);
        while let Some(frame) = decoder.next_frame::<F>().unwrap() {
            seen.push(frame);
        }
    }
    assert!(decoder.is_at_border());
    seen
}

proptest! {
    #[test]
    fn what_a_worker_sends_arrives_however_it_is_cut(frames in vec(to_shim(), 0..6), step in 1_usize..400) {
        prop_assert_eq!(through(&frames, step), frames);
    }

    #[test]
    fn what_a_shim_sends_arrives_however_it_is_cut(frames in vec(from_shim(), 0..6), step in 1_usize..400) {
        prop_assert_eq!(through(&frames, step), frames);
    }

    /// Any prefix of a body that is shorter than the whole, with an honest length, is refused and never panics.
    #[test]
    fn a_body_cut_short_is_refused(frame in to_shim(), cut in any::<prop::sample::Index>()) {
        let mut wire = BytesMut::new();
        encode(&frame, &mut wire).unwrap();
        let body = &wire[4..];
        let short = &body[..cut.index(body.len())];
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&u32::try_from(short.len()).unwrap().to_le_bytes());
        decoder.buffer().extend_from_slice(short);
        prop_assert!(decoder.next_frame::<ToShim>().is_err());
    }

    #[test]
    fn garbage_never_panics(garbage in vec(any::<u8>(), 0..600), kind in 0_u8..12) {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&garbage);
        while let Ok(Some(_)) = decoder.next_frame::<ToShim>() {}
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&u32::try_from(garbage.len() + 1).unwrap().to_le_bytes());
        decoder.buffer().extend_from_slice(&[kind]);
        decoder.buffer().extend_from_slice(&garbage);
        let _ = decoder.next_frame::<FromShim>();
    }
}

fn decode(bytes: &[u8]) -> Result<Option<FromShim>, FrameError> {
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(bytes);
    decoder.next_frame()
}

#[test]
fn an_announced_length_above_the_limit_is_refused_before_the_body_arrives() {
    let length = u32::try_from(MAX_BODY + 1).unwrap();
    assert_eq!(decode(&length.to_le_bytes()), Err(FrameError::TooLong(MAX_BODY + 1)));
    assert_eq!(
        decode(&u32::MAX.to_le_bytes()),
        Err(FrameError::TooLong(u32::MAX as usize))
    );
}

#[test]
fn impossible_frames_are_told_apart() {
    assert_eq!(decode(&[0, 0, 0, 0]), Err(FrameError::Empty));
    assert_eq!(decode(&[1, 0, 0, 0, 200]), Err(FrameError::UnknownKind(200)));
    assert_eq!(decode(&[2, 0, 0, 0, 4, 9]), Err(FrameError::Trailing(1)));
    assert_eq!(decode(&[2, 0, 0, 0, 1, 1]), Err(FrameError::Truncated("version")));
    assert_eq!(
        decode(&[10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
        Err(FrameError::BadValue("stream"))
    );
}

#[test]
fn a_list_of_four_billion_entries_takes_no_memory() {
    // A program of slot 0, of a run and a step without names, concurrency 1, whose command claims u32::MAX entries.
    let mut wire = vec![16, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    wire.extend_from_slice(&u32::MAX.to_le_bytes());
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(&wire);
    assert_eq!(decoder.next_frame::<ToShim>(), Err(FrameError::Truncated("command")));
}

#[test]
fn a_frame_above_the_limit_is_not_sent_in_part() {
    let mut wire = BytesMut::from(&b"before"[..]);
    let frame = ToShim::InputData {
        attempt: 1,
        data: Bytes::from(vec![0; MAX_BODY]),
    };
    assert!(matches!(encode(&frame, &mut wire), Err(FrameError::TooLong(_))));
    assert_eq!(&wire[..], b"before");
}
