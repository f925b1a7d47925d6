//! Plans as a run finds them: what starts at once, and how the run ends.

use serde::Deserialize;

use super::*;
use crate::plan::{self, Strictness};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    says: String,
    section: Option<String>,
    tasks: serde_yaml::Value,
    #[serde(default)]
    starts: Vec<String>,
    ends: Option<Outcome>,
    refused: Option<String>,
}

#[test]
fn plans_start_and_end_as_they_say() {
    let text = include_str!("../../../tests/fixtures/plans-to-start.yaml");
    let cases: Vec<Case> = serde_yaml::from_str(text).expect("cases");
    assert!(cases.len() > 15);
    for case in cases {
        let says = &case.says;
        let status = case.section.as_deref().unwrap_or("pending");
        let tasks = serde_yaml::to_string(&case.tasks).expect("YAML");
        let tasks = tasks.lines().map(|line| format!("  {line}\n"));
        let text = format!(
            "sections:\n- id: s\n  name: S\n  status: {status}\n  tasks:\n{}",
            tasks.collect::<String>()
        );
        let checked = plan::check("plan.yaml", text.as_bytes(), Strictness::AsWritten);
        if let Some(code) = &case.refused {
            assert!(checked.plan.is_none(), "{says}");
            let codes: Vec<&str> = checked.diagnostics.iter().map(|d| d.code).collect();
            assert!(codes.contains(&code.as_str()), "{says}: {codes:?}");
            continue;
        }
        let plan = checked
            .plan
            .unwrap_or_else(|| panic!("{says}: {:?}", checked.diagnostics));
        let mut start = asks_for(Vec::new());
        start.jobs = 8;
        start.revision.graph = plan.graph;
        let mut bench = Bench::start(&start);
        assert_eq!(bench.running(), case.starts, "{says}");
        while let Some(first) = bench.running().first().cloned() {
            bench.succeeds(&first);
        }
        assert_eq!(Some(bench.finish()), case.ends, "{says}");
    }
}
