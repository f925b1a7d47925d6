//! Which of the user's environment variables an agent gets.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// What a session of the agent program sets for the processes it starts, besides `CLAUDE_CODE_*`.
const SESSION_VARIABLES: [&str; 6] = [
    "AI_AGENT",
    "CLAUDECODE",
    "CLAUDE_ENV_FILE",
    "CLAUDE_PID",
    "CLAUDE_PLUGIN_ROOT",
    "CLAUDE_PROJECT_DIR",
];

/// `CLAUDE_CODE_*` variables by which a person says who pays and through which provider; a session passes them on.
const CREDENTIALS: [&str; 5] = [
    "CLAUDE_CODE_OAUTH_",
    "CLAUDE_CODE_USE_",
    "CLAUDE_CODE_SKIP_",
    "CLAUDE_CODE_API_KEY_",
    "CLAUDE_CODE_CLIENT_",
];

/// What ties a git process to one repository: the list of `git rev-parse --local-env-vars`, which git itself clears
/// before it works in another repository, and what hooks and `git -c` add to it.
const REPOSITORY_VARIABLES: [&str; 20] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REFLOG_ACTION",
    "GIT_REF_STORAGE_FORMAT",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// The environment of the user without what binds it to a surrounding agent session, git command or orch.
///
/// A person's own settings of the agent program stay, unless a session surrounds orch: then only credentials do, because
/// the others cannot be told from the session's. Variables that are not UTF-8 are left out.
pub fn scrub_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<String, String> {
    let mut kept: BTreeMap<String, String> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let is_in_session = kept.contains_key("CLAUDECODE");
    kept.retain(|name, value| {
        !(name.starts_with("ORCH_")
            || SESSION_VARIABLES.contains(&name.as_str())
            || is_in_session && is_of_session(name, value)
            || REPOSITORY_VARIABLES.contains(&name.as_str())
            || name.starts_with("GIT_CONFIG_KEY_")
            || name.starts_with("GIT_CONFIG_VALUE_"))
    });
    kept
}

/// Whether a variable that a person may set too is most likely the surrounding session's.
fn is_of_session(name: &str, value: &str) -> bool {
    match name {
        "CLAUDE_EFFORT" | "COREPACK_ENABLE_AUTO_PIN" => true,
        // So that its commands do not wait in an editor; a person's own editor stays.
        "GIT_EDITOR" => value == "true",
        _ => name.starts_with("CLAUDE_CODE_") && !CREDENTIALS.iter().any(|c| name.starts_with(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_left(names: &[&str]) -> Vec<String> {
        let environment = names
            .iter()
            .map(|n| (OsString::from(n), OsString::from("1")));
        scrub_environment(environment).into_keys().collect()
    }

    #[test]
    fn a_surrounding_session_leaves_only_the_credentials() {
        let left = names_left(&[
            "AI_AGENT",
            "ANTHROPIC_API_KEY",
            "CLAUDECODE",
            "CLAUDE_CODE_ENTRYPOINT",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CODE_SSE_PORT",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CONFIG_DIR",
            "CLAUDE_EFFORT",
            "CLAUDE_PID",
            "CLAUDE_PROJECT_DIR",
            "COREPACK_ENABLE_AUTO_PIN",
            "HOME",
            "PATH",
        ]);
        assert_eq!(
            left,
            [
                "ANTHROPIC_API_KEY",
                "CLAUDE_CODE_OAUTH_TOKEN",
                "CLAUDE_CODE_USE_BEDROCK",
                "CLAUDE_CONFIG_DIR",
                "HOME",
                "PATH",
            ]
        );
    }

    #[test]
    fn without_a_surrounding_session_a_persons_settings_stay() {
        let names = ["CLAUDE_CODE_MAX_OUTPUT_TOKENS", "CLAUDE_EFFORT", "EDITOR"];
        assert_eq!(names_left(&names), names);
    }

    #[test]
    fn of_git_editors_only_that_of_a_session_goes() {
        let left = |editor: &str| {
            let inside = [("CLAUDECODE", "1"), ("GIT_EDITOR", editor)];
            let inside = inside.map(|(name, value)| (name.into(), value.into()));
            scrub_environment(inside).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(left("true"), [""; 0]);
        assert_eq!(left("vi"), ["GIT_EDITOR"]);
    }

    #[test]
    fn an_outer_orch_leaves_no_mark() {
        let left = names_left(&["ORCH_MARK", "ORCH_RUN", "ORCH_TASK", "TERM"]);
        assert_eq!(left, ["TERM"]);
    }

    #[test]
    fn everything_that_git_calls_local_to_a_repository_goes() {
        let output = std::process::Command::new("git")
            .args(["rev-parse", "--local-env-vars"])
            .output()
            .expect("git runs");
        let listed = String::from_utf8(output.stdout).expect("names");
        let mut names: Vec<&str> = listed.lines().collect();
        assert!(names.contains(&"GIT_DIR"), "{names:?}");
        names.extend([
            "GIT_CONFIG_KEY_0",
            "GIT_CONFIG_VALUE_0",
            "GIT_QUARANTINE_PATH",
        ]);
        assert_eq!(names_left(&names), [""; 0]);
        let for_all_repositories = ["GIT_CONFIG_GLOBAL", "GIT_SSH_COMMAND"];
        assert_eq!(names_left(&for_all_repositories), for_all_repositories);
    }
}
