//! The log of a worker's container: lines of user code as JSON objects, among lines of the worker itself.

use std::io;

use braid_worker::runner::logs::{Filter, LogRecord, Stream};
use futures::{AsyncBufRead, AsyncBufReadExt as _};
use jiff::Timestamp;
use serde::Deserialize;

/// The longest line that is read whole; no worker writes a longer one.
const LONGEST: usize = 2 << 20;

/// A line of user code.
#[derive(Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The uid of its run; empty: of a worker of one run alone.
    pub run: String,
    /// Its step.
    pub step: String,
    /// The rest.
    pub record: LogRecord,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    run: String,
    step: String,
    partition: u64,
    attempt: u32,
    stream: Stream,
    #[serde(default)]
    cut: bool,
    line: String,
}

/// The line of user code in a line of the container's log, if it is one.
pub fn parse(text: &str) -> Option<Tagged> {
    let written: Written = serde_json::from_str(text).ok()?;
    Some(Tagged {
        run: written.run,
        step: written.step,
        record: LogRecord {
            time: 0,
            partition: written.partition,
            attempt: written.attempt,
            stream: written.stream,
            cut: written.cut,
            line: written.line,
        },
    })
}

/// Whether a line is asked for.
pub fn is_wanted(tagged: &Tagged, run: &str, steps: &[String], filter: Filter) -> bool {
    let record = &tagged.record;
    (tagged.run.is_empty() || tagged.run == run)
        && steps.contains(&tagged.step)
        && filter.partition.is_none_or(|wanted| wanted == record.partition)
        && filter.attempt.is_none_or(|wanted| wanted == record.attempt)
        && filter.stream.is_none_or(|wanted| wanted == record.stream)
}

/// A line with the time that the cluster has put before it.
pub fn stamped(text: &str) -> Option<(Timestamp, &str)> {
    let (time, rest) = text.split_once(' ')?;
    Some((time.parse().ok()?, rest))
}

/// The next line, without its end. Of one that is too long the end is left out; `None`: there are no more.
pub async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            break;
        }
        any = true;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let room = LONGEST.saturating_sub(line.len());
        line.extend(part.iter().take(room));
        let used = end.map_or(bytes.len(), |at| at + 1);
        reader.consume_unpin(used);
        if end.is_some() {
            break;
        }
    }
    Ok(any.then(|| String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::io::BufReader;

    use super::*;

    const LINE: &str = r#"{"step":"work","partition":3,"attempt":2,"stream":"stderr","cut":false,"line":"bad"}"#;

    #[test]
    fn lines_of_the_worker_itself_are_none_of_user_code() {
        assert_eq!(
            None,
            parse(r#"{"level":"INFO","fields":{"message":"the shim is there"}}"#)
        );
        assert_eq!(None, parse("plain"));
        assert_eq!(None, parse("[1]"));
        assert_eq!("bad", parse(LINE).unwrap().record.line);
    }

    #[test]
    fn only_what_is_asked_for_is_wanted() {
        let tagged = parse(LINE).unwrap();
        let steps = ["work".to_owned()];
        let all = Filter {
            partition: None,
            attempt: None,
            stream: None,
        };
        assert!(is_wanted(&tagged, &steps, all));
        assert!(!is_wanted(&tagged, &["other".to_owned()], all));
        for (filter, wanted) in [
            (
                Filter {
                    partition: Some(3),
                    ..all
                },
                true,
            ),
            (
                Filter {
                    partition: Some(4),
                    ..all
                },
                false,
            ),
            (
                Filter {
                    attempt: Some(1),
                    ..all
                },
                false,
            ),
            (
                Filter {
                    stream: Some(Stream::Stdout),
                    ..all
                },
                false,
            ),
        ] {
            assert_eq!(wanted, is_wanted(&tagged, &steps, filter), "{filter:?}");
        }
    }

    #[test]
    fn times_are_split_off() {
        let (time, rest) = stamped("2026-01-01T00:00:00.5Z a b").unwrap();
        assert_eq!(("2026-01-01T00:00:00.5Z", "a b"), (time.to_string().as_str(), rest));
        assert_eq!(None, stamped("yesterday a"));
    }

    #[tokio::test]
    async fn a_line_without_end_does_not_fill_the_memory() {
        let text = format!("a\n{}\nlast", "x".repeat(LONGEST + 10));
        let mut reader = BufReader::with_capacity(1000, text.as_bytes());
        assert_eq!("a", next_line(&mut reader).await.unwrap().unwrap());
        assert_eq!(LONGEST, next_line(&mut reader).await.unwrap().unwrap().len());
        assert_eq!("last", next_line(&mut reader).await.unwrap().unwrap());
        assert_eq!(None, next_line(&mut reader).await.unwrap());
    }
}
