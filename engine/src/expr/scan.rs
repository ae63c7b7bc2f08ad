//! The limits of an expression, counted on its characters before any parser sees it.
//!
//! A recursive parser spends stack and time on nesting whose depth the author chooses, and some grammars back-track
//! exponentially on it. So everything that makes a syntax tree deep or wide is bounded here, in one pass that
//! allocates nothing but one counter for each open bracket: brackets, unary operators, conditionals, selections in a row,
//! and the number of terms.

use braid_crds::limits::EXPRESSION_BYTES;

use super::ExprError;

/// Open brackets, unary operators in a row, conditionals, and selections in a row: at most so many of each.
pub const NESTING: usize = 16;
/// Names, literals, lists and maps, but for names after a dot.
pub const TERMS: usize = 64;

#[derive(Clone, Copy, PartialEq)]
enum Previous {
    /// What a binary operator, a dot or an opening bracket may follow.
    Operand,
    Dot,
    Operator,
}

/// One open bracket, or the text outside of all.
#[derive(Clone, Copy)]
struct Level {
    closes: u8,
    /// Selections, indexes and calls in a row.
    chain: usize,
    /// Unary operators in a row.
    unary: usize,
}

/// Checks the limits; the tree of a text that passes is at most a few hundred nodes deep and a thousand wide.
pub fn check(text: &str) -> Result<(), ExprError> {
    if text.len() > EXPRESSION_BYTES {
        return Err(ExprError::TooLong { bytes: text.len() });
    }
    match Scanner::new(text, 0).run(false)? {
        Some(end) => Err(ExprError::syntax(text, end, "a bracket is closed that was not opened")),
        None => Ok(()),
    }
}

