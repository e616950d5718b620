//! Serving is taken alone: no configuration, no admin port and no statistics come with it.

use std::process::Command;

/// What belongs to the other crates of the facade.
const FOREIGN: [&str; 7] = [
    "humantime",
    "orion-drain-admin",
    "orion-drain-config",
    "orion-drain-shutdown",
    "orion-drain-stats",
    "serde_ignored",
    "serde_json",
];

#[test]
fn with_every_feature_it_depends_on_nothing_of_configuration_admin_or_statistics() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--all-features", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "{error}");
    let tree = String::from_utf8_lossy(&tree.stdout);
    let names = || tree.lines().filter_map(|line| line.split(' ').next());
    assert!(names().any(|name| name == "hyper"), "{tree}");
    let foreign: Vec<_> = names().filter(|name| FOREIGN.contains(name)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}
