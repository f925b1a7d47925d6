//! What `orch check` and `orch graph` print for plan files.

use std::path::{Path, PathBuf};

use orch::cli::check::{CheckFormat, check};
use orch::cli::graph::{GraphFormat, graph};
use orch::error::ErrorKind;
use orch::plan::Strictness;

const PLAN: &str = r#"sections:
  - id: s
    name: S
    tasks:
      - {id: a, name: Look, status: completed}
      - {id: b, name: 'Say "<hi>" \ & go', parallel_group: g}
      - {id: c, name: "Two\nlines", parallel_group: g}
      - {id: d, name: Check, depends_on: [b]}
      - {id: e, name: Rest}
      - {id: f, name: Alone, depends_on: []}
"#;

/// A file with this text, in a directory that lasts as long as the first value.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("plan.yaml");
    std::fs::write(&path, text).expect("it can be written");
    (dir, path)
}

fn checked(path: &Path, format: CheckFormat) -> (bool, String) {
    let mut out = Vec::new();
    let ok = check(
        path,
        Strictness::AsWritten,
        format,
        false,
        |_| Ok(Vec::new()),
        &mut out,
    )
    .expect("it can be read");
    let out = String::from_utf8(out).expect("text");
    (ok, out.replace(&path.display().to_string(), "plan.yaml"))
}

fn drawn(format: GraphFormat) -> String {
    let (_dir, path) = file(PLAN);
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    graph(&path, format, false, &mut out, &mut talk).expect("it checks");
    assert!(talk.is_empty());
    String::from_utf8(out).expect("text")
}

#[test]
fn levels_show_implied_edges_and_the_critical_path() {
    insta::assert_snapshot!(drawn(GraphFormat::Ascii), @r#"
    level 1
      * a  Look  [completed]
        f  Alone
    level 2
      * b  Say "<hi>" \ & go  <- ~a
        c  Two lines  <- ~a
    level 3
      * d  Check  <- b
    level 4
      * e  Rest  <- ~c, ~d

    * critical path, 4 of 6 tasks: a -> b -> d -> e
    ~ implied by document order: after that task and all that it follows
    "#);
}

#[test]
fn a_flowchart_dots_implied_edges_and_escapes_names() {
    insta::assert_snapshot!(drawn(GraphFormat::Mermaid), @r#"
    flowchart TD
      t0["a Look"]
      t1["b Say &quot;&lt;hi&gt;&quot; \ &amp; go"]
      t2["c Two lines"]
      t3["d Check"]
      t4["e Rest"]
      t5["f Alone"]
      t0 -.-> t1
      t0 -.-> t2
      t1 --> t3
      t2 -.-> t4
      t3 -.-> t4
      classDef critical stroke-width:3px
      class t0,t1,t3,t4 critical
    "#);
}

#[test]
fn a_digraph_dashes_implied_edges_and_escapes_names() {
    insta::assert_snapshot!(drawn(GraphFormat::Dot), @r#"
    digraph plan {
      node [shape=box];
      t0 [label="a Look", penwidth=3];
      t1 [label="b Say \"<hi>\" \\ & go", penwidth=3];
      t2 [label="c Two lines"];
      t3 [label="d Check", penwidth=3];
      t4 [label="e Rest", penwidth=3];
      t5 [label="f Alone"];
      t0 -> t1 [style=dashed, penwidth=3];
      t0 -> t2 [style=dashed];
      t1 -> t3 [style=solid, penwidth=3];
      t2 -> t4 [style=dashed];
      t3 -> t4 [style=dashed, penwidth=3];
    }
    "#);
}

#[test]
fn the_json_form_of_a_graph_has_levels_needs_and_the_critical_path() {
    let graph: serde_json::Value = serde_json::from_str(&drawn(GraphFormat::Json)).expect("JSON");
    assert_eq!(
        graph["critical_path"],
        serde_json::json!(["a", "b", "d", "e"])
    );
    assert_eq!(graph["levels"][1], serde_json::json!(["b", "c"]));
    assert_eq!(
        graph["tasks"][1]["needs"],
        serde_json::json!([{"on": "a", "implied": true}])
    );
    assert_eq!(graph["tasks"][1]["remaining"], 3);
}

#[test]
fn a_good_plan_is_counted() {
    let (_dir, path) = file(PLAN);
    let expected = "plan.yaml: 6 tasks in 1 section, no problems\n";
    assert_eq!(
        checked(&path, CheckFormat::Text),
        (true, expected.to_owned())
    );
}

#[test]
fn a_bad_plan_is_refused_by_both_commands() {
    let (_dir, path) = file("sections:\n  - {id: s, name: S, status: x, owner: me}\n");
    let (ok, text) = checked(&path, CheckFormat::Text);
    assert!(
        !ok && text.ends_with("plan.yaml: 1 error, 1 warning\n"),
        "{text}"
    );

    let (ok, json) = checked(&path, CheckFormat::Json);
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(!ok);
    assert_eq!(
        (&report["version"], &report["ok"]),
        (&1.into(), &false.into())
    );
    assert_eq!(report["diagnostics"][0]["code"], "unknown-word");

    let (mut out, mut talk) = (Vec::new(), Vec::new());
    let refused = graph(&path, GraphFormat::Ascii, false, &mut out, &mut talk);
    let refused = refused.expect_err("it does not check");
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(out.is_empty() && !talk.is_empty());
}

#[test]
fn a_file_that_cannot_be_read_is_a_usage_error_that_names_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let missing = dir.path().join("missing.yaml");
    let error = check(
        &missing,
        Strictness::AsWritten,
        CheckFormat::Text,
        false,
        |_| Ok(Vec::new()),
        &mut Vec::new(),
    );
    let error = error.expect_err("there is no such file");
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("missing.yaml"));
}
