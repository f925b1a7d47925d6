//! The part of a long output that a person, or the next attempt, is shown.

/// Bytes from the beginning that are shown: which command ran, and the first error.
const HEAD_BYTES: usize = 2 << 10;

/// Bytes from the end that are shown: what came of it.
const TAIL_BYTES: usize = 4 << 10;

/// The head and the tail of an output, with the number of bytes between them.
pub fn excerpt(output: &str) -> String {
    let output = output.trim_end();
    if output.len() <= HEAD_BYTES + TAIL_BYTES {
        return output.to_owned();
    }
    let head_to = (0..=HEAD_BYTES).rfind(|at| output.is_char_boundary(*at));
    let head = &output[..head_to.unwrap_or(0)];
    let tail_at = output.len() - TAIL_BYTES;
    let tail_at = (tail_at..output.len())
        .find(|at| output.is_char_boundary(*at))
        .unwrap_or(output.len());
    // Whole lines, where there are any.
    let head = head.rfind('\n').map_or(head, |at| &head[..at]);
    let tail = &output[tail_at..];
    let tail = tail.find('\n').map_or(tail, |at| &tail[at + 1..]);
    let between = output.len() - head.len() - tail.len();
    format!("{head}\n[... {between} bytes left out ...]\n{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_output_is_whole_and_a_long_one_keeps_both_ends() {
        assert_eq!(excerpt("a\nb\n"), "a\nb");
        let long: String = (0..5_000).map(|n| format!("line {n} ü\n")).collect();
        let shown = excerpt(&long);
        assert!(shown.starts_with("line 0 ü\nline 1 ü\n"));
        assert!(shown.ends_with("line 4998 ü\nline 4999 ü"));
        assert!(
            shown.len() < HEAD_BYTES + TAIL_BYTES + 100,
            "{}",
            shown.len()
        );
        assert!(!excerpt(&"ü".repeat(10_000)).is_empty());
    }
}
