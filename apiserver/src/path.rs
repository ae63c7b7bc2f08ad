//! Paths of fields in messages, as `spec.shards[0].id` and `spec.labels[team]`.

use std::fmt::{self, Display, Write as _};

/// A path under construction while a value is walked: one buffer, cut back on the way up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path(String);

impl Path {
    /// Appends a field (or, for maps, a key) and returns the length to cut back to.
    pub(crate) fn push_field(&mut self, name: &str, is_key: bool) -> usize {
        let depth = self.0.len();
        if is_key {
            self.0.push('[');
            self.0.push_str(name);
            self.0.push(']');
        } else {
            if depth > 0 {
                self.0.push('.');
            }
            self.0.push_str(name);
        }
        depth
    }

    /// Appends an index and returns the length to cut back to.
    pub(crate) fn push_index(&mut self, index: usize) -> usize {
        let depth = self.0.len();
        // Writing to a String cannot fail.
        let _ = write!(self.0, "[{index}]");
        depth
    }

    pub(crate) fn truncate(&mut self, depth: usize) {
        self.0.truncate(depth);
    }

    /// The path of a child, without changing this one.
    pub(crate) fn child(&self, name: &str) -> String {
        if self.0.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.0)
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
