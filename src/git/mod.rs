//! Repositories, slots, candidates, landing.
