//! Promises about statuses.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

const TASK: &str = "api";

fn judged(structured: Option<&Value>, file: Option<&str>) -> Found {
    let tree = tempfile::tempdir().expect("tempdir");
    if let Some(text) = file {
        put(tree.path(), FILES[0], text);
    }
    judged_in(tree.path(), structured)
}

fn judged_in(tree: &Path, structured: Option<&Value>) -> Found {
    let task = TaskId::parse(TASK).expect("an id");
    judge(
        structured,
        read(tree),
        Expected {
            task: &task,
            nonce: "n1",
        },
    )
}

fn put(tree: &Path, path: &str, text: &str) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("create");
    fs::write(path, text).expect("write");
}

fn said(found: &Found) -> Option<Said> {
    match &found.finding {
        Finding::Status(status) => Some(status.said),
        Finding::None | Finding::Bad(_) => None,
    }
}

fn why_bad(found: Found) -> String {
    match found.finding {
        Finding::Bad(why) => why,
        other => panic!("{other:?} is not bad"),
    }
}

#[test]
fn the_schema_is_json_on_one_line() {
    assert!(!schema().contains('\n'));
    assert_eq!(
        serde_json::from_str::<Value>(&schema()).expect("JSON")["required"][0],
        "task_id"
    );
}

#[test]
fn the_structured_status_needs_no_nonce_but_not_a_wrong_one() {
    let right = judged(
        Some(&json!({"task_id": TASK, "status": "completed", "message": " done "})),
        None,
    );
    let done = Status {
        said: Said::Completed,
        message: "done".to_owned(),
    };
    assert_eq!(
        right,
        Found {
            finding: Finding::Status(done),
            notes: vec![]
        }
    );
    let wrong = json!({"task_id": TASK, "status": "completed", "message": "", "nonce": "n0"});
    assert!(why_bad(judged(Some(&wrong), None)).contains("another attempt"));
}

#[test]
fn a_status_of_another_task_is_bad_wherever_it_stands() {
    let other = json!({"task_id": "ui", "status": "completed", "message": "", "nonce": "n1"});
    assert_eq!(
        why_bad(judged(None, Some(&other.to_string()))),
        ".orch/task-status.json is of task `ui`, not of `api`"
    );
    assert!(why_bad(judged(Some(&other), None)).contains("`ui`"));
}

