//! Starting the `claude` program without a person: which program, which flags, which variables.
//!
//! What its sessions print is read in `stream`; what their ends mean is decided in `failure`. The flags hold for the
//! 2.1 series (tried with 2.1.197 and 2.1.329).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::role::{Effort, Profile, WRITERS};
use super::{Start, status};
use crate::config::{Mcp, Permission};
use crate::engine::usage::MicroUsd;
use crate::process::Launch;

pub mod resolve;

/// How to get the program, for whoever has none.
pub const INSTALL_HINT: &str = "install it with `npm install -g @anthropic-ai/claude-code`, or set `claude.binary` in orch.yaml";

/// Shell commands by which work could leave the slot behind orch's back. A slot has no remotes; this is the second lock.
const DENIED: [&str; 5] = [
    "Bash(git push:*)",
    "Bash(git send-pack:*)",
    "Bash(gh pr create:*)",
    "Bash(gh pr merge:*)",
    "Bash(jj git push:*)",
];

/// Set for every session. Only facts of an unattended session; what a person may tune is in [`ClaudeSettings`].
const ENV: [(&str, &str); 8] = [
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    // Without it a session may print several results and stay for ten minutes after the first.
    ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1"),
    // The memory is keyed by repository: tasks would whisper to each other across worktrees.
    ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "1"),
    // Branch and log differ between slots and would end the prefix that sessions share in the prompt cache.
    ("CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS", "1"),
    // `@types/node` in a task names a package, not a file to attach. 2.1.197 attaches all the same.
    ("CLAUDE_CODE_DISABLE_FILE_MENTIONS", "1"),
];

/// Either of these makes the program accept bypassed permissions as root; images for sandboxes set them.
const ROOT_OVERRIDES: [&str; 2] = ["IS_SANDBOX", "CLAUDE_CODE_BUBBLEWRAP"];

/// How to start the program, fixed for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaudeSettings {
    /// The absolute path found by [`resolve::resolve`].
    pub binary: PathBuf,
    /// What it said to `--version`.
    pub version: String,
    /// What an agent may do without being asked.
    pub permission: Permission,
    /// Whether a person accepted, in settings, that agents run as root with permissions bypassed.
    pub allow_root: bool,
    /// Which MCP servers a session has; a file by its absolute path.
    pub mcp: Mcp,
    /// The tools of sessions whose role names none.
    pub tools: Vec<String>,
    /// Retries inside the program.
    pub max_retries: u32,
}

/// One session to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Chosen by orch, so that output and transcript can be told from anybody else's.
    pub id: Uuid,
    /// Fresh, or the same session again.
    pub start: Start,
    /// The slot's worktree.
    pub cwd: PathBuf,
    /// The text that all tasks of a role share.
    pub system_prompt_file: PathBuf,
    /// The most that it may spend, if that is limited; the program looks only between requests.
    pub cap: Option<MicroUsd>,
    /// The model, where plan, role or command line name one.
    pub model: Option<String>,
    /// The role's tools, where it names some.
    pub tools: Option<Vec<String>>,
    /// What the role may do without being asked, where it says so.
    pub profile: Option<Profile>,
    /// How hard the model thinks, where the role says so.
    pub effort: Option<Effort>,
    /// The attempt's limit: no command of the agent is ended before it.
    pub timeout: Duration,
    /// The environment the program's own variables are added to.
    pub env: BTreeMap<String, String>,
}

/// Why the program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaudeError {
    /// There is none.
    #[error("there is no program `{0}`")]
    NotFound(String),
    /// It is a file that cannot be run.
    #[error("{0} is not an executable file")]
    NotExecutable(PathBuf),
    /// It does not say its version.
    #[error("`{program} --version` {what}")]
    NoVersion {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        what: String,
    },
    /// The program refuses to bypass permissions as root.
    #[error("`claude` refuses to run as root while permissions are bypassed")]
    Root,
    /// Start orders are text.
    #[error("the path {0} is not UTF-8")]
    PathNotUtf8(PathBuf),
}

impl ClaudeError {
    /// What a person can do, one line each.
    pub fn hints(&self) -> &'static [&'static str] {
        match self {
            Self::NotFound(_) | Self::NotExecutable(_) | Self::NoVersion { .. } => &[INSTALL_HINT],
            Self::Root => &[
                "run orch as an ordinary user",
                "or set `claude.permission: dontAsk` in orch.yaml: agents then cannot write below .claude/",
                "or, inside a container or a virtual machine, set `claude.allow_root: true`",
            ],
            Self::PathNotUtf8(_) => &[],
        }
    }
}

