//! The command runner: a task's `run:` through `sh -c`. No prompt, no stream; the exit code is the status.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::process::Launch;

/// POSIX puts the shell there on every system orch runs on, and a task must not depend on the `PATH` of its starter.
const SHELL: &str = "/bin/sh";

/// What to start for the shell text `run` in `cwd`, with `env` as its whole environment.
pub fn launch(run: &str, cwd: &Path, env: BTreeMap<String, String>) -> Launch {
    Launch {
        program: PathBuf::from(SHELL),
        // `--` keeps a text that begins with a dash from being read as an option of the shell.
        args: vec!["-c".to_owned(), "--".to_owned(), run.to_owned()],
        env,
        cwd: cwd.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_begins_with_a_dash_is_run_and_not_taken_for_an_option() {
        let launch = launch("-n 2>/dev/null; echo ran", Path::new("/"), BTreeMap::new());
        let out = std::process::Command::new(&launch.program)
            .args(&launch.args)
            .env_clear()
            .current_dir(&launch.cwd)
            .output()
            .expect("a shell");
        assert_eq!(out.stdout, b"ran\n");
    }
}
