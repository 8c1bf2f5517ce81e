//! Runs the built program in processes of its own and waits for what it prints.
//!
//! A thread per output stream collects what a process prints and notifies all waiting tests
//! ([`wait`]). A test waits for a condition on that text, never for time.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod command;
mod json_node;
mod network;
mod text_command;
mod transcript;
mod wait;

pub use command::{Finished, PROGRAM, ip, program, program_in, run, run_command};
pub use json_node::JsonNode;
pub use network::{assert_in_order, assert_received, free_port, refs, start_network, wait_connected};
pub use text_command::TextCommand;
pub use transcript::{Transcript, digest};
pub use wait::{DEADLINE, wait, wait_within};
