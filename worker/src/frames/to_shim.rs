//! What a worker says to its shim.

use bytes::{BufMut, Bytes, BytesMut};

use super::LinkKey;
use super::wire::{Fields, Frame, FrameError, put_bytes, put_list, put_optional, put_pair};

/// A frame from the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToShim {
    /// The first frame.
    Hello {
        /// [`super::VERSION`] of the worker.
        version: u16,
    },
    /// Fills a slot with a program. The slot must have no attempt that has not ended.
    Program(ProgramFrame),
    /// A directory of files for all attempts of a program begins. No attempt of it starts before [`Self::SideEnd`].
    Side {
        /// The program's slot.
        slot: u8,
        /// The variable that names the directory.
        variable: String,
        /// The length of its files in bytes together, as a hint where to put them.
        length: u64,
    },
    /// The next file of that directory begins.
    SideFile {
        /// The program's slot.
        slot: u8,
        /// Where the file is to be, below the directory: relative, without `..`.
        path: String,
    },
    /// The next bytes of that file.
    SideData {
        /// The program's slot.
        slot: u8,
        /// At most [`super::CHUNK`] bytes.
        data: Bytes,
    },
    /// All directories of the program are whole.
    SideEnd {
        /// The program's slot.
        slot: u8,
    },
    /// An attempt. Its input follows, before any other attempt's, unless it has none.
    Start(StartFrame),
    /// The next file of an input of several begins.
    InputFile {
        /// The attempt.
        attempt: u64,
        /// Where the file is to be, below the directory of the input: relative, without `..`.
        path: String,
        /// So many of its first bytes are left out on standard input.
        skip: u64,
        /// On standard input its last line is ended, if it is not and more follows.
        lines: bool,
    },
    /// The next bytes of the file that is being sent; or of a standard input that is a stream, also while the attempt runs.
    InputData {
        /// The attempt.
        attempt: u64,
        /// At most [`super::CHUNK`] bytes.
        data: Bytes,
    },
    /// The input is whole: the attempt may run. Of a stream: standard input ends.
    InputEnd {
        /// The attempt.
        attempt: u64,
    },
    /// End an attempt: TERM, grace, KILL. Of an attempt that is not held it is ignored: it may just have ended.
    Kill {
        /// The attempt.
        attempt: u64,
    },
    /// All attempts may go on for so long from now; then the shim ends them by itself.
    Extend {
        /// How long, in milliseconds.
        millis: u64,
    },
    /// To a shim in a container of its own, once: what it has to say first when it connects again.
    Key {
        /// Never shown to user code.
        key: LinkKey,
    },
    /// A file for a partition that a long-lived program works on: its bytes follow as an input does, up to
    /// [`Self::InputEnd`], and [`super::FromShim::Stored`] says where it is. It stays until [`Self::Forget`].
    Store {
        /// The partition's attempt: not one that the shim holds.
        attempt: u64,
        /// One file or several.
        input: InputShape,
    },
    /// Removes what [`Self::Store`] has made. What is not held is ignored.
    Forget {
        /// The attempt.
        attempt: u64,
    },
    /// What a long-lived program prints is from here on about another partition. Of an attempt that is not held it is ignored.
    About {
        /// The program's attempt.
        attempt: u64,
        /// The partition.
        partition: u64,
        /// Which attempt at the partition it is, from 1.
        number: u32,
    },
    /// What attempts of a partition have saved is removed, unless one of them still runs. What is not there is ignored.
    Discard {
        /// As in [`ProgramFrame::checkpoint`].
        key: String,
        /// The partition.
        partition: u64,
    },
    /// Asks for a [`super::FromShim::Pong`].
    Ping {
        /// Comes back in the answer.
        nonce: u64,
    },
}

/// How user code is started: the part that all partitions of a step's round share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFrame {
    /// Below [`super::PROGRAM_SLOTS`].
    pub slot: u8,
    /// The uid of the workflow, for the lines that its attempts print.
    pub run: String,
    /// The step, for the same.
    pub step: String,
    /// How many attempts of this program may run at once.
    pub concurrency: u16,
    /// The command and its first arguments; may be empty with a script.
    pub command: Vec<String>,
    /// The text of a script, if the program is one.
    pub script: Option<String>,
    /// The arguments behind the command or the script.
    pub args: Vec<String>,
    /// The program's own environment.
    pub env: Vec<(String, String)>,
    /// From TERM to KILL, in milliseconds.
    pub grace_millis: u64,
    /// The most bytes that a results file may have; `None`: the program gives no results.
    pub results_limit: Option<u32>,
    /// Directories of files follow, with [`ToShim::SideEnd`] behind the last.
    pub sides: bool,
    /// The names of the data that attempts write.
    pub outputs: Vec<String>,
    /// What attempts save for the next of their partition: where, by one name of a directory, and how many bytes.
    pub checkpoint: Option<(String, u64)>,
}

