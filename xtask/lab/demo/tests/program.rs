//! The program as it is started: what it cannot play it says, and fails.

use std::process::Command;

#[test]
fn a_proxy_that_does_not_start_is_named_and_fails_the_demo() {
    let played = Command::new(env!("CARGO_BIN_EXE_lab-demo"))
        .args(["--edge", "no/such/proxy"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&played.stderr);
    assert!(!played.status.success(), "{said}");
    assert!(said.contains("starting no/such/proxy"), "{said}");
}
