//! The house as it was meant: who may import whom, and what may be said in one place only. Reads the source.

use std::collections::BTreeMap;
use std::path::Path;

use forebay::rfc::Reason;

/// Each room and those it may import, itself apart. `clock`, `breaker` and `telemetry` are open to all but the pure rooms.
const ROOMS: &[(&str, &[&str])] = &[
    ("rfc", &[]),
    ("policy", &["rfc"]),
    ("fleet", &[]),
    ("store", &["fleet", "rfc", "policy"]),
    ("upstream", &["rfc"]),
    ("changes", &["store", "fleet", "policy"]),
    ("serve", &["rfc", "policy", "store", "fleet", "upstream", "changes"]),
    ("listen", &[]),
    ("admin", &["serve", "store", "changes", "policy", "rfc", "listen", "upstream", "fleet"]),
    ("config", &["serve", "policy", "store", "listen", "upstream", "rfc", "admin", "changes", "fleet"]),
    ("demo", &[]),
    ("telemetry", &["rfc"]),
    ("breaker", &[]),
    ("clock", &["rfc"]),
    ("cli", ALL),
    ("app", ALL),
    ("main", ALL),
    ("lib", &[]),
];
const ALL: &[&str] = &["*"];
const PURE: [&str; 2] = ["rfc", "policy"];
const OPEN: [&str; 3] = ["clock", "breaker", "telemetry"];

/// Where a room may be imported only in part: the importer, the room, the names.
const IN_PART: &[(&str, &str, &[&str])] = &[
    // The names of things, not the rules.
    ("store", "policy", &["key", "tags"]),
    // What the vocabulary of failures is made of; fetching knows no caching rule.
    ("upstream", "rfc", &["Reason"]),
    ("clock", "rfc", &["Moment"]),
    // A line of the log has a reason; an instant on it is a moment.
    ("telemetry", "rfc", &["Reason", "Moment"]),
    // Nobody imports admin but for what an operator may say about it.
    ("config", "admin", &["AdminSettings"]),
    // What the operator wrote about messages, and what is wrong with it.
    ("config", "changes", &["ChangeRuleSettings", "ChangeRules", "TARGET_KINDS"]),
    // Nobody imports the command line but for its one way of writing to standard output.
    ("app", "cli", &["say"]),
];

/// A source file without its comments and its tests.
struct File {
    path: String,
    room: String,
    code: String,
    tests: String,
    lines: usize,
    opening: String,
}

fn files(below: &str) -> Vec<File> {
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(below), &mut files);
    let mut test_only = Vec::new();
    for file in &files {
        for (at, _) in file.code.match_indices("#[cfg(test)]\nmod ") {
            let rest = &file.code[at + "#[cfg(test)]\nmod ".len()..];
            let name = rest.split([';', ' ']).next().unwrap_or_default();
            let base = file.path.strip_suffix("mod.rs").map_or_else(
                || file.path.trim_end_matches(".rs").to_owned(),
                |base| base.trim_end_matches('/').to_owned(),
            );
            test_only.push(format!("{base}/{name}"));
        }
    }
    for file in &mut files {
        let is_test = test_only
            .iter()
            .any(|base| file.path.starts_with(&format!("{base}/")) || file.path == format!("{base}.rs"));
        if is_test || below == "tests" {
            file.tests = std::mem::take(&mut file.code);
        } else if let Some(at) = file.code.find("#[cfg(test)]\nmod tests {") {
            file.tests = file.code.split_off(at);
        }
    }
    files
}

fn walk(folder: &Path, files: &mut Vec<File>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            // The suites of other languages keep their packages there.
            if !path.ends_with("node_modules") {
                walk(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let first = path.split('/').nth(1).unwrap_or_default();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n"));
            let opening = text.lines().next().unwrap_or_default().to_owned();
            files.push(File {
                path: path.clone(),
                room: first.trim_end_matches(".rs").to_owned(),
                lines: text.lines().count(),
                code: code.collect(),
                tests: String::new(),
                opening,
            });
        }
    }
}

/// What `code` names of other rooms: the room, and the first name behind it.
fn imports(code: &str) -> Vec<(String, String)> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let room = word(rest);
        assert!(!room.is_empty(), "one `use` per room: {}", rest.lines().next().unwrap_or_default());
        let Some(behind) = rest[room.len()..].strip_prefix("::") else {
            found.push((room, String::new()));
            continue;
        };
        let Some(list) = behind.strip_prefix('{') else {
            found.push((room, word(behind)));
            continue;
        };
        let (mut depth, mut part) = (0, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push((room.clone(), word(std::mem::take(&mut part).trim()))),
                c => part.push(c),
            }
        }
        if !part.trim().is_empty() {
            found.push((room, word(part.trim())));
        }
    }
    found
}

