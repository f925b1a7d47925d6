//! The ledger and the run directory.