impl ClaudeSettings {
    /// Says before anything is started whether the program would refuse the user it runs as.
    ///
    /// # Errors
    /// [`ClaudeError::Root`], with the ways out in its hints.
    pub fn check_user(&self, env: &BTreeMap<String, String>) -> Result<(), ClaudeError> {
        self.check_user_as(rustix::process::geteuid().is_root(), env)
    }

    fn check_user_as(&self, root: bool, env: &BTreeMap<String, String>) -> Result<(), ClaudeError> {
        let accepted = self.allow_root || ROOT_OVERRIDES.iter().any(|n| env.contains_key(*n));
        match root && self.permission == Permission::Bypass && !accepted {
            true => Err(ClaudeError::Root),
            false => Ok(()),
        }
    }

    /// What to start for `session`; its prompt goes to standard input, which is then closed.
    ///
    /// # Errors
    /// As root where the program would refuse, and for paths that are not UTF-8.
    pub fn launch(&self, session: &Session) -> Result<Launch, ClaudeError> {
        self.check_user(&session.env)?;
        Ok(Launch {
            program: self.binary.clone(),
            args: self.args(session)?,
            env: self.env(session),
            cwd: session.cwd.clone(),
        })
    }

    fn args(&self, session: &Session) -> Result<Vec<String>, ClaudeError> {
        let profile = session.profile.unwrap_or(Profile::Mode(self.permission));
        let tools = self.tools_of(session, profile).join(",");
        let mut args: Vec<String> = ["-p", "--output-format", "stream-json", "--verbose"]
            .map(str::to_owned)
            .into();
        let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
        match session.start {
            Start::Fresh => option("--session-id", &session.id.to_string()),
            Start::Resume => option("--resume", &session.id.to_string()),
        }
        option("--permission-mode", mode(profile));
        // In this mode a tool that is not named here is denied.
        if mode(profile) == DONT_ASK {
            option("--allowedTools", &tools);
        }
        option("--tools", &tools);
        if let Some(model) = &session.model {
            option("--model", model);
        }
        if let Some(effort) = session.effort {
            option("--effort", effort.as_str());
        }
        if let Some(MicroUsd(cap)) = session.cap {
            let usd = format!("{}.{:06}", cap / 1_000_000, cap % 1_000_000);
            option("--max-budget-usd", &usd);
        }
        if let Some(file) = mcp_file(&self.mcp, &session.cwd) {
            option("--mcp-config", utf8(&file)?);
        }
        option(
            "--append-system-prompt-file",
            utf8(&session.system_prompt_file)?,
        );
        option("--json-schema", &status::schema());
        option("--settings", &settings(profile));
        args.extend(
            [
                "--strict-mcp-config",
                "--exclude-dynamic-system-prompt-sections",
                // A task's text that begins with a slash is text.
                "--disable-slash-commands",
            ]
            .map(str::to_owned),
        );
        Ok(args)
    }

    /// The tools that exist in a session.
    fn tools_of<'a>(&'a self, session: &'a Session, profile: Profile) -> Vec<&'a str> {
        let tools = session.tools.as_ref().unwrap_or(&self.tools).iter();
        let exists = |tool: &&str| profile != Profile::ReadOnly || !WRITERS.contains(tool);
        tools.map(String::as_str).filter(exists).collect()
    }

    fn env(&self, session: &Session) -> BTreeMap<String, String> {
        let mut env = session.env.clone();
        let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
        for (name, value) in ENV {
            set(name, value.to_owned());
        }
        // Both: the greater of the two is the limit of one command.
        let limit = session.timeout.as_millis().to_string();
        set("BASH_DEFAULT_TIMEOUT_MS", limit.clone());
        set("BASH_MAX_TIMEOUT_MS", limit);
        set("CLAUDE_CODE_MAX_RETRIES", self.max_retries.to_string());
        if self.allow_root {
            set("IS_SANDBOX", "1".to_owned());
        }
        if session
            .env
            .get("ANTHROPIC_BASE_URL")
            .is_some_and(|url| !is_anthropic(url))
        {
            // The first block of each request would differ per prompt and end every prefix cache but Anthropic's own.
            set("CLAUDE_CODE_ATTRIBUTION_HEADER", "0".to_owned());
        }
        env
    }
}

