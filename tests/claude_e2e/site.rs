//! A scratch repository whose agents are sessions of the real program, answered by a script.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::process::Command;

use serde_json::Value;

use crate::fake_api::{FakeApi, Reply, Request, Script, Tokens, report, tool};
use crate::fixture::{Fixture, Ran};

/// The path of the real program, or none where the test is to be skipped.
pub(crate) fn program() -> Option<OsString> {
    let found = std::env::var_os("ORCH_TEST_CLAUDE");
    if found.is_none() {
        assert!(
            std::env::var_os("ORCH_TEST_REQUIRE_CLAUDE").is_none_or(|v| v != "1"),
            "ORCH_TEST_CLAUDE does not name the claude program; see tests/claude/install"
        );
        skipped("ORCH_TEST_CLAUDE does not name the claude program");
    }
    found
}

/// Says that a test is not run.
#[expect(clippy::print_stderr, reason = "a test has no other way to say it")]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Gives the path of the real program to a test, or skips it.
macro_rules! claude {
    () => {
        match crate::site::program() {
            Some(path) => path,
            None => return,
        }
    };
}
pub(crate) use claude;

/// A repository with a plan, and the service that its agents ask.
pub(crate) struct Site {
    pub(crate) f: Fixture,
    pub(crate) api: FakeApi,
}

impl Site {
    pub(crate) fn new(program: &OsStr, plan: &str, script: Script) -> Self {
        let site = Self {
            f: Fixture::with_plan(plan),
            api: FakeApi::start(script),
        };
        // Images for tests often run as root.
        site.settings(&format!(
            "claude: {{binary: '{}', allow_root: true, max_retries: 0}}\n",
            program.display()
        ));
        site
    }

    /// Writes the person's own settings.
    pub(crate) fn settings(&self, text: &str) {
        let dir = self.f.root().join("home/.config/orch");
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("config.yaml"), text).expect("a file");
    }

    /// orch, not yet run, whose agents reach the fake and nothing else.
    pub(crate) fn command<const N: usize>(&self, args: [&str; N]) -> Command {
        let config = self.f.root().join("claude");
        std::fs::create_dir_all(&config).expect("a directory");
        let mut command = self.f.command(args);
        command
            .env("ANTHROPIC_API_KEY", "dummy")
            .env("ANTHROPIC_BASE_URL", self.api.base_url())
            .env("CLAUDE_CONFIG_DIR", &config)
            .env("CLAUDE_CODE_TMPDIR", &config)
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    /// orch, run to its end.
    pub(crate) fn run<const N: usize>(&self, args: [&str; N]) -> Ran {
        Ran::of(self.command(args).output().expect("orch"))
    }

    /// The first requests of the sessions about a task, in their order.
    pub(crate) fn openings(&self, task: &str) -> Vec<Request> {
        let mut first = BTreeMap::new();
        for (n, request) in self.api.requests().into_iter().enumerate() {
            if request.task.as_deref() == Some(task) {
                first.entry(request.session.clone()).or_insert((n, request));
            }
        }
        let mut found: Vec<_> = first.into_values().collect();
        found.sort_by_key(|(n, _)| *n);
        found.into_iter().map(|(_, request)| request).collect()
    }

    /// The end of the task's newest attempt, as `ending: detail`.
    pub(crate) fn end(&self, task: &str) -> String {
        let end = &self.f.status(task)["last_end"];
        let text = |key: &str| end[key].as_str().unwrap_or("none").to_owned();
        format!("{}: {}", text("ending"), text("detail"))
    }

    /// Asserts that every reply was asked for, and nothing else.
    #[track_caller]
    pub(crate) fn assert_played(&self) {
        assert_eq!(self.api.unscripted(), [""; 0]);
        assert_eq!(self.api.left(), BTreeMap::new());
    }
}

/// A plan of tasks from `(id, extra keys)`, each named `Task <id>`.
pub(crate) fn plan(tasks: &[(&str, &str)]) -> String {
    let mut text =
        "orch: 1\nmeta: {name: Scratch}\nsections:\n  - id: s\n    name: Work\n    tasks:\n"
            .to_owned();
    for (id, keys) in tasks {
        text += &format!("      - id: '{id}'\n        name: Task {id}\n");
        for key in keys.lines() {
            text += &format!("        {key}\n");
        }
    }
    text
}

/// A call that writes a file of the slot.
pub(crate) fn write(path: &str, content: &str) -> Reply {
    tool(
        "Write",
        serde_json::json!({ "file_path": format!("{{cwd}}/{path}"), "content": content }),
    )
}

/// A shell command in the slot.
pub(crate) fn bash(command: &str) -> Reply {
    tool(
        "Bash",
        serde_json::json!({ "command": command, "description": "work" }),
    )
}

/// A session that writes one file and reports it.
pub(crate) fn writes(path: &str, content: &str) -> [Reply; 2] {
    [
        write(path, content),
        report("completed", &format!("wrote {path}")),
    ]
}

/// Tokens as `orch status` counts them.
pub(crate) fn tokens(usage: &Value) -> Tokens {
    let count = |key: &str| usage[key].as_u64().expect("a count");
    Tokens {
        input: count("input_tokens"),
        output: count("output_tokens"),
        cache_read: count("cache_read_tokens"),
        cache_creation: count("cache_creation_tokens"),
    }
}
