//! What a worker and a program that serves lines say to each other: one JSON object on a line each way.
//!
//! To the program: `{"id":7,"partition":4,"attempt":1,"uid":"..","item":..}`; with bytes as input `path` (and `name`, if the data
//! has one; and `files`, if there are several) in place of `item`. From it: `{"id":7,"results":..}` or `{"id":7,"error":".."}`, in any order.
//!
//! The program may be hostile: a line is bounded before it is looked at, and whatever is not an answer is an error, after which
//! nothing that it says means anything any more.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use braid_engine::reduce::Text;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use crate::frames::MAX_MESSAGE;
use crate::runner::{Attempt, Input, InputFile, Item, MAX_RESULTS, Program};

/// The longest line that is an answer, in bytes: results and what is around them.
const MAX_ANSWER: usize = MAX_RESULTS as usize + (16 << 10);

/// The files of an input, as a program is told of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The path in the data.
    name: Option<Arc<str>>,
    /// Of several files, JSON: in their order, with what joining them takes.
    files: Option<String>,
}

impl Names {
    pub(super) fn of(input: &Input) -> Self {
        match input {
            Input::None => Self::default(),
            Input::One { name, .. } => Self {
                name: name.clone(),
                files: None,
            },
            Input::Many(files) => {
                let of = |file: &InputFile| {
                    let mut told = json!({"path": &*file.path});
                    if file.skip > 0
                        && let Some(told) = told.as_object_mut()
                    {
                        told.insert("skip".to_owned(), file.skip.into());
                    }
                    if file.lines
                        && let Some(told) = told.as_object_mut()
                    {
                        told.insert("lines".to_owned(), true.into());
                    }
                    told
                };
                let files = Value::Array(files.iter().map(of).collect());
                Self {
                    name: None,
                    files: Some(files.to_string()),
                }
            }
        }
    }
}

/// The line for an attempt, whose input is at this path if it has one.
pub(super) fn request(attempt: &Attempt, program: &Program, input: Option<(&str, &Names)>) -> Bytes {
    let mut line = Vec::with_capacity(192);
    // Writing to a vector cannot fail, and texts are always JSON.
    let _ = write!(
        line,
        "{{\"id\":{},\"partition\":{},\"attempt\":{},\"uid\":",
        attempt.id.0, attempt.partition, attempt.attempt
    );
    let _ = serde_json::to_writer(&mut line, &format_args!("{}/{}", program.uid, attempt.partition));
    match &attempt.item {
        Item::None => {}
        Item::Number(number) => {
            let _ = write!(line, ",\"item\":{number}");
        }
        Item::Json(item) => {
            line.extend_from_slice(b",\"item\":");
            let _ = serde_json::to_writer(&mut line, item.as_ref());
        }
    }
    if let Some((path, names)) = input {
        line.extend_from_slice(b",\"path\":");
        let _ = serde_json::to_writer(&mut line, path);
        if let Some(name) = &names.name {
            line.extend_from_slice(b",\"name\":");
            let _ = serde_json::to_writer(&mut line, &**name);
        }
        if let Some(files) = &names.files {
            line.extend_from_slice(b",\"files\":");
            line.extend_from_slice(files.as_bytes());
        }
    }
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}

/// What a program says of one partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) said: Said,
}

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It succeeded, perhaps with results: JSON, not looked at yet.
    Results(Option<Bytes>),
    /// It failed.
    Error {
        message: String,
        /// Whether another attempt could help.
        retry: bool,
    },
}

/// Cuts a program's standard output into answers. Holds at most one line and what was read behind it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    buffer: BytesMut,
    /// There is no line end before this.
    looked_at: usize,
}

impl Answers {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next answer; `None`: the line is not whole yet.
    pub(super) fn next(&mut self) -> Result<Option<Answer>, String> {
        loop {
            let rest = self.buffer.get(self.looked_at..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                self.looked_at = self.buffer.len();
                if self.buffer.len() > MAX_ANSWER {
                    return Err(format!("it wrote a line of more than {MAX_ANSWER} bytes"));
                }
                return Ok(None);
            };
            let line = self.buffer.split_to(self.looked_at + end + 1).freeze();
            self.looked_at = 0;
            if line.len() > MAX_ANSWER {
                return Err(format!("it wrote a line of {} bytes", line.len()));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return answer(&line).map(Some);
            }
        }
    }
}

fn answer(line: &Bytes) -> Result<Answer, String> {
    let not_one = |why: &str| {
        let text = String::from_utf8_lossy(line);
        let start: String = text.trim_end().chars().take(80).collect();
        format!("it wrote what is not an answer ({why}): {start}")
    };
    let document = Text::document(line).map_err(|error| not_one(&error))?;
    let members = document
        .and_then(Text::members)
        .ok_or_else(|| not_one("no JSON object"))?;
    let (mut id, mut results, mut error, mut retry) = (None, None, None, None);
    for (key, value) in members {
        let place = match key.as_ref() {
            "id" => &mut id,
            "results" => &mut results,
            "error" => &mut error,
            "retry" => &mut retry,
            // For a later version.
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(not_one(&format!("two of `{key}`")));
        }
    }
    let id = id.and_then(|id| id.as_str().parse().ok());
    let id = id.ok_or_else(|| not_one("no `id` that is a number"))?;
    let said = match error.filter(|error| !error.is_null()) {
        None => Said::Results(results.map(|results| line.slice_ref(results.as_str().as_bytes()))),
        Some(error) => Said::Error {
            message: text(error.as_str()),
            retry: retry.is_none_or(|retry| retry.as_str() != "false"),
        },
    };
    Ok(Answer { id, said })
}

