//! The shim, process trees, and following their output.
