//! What differs between two definitions: by path, and line by line.

use reflux_proto::api as v1;
use serde_json::{Map, Value};

use super::convert;

/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;
/// Most cells of the table of common lines: 16 MiB. Larger differences are shown as a whole.
const CELLS_MAX: usize = 4 << 20;

/// The differences of two canonical documents. Steps are known by their id, inputs by their name.
pub(super) fn changes(older: &Value, newer: &Value) -> Vec<v1::FlowChange> {
    let mut out = Vec::new();
    compare("", Some(older), Some(newer), &mut out);
    out
}

fn compare(
    path: &str,
    older: Option<&Value>,
    newer: Option<&Value>,
    out: &mut Vec<v1::FlowChange>,
) {
    match (older, newer) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => members(path, a, b, out),
        (Some(a), Some(b)) if named(a).is_some() && named(b).is_some() => {
            let (a, b) = (named(a).unwrap_or_default(), named(b).unwrap_or_default());
            members(path, &a, &b, out);
        }
        (older, newer) => out.push(v1::FlowChange {
            kind: match (older, newer) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "changed",
            }
            .to_owned(),
            path: path.to_owned(),
            before: older.map(convert::value),
            after: newer.map(convert::value),
        }),
    }
}

fn members(
    path: &str,
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    out: &mut Vec<v1::FlowChange>,
) {
    let added = b.keys().filter(|key| !a.contains_key(*key));
    for key in a.keys().chain(added) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}/{key}") };
        compare(&path, a.get(key), b.get(key), out);
    }
}

/// A list of steps or inputs by their names; `None` for any other list.
fn named(list: &Value) -> Option<Map<String, Value>> {
    let name = |item: &Value| {
        let name = item.get("id").or_else(|| item.get("name"))?.as_str()?;
        Some((name.to_owned(), item.clone()))
    };
    let items = list.as_array()?;
    let named: Option<Map<String, Value>> = items.iter().map(name).collect();
    named.filter(|named| named.len() == items.len())
}

#[derive(Clone, Copy, PartialEq)]
enum Line<'a> {
    Both(&'a str),
    Older(&'a str),
    Newer(&'a str),
}

/// The two texts in the unified form of `diff -u`; empty when they are equal.
pub(super) fn unified(older: &str, newer: &str, from: &str, to: &str) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (older.lines().collect(), newer.lines().collect());
    if a == b {
        return String::new();
    }
    let lines = align(&a, &b);
    let mut out = format!("--- {from}\n+++ {to}\n");
    let changed: Vec<usize> =
        (0..lines.len()).filter(|at| !matches!(lines.get(*at), Some(Line::Both(_)))).collect();
    let mut rest = changed.as_slice();
    while let Some((&first, _)) = rest.split_first() {
        let mut last = first;
        while let Some((&next, after)) = rest.split_first() {
            if next > last + 2 * CONTEXT {
                break;
            }
            (last, rest) = (next, after);
        }
        hunk(
            &lines,
            first.saturating_sub(CONTEXT),
            (last + CONTEXT + 1).min(lines.len()),
            &mut out,
        );
    }
    out
}

fn hunk(lines: &[Line<'_>], from: usize, to: usize, out: &mut String) {
    let before = lines.get(..from).unwrap_or_default();
    let shown = lines.get(from..to).unwrap_or_default();
    let range = |of: fn(&&Line<'_>) -> bool| {
        let (before, count) = (before.iter().filter(of).count(), shown.iter().filter(of).count());
        // Nothing stands behind the line before it.
        format!("{},{count}", if count == 0 { before } else { before + 1 })
    };
    out.push_str(&format!(
        "@@ -{} +{} @@\n",
        range(|line| !matches!(line, Line::Newer(_))),
        range(|line| !matches!(line, Line::Older(_)))
    ));
    for line in shown {
        let (mark, text) = match line {
            Line::Both(text) => (' ', text),
            Line::Older(text) => ('-', text),
            Line::Newer(text) => ('+', text),
        };
        out.push(mark);
        out.push_str(text);
        out.push('\n');
    }
}

/// The lines of both, common ones once: longest common subsequence between equal ends.
fn align<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<Line<'a>> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a_rest, b_rest) = (a.get(head..).unwrap_or_default(), b.get(head..).unwrap_or_default());
    let tail = a_rest.iter().rev().zip(b_rest.iter().rev()).take_while(|(x, y)| x == y).count();
    let a_mid = a_rest.get(..a_rest.len() - tail).unwrap_or_default();
    let b_mid = b_rest.get(..b_rest.len() - tail).unwrap_or_default();
    let mut lines: Vec<Line<'a>> = a.iter().take(head).map(|line| Line::Both(line)).collect();
    if a_mid.len().saturating_mul(b_mid.len()) > CELLS_MAX {
        lines.extend(a_mid.iter().map(|line| Line::Older(line)));
        lines.extend(b_mid.iter().map(|line| Line::Newer(line)));
    } else {
        middle(a_mid, b_mid, &mut lines);
    }
    lines.extend(a.iter().skip(a.len() - tail).map(|line| Line::Both(line)));
    lines
}

fn middle<'a>(a: &[&'a str], b: &[&'a str], lines: &mut Vec<Line<'a>>) {
    let width = b.len() + 1;
    // Length of what is common behind each pair of places.
    let mut common = vec![0_u32; (a.len() + 1) * width];
    let at = |common: &[u32], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            let best = if a.get(i) == b.get(j) {
                at(&common, i + 1, j + 1) + 1
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) if x == y => {
                lines.push(Line::Both(x));
                (i, j) = (i + 1, j + 1);
            }
            (Some(x), y) if y.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                lines.push(Line::Older(x));
                i += 1;
            }
            (_, Some(y)) => {
                lines.push(Line::Newer(y));
                j += 1;
            }
            (_, None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_are_compared_by_their_names() {
        let older = json!({"name": "f", "steps": [{"id": "a", "with": {"x": 1}}, {"id": "b"}]});
        let newer =
            json!({"name": "f", "steps": [{"id": "c"}, {"id": "a", "with": {"x": 2, "y": 3}}]});
        let found: Vec<(String, String)> =
            changes(&older, &newer).into_iter().map(|change| (change.kind, change.path)).collect();
        let expected = [
            ("changed", "steps/a/with/x"),
            ("added", "steps/a/with/y"),
            ("removed", "steps/b"),
            ("added", "steps/c"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(changes(&older, &older).is_empty());
    }

    #[test]
    fn the_unified_form_is_that_of_diff() {
        let older = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";
        let newer = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n11\n12\n13\n";
        let expected = "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@ -10,3 +10,4 @@\n 10\n 11\n 12\n+13\n";
        assert_eq!(unified(older, newer, "a", "b"), expected);
        assert_eq!(unified(older, older, "a", "b"), "");
        assert_eq!(unified("", "x\n", "a", "b"), "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+x\n");
        let long: String = (0..3_000).map(|n| format!("{n}\n")).collect();
        let other: String = (0..3_000).map(|n| format!("x{n}\n")).collect();
        assert_eq!(unified(&long, &other, "a", "b").lines().count(), 6_003);
    }
}
