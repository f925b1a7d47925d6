//! One session of the real program, with all that it needs of its own, and what it left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use crate::fake_api::{FakeApi, Reply, Script};
use orch::agent::claude::resolve::resolve;
use orch::agent::claude::{ClaudeSettings, Session};
use orch::agent::failure::{Evidence, of_session};
use orch::agent::prompt::{Brief, Shared, shared_part, task_part};
use orch::agent::status::{self, Expected, Finding};
use orch::agent::stream::{SessionReader, SessionReport};
use orch::agent::{Start, role};
use orch::config::{self, Sources};
use orch::engine::ending::AttemptEnd;
use orch::ids::TaskId;
use orch::process::{AgentEnd, AgentRun, Cause, Exit, TreeUsage};

/// A session against the fake takes about a second; one that takes this long hangs.
const SESSION_WAIT: Duration = Duration::from_secs(90);

pub(crate) const NONCE: &str = "n-4711";
pub(crate) const TASK: &str = "1.1";

/// A program, a slot and a home, all of one test's own.
pub(crate) struct Bench {
    pub(crate) api: FakeApi,
    pub(crate) settings: ClaudeSettings,
    pub(crate) credential: (&'static str, &'static str),
    pub(crate) base_url: String,
    pub(crate) profile: Option<role::Profile>,
    pub(crate) effort: Option<role::Effort>,
    pub(crate) dir: TempDir,
    pub(crate) session: Uuid,
}

/// What a session left.
pub(crate) struct Left {
    pub(crate) report: SessionReport,
    exit: AgentEnd,
    stderr: String,
}

impl Bench {
    pub(crate) async fn new(program: OsString, script: Script) -> Self {
        let found = resolve(Some(Path::new(&program)), None)
            .await
            .expect("the program answers");
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["home", "slot"] {
            fs::create_dir(dir.path().join(name)).expect("create");
        }
        let api = FakeApi::start(script);
        let defaults = config::resolve(&Sources::default())
            .expect("no source is wrong")
            .settings;
        Self {
            base_url: api.base_url(),
            api,
            settings: ClaudeSettings {
                binary: found.path,
                version: found.version,
                permission: defaults.claude_permission.value,
                // Images for tests often run as root.
                allow_root: true,
                mcp: defaults.claude_mcp.value,
                tools: defaults.claude_tools.value,
                max_retries: 0,
            },
            credential: ("ANTHROPIC_API_KEY", "dummy"),
            profile: None,
            effort: None,
            dir,
            session: Uuid::new_v4(),
        }
    }

    pub(crate) fn slot(&self) -> PathBuf {
        self.dir.path().join("slot")
    }

    fn env(&self) -> BTreeMap<String, String> {
        let path = std::env::var("PATH").expect("a PATH");
        let home = self.dir.path().join("home").display().to_string();
        [
            ("PATH", path.as_str()),
            ("HOME", &home),
            ("CLAUDE_CONFIG_DIR", &home),
            ("CLAUDE_CODE_TMPDIR", &home),
            ("ANTHROPIC_BASE_URL", &self.base_url),
            self.credential,
            // Whatever does not go to the fake goes nowhere.
            ("HTTPS_PROXY", "http://127.0.0.1:9"),
            ("HTTP_PROXY", "http://127.0.0.1:9"),
            ("NO_PROXY", "127.0.0.1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Runs one session of the task in the slot and reads what it left.
    pub(crate) async fn run(&self, start: Start, prompt: &str) -> Left {
        self.run_in(&self.slot(), self.session, start, prompt).await
    }

    pub(crate) async fn run_in(&self, cwd: &Path, id: Uuid, start: Start, prompt: &str) -> Left {
        let file = |name: &str| self.dir.path().join(format!("{id}.{name}"));
        let coder = role::built_in(role::DEFAULT).expect("a role");
        let shared = shared_part(&Shared {
            role: &coder.text,
            ..Shared::default()
        })
        .expect("short");
        fs::write(file("shared"), shared).expect("write");
        fs::write(file("prompt"), prompt).expect("write");
        let session = Session {
            id,
            start,
            cwd: cwd.to_owned(),
            system_prompt_file: file("shared"),
            cap: None,
            model: None,
            tools: None,
            profile: self.profile,
            effort: self.effort,
            timeout: SESSION_WAIT,
            env: self.env(),
        };
        let launch = self.settings.launch(&session).expect("a launch");
        let output = tokio::process::Command::new(&launch.program)
            .args(&launch.args)
            .env_clear()
            .envs(&launch.env)
            .current_dir(&launch.cwd)
            .stdin(File::open(file("prompt")).expect("open"))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(SESSION_WAIT, output)
            .await
            .expect("the session ends")
            .expect("it starts");
        let mut reader = SessionReader::new(start);
        output
            .stdout
            .split(|b| *b == b'\n')
            .for_each(|line| reader.line(line));
        let exit = Exit::Code(output.status.code().expect("no signal"));
        Left {
            report: reader.finish(),
            exit: AgentEnd::Ended(AgentRun {
                cause: Cause::Exited,
                exit,
                wall_ms: 0,
                usage: TreeUsage::default(),
                stdout_bytes: 0,
                stderr_bytes: 0,
                swept: 0,
                survivors: 0,
            }),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn status(&self, left: &Left) -> Finding {
        let task = TaskId::parse(TASK).expect("an id");
        let structured = left.report.structured_output(self.session);
        status::judge(
            structured,
            status::read(&self.slot()),
            Expected {
                task: &task,
                nonce: NONCE,
            },
        )
        .finding
    }

    pub(crate) fn end(&self, left: &Left, changed: bool) -> AttemptEnd {
        let status = self.status(left);
        let evidence = Evidence {
            ended_for: None,
            exit: Some(&left.exit),
            stderr: &left.stderr,
            status: &status,
            changed,
        };
        of_session(&evidence, &left.report)
    }

    /// The end of one fresh session that is answered by `replies`.
    pub(crate) async fn end_of(
        program: OsString,
        replies: impl IntoIterator<Item = Reply>,
    ) -> AttemptEnd {
        let bench = Self::new(program, Script::new().session(TASK, replies)).await;
        let left = bench.run(Start::Fresh, &prompt("Do it.")).await;
        bench.end(&left, false)
    }
}

pub(crate) fn prompt(description: &str) -> String {
    task_part(&Brief {
        id: TASK,
        name: "Try it",
        section: "Base",
        description: Some(description),
        attempt: 1,
        nonce: NONCE,
        ..Brief::default()
    })
    .expect("short")
}
