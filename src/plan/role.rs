//! What a plan knows of roles: which of them only judge, and which one a task means that names none.
//!
//! A guess is made from whole phrases alone, for a wrong one gives a writer a reviewer's tools: a redesign is no design,
//! and a task that builds a review page reviews nothing. The dry run shows every guess; `agent:` ends the guessing.

/// Roles whose work is a text unless the task says otherwise: they judge and change nothing.
const READ_ONLY: [&str; 6] = [
    "code-reviewer",
    "spec-verifier",
    "qa-auditor",
    "ux-reviewer",
    "issue-verifier",
    "validator",
];

/// Phrases that mean a role, in the order in which they are tried.
const PHRASES: [(&str, &[&str]); 8] = [
    (
        "planner",
        &[
            "extend plan",
            "extend the plan",
            "append tasks",
            "create tasks",
            "plan sections",
        ],
    ),
    (
        "qa-auditor",
        &["qa audit", "qa auditor", "test plan", "coverage matrix"],
    ),
    (
        "spec-verifier",
        &["spec verification", "spec verifier", "spec compliance"],
    ),
    (
        "ux-reviewer",
        &[
            "ux review",
            "review ux",
            "usability review",
            "accessibility review",
        ],
    ),
    (
        "issue-verifier",
        &["issue verification", "verify the issue"],
    ),
    (
        "code-reviewer",
        &[
            "code review",
            "review code",
            "review the code",
            "review implementation",
            "review the implementation",
            "review changes",
            "review the changes",
            "verify implementation",
            "verify the implementation",
            "verify changes",
            "compliance check",
        ],
    ),
    ("ux-designer", &["ux design", "wireframe", "wireframes"]),
    (
        "systems-designer",
        &[
            "system design",
            "systems design",
            "architecture design",
            "data model design",
            "api design",
        ],
    ),
];

/// A task that begins so makes something, whatever it is about.
const MAKING: [&str; 17] = [
    "add",
    "address",
    "apply",
    "build",
    "change",
    "code",
    "fix",
    "implement",
    "improve",
    "integrate",
    "migrate",
    "refactor",
    "remove",
    "rename",
    "replace",
    "support",
    "update",
];

/// Whether tasks of a role are reports unless they say otherwise.
pub(super) fn is_read_only(role: &str) -> bool {
    READ_ONLY.contains(&role)
}

/// The role that the name of a task, or the first sentence of its description, means; none: the usual one.
pub(super) fn inferred(name: &str, description: &str) -> Option<&'static str> {
    let name = words(name);
    if name
        .first()
        .is_some_and(|word| MAKING.contains(&word.as_str()))
    {
        return None;
    }
    let is_end = |c| matches!(c, '.' | '!' | '?' | '\n');
    let sentence = words(
        description
            .trim_start()
            .split(is_end)
            .next()
            .unwrap_or_default(),
    );
    let has = |phrase: &str| {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        [&name, &sentence]
            .into_iter()
            .any(|words| words.windows(phrase.len()).any(|window| window == phrase))
    };
    PHRASES
        .iter()
        .find(|(_, phrases)| phrases.iter().any(|phrase| has(phrase)))
        .map(|(role, _)| *role)
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_phrases_mean_a_role() {
        let cases = [
            (
                "Run QA audit",
                "Run qa audit on the implemented feature",
                "qa-auditor",
            ),
            (
                "Generate test plan",
                "Create a test plan from the functional spec",
                "qa-auditor",
            ),
            (
                "Verify spec compliance",
                "Run spec verification on the feature",
                "spec-verifier",
            ),
            (
                "Review UX",
                "Perform ux review on the implemented component",
                "ux-reviewer",
            ),
            (
                "Check accessibility",
                "Run accessibility review on the new UI",
                "ux-reviewer",
            ),
            (
                "Extend plan with implementation tasks",
                "Read winning design and append phases",
                "planner",
            ),
            (
                "Verify component implementation",
                "Verify implementation of the component",
                "code-reviewer",
            ),
            (
                "Create system design",
                "Produce a system design document",
                "systems-designer",
            ),
        ];
        for (name, description, role) in cases {
            assert_eq!(inferred(name, description), Some(role), "{name}");
        }
    }

    #[test]
    fn words_that_only_look_like_a_role_mean_none() {
        let cases = [
            ("Write code", "x"),
            ("Redesign nav", "Rework the navigation"),
            (
                "Build login form",
                "Implement the login form with validation",
            ),
            (
                "Build navigation component",
                "Implement the navigation bar component",
            ),
            (
                "Add content moderation check functionality",
                "Implement a check that validates content",
            ),
            (
                "Implement review UI for moderators",
                "Build a review interface for flagged items",
            ),
            (
                "Implement design system tokens",
                "Add the design tokens from the design system",
            ),
            (
                "Fix what the code review found",
                "Each finding of the code review",
            ),
            (
                "Checkout page",
                "Show the basket. The code review comes later.",
            ),
        ];
        for (name, description) in cases {
            assert_eq!(inferred(name, description), None, "{name}");
        }
    }
}
