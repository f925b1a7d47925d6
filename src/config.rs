//! Settings in layers that know where each value came from.
