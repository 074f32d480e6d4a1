//! The search for planted faults, as a person runs it.

use std::process::{Command, Output};

#[expect(clippy::expect_used, reason = "a program that does not start fails every test here")]
fn planted(arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    let output = command.arg("planted").args(arguments).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn a_fault_is_caught_by_the_invariant_that_it_breaks() {
    let (output, said) = planted(&["--fault", "AttemptForgotten", "--seeds-max", "4"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("1 of 1 planted faults were caught") && said.contains("I14: "), "{said}");
}

#[test]
fn a_fault_that_nothing_shows_is_told_and_fails() {
    // No run at all: so it is not found.
    let (output, said) = planted(&["--fault", "AttemptForgotten", "--seeds-max", "0"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("NOT CAUGHT") && said.contains("0 of 1"), "{said}");
}

#[test]
fn the_list_has_all_of_them_and_an_unknown_one_is_wrong_usage() {
    let (output, said) = planted(&["--list"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(said.lines().count(), probe::Plant::ALL.len());
    let (output, _) = planted(&["--fault", "Nonsense"]);
    assert_eq!(output.status.code(), Some(2));
}
