//! SARIF, the JSON of static analysis: what a tool found, by file and rule.

use serde::Deserialize;

use super::Told;

#[derive(Debug, Deserialize)]
struct Log {
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    /// Absent where the tool only describes itself.
    #[serde(default)]
    results: Vec<Finding>,
    #[serde(default)]
    invocations: Vec<Invocation>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    #[serde(default = "yes")]
    execution_successful: bool,
    /// What kept the tool from its work: a file that does not parse.
    #[serde(default)]
    tool_execution_notifications: Vec<Finding>,
    #[serde(default)]
    tool_configuration_notifications: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    #[serde(default)]
    rule_id: Option<String>,
    #[serde(default)]
    level: Option<String>,
    /// `fail` unless it says otherwise: `pass`, `notApplicable` and others are no problems.
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    message: Message,
    #[serde(default)]
    locations: Vec<Location>,
    #[serde(default)]
    suppressions: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
struct Message {
    #[serde(default)]
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(default)]
    physical_location: Option<Physical>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    #[serde(default)]
    artifact_location: Option<Artifact>,
}

#[derive(Debug, Deserialize)]
struct Artifact {
    #[serde(default)]
    uri: Option<String>,
}

fn yes() -> bool {
    true
}

/// An output that is nothing but such a log, or begins with one; `None` if it is something else.
pub(super) fn printed(output: &str, passed: bool) -> Option<Told> {
    let output = output.trim_start();
    let begin = &output[..(0..=output.len().min(2_000))
        .rfind(|at| output.is_char_boundary(*at))
        .unwrap_or(0)];
    (output.starts_with('{') && begin.contains("sarif")).then(|| read(output, passed))
}

/// Errors count whatever the tool's exit code says; what it calls less counts where it fails and finds no errors.
pub(super) fn read(text: &str, passed: bool) -> Told {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Log>();
    let log = match values.next() {
        Some(Ok(log)) => log,
        Some(Err(error)) => return Told::unreadable(format!("it is no SARIF log: {error}")),
        None => return Told::unreadable("it is empty"),
    };
    let counts = |finding: &&Finding| {
        finding.suppressions.is_empty() && finding.kind.as_deref().is_none_or(|kind| kind == "fail")
    };
    let is_error = |finding: &Finding| finding.level.as_deref() == Some("error");
    let invocations = || log.runs.iter().flat_map(|run| &run.invocations);
    let notes = invocations().flat_map(|invocation| {
        let execution = invocation.tool_execution_notifications.iter();
        execution.chain(&invocation.tool_configuration_notifications)
    });
    let results = log.runs.iter().flat_map(|run| &run.results);
    let found: Vec<&Finding> = results
        .filter(counts)
        .chain(notes.filter(|note| is_error(note)))
        .collect();
    let has_errors = found.iter().any(|finding| is_error(finding));
    if !has_errors && invocations().any(|invocation| !invocation.execution_successful) {
        return Told::unreadable("its tool says that it could not do its work");
    }
    let mut told = Told::default();
    for finding in found {
        if is_error(finding) || (!passed && !has_errors) {
            told.fail(&name(finding));
        }
    }
    told
}

/// Without lines, which move: file, rule, and the first line of the message.
fn name(finding: &Finding) -> String {
    let physical = finding
        .locations
        .first()
        .and_then(|l| l.physical_location.as_ref());
    let file = physical.and_then(|p| p.artifact_location.as_ref()?.uri.as_deref());
    let rule = finding.rule_id.as_deref();
    let message = finding.message.text.lines().next();
    let parts: Vec<&str> = [file, rule, message].into_iter().flatten().collect();
    parts.join(": ")
}
