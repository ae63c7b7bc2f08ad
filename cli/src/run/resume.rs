//! The command that goes on with a run.

use braid_local::StateDir;

use crate::args::RunArgs;

/// The command line that goes on with this run, from the directory it was given in.
pub fn resume_command(args: &RunArgs, state: &StateDir) -> String {
    let mut words = vec!["braid".to_owned(), "run".to_owned()];
    words.push(quoted(&args.file.to_string_lossy()));
    for param in &args.params {
        words.extend(["-p".to_owned(), quoted(param)]);
    }
    if let Some(workers) = args.workers {
        words.extend(["--workers".to_owned(), workers.to_string()]);
    }
    words.extend(["--state".to_owned(), quoted(&state.path().to_string_lossy())]);
    words.join(" ")
}

/// A word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!("a/b.yaml", quoted("a/b.yaml"));
        assert_eq!("''", quoted(""));
        assert_eq!(r"'it'\''s $x'", quoted("it's $x"));
    }
}
