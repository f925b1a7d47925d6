//! Which paths a candidate may touch.
