//! The loop around the engine: executor, recovery, control.
