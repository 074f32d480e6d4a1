//! What a node takes from a real machine, and what it offers on one.
//!
//! Invariant: nothing here decides anything that the simulator could not run.
//! These modules implement the seams of `env`, and serve the built-in storage.

pub mod cli;
pub mod demo;
pub mod env;
pub mod home;
pub mod service;
pub mod settings;
pub mod storage;
pub mod store;