/// Whose money a session spends, in the order in which the program looks for it.
pub fn account(env: &BTreeMap<String, String>) -> &'static str {
    let is_set = |name: &str| env.get(name).is_some_and(|value| !value.is_empty());
    let is_on = |name: &str| is_set(name) && env.get(name).is_none_or(|value| value != "0");
    if is_on("CLAUDE_CODE_USE_BEDROCK") {
        "Bedrock"
    } else if is_on("CLAUDE_CODE_USE_VERTEX") {
        "Vertex"
    } else if is_on("CLAUDE_CODE_USE_FOUNDRY") {
        "Foundry"
    } else if is_set("ANTHROPIC_API_KEY") {
        "API key"
    } else if is_set("ANTHROPIC_AUTH_TOKEN") {
        "token"
    } else {
        "subscription"
    }
}

/// The program's mode in which what was not allowed beforehand is denied.
const DONT_ASK: &str = "dontAsk";

/// The program's mode for a profile. In each, a session without a person can finish.
fn mode(profile: Profile) -> &'static str {
    match profile {
        Profile::Mode(Permission::Bypass) => "bypassPermissions",
        Profile::Mode(Permission::DontAsk) | Profile::ReadOnly => DONT_ASK,
        Profile::Mode(Permission::AcceptEdits) => "acceptEdits",
    }
}

/// The program would start the servers of a project's `.mcp.json` unasked, so it is told to take them from here alone.
fn mcp_file(mcp: &Mcp, cwd: &Path) -> Option<PathBuf> {
    match mcp {
        Mcp::None => None,
        Mcp::Project => Some(cwd.join(".mcp.json")).filter(|file| file.is_file()),
        Mcp::File(file) => Some(file.clone()),
    }
}

fn settings(profile: Profile) -> String {
    let writers = WRITERS.iter().filter(|_| profile == Profile::ReadOnly);
    let denied: Vec<&str> = DENIED.iter().chain(writers).copied().collect();
    json!({
        "attribution": { "commit": "", "pr": "" },
        "includeGitInstructions": false,
        "permissions": { "deny": denied },
    })
    .to_string()
}

fn is_anthropic(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', ':', '?']).next().unwrap_or(host);
    host == "anthropic.com" || host.ends_with(".anthropic.com")
}