/// A text as it is, other JSON as it was written.
fn text(json: &str) -> String {
    let text = serde_json::from_str::<Cow<'_, str>>(json).unwrap_or(Cow::Borrowed(json));
    text.chars().take(MAX_MESSAGE / 4).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;
    use crate::runner::{AttemptId, Data, ProgramId};

    fn attempt(item: Item) -> Attempt {
        Attempt {
            id: AttemptId(7),
            program: ProgramId(1),
            partition: 4,
            attempt: 2,
            item,
            input: Input::None,
            outlet: None,
            timeout: None,
        }
    }

    fn said(item: Item, input: Option<(&str, &Names)>) -> Value {
        let program = Program {
            uid: "u\"1/step".into(),
            run: "u\"1/step".into(),
            ..Program::default()
        };
        let line = request(&attempt(item), &program, input);
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn a_request_is_one_line_of_json() {
        let same = json!({"id": 7, "partition": 4, "attempt": 2, "uid": "u\"1/step/4"});
        let with = |key: &str, value: Value| {
            let mut same = same.clone();
            same[key] = value;
            same
        };
        assert_eq!(said(Item::None, None), same);
        assert_eq!(said(Item::Number(-3), None), with("item", json!(-3)));
        let item = json!({"a": "line\nline", "b": [1, null]});
        assert_eq!(said(Item::Json(Arc::new(item.clone())), None), with("item", item));
        let mut file = with("path", json!("/tmp/in-7.txt"));
        file["name"] = json!("a/\u{7}b.txt");
        let data = || Data::Bytes(Bytes::new());
        let names = Names::of(&Input::One {
            name: Some("a/\u{7}b.txt".into()),
            data: data(),
        });
        assert_eq!(said(Item::None, Some(("/tmp/in-7.txt", &names))), file);
        let several = |path: &str, skip, lines| InputFile {
            path: path.into(),
            data: data(),
            skip,
            lines,
        };
        let names = Names::of(&Input::Many(vec![several("a", 0, false), several("b/c", 5, true)]));
        let mut files = with("path", json!("/tmp/in-7"));
        files["files"] = json!([{"path": "a"}, {"path": "b/c", "skip": 5, "lines": true}]);
        assert_eq!(said(Item::None, Some(("/tmp/in-7", &names))), files);
    }

    fn all(text: &[u8], step: usize) -> Result<Vec<Answer>, String> {
        let (mut answers, mut found) = (Answers::default(), Vec::new());
        for piece in text.chunks(step) {
            answers.push(piece);
            while let Some(answer) = answers.next()? {
                found.push(answer);
            }
        }
        Ok(found)
    }

    #[test]
    fn answers_are_read_exactly() {
        let text = b"{\"id\":1,\"results\":{\"n\": 123456789012345678901234567890}}\r\n\n {\"more\":[1],\"error\":null,\"id\":2}\n\
            {\"id\":3,\"error\":\"no\\nway\"}\n{\"id\":4,\"error\":{\"code\":5},\"retry\":false}\n{\"id\":5,\"results\":7}\n{\"id\":6";
        for step in [1, 3, 1000] {
            let found = all(text, step).unwrap();
            let bytes = |text: &'static str| Said::Results(Some(Bytes::from_static(text.as_bytes())));
            let error = |text: &str, retry| Said::Error {
                message: text.to_owned(),
                retry,
            };
            let wanted = [
                (1, bytes("{\"n\": 123456789012345678901234567890}")),
                (2, Said::Results(None)),
                (3, error("no\nway", true)),
                (4, error("{\"code\":5}", false)),
                (5, bytes("7")),
            ];
            assert_eq!(found, wanted.map(|(id, said)| Answer { id, said }));
        }
    }

    #[test]
    fn what_is_not_an_answer_is_an_error() {
        for text in [
            "hello\n",
            "{}\n",
            "{\"id\":-1}\n",
            "{\"id\":1}{\"id\":2}\n",
            "[1]\n",
            "\u{0}\n",
            "{\"id\":1,\"id\":2}\n",
        ] {
            assert!(all(text.as_bytes(), 1000).is_err(), "{text}");
        }
        let long = vec![b'x'; MAX_ANSWER + 2];
        assert!(all(&long, 4096).unwrap_err().contains("more than"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_hold_more_than_a_line(text in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..40) {
            let _ = all(&text, step);
        }
    }
}
