//! Colours, for those who want them.

use std::{env, io::IsTerminal};

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Well.
    Green,
    /// Going on.
    Cyan,
    /// Look at it.
    Yellow,
    /// Wrong.
    Red,
    /// Less important.
    Dim,
    /// More important.
    Bold,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tint(pub bool);

impl Tint {
    /// Colours on a terminal, unless `NO_COLOR` is set (and not empty) or the terminal has none.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(stream.is_terminal() && !refused && !dumb)
    }

    /// The text in this colour.
    pub fn paint(self, colour: Colour, text: &str) -> String {
        if !self.0 || text.is_empty() {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => 32,
            Colour::Cyan => 36,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Dim => 2,
            Colour::Bold => 1,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
