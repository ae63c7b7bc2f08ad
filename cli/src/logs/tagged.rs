//! The log of a container of a pod: lines of user code as JSON objects, and what else is written there.

use std::io;

use braid_worker::runner::logs::{Filter, LogRecord, LostLines, TaggedLine};
use futures::{AsyncBufRead, AsyncBufReadExt as _};
use jiff::Timestamp;

/// The longest line that is read whole; no shim writes a longer one.
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

/// A line of the log, as far as it is understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A line of user code.
    Line(Tagged),
    /// So many lines of user code are missing here.
    Lost(u64),
    /// Of the worker itself, or of nobody known.
    Other,
}

/// What a line of the container's log is.
pub fn parse(text: &str) -> Parsed {
    if let Ok(line) = serde_json::from_str::<TaggedLine<'_>>(text) {
        return Parsed::Line(Tagged {
            run: line.run.into_owned(),
            step: line.step.into_owned(),
            record: LogRecord {
                time: 0,
                partition: line.partition,
                attempt: line.attempt,
                stream: line.stream,
                cut: line.cut,
                line: line.line.into_owned(),
            },
        });
    }
    serde_json::from_str::<LostLines>(text).map_or(Parsed::Other, |missing| Parsed::Lost(missing.lost))
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
    #![allow(clippy::unwrap_used, clippy::panic)]

    use braid_worker::runner::logs::Stream;
    use futures::io::BufReader;

    use super::*;

    const LINE: &str = r#"{"step":"work","partition":3,"attempt":2,"stream":"stderr","cut":false,"line":"bad"}"#;

    fn tagged() -> Tagged {
        match parse(LINE) {
            Parsed::Line(tagged) => tagged,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_of_the_worker_itself_are_none_of_user_code() {
        assert_eq!(
            Parsed::Other,
            parse(r#"{"level":"INFO","fields":{"message":"the shim is there"}}"#)
        );
        assert_eq!(Parsed::Other, parse("plain"));
        assert_eq!(Parsed::Other, parse("[1,2]"));
        assert_eq!(Parsed::Lost(12), parse(r#"{"lost":12}"#));
        assert_eq!("bad", tagged().record.line);
    }

    #[test]
    fn only_what_is_asked_for_is_wanted() {
        let tagged = tagged();
        let steps = ["work".to_owned()];
        let all = Filter {
            partition: None,
            attempt: None,
            stream: None,
        };
        assert!(is_wanted(&tagged, "", &steps, all));
        assert!(!is_wanted(&tagged, "", &["other".to_owned()], all));
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
            assert_eq!(wanted, is_wanted(&tagged, "", &steps, filter), "{filter:?}");
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