/// One attempt at one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFrame {
    /// The attempt's id: not one that the shim holds.
    pub attempt: u64,
    /// The slot of its program.
    pub slot: u8,
    /// The partition, for the lines that it prints; of a long-lived program the first one, see [`ToShim::About`].
    pub partition: u64,
    /// Which attempt at the partition it is, from 1.
    pub number: u32,
    /// How long it may run, in milliseconds.
    pub timeout_millis: Option<u64>,
    /// The partition's own environment.
    pub env: Vec<(String, String)>,
    /// What input will follow.
    pub input: InputShape,
}

/// The shape of an attempt's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputShape {
    /// None: standard input is empty.
    None,
    /// One file.
    One {
        /// Its name in the data, if it has one. Only its ending matters to the shim.
        name: Option<String>,
        /// Its length in bytes, as a hint where to put it.
        length: u64,
    },
    /// Several files in a directory.
    Many {
        /// Their length in bytes together, as a hint where to put them.
        length: u64,
    },
    /// One file that the worker makes and removes: whole at [`ToShim::InputEnd`], and there until the attempt has ended. Only where
    /// both see the same files.
    Placed {
        /// Where it is.
        path: String,
    },
    /// Several such files in a directory; their names come as those of [`Self::Many`], without bytes.
    PlacedMany {
        /// Where the directory is.
        path: String,
    },
    /// Of a long-lived program: standard input stays open for [`ToShim::InputData`], and standard output is no log but
    /// comes back as it is, in [`super::FromShim::Output`]. Such an attempt runs beside those that concurrency counts.
    Stream,
    /// Of a long-lived program that is spoken to in another way: standard input is empty, its output is a log. Runs beside
    /// those that concurrency counts.
    Beside,
}

impl InputShape {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::None => out.put_u8(0),
            Self::One { name, length } => {
                out.put_u8(1);
                put_optional(out, name.as_ref(), |out, text| put_bytes(out, text.as_bytes()));
                out.put_u64_le(*length);
            }
            Self::Many { length } => {
                out.put_u8(2);
                out.put_u64_le(*length);
            }
            Self::Stream => out.put_u8(3),
            Self::Beside => out.put_u8(4),
            Self::Placed { path } => {
                out.put_u8(5);
                put_bytes(out, path.as_bytes());
            }
            Self::PlacedMany { path } => {
                out.put_u8(6);
                put_bytes(out, path.as_bytes());
            }
        }
    }

    fn take(body: &mut Fields) -> Result<Self, FrameError> {
        Ok(match body.u8("input")? {
            0 => Self::None,
            1 => Self::One {
                name: body.optional("name", Fields::text)?,
                length: body.u64("length")?,
            },
            2 => Self::Many {
                length: body.u64("length")?,
            },
            3 => Self::Stream,
            4 => Self::Beside,
            5 => Self::Placed {
                path: body.text("path")?,
            },
            6 => Self::PlacedMany {
                path: body.text("path")?,
            },
            _ => return Err(FrameError::BadValue("input")),
        })
    }

    /// Whether it is one of a long-lived program.
    pub fn is_served(&self) -> bool {
        matches!(self, Self::Stream | Self::Beside)
    }
}

