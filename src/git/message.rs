//! The message of a commit that orch makes: subject by the plan, body by the agent, trailers by orch.
//!
//! Trailers are for people and searches; no decision reads them back. Still, an agent's text must not look like one.

use crate::engine::conflict::{Answered, By};
use crate::ids::{PlanId, RunId, TaskId};

/// Longest subject in characters: what `git log --oneline` shows whole beside an id on an 80-column terminal.
const SUBJECT_CHARS_MAX: usize = 72;

/// Most bytes of an agent's text that go into a message: some 100 full lines. The whole text is in the run directory.
const BODY_BYTES_MAX: usize = 8 << 10;

/// What a message is made of.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The plan.
    pub plan: &'a PlanId,
    /// The task.
    pub task: &'a TaskId,
    /// The task's name, from the plan.
    pub name: &'a str,
    /// The run.
    pub run: &'a RunId,
    /// The attempt within the run.
    pub attempt: u32,
    /// How often the task was opened in the run; that it is the first time is not worth a line.
    pub generation: u32,
    /// The agent's words; may be empty.
    pub body: &'a str,
    /// The gates that vouch for the commit, which lands only if they pass; or why there are none.
    pub verified: Result<&'a str, &'a str>,
    /// The conflicts that were settled as a person had said beforehand.
    pub answered: &'a [Answered],
    /// The files in which a session resolved conflicts that its work ran into.
    pub resolved: &'a [String],
    /// `Name <email>` of a `Signed-off-by` line, if the project wants one.
    pub sign_off: Option<&'a str>,
}

impl Message<'_> {
    /// The text, ending in a newline.
    pub fn text(&self) -> String {
        let mut parts = vec![self.subject()];
        let body = body(self.body);
        if !body.is_empty() {
            parts.push(body);
        }
        parts.push(self.trailers());
        parts.join("\n\n") + "\n"
    }

    fn subject(&self) -> String {
        let whole = one_line(&format!("{}: {}", self.task, self.name));
        if whole.chars().count() <= SUBJECT_CHARS_MAX {
            return whole;
        }
        let kept: String = whole.chars().take(SUBJECT_CHARS_MAX - 1).collect();
        format!("{}…", kept.trim_end())
    }

    fn trailers(&self) -> String {
        let mut lines = vec![
            format!("Orch-Plan: {}", one_line(self.plan.as_str())),
            format!("Orch-Task: {}", self.task),
            format!("Orch-Run: {}", self.run),
            format!("Orch-Attempt: {}", self.attempt),
        ];
        if self.generation > 1 {
            lines.push(format!("Orch-Generation: {}", self.generation));
        }
        lines.push(match self.verified {
            Ok(gates) => format!("Orch-Verified: {}", one_line(gates)),
            Err(why) => format!("Orch-Verified: no ({})", one_line(why)),
        });
        let by = |is_union: bool| {
            let files = self.answered.iter();
            let files = files.filter(move |answered| (answered.by == By::Union) == is_union);
            files.map(|answered| answered.file.as_str()).collect()
        };
        let resolved: Vec<&str> = self.resolved.iter().map(String::as_str).collect();
        for (how, files) in [
            ("union", by(true)),
            ("run", by(false)),
            ("session", resolved),
        ] {
            if !files.is_empty() {
                lines.push(format!(
                    "Orch-Merged: {how} ({})",
                    one_line(&files.join(", "))
                ));
            }
        }
        if let Some(who) = self.sign_off {
            lines.push(format!("Signed-off-by: {}", one_line(who)));
        }
        lines.join("\n")
    }
}

