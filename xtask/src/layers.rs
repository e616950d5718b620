//! Who may import whom: the picture of ARCHITECTURE.md as a table, compared with the manifests.

use crate::metadata::Package;

/// Each crate of the workspace, and the siblings it may depend on.
///
/// ```text
///  edge
///    │
///  orion-drain ──► every crate below
///    │
///  orion-drain-xds ──► orion-drain-config, orion-drain-stats
///  orion-drain-admin ──► orion-drain-config, orion-drain-stats, orion-drain-shutdown, orion-drain-telemetry
///    │
///  orion-drain-config ──► orion-drain-serve
///  orion-drain-stats ──► orion-drain-serve, orion-drain-telemetry
///  orion-drain-shutdown
///    │
///  orion-drain-serve ──► orion-drain-telemetry, proto-drain-http1, proto-drain-h2, proto-drain-tcp
///    │
///  orion-drain-telemetry
///    │
///  listener-versions ──► drain-tree ──► drain-signal ──► drain-sync
///    └───────────► conn-tracker ──► drain-sync
///  proto-drain-http1 · proto-drain-h2 · proto-drain-tcp ──► drain-signal
/// ```
const LAYERS: &[(&str, &[&str])] = &[
    // Leaves: usable alone.
    ("drain-sync", &[]),
    ("drain-signal", &["drain-sync"]),
    ("conn-tracker", &["drain-sync"]),
    // A protocol knows the signal; not trees, not listeners, not another protocol.
    ("proto-drain-http1", &["drain-signal"]),
    ("proto-drain-h2", &["drain-signal"]),
    ("proto-drain-tcp", &["drain-signal"]),
    ("drain-tree", &["drain-signal", "drain-sync"]),
    // It speaks of signals through drain-tree, which re-exports them.
    ("listener-versions", &["drain-tree", "conn-tracker"]),
    // What serves a connection tells of itself, and knows no configuration and no statistics.
    (
        "orion-drain-telemetry",
        &[
            "drain-signal",
            "drain-tree",
            "conn-tracker",
            "listener-versions",
        ],
    ),
    (
        "orion-drain-serve",
        &[
            "drain-signal",
            "drain-tree",
            "conn-tracker",
            "listener-versions",
            "proto-drain-http1",
            "proto-drain-h2",
            "proto-drain-tcp",
            "orion-drain-telemetry",
        ],
    ),
    (
        "orion-drain-shutdown",
        &[
            "drain-signal",
            "drain-tree",
            "conn-tracker",
            "listener-versions",
        ],
    ),
    // Statistics are one way to count what serving does.
    (
        "orion-drain-stats",
        &[
            "drain-signal",
            "drain-tree",
            "conn-tracker",
            "listener-versions",
            "orion-drain-serve",
            "orion-drain-telemetry",
        ],
    ),
    // Configuration makes servers.
    (
        "orion-drain-config",
        &[
            "drain-signal",
            "drain-tree",
            "listener-versions",
            "proto-drain-tcp",
            "orion-drain-serve",
        ],
    ),
    (
        "orion-drain-admin",
        &[
            "drain-signal",
            "drain-tree",
            "conn-tracker",
            "listener-versions",
            "orion-drain-config",
            "orion-drain-shutdown",
            "orion-drain-stats",
            "orion-drain-telemetry",
        ],
    ),
    (
        "orion-drain-xds",
        &["orion-drain-config", "orion-drain-stats"],
    ),
    // The facade may import everyone, and nobody the facade.
    (
        "orion-drain",
        &[
            "orion-drain-telemetry",
            "orion-drain-serve",
            "orion-drain-shutdown",
            "orion-drain-stats",
            "orion-drain-config",
            "orion-drain-admin",
            "orion-drain-xds",
            "drain-signal",
            "drain-tree",
            "conn-tracker",
            "listener-versions",
            "proto-drain-http1",
            "proto-drain-h2",
            "proto-drain-tcp",
        ],
    ),
    // The program takes everything from the facade.
    ("edge", &["orion-drain"]),
    // The clients of the laboratories are not made of the code that they judge.
    (RIG, &[]),
    ("lab-demo", &[RIG]),
    ("lab-conformance", &[RIG]),
    ("lab-interop", &[RIG]),
    ("lab-versus", &[RIG]),
    // How the benches measure.
    (MEASURE, &[RIG]),
    // Rules for texts, which know neither cargo nor files.
    (HOUSE, &[]),
    // It starts the laboratories, and is built without them.
    ("xtask", &[HOUSE]),
];

const HOUSE: &str = "lab-house";
const MEASURE: &str = "measure";
const RIG: &str = "lab-rig";

