//! Whatever text comes in, the language answers with a flow or with diagnostics that have a place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use reflux_flow::syntax::parse;
use reflux_flow::validate::{AnyNodes, validate_parsed};

const SOURCES: &[&str] = &[
    include_str!("sources/release.yaml"),
    include_str!("sources/implement-feature.yaml"),
    include_str!("sources/simple-flow.yaml"),
    include_str!("sources/fetch-map-deliver.yaml"),
    include_str!("sources/campaign.canvas.json"),
    include_str!("sources/everything.yaml"),
    include_str!("../../../examples/approve-and-publish.yaml"),
];

fn try_text(text: &str) {
    match parse("f.yaml", text) {
        Ok(parsed) => {
            for finding in validate_parsed(&parsed, &AnyNodes) {
                finding.render(text);
            }
            // What is accepted can be stored and read again.
            let back =
                reflux_flow::graph::Flow::from_canonical(&parsed.flow.to_canonical()).unwrap();
            assert_eq!(back, parsed.flow);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.span.is_unknown(), "{problem} has no place in\n{text}");
                assert!(!problem.message.is_empty());
                problem.render(text);
            }
        }
    }
}

#[test]
fn every_source_parses_and_validates() {
    // Written before triggers were checked, and stored as it is.
    const UNFED: &str = "f.yaml:11:5: error: the trigger `webhook` gives no `url`, which the flow needs; \
                         give it an `input`";
    for text in SOURCES {
        let parsed = parse("f.yaml", text).unwrap_or_else(|p| panic!("{}", p[0]));
        let found: Vec<String> =
            validate_parsed(&parsed, &AnyNodes).iter().map(ToString::to_string).collect();
        let expected: &[&str] = if text.contains("name: everything\n") { &[UNFED] } else { &[] };
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        try_text(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_sources_never_panic(
        which in 0..SOURCES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, "[-a-z0-9 \n:{}\\[\\],'\"|>&*.#]{0,6}"), 1..4),
    ) {
        let mut text: Vec<char> = SOURCES[which].chars().collect();
        for (at, cut, new) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + cut).min(text.len());
            text.splice(start..end, new.chars());
        }
        try_text(&text.into_iter().collect::<String>());
    }

    #[test]
    fn swapped_lines_never_panic(which in 0..SOURCES.len(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let mut lines: Vec<&str> = SOURCES[which].lines().collect();
        let (a, b) = (a.index(lines.len()), b.index(lines.len()));
        lines.swap(a, b);
        try_text(&lines.join("\n"));
    }
}
