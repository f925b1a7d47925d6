//! JUnit XML, in which most test runners can write: `testsuites`, `testsuite`, `testcase`.

use roxmltree::{Document, Node};

use super::Told;
use crate::engine::verification::Counts;

pub(super) fn read(text: &str) -> Told {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => return Told::unreadable(format!("it is not XML: {error}")),
    };
    let root = document.root_element();
    if !matches!(root.tag_name().name(), "testsuites" | "testsuite") {
        return Told::unreadable(format!(
            "it is XML and no JUnit report: its root is `{}`",
            root.tag_name().name()
        ));
    }
    let mut told = Told::default();
    let mut counts = Counts::default();
    for case in root
        .descendants()
        .filter(|node| node.has_tag_name("testcase"))
    {
        let has = |tag: &str| case.children().any(|child| child.has_tag_name(tag));
        if has("failure") || has("error") {
            counts.failed += 1;
            told.fail(&name(case));
        } else if has("skipped") || case.attribute("status") == Some("notrun") {
            counts.skipped += 1;
        } else {
            counts.passed += 1;
        }
    }
    for suite in root.descendants().filter(is_leaf) {
        outside(suite, &mut told);
    }
    told.counts = Some(counts);
    told
}

/// `class › name`, or the name alone where it says both.
fn name(case: Node<'_, '_>) -> String {
    let name = case.attribute("name").unwrap_or("a test without a name");
    let class = case
        .attribute("classname")
        .or_else(|| case.attribute("file"));
    match class.filter(|class| !class.is_empty() && !name.starts_with(class)) {
        Some(class) => format!("{class} › {name}"),
        None => name.to_owned(),
    }
}

/// A suite that holds no suites: others repeat the sums of those in them.
fn is_leaf(node: &Node<'_, '_>) -> bool {
    node.has_tag_name("testsuite") && !node.children().any(|child| child.has_tag_name("testsuite"))
}

/// Failures that a suite counts and no test of it has: a set-up that failed.
fn outside(suite: Node<'_, '_>, told: &mut Told) {
    let counted = |key: &str| {
        let text = suite.attribute(key);
        text.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let has = |case: &Node<'_, '_>| {
        case.children()
            .any(|child| child.has_tag_name("failure") || child.has_tag_name("error"))
    };
    let cases = suite
        .children()
        .filter(|node| node.has_tag_name("testcase"));
    let named = cases.filter(has).count() as u64;
    let label = suite.attribute("name").unwrap_or("a suite");
    for _ in
        named..(counted("failures") + counted("errors")).min(named + super::FAILURES_MAX as u64)
    {
        told.fail(&format!("{label}: an error outside of its tests"));
    }
}
