//! What this program was called as: `braid`, or through kubectl, which finds plugins by the names of their files.

use std::{path::Path, sync::OnceLock};

/// The file name by which kubectl finds a plugin called `braid`.
const PLUGIN: &str = "kubectl-braid";

static CALLED: OnceLock<bool> = OnceLock::new();

/// Whether it was called by kubectl.
pub fn is_plugin() -> bool {
    *CALLED.get_or_init(|| {
        std::env::args_os()
            .next()
            .is_some_and(|path| names_plugin(Path::new(&path)))
    })
}

/// What people call it, for commands that are suggested to them.
pub fn name() -> &'static str {
    if is_plugin() { "kubectl braid" } else { "braid" }
}

fn names_plugin(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name == PLUGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_known_by_its_file() {
        assert!(names_plugin(Path::new("/usr/bin/kubectl-braid")));
        assert!(names_plugin(Path::new("kubectl-braid")));
        assert!(!names_plugin(Path::new("/kubectl-braid/braid")));
        assert!(!names_plugin(Path::new("")));
    }
}
