//! The page about faults, held to the tests that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const PAGE: &str = include_str!("../../docs/faults.md");

/// The rows there are: the group, and how many.
const GROUPS: [(&str, u32); 6] = [("R", 16), ("P", 12), ("F", 7), ("S", 12), ("L2", 11), ("PS", 8)];

fn sources(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("node_modules") {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The names of tests in a cell: in backticks, with the form of a function's name.
fn named(cell: &str) -> Vec<&str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted
        .filter(|name| {
            name.len() > 12 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
        .collect()
}

#[test]
fn every_row_is_on_the_page_once_and_names_tests_that_exist() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut rows = BTreeMap::new();
    for line in PAGE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ID")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, _, happens, tests] = cells[..] else { panic!("four cells: {line}") };
        assert!(!happens.is_empty(), "{id} says what happens");
        let its_own = id.to_lowercase().replace('-', "_");
        let is_its_own = |name: &&str| format!("_{name}").contains(&format!("_{its_own}_"));
        assert!(named(tests).iter().any(is_its_own), "{id}: no test carries its name");
        let files: Vec<&str> = tests.split("](").skip(1).collect();
        assert_eq!(
            files.iter().flat_map(|file| named(file)).count(),
            named(tests).len(),
            "{id}: a test without a file"
        );
        for file in files {
            let (path, tests) = file.split_once(')').unwrap();
            let code = std::fs::read_to_string(docs.join(path)).unwrap_or_else(|error| panic!("{id}: {path}: {error}"));
            for name in named(tests) {
                assert!(code.contains(&format!("fn {name}(")), "{id}: there is no test {name} in {path}");
            }
        }
        assert!(rows.insert(id, tests).is_none(), "{id} twice");
    }
    let expected: BTreeSet<String> =
        GROUPS.iter().flat_map(|(group, rows)| (1..=*rows).map(move |row| format!("{group}-{row:02}"))).collect();
    assert_eq!(rows.keys().map(ToString::to_string).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn no_test_with_a_rows_id_is_missing_on_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    for (at, _) in code.match_indices("fn ") {
        let name: String = code[at + 3..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let mut parts = name.split('_');
        let (group, row) = (parts.next().unwrap_or_default().to_uppercase(), parts.next().unwrap_or_default());
        let is_row = GROUPS.iter().any(|(known, _)| *known == group) && row.len() == 2 && row.parse::<u32>().is_ok();
        if is_row {
            assert!(PAGE.contains(&format!("`{name}`")), "{name} is not on the page");
        }
    }
}