impl Frame for ToShim {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Hello { version } => {
                out.put_u8(1);
                out.put_u16_le(*version);
            }
            Self::Program(program) => {
                out.put_u8(2);
                out.put_u8(program.slot);
                put_bytes(out, program.run.as_bytes());
                put_bytes(out, program.step.as_bytes());
                out.put_u16_le(program.concurrency);
                put_list(out, &program.command, |out, text| put_bytes(out, text.as_bytes()));
                put_optional(out, program.script.as_ref(), |out, text| {
                    put_bytes(out, text.as_bytes());
                });
                put_list(out, &program.args, |out, text| put_bytes(out, text.as_bytes()));
                put_list(out, &program.env, put_pair);
                out.put_u64_le(program.grace_millis);
                put_optional(out, program.results_limit, BufMut::put_u32_le);
                out.put_u8(u8::from(program.sides));
                put_list(out, &program.outputs, |out, text| put_bytes(out, text.as_bytes()));
                put_optional(out, program.checkpoint.as_ref(), |out, (key, bytes)| {
                    put_bytes(out, key.as_bytes());
                    out.put_u64_le(*bytes);
                });
            }
            Self::Start(start) => {
                out.put_u8(3);
                out.put_u64_le(start.attempt);
                out.put_u8(start.slot);
                out.put_u64_le(start.partition);
                out.put_u32_le(start.number);
                put_optional(out, start.timeout_millis, BufMut::put_u64_le);
                put_list(out, &start.env, put_pair);
                start.input.put(out);
            }
            Self::InputFile {
                attempt,
                path,
                skip,
                lines,
            } => {
                out.put_u8(4);
                out.put_u64_le(*attempt);
                put_bytes(out, path.as_bytes());
                out.put_u64_le(*skip);
                out.put_u8(u8::from(*lines));
            }
            Self::InputData { attempt, data } => {
                out.put_u8(5);
                out.put_u64_le(*attempt);
                put_bytes(out, data);
            }
            Self::InputEnd { attempt } => {
                out.put_u8(6);
                out.put_u64_le(*attempt);
            }
            Self::Kill { attempt } => {
                out.put_u8(7);
                out.put_u64_le(*attempt);
            }
            Self::Extend { millis } => {
                out.put_u8(8);
                out.put_u64_le(*millis);
            }
            Self::Ping { nonce } => {
                out.put_u8(9);
                out.put_u64_le(*nonce);
            }
            Self::Key { key } => {
                out.put_u8(10);
                put_bytes(out, key.bytes());
            }
            Self::Side { slot, variable, length } => {
                out.put_u8(11);
                out.put_u8(*slot);
                put_bytes(out, variable.as_bytes());
                out.put_u64_le(*length);
            }
            Self::SideFile { slot, path } => {
                out.put_u8(12);
                out.put_u8(*slot);
                put_bytes(out, path.as_bytes());
            }
            Self::SideData { slot, data } => {
                out.put_u8(13);
                out.put_u8(*slot);
                put_bytes(out, data);
            }
            Self::SideEnd { slot } => {
                out.put_u8(14);
                out.put_u8(*slot);
            }
            Self::Store { attempt, input } => {
                out.put_u8(15);
                out.put_u64_le(*attempt);
                input.put(out);
            }
            Self::Forget { attempt } => {
                out.put_u8(16);
                out.put_u64_le(*attempt);
            }
            Self::Discard { key, partition } => {
                out.put_u8(18);
                put_bytes(out, key.as_bytes());
                out.put_u64_le(*partition);
            }
            Self::About {
                attempt,
                partition,
                number,
            } => {
                out.put_u8(17);
                out.put_u64_le(*attempt);
                out.put_u64_le(*partition);
                out.put_u32_le(*number);
            }
        }
    }

    fn take(kind: u8, body: &mut Fields) -> Result<Self, FrameError> {
        Ok(match kind {
            1 => Self::Hello {
                version: body.u16("version")?,
            },
            2 => Self::Program(ProgramFrame {
                slot: body.u8("slot")?,
                run: body.text("run")?,
                step: body.text("step")?,
                concurrency: body.u16("concurrency")?,
                command: body.list("command", Fields::text)?,
                script: body.optional("script", Fields::text)?,
                args: body.list("args", Fields::text)?,
                env: body.list("env", Fields::pair)?,
                grace_millis: body.u64("grace")?,
                results_limit: body.optional("results", Fields::u32)?,
                sides: body.bool("sides")?,
                outputs: body.list("outputs", Fields::text)?,
                checkpoint: body.optional("checkpoint", |body, what| Ok((body.text(what)?, body.u64(what)?)))?,
            }),
            3 => Self::Start(StartFrame {
                attempt: body.u64("attempt")?,
                slot: body.u8("slot")?,
                partition: body.u64("partition")?,
                number: body.u32("number")?,
                timeout_millis: body.optional("timeout", Fields::u64)?,
                env: body.list("env", Fields::pair)?,
                input: InputShape::take(body)?,
            }),
            4 => Self::InputFile {
                attempt: body.u64("attempt")?,
                path: body.text("path")?,
                skip: body.u64("skip")?,
                lines: body.bool("lines")?,
            },
            5 => Self::InputData {
                attempt: body.u64("attempt")?,
                data: body.bytes("data")?,
            },
            6 => Self::InputEnd {
                attempt: body.u64("attempt")?,
            },
            7 => Self::Kill {
                attempt: body.u64("attempt")?,
            },
            8 => Self::Extend {
                millis: body.u64("millis")?,
            },
            9 => Self::Ping {
                nonce: body.u64("nonce")?,
            },
            10 => Self::Key { key: body.key("key")? },
            11 => Self::Side {
                slot: body.u8("slot")?,
                variable: body.text("variable")?,
                length: body.u64("length")?,
            },
            12 => Self::SideFile {
                slot: body.u8("slot")?,
                path: body.text("path")?,
            },
            13 => Self::SideData {
                slot: body.u8("slot")?,
                data: body.bytes("data")?,
            },
            14 => Self::SideEnd { slot: body.u8("slot")? },
            15 => Self::Store {
                attempt: body.u64("attempt")?,
                input: InputShape::take(body)?,
            },
            16 => Self::Forget {
                attempt: body.u64("attempt")?,
            },
            17 => Self::About {
                attempt: body.u64("attempt")?,
                partition: body.u64("partition")?,
                number: body.u32("number")?,
            },
            18 => Self::Discard {
                key: body.text("key")?,
                partition: body.u64("partition")?,
            },
            other => return Err(FrameError::UnknownKind(other)),
        })
    }
}
