//! The program as its users meet it: real processes, real sockets, exit codes and words.

mod bad_input;
mod demo;
mod fleet;
mod main_job;
mod usage;
