//! What may land: which paths a candidate may touch, what the output of a gate says, and what follows from it. All of
//! it pure; gates are run by the driver.
pub mod excerpt;
pub mod judge;
pub mod output;
pub mod outputs;
pub mod protect;
pub mod scope;