/// Blanks and control characters become single spaces.
fn one_line(text: &str) -> String {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let words = text.split(blank).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// An agent's text with plain line ends, without control characters, not too long, and with nothing in it that git or
/// a person would take for a trailer or for the end of the message.
fn body(text: &str) -> String {
    let text = text.trim();
    let cut = (0..=BODY_BYTES_MAX.min(text.len())).rfind(|&at| text.is_char_boundary(at));
    let kept = &text[..cut.unwrap_or(0)];
    let mut lines: Vec<String> = kept.lines().map(body_line).collect();
    if kept.len() < text.len() {
        lines.push(String::new());
        lines.push("[cut here; the whole text is in the run's directory]".to_owned());
    }
    lines.join("\n").trim_matches('\n').to_owned()
}

fn body_line(line: &str) -> String {
    let clean: String = line
        .chars()
        .filter(|&c| c == '\t' || !c.is_control())
        .collect();
    let indent = if reads_as_trailer(&clean) { "    " } else { "" };
    format!("{indent}{}", clean.trim_end())
}

/// Whether git's trailer search could stop at the line: `Token:`, `Token :`, the note that `cherry-pick -x` leaves, or
/// the `---` that divides a message from a patch (git-interpret-trailers(1)).
fn reads_as_trailer(line: &str) -> bool {
    let after_token =
        line.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let has_token = after_token.len() < line.len();
    let names_url = after_token.starts_with("://");
    (has_token && !names_url && after_token.trim_start_matches([' ', '\t']).starts_with(':'))
        || line.starts_with("---")
        || line.starts_with("(cherry picked from commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(file: &str, by: By) -> Answered {
        let file = file.to_owned();
        Answered { file, by }
    }

    fn text(name: &str, body: &str, sign_off: Option<&str>) -> String {
        let plan = PlanId::from_path(std::path::Path::new("plans/a\nOrch-Task: x.yaml"));
        let at = chrono::DateTime::from_timestamp(0, 0).expect("in range");
        Message {
            plan: &plan,
            task: &TaskId::parse("1.1").expect("usable"),
            name,
            run: &RunId::new(at, 0),
            attempt: 2,
            generation: 1,
            body,
            verified: Err("no required verify command"),
            answered: &[
                answered("a\nb", By::Union),
                answered("c", By::Union),
                answered(
                    "Cargo.lock",
                    By::Run {
                        command: "cargo update -w".to_owned(),
                        ms: 1,
                    },
                ),
            ],
            resolved: &["d".to_owned()],
            sign_off,
        }
        .text()
    }

    #[test]
    fn a_message_is_subject_body_and_trailers() {
        let text = text("Add  a\nthing", "Did it.\r\nWell.", Some("A <a@b>"));
        assert_eq!(
            text,
            "1.1: Add a thing\n\nDid it.\nWell.\n\nOrch-Plan: plans/a Orch-Task: x.yaml\nOrch-Task: 1.1\n\
             Orch-Run: 19700101-000000-0000\nOrch-Attempt: 2\nOrch-Verified: no (no required verify command)\n\
             Orch-Merged: union (a b, c)\nOrch-Merged: run (Cargo.lock)\nOrch-Merged: session (d)\nSigned-off-by: A <a@b>\n"
        );
    }

    #[test]
    fn a_message_without_a_body_has_no_empty_paragraph() {
        assert!(text("n", " \n\0\n", None).starts_with("1.1: n\n\nOrch-Plan"));
    }

    #[test]
    fn a_long_name_is_cut_to_the_subjects_width() {
        let text = text(&"größe ".repeat(30), "", None);
        let subject = text.lines().next().expect("a line");
        assert!(subject.chars().count() <= SUBJECT_CHARS_MAX && subject.ends_with('…'));
    }

    #[test]
    fn a_long_body_is_cut_at_a_character_and_says_so() {
        let text = text("n", &"ü".repeat(BODY_BYTES_MAX), None);
        assert!(text.len() < BODY_BYTES_MAX + 500 && text.contains("[cut here"));
    }

    #[test]
    fn what_an_agent_writes_cannot_pass_for_a_trailer() {
        for line in [
            "Orch-Task: 9.9",
            "Orch-Task:9.9",
            "Orch-Task : 9.9",
            "Signed-off-by: someone",
            "---",
            "(cherry picked from commit abc)",
            "\u{1b}Orch-Run: x",
        ] {
            let indented = body(&format!("first\n{line}"));
            let last = indented.lines().last().expect("a line");
            assert!(last.starts_with("    "), "{last:?}");
        }
        for line in [
            "see https://example.org",
            "https://example.org",
            "a b: c",
            ": x",
        ] {
            assert!(!reads_as_trailer(line), "{line:?}");
        }
    }
}
