//! Which paths a candidate may touch.
pub mod scope;