#[test]
fn a_file_without_nonce_is_taken_with_a_note_and_one_with_a_wrong_nonce_is_not() {
    let found = judged(
        None,
        Some(r#"{"task_id":"api","status":"failed","message":"x"}"#),
    );
    assert_eq!(said(&found), Some(Said::Failed));
    assert_eq!(found.notes, [".orch/task-status.json carries no nonce"]);
    let stale = r#"{"task_id":"api","status":"completed","nonce":"n0"}"#;
    assert!(why_bad(judged(None, Some(stale))).contains("another attempt"));
}

#[test]
fn failed_wins_over_completed_on_both_sides() {
    let status =
        |word: &str| json!({"task_id": TASK, "status": word, "message": word, "nonce": "n1"});
    for (a, b) in [("completed", "failed"), ("failed", "completed")] {
        let found = judged(Some(&status(a)), Some(&status(b).to_string()));
        assert_eq!(said(&found), Some(Said::Failed), "{a} and {b}");
        assert_eq!(found.notes.len(), 1);
    }
}

#[test]
fn a_good_structured_status_outweighs_a_broken_file_with_a_note() {
    let found = judged(
        Some(&json!({"task_id": TASK, "status": "completed", "message": ""})),
        Some("{"),
    );
    assert_eq!(said(&found), Some(Said::Completed));
    assert!(found.notes[0].contains("cannot be read as JSON"));
}

#[test]
fn comments_fences_and_trailing_commas_are_tolerated_and_named() {
    let text = "```json\n{\n  // the task\n  \"task_id\": \"api\", /* id */\n  \"status\": \"completed\",\n  \
                \"message\": \"see http://x // not a comment, }\",\n  \"nonce\": \"n1\",\n}\n```\n";
    let found = judged(None, Some(text));
    assert_eq!(said(&found), Some(Said::Completed));
    assert_eq!(found.notes.len(), 3, "{:?}", found.notes);
    match found.finding {
        Finding::Status(status) => assert_eq!(status.message, "see http://x // not a comment, }"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_words_prose_and_empty_files_are_no_status() {
    for text in [
        r#"{"task_id":"api","status":"suspended","nonce":"n1"}"#,
        r#"{"task_id":"api","nonce":"n1"}"#,
        r#"{"status":"completed"}"#,
        r#"["api"]"#,
        "all done!",
        "",
    ] {
        why_bad(judged(None, Some(text)));
    }
}

#[test]
fn the_older_places_are_looked_at_after_ours() {
    let tree = tempfile::tempdir().expect("tempdir");
    let status = |word: &str| format!(r#"{{"task_id":"api","status":"{word}","nonce":"n1"}}"#);
    put(tree.path(), FILES[2], &status("failed"));
    assert_eq!(said(&judged_in(tree.path(), None)), Some(Said::Failed));
    put(tree.path(), FILES[1], &status("completed"));
    assert_eq!(said(&judged_in(tree.path(), None)), Some(Said::Completed));
    clear(tree.path()).expect("clear");
    assert_eq!(judged_in(tree.path(), None).finding, Finding::None);
}

#[test]
fn links_pipes_directories_and_large_files_are_refused() {
    let outside = tempfile::tempdir().expect("tempdir");
    put(
        outside.path(),
        "task-status.json",
        r#"{"task_id":"api","status":"completed","nonce":"n1"}"#,
    );
    let refused = |make: &dyn Fn(&Path)| {
        let tree = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(tree.path().join(".orch")).expect("create");
        make(tree.path());
        why_bad(judged_in(tree.path(), None))
    };
    let file = |tree: &Path| tree.join(FILES[0]);
    let link = |to: &Path, at: &Path| std::os::unix::fs::symlink(to, at).expect("link");
    let target = outside.path().join("task-status.json");
    assert!(refused(&|t| link(&target, &file(t))).contains("not a regular file"));
    assert!(refused(&|t| fs::create_dir(file(t)).expect("create")).contains("not a regular file"));
    assert!(
        refused(&|t| {
            let kind = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, file(t), kind, mode, 0).expect("a pipe");
        })
        .contains("not a regular file")
    );
    assert!(
        refused(&|t| fs::write(file(t), vec![b' '; 70_000]).expect("write"))
            .contains("larger than 64 KiB")
    );
}

#[test]
fn nothing_behind_a_linked_directory_is_read_or_removed() {
    let (tree, outside) = (
        tempfile::tempdir().expect("tempdir"),
        tempfile::tempdir().expect("tempdir"),
    );
    let status = outside.path().join("task-status.json");
    put(
        outside.path(),
        "task-status.json",
        r#"{"task_id":"api","status":"completed","nonce":"n1"}"#,
    );
    std::os::unix::fs::symlink(outside.path(), tree.path().join("tmp")).expect("link");
    clear(tree.path()).expect("nothing to clear");
    assert!(status.exists());
    assert_eq!(judged_in(tree.path(), None).finding, Finding::None);
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let long = "é".repeat(MESSAGE_BYTES_MAX);
    let found = judged(
        Some(&json!({"task_id": TASK, "status": "completed", "message": long})),
        None,
    );
    assert_eq!(found.notes.len(), 1);
    match found.finding {
        Finding::Status(status) => assert_eq!(status.message.len(), MESSAGE_BYTES_MAX),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_blank_report_is_no_report() {
    let tree = tempfile::tempdir().expect("tempdir");
    assert_eq!(read_report(tree.path()).expect("readable"), None);
    put(tree.path(), REPORT_FILE, " \n");
    assert_eq!(read_report(tree.path()).expect("readable"), None);
    put(tree.path(), REPORT_FILE, "# Findings\n");
    assert_eq!(
        read_report(tree.path()).expect("readable").as_deref(),
        Some("# Findings\n")
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_tolerant_parser_stumble(text in "[\\[\\]{}\",:/*\\\\`a\u{e9}\\s]{0,60}", any in "\\PC*") {
        tolerant::parse(&text).ok();
        tolerant::parse(&any).ok();
    }

    #[test]
    fn json_is_read_as_what_it_is_also_with_comments_behind_its_lines(
        texts in proptest::collection::btree_map("[a-z]{1,5}", "\\PC{0,12}", 0..6),
    ) {
        let value = serde_json::json!(texts);
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        let commented = pretty.replace('\n', " // why, \"}\n");
        proptest::prop_assert_eq!(tolerant::parse(&pretty).expect("JSON"), (value.clone(), vec![]));
        proptest::prop_assert_eq!(tolerant::parse(&commented).expect("tolerated").0, value);
    }
}