#[test]
fn rooms_import_downward_only() {
    let mut wrong = Vec::new();
    for file in files("src") {
        let Some((_, may)) = ROOMS.iter().find(|(room, _)| *room == file.room) else {
            wrong.push(format!("{}: the house has no room of that name; say here what it may import", file.path));
            continue;
        };
        for (room, name) in imports(&file.code) {
            let open = OPEN.contains(&room.as_str()) && !PURE.contains(&file.room.as_str());
            if room != file.room && *may != ALL && !may.contains(&room.as_str()) && !open {
                wrong.push(format!("{}: {} may not import {room}", file.path, file.room));
            }
            let part = IN_PART.iter().find(|(importer, of, _)| *importer == file.room && *of == room);
            if part.is_some_and(|(_, _, names)| !names.contains(&name.as_str())) {
                wrong.push(format!("{}: of {room}, {} may not import {name}", file.path, file.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_decides_does_nothing_else() {
    let banned =
        ["tokio", "tracing", "hyper", "axum", "moka", ".await", "async ", "std::fs", "std::env", "std::thread"];
    for file in files("src").iter().filter(|file| PURE.contains(&file.room.as_str())) {
        for word in banned {
            assert!(!file.code.contains(word), "{} says {word}", file.path);
        }
    }
}

/// Each thing, and the only files that may say it.
#[test]
fn some_things_are_said_in_one_place_only() {
    let rules: &[(&str, &[&str], &[&str])] = &[
        ("reads a clock", &["Instant::now(", "SystemTime::now(", ".elapsed()"], &["src/clock.rs"]),
        (
            "applies a change",
            &["ledger.apply(", "ledger().apply(", "lose_until("],
            &["src/changes/bus.rs", "src/store/ledger.rs"],
        ),
        ("appends to the log", &["fleet.append(", "fleet().append("], &["src/changes/bus.rs", "src/fleet/mod.rs"]),
        ("names a metric", &["\"forebay_"], &["src/telemetry/catalogue.rs"]),
        ("ends the process", &["process::exit"], &["src/app.rs", "src/main.rs"]),
    ];
    for file in files("src") {
        for (what, words, places) in rules {
            let said = words.iter().find(|word| file.code.contains(**word));
            assert!(said.is_none() || places.contains(&file.path.as_str()), "{} {what}: {said:?}", file.path);
        }
    }
}

#[test]
fn on_the_data_path_one_file_chooses_error_statuses() {
    // What the cache itself may answer with: RFC 9110 §15.3.7, §15.4.5 and, for parts that are not there, §15.5.17.
    let of_an_answer = ["OK", "NOT_MODIFIED", "PARTIAL_CONTENT", "RANGE_NOT_SATISFIABLE", "from_u16"];
    for file in files("src") {
        if !matches!(file.room.as_str(), "serve" | "listen") || file.path == "src/serve/respond.rs" {
            continue;
        }
        for (at, _) in file.code.match_indices("StatusCode::") {
            let rest = &file.code[at + "StatusCode::".len()..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(of_an_answer.contains(&name.as_str()), "{} chooses {name}: serve/respond.rs does that", file.path);
        }
    }
}

#[test]
fn files_are_short_have_names_and_open_with_their_idea() {
    for file in files("src").iter().chain(&files("tests")) {
        assert!(file.lines <= 700, "{} has {} lines", file.path, file.lines);
        for name in ["util", "utils", "common", "helpers", "helper", "types", "manager", "misc"] {
            let named = file.path.split('/').any(|part| part.trim_end_matches(".rs") == name);
            assert!(!named, "{}: what is it about?", file.path);
        }
        assert!(file.code.is_empty() || file.opening.starts_with("//!"), "{} does not say what it is", file.path);
    }
}

#[test]
fn nothing_is_put_off() {
    for file in files("src") {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file.path)).unwrap();
        for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("] {
            assert!(!text.contains(word), "{} says {word}", file.path);
        }
    }
}

#[test]
fn every_reason_is_given_by_something_and_shown_by_a_test() {
    let (source, suites) = (files("src"), files("tests"));
    let code: String =
        source.iter().filter(|file| !file.path.ends_with("rfc/reason.rs")).map(|file| &*file.code).collect();
    let others = suites.iter().filter(|file| !file.path.ends_with("architecture.rs"));
    let tests: String = source.iter().chain(others).map(|file| &*file.tests).collect();
    let mut missing = BTreeMap::new();
    for reason in Reason::ALL {
        let (name, code_) = (format!("{reason:?}"), reason.code());
        let said = |text: &str| mentions(text, &format!("Reason::{name}"));
        let shown = said(&tests)
            || [
                format!("detail={code_}"),
                format!("\"{code_}\""),
                format!(": {code_}\""),
                format!("\"reason\":\"{code_}\""),
            ]
            .iter()
            .any(|form| mentions(&tests, form));
        if !said(&code) {
            missing.insert(name.clone(), "nothing gives it");
        } else if !shown {
            missing.insert(name.clone(), "no test shows it");
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Does `text` hold `form`, and not as the beginning of something longer?
fn mentions(text: &str, form: &str) -> bool {
    text.match_indices(form).any(|(at, _)| {
        let next = text[at + form.len()..].chars().next().unwrap_or(' ');
        form.ends_with('"') || !(next.is_alphanumeric() || next == '-' || next == '_')
    })
}
