//! A session's stream as people read it: what the agent said, which tools it called, how it ended. For `orch logs`;
//! nothing is decided by it.

use std::fmt::Write;

use serde_json::Value;

use crate::process::LINE_BYTES_MAX;

/// Characters shown of a tool call's input or a tool's answer.
const SHOWN_CHARS: usize = 200;

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub struct Transcript {
    pending: Vec<u8>,
    /// The line under way is longer than any line may be, and is passed over.
    skipping: bool,
}

impl Transcript {
    /// Takes the next bytes of the stream and gives the text of the lines that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut out = String::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            if !self.skipping {
                self.pending.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                self.line(&mut out);
            } else if self.pending.len() > LINE_BYTES_MAX {
                self.skipping = true;
                self.pending.clear();
            }
        }
        out
    }

    /// The text of a last line that has no end.
    pub fn finish(mut self) -> String {
        let mut out = String::new();
        self.line(&mut out);
        out
    }

    fn line(&mut self, out: &mut String) {
        let bytes = std::mem::take(&mut self.pending);
        if std::mem::take(&mut self.skipping) {
            out.push_str("[a line longer than orch reads]\n");
            return;
        }
        // Lines that are not JSON objects are some program's noise in the stream; `--raw` shows them.
        if let Ok(Value::Object(line)) = serde_json::from_slice(&bytes) {
            tell(&Value::Object(line), out);
        }
    }
}

fn tell(line: &Value, out: &mut String) {
    let say = |out: &mut String, text: &str| {
        // Writing to a string cannot fail.
        writeln!(out, "{text}").expect("a string takes any text");
    };
    match line["type"].as_str() {
        Some("system") if line["subtype"] == "init" => {
            say(
                out,
                &format!(
                    "[session {} on {}]",
                    text(&line["session_id"]),
                    text(&line["model"])
                ),
            );
        }
        Some("system") if line["subtype"] == "api_retry" => {
            say(
                out,
                &format!(
                    "[asks the service again: {} {}]",
                    text(&line["error"]),
                    line["error_status"]
                ),
            );
        }
        Some("assistant") => blocks(line).for_each(|block| match block["type"].as_str() {
            Some("text") => say(out, text(&block["text"])),
            Some("tool_use") => say(
                out,
                &format!(
                    "> {} {}",
                    text(&block["name"]),
                    short(&block["input"].to_string())
                ),
            ),
            _ => {}
        }),
        Some("user") => blocks(line)
            .filter(|b| b["type"] == "tool_result")
            .for_each(|block| {
                let mark = if block["is_error"] == true {
                    "! "
                } else {
                    "  "
                };
                say(out, &format!("{mark}{}", short(&answer(&block["content"]))));
            }),
        Some("result") => {
            let end = if line["is_error"] == true {
                "ended with an error"
            } else {
                "ended"
            };
            let cost = line["total_cost_usd"]
                .as_f64()
                .map(|c| format!(", ~${c:.4}"))
                .unwrap_or_default();
            let turns = match line["num_turns"].as_u64() {
                Some(1) => " after 1 turn".to_owned(),
                Some(n) => format!(" after {n} turns"),
                None => String::new(),
            };
            say(
                out,
                &format!("[{end}{turns}{cost}] {}", text(&line["result"])),
            );
        }
        _ => {}
    }
}

fn blocks(line: &Value) -> impl Iterator<Item = &Value> {
    line["message"]["content"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// A tool's answer is a text or a list of blocks.
fn answer(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks
            .iter()
            .map(|b| text(&b["text"]))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN_CHARS {
        return line;
    }
    line.chars().take(SHOWN_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_reads_as_words_calls_and_end_wherever_it_is_cut() {
        let stream = concat!(
            r#"{"type":"system","subtype":"init","session_id":"s","model":"m"}"#,
            "\n",
            r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I look."}]}}"#,
            "\n",
            "not json\n",
            r#"{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Read","input":{"file_path":"a"}}]}}"#,
            "\n",
            r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"one\ntwo","is_error":false}]}}"#,
            "\n",
            r#"{"type":"result","is_error":false,"num_turns":2,"total_cost_usd":0.5,"result":"done"}"#,
        );
        let whole = "[session s on m]\nI look.\n> Read {\"file_path\":\"a\"}\n  one two\n[ended after 2 turns, ~$0.5000] done\n";
        for cut in 0..stream.len() {
            let mut transcript = Transcript::default();
            let mut text = transcript.push(&stream.as_bytes()[..cut]);
            text += &transcript.push(&stream.as_bytes()[cut..]);
            text += &transcript.finish();
            assert_eq!(text, whole, "cut at {cut}");
        }
    }
}