fn utf8(path: &Path) -> Result<&str, ClaudeError> {
    path.to_str()
        .ok_or_else(|| ClaudeError::PathNotUtf8(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claude() -> ClaudeSettings {
        ClaudeSettings {
            binary: "/opt/claude".into(),
            version: "2.1.329 (Claude Code)".to_owned(),
            permission: Permission::DontAsk,
            allow_root: false,
            mcp: Mcp::None,
            tools: vec!["Bash".to_owned(), "Edit".to_owned()],
            max_retries: 2,
        }
    }

    fn session(start: Start) -> Session {
        Session {
            id: Uuid::from_u128(7),
            start,
            cwd: "/slot".into(),
            system_prompt_file: "/run/shared.md".into(),
            model: None,
            cap: None,
            tools: None,
            profile: None,
            effort: None,
            timeout: Duration::from_secs(60),
            env: BTreeMap::new(),
        }
    }

    fn value_of<'a>(args: &'a [String], option: &str) -> Option<&'a str> {
        let at = args.iter().position(|a| a == option)?;
        args.get(at + 1).map(String::as_str)
    }

    #[test]
    fn a_fresh_session_gets_our_id_and_a_resumed_one_is_named_by_it() {
        let id = Uuid::from_u128(7).to_string();
        let fresh = claude()
            .launch(&session(Start::Fresh))
            .expect("launch")
            .args;
        let resumed = claude()
            .launch(&session(Start::Resume))
            .expect("launch")
            .args;
        assert_eq!(value_of(&fresh, "--session-id"), Some(id.as_str()));
        assert_eq!(value_of(&fresh, "--resume"), None);
        assert_eq!(value_of(&resumed, "--resume"), Some(id.as_str()));
        assert_eq!(value_of(&resumed, "--session-id"), None);
    }

    #[test]
    fn the_tools_of_a_role_replace_those_of_the_settings() {
        let mut reviewer = session(Start::Fresh);
        reviewer.tools = Some(vec!["Read".to_owned(), "Grep".to_owned()]);
        let args = claude().launch(&reviewer).expect("launch").args;
        assert_eq!(value_of(&args, "--tools"), Some("Read,Grep"));
        assert_eq!(value_of(&args, "--allowedTools"), Some("Read,Grep"));
    }

    #[test]
    fn a_read_only_role_has_no_tool_that_writes_files_whatever_the_settings_say() {
        let mut reviewer = session(Start::Fresh);
        reviewer.profile = Some(Profile::ReadOnly);
        reviewer.effort = Some(Effort::High);
        let args = claude().launch(&reviewer).expect("launch").args;
        assert_eq!(value_of(&args, "--permission-mode"), Some("dontAsk"));
        assert_eq!(value_of(&args, "--tools"), Some("Bash"));
        assert_eq!(value_of(&args, "--allowedTools"), Some("Bash"));
        assert_eq!(value_of(&args, "--effort"), Some("high"));
        let settings = value_of(&args, "--settings").expect("settings");
        for tool in WRITERS {
            assert!(settings.contains(tool), "{tool} is denied: {settings}");
        }
    }

    #[test]
    fn root_is_refused_unless_a_person_or_the_machine_says_otherwise() {
        let (none, sandbox) = (
            BTreeMap::new(),
            BTreeMap::from([("IS_SANDBOX".to_owned(), "1".to_owned())]),
        );
        let bypass = ClaudeSettings {
            permission: Permission::Bypass,
            ..claude()
        };
        let allowed = ClaudeSettings {
            allow_root: true,
            ..bypass.clone()
        };
        assert!(matches!(
            bypass.check_user_as(true, &none),
            Err(ClaudeError::Root)
        ));
        assert!(bypass.check_user_as(false, &none).is_ok());
        assert!(bypass.check_user_as(true, &sandbox).is_ok());
        assert!(allowed.check_user_as(true, &none).is_ok());
        assert!(
            claude().check_user_as(true, &none).is_ok(),
            "no bypass, no refusal"
        );
        assert_eq!(
            allowed
                .env(&session(Start::Fresh))
                .get("IS_SANDBOX")
                .map(String::as_str),
            Some("1")
        );
        assert!(
            !bypass
                .env(&session(Start::Fresh))
                .contains_key("IS_SANDBOX")
        );
    }

    #[test]
    fn commands_of_the_agent_may_take_as_long_as_the_attempt() {
        let env = claude().env(&session(Start::Fresh));
        assert_eq!(env["BASH_DEFAULT_TIMEOUT_MS"], "60000");
        assert_eq!(env["BASH_MAX_TIMEOUT_MS"], "60000");
    }

    #[test]
    fn the_billing_header_is_dropped_for_gateways_only() {
        let with = |url: &str| {
            let mut session = session(Start::Fresh);
            session
                .env
                .insert("ANTHROPIC_BASE_URL".to_owned(), url.to_owned());
            claude()
                .env(&session)
                .contains_key("CLAUDE_CODE_ATTRIBUTION_HEADER")
        };
        assert!(with("http://127.0.0.1:8080"));
        assert!(with("https://anthropic.com.example.org/v1"));
        assert!(!with("https://api.anthropic.com/"));
        assert!(
            !claude()
                .env(&session(Start::Fresh))
                .contains_key("CLAUDE_CODE_ATTRIBUTION_HEADER")
        );
    }

    #[test]
    fn servers_of_a_project_are_started_only_when_asked_for_and_there() {
        let slot = tempfile::tempdir().expect("tempdir");
        let with = |mcp: Mcp| {
            let settings = ClaudeSettings { mcp, ..claude() };
            let session = Session {
                cwd: slot.path().to_owned(),
                ..session(Start::Fresh)
            };
            let args = settings.launch(&session).expect("launch").args;
            assert!(args.iter().any(|a| a == "--strict-mcp-config"));
            value_of(&args, "--mcp-config").map(str::to_owned)
        };
        assert_eq!(with(Mcp::Project), None);
        std::fs::write(slot.path().join(".mcp.json"), "{}").expect("write");
        assert_eq!(with(Mcp::None), None);
        assert_eq!(
            with(Mcp::Project).map(PathBuf::from),
            Some(slot.path().join(".mcp.json"))
        );
        assert_eq!(
            with(Mcp::File("/m.json".into())).as_deref(),
            Some("/m.json")
        );
    }
}
