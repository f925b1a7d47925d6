//! Runners of agent programs, their prompts, and what their sessions left.