/// The place of the `)` that ends the expression that begins at byte `from` of a longer text, behind its `$(`.
pub fn end_of_embedded(text: &str, from: usize) -> Result<Option<usize>, ExprError> {
    Scanner::new(text, from).run(true)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    from: usize,
    levels: Vec<Level>,
    level: Level,
    terms: usize,
    conditionals: usize,
    previous: Previous,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str, from: usize) -> Self {
        let level = Level {
            closes: b')',
            chain: 0,
            unary: 0,
        };
        Self {
            text,
            at: from,
            from,
            levels: Vec::new(),
            level,
            terms: 0,
            conditionals: 0,
            previous: Previous::Operator,
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn too_deep(&self, what: &'static str) -> ExprError {
        ExprError::TooDeep {
            column: column(self.text, self.at),
            what,
        }
    }

    fn syntax(&self, message: &str) -> ExprError {
        ExprError::syntax(self.text, self.at, message)
    }

    /// Runs to the end, or to the bracket that closes what was open before (returned).
    fn run(mut self, embedded: bool) -> Result<Option<usize>, ExprError> {
        while let Some(byte) = self.byte(0) {
            if self.at - self.from > EXPRESSION_BYTES {
                return Err(ExprError::TooLong {
                    bytes: self.at - self.from,
                });
            }
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                b'/' if self.byte(1) == Some(b'/') => {
                    let line = self.text.get(self.at..).and_then(|rest| rest.find('\n'));
                    self.at = line.map_or(self.text.len(), |length| self.at + length);
                }
                b'\'' | b'"' => self.string(false)?,
                b'0'..=b'9' => self.number()?,
                b'A'..=b'Z' | b'a'..=b'z' | b'_' => self.name()?,
                b'(' | b'[' | b'{' => self.open(byte)?,
                b')' | b']' | b'}' => {
                    if self.levels.is_empty() {
                        if byte == b')' || !embedded {
                            return Ok(Some(self.at));
                        }
                        return Err(self.syntax("a bracket is closed that was not opened"));
                    }
                    self.close(byte)?;
                }
                _ => self.operator(byte)?,
            }
        }
        if self.levels.is_empty() {
            Ok(None)
        } else {
            Err(self.syntax("a bracket is not closed"))
        }
    }

    fn operand(&mut self) -> Result<(), ExprError> {
        if self.previous == Previous::Dot {
            self.chain()?;
        } else {
            self.level.chain = 0;
            self.term()?;
        }
        self.level.unary = 0;
        self.previous = Previous::Operand;
        Ok(())
    }

    fn term(&mut self) -> Result<(), ExprError> {
        self.terms += 1;
        if self.terms > TERMS {
            return Err(ExprError::TooManyTerms {
                column: column(self.text, self.at),
            });
        }
        Ok(())
    }

    fn chain(&mut self) -> Result<(), ExprError> {
        self.level.chain += 1;
        if self.level.chain > NESTING {
            return Err(self.too_deep("selections in a row"));
        }
        Ok(())
    }

    fn name(&mut self) -> Result<(), ExprError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
            .count();
        let (name, quote) = (rest.get(..length).unwrap_or_default(), rest.get(length));
        if matches!(quote, Some(b'\'' | b'"')) && name.len() <= 2 && name.iter().all(|b| b"rRbB".contains(b)) {
            self.at += length;
            return self.string(name.iter().any(|b| b"rR".contains(b)));
        }
        if name == b"in" && self.previous == Previous::Operand {
            self.previous = Previous::Operator;
        } else {
            self.operand()?;
        }
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), ExprError> {
        self.operand()?;
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let mut before = 0;
        for byte in rest {
            let exponent_sign =
                matches!(byte, b'+' | b'-') && matches!(before, b'e' | b'E') && !rest.starts_with(b"0x");
            if !(byte.is_ascii_alphanumeric() || *byte == b'.' || exponent_sign) {
                break;
            }
            before = *byte;
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self, raw: bool) -> Result<(), ExprError> {
        self.operand()?;
        let quote = self.byte(0).unwrap_or_default();
        let triple = self.byte(1) == Some(quote) && self.byte(2) == Some(quote);
        let start = self.at;
        self.at += if triple { 3 } else { 1 };
        loop {
            match self.byte(0) {
                Some(b'\\') if !raw => self.at += 2,
                Some(byte) if byte == quote => {
                    if !triple {
                        self.at += 1;
                        return Ok(());
                    }
                    if self.byte(1) == Some(quote) && self.byte(2) == Some(quote) {
                        self.at += 3;
                        return Ok(());
                    }
                    self.at += 1;
                }
                Some(b'\n') if !triple => return Err(ExprError::syntax(self.text, start, "a string is not closed")),
                Some(_) => self.at += 1,
                None => return Err(ExprError::syntax(self.text, start, "a string is not closed")),
            }
            if self.at - self.from > EXPRESSION_BYTES {
                return Err(ExprError::TooLong {
                    bytes: self.at - self.from,
                });
            }
        }
    }

    fn open(&mut self, byte: u8) -> Result<(), ExprError> {
        if self.previous == Previous::Operand {
            self.chain()?;
        } else if byte != b'(' {
            self.term()?;
        }
        if self.levels.len() >= NESTING {
            return Err(self.too_deep("open brackets"));
        }
        let closes = match byte {
            b'(' => b')',
            b'[' => b']',
            _ => b'}',
        };
        let inner = Level {
            closes,
            chain: 0,
            unary: 0,
        };
        self.levels.push(std::mem::replace(&mut self.level, inner));
        self.previous = Previous::Operator;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<(), ExprError> {
        if self.level.closes != byte {
            return Err(self.syntax("a bracket is closed by one of another kind"));
        }
        if let Some(outer) = self.levels.pop() {
            self.level = outer;
        }
        self.level.unary = 0;
        self.previous = Previous::Operand;
        self.at += 1;
        Ok(())
    }

    fn operator(&mut self, byte: u8) -> Result<(), ExprError> {
        let two = self.byte(1).map(|next| [byte, next]);
        let length = match two {
            Some([b'&', b'&'] | [b'|', b'|'] | [b'=' | b'!' | b'<' | b'>', b'=']) => 2,
            _ => 1,
        };
        match byte {
            b'.' => self.previous = Previous::Dot,
            b'!' | b'-' if length == 1 && self.previous != Previous::Operand => {
                self.level.unary += 1;
                if self.level.unary > NESTING {
                    return Err(self.too_deep("unary operators in a row"));
                }
                self.previous = Previous::Operator;
            }
            b'?' => {
                self.conditionals += 1;
                if self.conditionals > NESTING {
                    return Err(self.too_deep("conditionals"));
                }
                self.previous = Previous::Operator;
            }
            b'=' if length == 1 => return Err(self.syntax("a single = is no operator: write == to compare")),
            b'&' | b'|' if length == 1 => return Err(self.syntax("write && for and, || for or")),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'&' | b'|' | b':' | b',' => {
                self.previous = Previous::Operator;
            }
            _ => {
                let wrong = self
                    .text
                    .get(self.at..)
                    .and_then(|rest| rest.chars().next())
                    .unwrap_or_default();
                return Err(self.syntax(&format!("{wrong:?} has no place outside of a string")));
            }
        }
        self.at += length;
        Ok(())
    }
}

/// The column, from 1, of a byte of a text: characters, not bytes.
pub fn column(text: &str, at: usize) -> usize {
    text.char_indices().take_while(|(byte, _)| *byte < at).count() + 1
}
