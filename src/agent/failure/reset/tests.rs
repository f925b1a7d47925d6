//! Ends of limits, as texts of many releases and users name them.

use chrono_tz::America::New_York;
use chrono_tz::Europe::{Berlin, Warsaw};
use proptest::prelude::*;

use super::*;

fn wall(text: &str) -> Wall {
    let at = DateTime::parse_from_rfc3339(text).expect("a time");
    Wall(at.timestamp_millis())
}

fn read(text: &str, now: &str) -> Option<String> {
    let at = from_text(text, wall(now), &Berlin)?;
    Some(at.to_utc()?.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[test]
fn every_known_form_is_read() {
    let now = "2026-01-01T12:00:00Z";
    for (text, end) in [
        (
            "You've hit your limit · resets 1pm (Europe/Lisbon)",
            "2026-01-01T13:00:00Z",
        ),
        (
            "You've hit your session limit · resets 4:20am (Europe/Warsaw)",
            "2026-01-02T03:20:00Z",
        ),
        (
            "You've hit your weekly limit · resets Jan 31, 2am (UTC)",
            "2026-01-31T02:00:00Z",
        ),
        (
            "Weekly limit reached · resets 10am (Asia/Seoul) · /upgrade to Max",
            "2026-01-02T01:00:00Z",
        ),
        (
            "Opus weekly limit reached ∙ resets Feb 16, 11am",
            "2026-02-16T10:00:00Z",
        ),
        ("5-hour limit reached ∙ resets 2am", "2026-01-02T01:00:00Z"),
        ("Session limit reached ∙ resets 3pm", "2026-01-01T14:00:00Z"),
        (
            "Session limit reached ∙ resets 3:20pm",
            "2026-01-01T14:20:00Z",
        ),
        (
            "Weekly limit reached ∙ resets Mar 31 at 7pm",
            "2026-03-31T17:00:00Z",
        ),
        (
            "You've hit your limit · resets February 9 at 6:30pm (America/Toronto)",
            "2026-02-09T23:30:00Z",
        ),
        (
            "you've HIT your limit . RESET Feb 9 at 6 PM (Europe/Paris)",
            "2026-02-09T17:00:00Z",
        ),
        (
            "You've hit your limit · resets Jun 1 at 12pm (UTC)",
            "2026-06-01T12:00:00Z",
        ),
        (
            "You've hit your limit · resets Jun 1 at 12am (UTC)",
            "2026-06-01T00:00:00Z",
        ),
        (
            "You've hit your weekly limit · resets Jan 20, 2027, 5:41am (Europe/Berlin)",
            "2027-01-20T04:41:00Z",
        ),
        (
            "Limit reached · resets Jan 15 (UTC)",
            "2026-01-15T00:00:00Z",
        ),
        ("Limit reached · resets Jan 15", "2026-01-14T23:00:00Z"),
        (
            "You've hit your Fable limit · resets 7:41pm (Europe/Berlin). Switch to another model to continue.",
            "2026-01-01T18:41:00Z",
        ),
        (
            "You've hit your individual spend limit · ask your admin to raise it at example.com · your 5-hour limit resets 7:41pm (Europe/Berlin)",
            "2026-01-01T18:41:00Z",
        ),
        (
            "You've hit your usage limit. Try again at 7:25 PM.",
            "2026-01-01T18:25:00Z",
        ),
        (
            "Limit reached · resets at 15:30 (UTC)",
            "2026-01-01T15:30:00Z",
        ),
        (
            "Claude AI usage limit reached|1767290400",
            "2026-01-01T18:00:00Z",
        ),
        (
            "Claude AI usage limit reached|1767290400000",
            "2026-01-01T18:00:00Z",
        ),
    ] {
        assert_eq!(read(text, now).as_deref(), Some(end), "{text}");
    }
}

#[test]
fn what_names_no_future_time_is_unknown() {
    for text in [
        "You've hit your session limit",
        "You've hit your limit · resets soon",
        "You've hit your limit · resets Feb 9 at 25:99 (UTC)",
        "You've hit your limit · resets Feb 31, 9am",
        "You've hit your limit · resets 13pm",
        "You've hit your limit · resets 0am",
        "You've hit your limit · resets 3",
        "You've hit your limit · resets 3pm (Middle/Earth)",
        "You've hit your limit · resets (UTC)",
        "You've hit your limit · resets 3pm, 2019 (",
        "Claude AI usage limit reached|1567290400",
        "Claude AI usage limit reached|12",
        "Claude AI usage limit reached|99999999999999999999",
        "",
    ] {
        let read = read(text, "2026-01-01T12:00:00Z");
        let is_the_time_before_the_bracket = text.ends_with("2019 (");
        assert_eq!(
            read.is_none(),
            !is_the_time_before_the_bracket,
            "{text}: {read:?}"
        );
    }
}

#[test]
fn a_time_of_day_that_has_passed_means_tomorrow_s() {
    let text = "limit reached · resets 11am (UTC)";
    assert_eq!(
        read(text, "2026-01-01T12:00:00Z").as_deref(),
        Some("2026-01-02T11:00:00Z")
    );
    assert_eq!(
        read(text, "2026-12-31T12:00:00Z").as_deref(),
        Some("2027-01-01T11:00:00Z")
    );
}

#[test]
fn a_time_of_day_that_has_just_passed_is_no_wait_of_a_day() {
    // Its seconds were cut off: at 11:00:40 the limit may end at 11:00:50.
    let text = "limit reached · resets 11am (UTC)";
    assert_eq!(read(text, "2026-01-01T11:00:40Z"), None);
    assert_eq!(
        read("limit reached · resets 12am (UTC)", "2026-01-01T00:04:00Z"),
        None
    );
}

#[test]
fn a_day_without_a_year_is_the_nearest_one() {
    let january = "limit reached · resets Jan 2, 9am (UTC)";
    assert_eq!(
        read(january, "2026-12-30T12:00:00Z").as_deref(),
        Some("2027-01-02T09:00:00Z")
    );
    // Over for two months, not ten months away.
    assert_eq!(read(january, "2026-03-02T12:00:00Z"), None);
    assert_eq!(
        read(
            "limit reached · resets Feb 29, 9am (UTC)",
            "2027-12-30T12:00:00Z"
        )
        .as_deref(),
        Some("2028-02-29T09:00:00Z")
    );
}

#[test]
fn clocks_that_were_set_forward_or_back_are_followed() {
    let at = |text: &str, now: &str| {
        let at = from_text(text, wall(now), &New_York)?;
        Some(at.to_utc()?.to_rfc3339())
    };
    // 2026-03-08 02:30 does not exist in New York: what was 02:30 before is 03:30 after.
    assert_eq!(
        at("limit reached · resets 2:30am", "2026-03-08T05:00:00Z").as_deref(),
        Some("2026-03-08T07:30:00+00:00")
    );
    // 2026-11-01 01:30 comes twice: the first if it is still to come, else the second.
    let half_past_one = "limit reached · resets 1:30am";
    assert_eq!(
        at(half_past_one, "2026-11-01T04:00:00Z").as_deref(),
        Some("2026-11-01T05:30:00+00:00")
    );
    assert_eq!(
        at(half_past_one, "2026-11-01T05:45:00Z").as_deref(),
        Some("2026-11-01T06:30:00+00:00")
    );
}

#[test]
fn a_field_counts_seconds_and_only_the_future() {
    let now = wall("2026-01-01T12:00:00Z");
    assert_eq!(
        from_epoch(1_767_290_400, now),
        Some(wall("2026-01-01T18:00:00Z"))
    );
    assert_eq!(
        from_epoch(1_767_290_400_000, now),
        Some(wall("2026-01-01T18:00:00Z"))
    );
    for over in [0, -1, i64::MIN, 1_767_268_800] {
        assert_eq!(from_epoch(over, now), None, "{over}");
    }
    assert_eq!(from_epoch(i64::MAX, now), Some(Wall(i64::MAX)));
}

/// A time between 2020 and 2035.
fn any_time() -> impl Strategy<Value = Wall> {
    (1_577_836_800_000_i64..2_051_222_400_000).prop_map(Wall)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    // A day has 23 hours where clocks are set forward; what lies a whole day ahead looks as if it had just passed.
    fn a_time_as_the_program_prints_it_is_read_back(now in any_time(), ahead_min in 10_u32..60 * 22, zone in prop::sample::select(vec![Berlin, Warsaw, New_York])) {
        let end = Wall(now.0 + i64::from(ahead_min) * 60_000);
        let shown = end.to_utc().expect("a time").with_timezone(&zone);
        let text = format!("You've hit your session limit · resets {} ({zone})", shown.format("%-I:%M%P"));
        let read = from_text(&text, now, &chrono_tz::UTC).expect("a time");
        let cut = end.0 - end.0.rem_euclid(60_000);
        // Where clocks were set back, the same time is shown twice, and the earlier one is tried first.
        prop_assert!(read.0 == cut || read.0 == cut - 3_600_000, "{text} at {now:?}: {read:?} is not {cut}");
    }

    #[test]
    fn a_day_as_the_program_prints_it_is_read_back(now in any_time(), ahead_h in 24_u32..24 * 150, zone in prop::sample::select(vec![Berlin, New_York])) {
        let end = Wall(now.0 + i64::from(ahead_h) * 3_600_000);
        let shown = end.to_utc().expect("a time").with_timezone(&zone);
        let text = format!("You've hit your weekly limit · resets {} ({zone})", shown.format("%b %-d, %-I:%M%P"));
        let read = from_text(&text, now, &chrono_tz::UTC).expect("a time");
        let cut = end.0 - end.0.rem_euclid(60_000);
        prop_assert!(read.0 == cut || read.0 == cut - 3_600_000, "{text} at {now:?}: {read:?} is not {cut}");
    }

    #[test]
    fn whatever_the_text_an_end_lies_ahead(now in any_time(), text in "[a-z|·() ]{0,8}(resets|reset) [A-Za-z0-9:,()/ ]{0,24}") {
        if let Some(end) = from_text(&text, now, &New_York) {
            prop_assert!(end > now);
        }
    }

    #[test]
    fn any_bytes_are_survived(text in "\\PC{0,80}", now in any::<i64>()) {
        let end = from_text(&text, Wall(now), &Berlin);
        prop_assert!(end.is_none_or(|end| end > Wall(now)));
    }
}