/// Every edge between crates of the workspace that the table does not allow. Dev-dependencies
/// count: a test that needs a crate of a higher layer belongs there.
pub(crate) fn problems(packages: &[Package]) -> Vec<String> {
    let is_sibling = |name: &str| packages.iter().any(|package| package.name == name);
    let mut problems = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| layer == name) else {
            problems.push(format!(
                "{name} is not in the layer table of xtask/src/layers.rs"
            ));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| is_sibling(&dependency.name))
            // Any bench may measure, and any test on a wire use the rig.
            .filter(|dependency| {
                !(dependency.dev && [MEASURE, RIG].contains(&dependency.name.as_str()))
            })
        {
            if !allowed.contains(&dependency.name.as_str()) {
                let kind = if dependency.dev {
                    "tests depend"
                } else {
                    "depends"
                };
                problems.push(format!(
                    "{name} {kind} on {}, which its layer does not allow",
                    dependency.name
                ));
            }
        }
    }
    problems.extend(
        LAYERS
            .iter()
            .filter(|(layer, _)| !is_sibling(layer))
            .map(|(layer, _)| format!("{layer} is in the layer table but not in the workspace")),
    );
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn workspace() -> Vec<Package> {
        let package = |(name, dependencies): &(&str, &[&str])| Package {
            name: (*name).to_owned(),
            version: "0.1.0".to_owned(),
            description: String::new(),
            rust_version: String::new(),
            published: true,
            default: true,
            dir: (*name).into(),
            features: vec![],
            tests: vec![],
            dependencies: dependencies
                .iter()
                .map(|name| dependency(name, false))
                .collect(),
            missing: vec![],
        };
        LAYERS.iter().map(package).collect()
    }

    fn dependency(name: &str, dev: bool) -> Dependency {
        Dependency {
            name: name.to_owned(),
            requirement: "^0.1.0".to_owned(),
            dev,
        }
    }

    fn with_edge(from: &str, to: &str, dev: bool) -> Vec<String> {
        let mut packages = workspace();
        let package = packages
            .iter_mut()
            .find(|package| package.name == from)
            .expect("in the table");
        package.dependencies.push(dependency(to, dev));
        problems(&packages)
    }

    #[test]
    fn the_table_has_no_cycle() {
        // A crate may be imported only by crates that stand below it in the table.
        for (place, (name, allowed)) in LAYERS.iter().enumerate() {
            for import in *allowed {
                let before = LAYERS.iter().position(|(layer, _)| layer == import);
                assert!(
                    before.is_some_and(|before| before < place),
                    "{name} imports {import}"
                );
            }
        }
    }

    #[test]
    fn the_edges_of_the_table_are_allowed() {
        assert_eq!(problems(&workspace()), Vec::<String>::new());
    }

    #[test]
    fn an_edge_against_the_layers_is_refused_also_in_tests() {
        for (from, to) in [
            ("drain-signal", "conn-tracker"),
            ("proto-drain-tcp", "proto-drain-h2"),
            ("proto-drain-h2", "drain-tree"),
            ("drain-tree", "listener-versions"),
            ("listener-versions", "orion-drain"),
            ("orion-drain", "edge"),
            ("orion-drain-serve", "orion-drain-config"),
            ("orion-drain-serve", "orion-drain-stats"),
            ("orion-drain-shutdown", "orion-drain-serve"),
            ("orion-drain-config", "orion-drain-stats"),
            ("orion-drain-xds", "orion-drain-admin"),
            ("orion-drain-admin", "orion-drain"),
            ("edge", "drain-tree"),
            ("xtask", "orion-drain"),
        ] {
            assert_eq!(with_edge(from, to, false).len(), 1, "{from} -> {to}");
            assert_eq!(
                with_edge(from, to, true).len(),
                1,
                "{from} -> {to} in tests"
            );
        }
    }

    #[test]
    fn a_crate_of_somebody_else_is_no_edge() {
        assert!(with_edge("drain-signal", "thiserror", false).is_empty());
    }

    #[test]
    fn a_crate_that_is_missing_on_either_side_is_named() {
        let mut packages = workspace();
        let package = packages
            .iter_mut()
            .find(|package| package.name == "drain-signal");
        package.expect("in the table").name = "drain-siren".to_owned();
        assert!(
            problems(&packages)
                .iter()
                .any(|problem| problem.contains("drain-siren is not in the layer table"))
        );
        assert!(
            problems(&packages)
                .iter()
                .any(|problem| problem.contains("drain-signal is in the layer table but"))
        );
    }
}
