//! Files in the shapes that Envoy's guides show and that Istio, Envoy Gateway, Contour and Orion
//! make: each loads, or is refused by the fields that its first line names. The test says the share
//! that loads.

use std::path::Path;

use orion_drain_config::Bootstrap;

/// What is in the way of a file; nothing, if it loads.
fn in_the_way(text: &str) -> Vec<String> {
    let loaded = Bootstrap::from_yaml(text).and_then(|loaded| loaded.refuse_foreign_fields());
    let paths = |fields: &[orion_drain_config::FieldError]| {
        fields.iter().map(|field| field.path.clone()).collect()
    };
    match loaded {
        Ok(loaded) => paths(&loaded.value.check_clusters()),
        Err(error) => paths(error.fields()),
    }
}

#[test]
fn each_file_loads_or_names_the_field_in_the_way() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let (mut all, mut loads) = (0, 0);
    for file in std::fs::read_dir(folder).expect("the corpus") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let expected = text.lines().next().unwrap_or_default();
        let found = in_the_way(&text);
        all += 1;
        match expected.strip_prefix("# refused: ") {
            Some(fields) => {
                let fields: Vec<_> = fields.split(' ').collect();
                assert_eq!(found, fields, "{}", path.display());
            }
            None => {
                assert_eq!(expected, "# loads", "{}", path.display());
                assert_eq!(found, Vec::<String>::new(), "{}", path.display());
                loads += 1;
            }
        }
    }
    println!("{loads} of {all} files load");
    assert!(all >= 11, "{all}");
}
