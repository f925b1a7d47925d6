//! Readers of the record stream: terminal, JSON, summary.
