//! Progress on standard error: a live view on a terminal, lines elsewhere. Everything that goes to standard error while a run goes
//! on goes through here, so that nothing is drawn over.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use braid_crds::{Workflow, status::Phase};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    args::ProgressKind,
    text::{Colour, Tint},
};

mod board;

use board::{Board, Canvas};

/// Between two drawings of the live view.
pub const FRAME: Duration = Duration::from_millis(100);
/// Between two lines about the same.
const PLAIN: Duration = Duration::from_secs(10);

/// What is drawn on standard error now, if anything is.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Shows how a run goes on.
#[derive(Debug)]
pub struct Progress {
    board: Board,
    tint: Tint,
    view: View,
}

#[derive(Debug)]
enum View {
    Live { bar: ProgressBar, frame: usize },
    Plain { told: Vec<(String, Phase)>, last: Instant },
    None,
}

impl Progress {
    /// Nothing yet.
    pub fn new(kind: ProgressKind) -> Self {
        let stderr = io::stderr();
        let ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
        let live = match kind {
            ProgressKind::Auto => stderr.is_terminal() && !ci,
            ProgressKind::Tty => true,
            ProgressKind::Plain | ProgressKind::None => false,
        };
        let view = if kind == ProgressKind::None {
            View::None
        } else if live {
            let bar = ProgressBar::new_spinner().with_style(style());
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(20));
            *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
            View::Live { bar, frame: 0 }
        } else {
            View::Plain {
                told: Vec::new(),
                last: Instant::now(),
            }
        };
        Self {
            board: Board::default(),
            tint: Tint::of(&stderr),
            view,
        }
    }

    /// Says something in between.
    pub fn note(&self, text: &str) {
        if !matches!(self.view, View::None) {
            let name = self.tint.paint(Colour::Bold, "braid:");
            say(&format!("{name} {text}"));
        }
    }

    /// Takes over what is known now.
    pub fn update(&mut self, workflow: &Workflow) {
        self.board.update(workflow, Instant::now());
        if let View::Plain { told, .. } = &mut self.view {
            for line in self.board.changes(told) {
                say(&line);
            }
        }
        self.tick();
    }

    /// Draws anew, or says what there is to say after a while.
    pub fn tick(&mut self) {
        let now = Instant::now();
        match &mut self.view {
            View::Live { bar, frame } => {
                let (rows, columns) = console::Term::stderr().size();
                let canvas = Canvas {
                    columns: usize::from(columns).saturating_sub(1),
                    rows: rows.into(),
                    tint: self.tint,
                    frame: *frame,
                };
                *frame = frame.wrapping_add(1);
                bar.set_message(self.board.draw(canvas, now, Timestamp::now()).join("\n"));
            }
            View::Plain { last, .. } if now.saturating_duration_since(*last) >= PLAIN => {
                *last = now;
                for line in self.board.working(now, Timestamp::now()) {
                    say(&line);
                }
            }
            View::Plain { .. } | View::None => {}
        }
    }

    /// Leaves the last drawing there, or takes it away.
    pub fn finish(self, clear: bool) {
        *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let View::Live { bar, .. } = self.view {
            if clear {
                bar.finish_and_clear();
            } else {
                bar.abandon();
            }
        }
    }
}

fn style() -> ProgressStyle {
    // The default style is used where the template is not one; this one is.
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Writes a line to standard error, above what is drawn there.
pub fn say(line: &str) {
    write(format!("{line}\n").as_bytes());
}

fn write(bytes: &[u8]) {
    // Without standard error there is nobody left to tell.
    let print = || drop(io::stderr().lock().write_all(bytes));
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match drawn {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// Where the log of the system goes: standard error, above what is drawn there.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
