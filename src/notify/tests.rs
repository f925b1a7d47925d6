//! Who was told of what, as the marks of a run keep it.

use super::marks::{Marking, Marks};
use crate::config::notify::Subscription;

#[test]
fn marks_tell_who_has_what_and_whether_all_was_delivered() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log/notices");
    let (ada, bob) = (
        Subscription::email("ada@example.invalid"),
        Subscription::email("bob@example.invalid"),
    );
    assert!(Marks::read(&path).expect("no file").is_none());
    let mut marking = Marking::open(&path).expect("a file");
    marking.begun().expect("a mark");
    marking.delivered("r-4", &ada).expect("a mark");
    let marks = Marks::read(&path).expect("a file").expect("marks");
    assert!(marks.has("r-4", &ada) && !marks.has("r-4", &bob) && !marks.has("r-5", &ada));
    assert!(!marks.is_settled() && !marks.is_settled_up_to(4));

    marking.settled(7).expect("a mark");
    let marks = Marks::read(&path).expect("a file").expect("marks");
    assert!(marks.is_settled() && marks.is_settled_up_to(7) && !marks.is_settled_up_to(8));

    // The run goes on, and may have more to tell.
    marking.begun().expect("a mark");
    let marks = Marks::read(&path).expect("a file").expect("marks");
    assert!(!marks.is_settled() && marks.is_settled_up_to(7));
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(!text.contains("ada"), "no address stands there: {text}");
}
