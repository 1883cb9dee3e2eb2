//! Writes a parsed expression for the engine. Paths and constants become variables (`v0`, `v1`…),
//! and whatever can grow its operands becomes a call that is charged to the byte budget, so
//! nothing is folded or repeated behind our back.

use std::fmt::Write;

use super::parse::{Arguments, Node, Tree};

pub(crate) fn emit(tree: &Tree) -> String {
    let mut out = String::new();
    write(&mut out, &tree.root, tree.paths.len());
    out
}

fn write(out: &mut String, node: &Node, paths: usize) {
    match node {
        Node::Path(index) => name(out, *index),
        Node::Constant(index) => name(out, paths + index),
        Node::Word(word) => out.push_str(word),
        Node::At(base, key) => call(out, "_at", &[base, key], paths),
        Node::Slice(base, parts) => {
            write(out, base, paths);
            out.push('[');
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    out.push(':');
                }
                if let Some(part) = part {
                    write(out, part, paths);
                }
            }
            out.push(']');
        }
        Node::Unary(op, node) => group(out, &[op], &[node], paths),
        Node::Binary("~", a, b) => call(out, "_join", &[a, b], paths),
        Node::Binary("+", a, b) => call(out, "_add", &[a, b], paths),
        Node::Binary("*", a, b) => call(out, "_times", &[a, b], paths),
        Node::Binary(op, a, b) => group(out, &["", op], &[a, b], paths),
        Node::Choice(condition, then, other) => {
            out.push('(');
            write(out, then, paths);
            out.push_str(" if ");
            write(out, condition, paths);
            out.push_str(" else ");
            match other {
                Some(other) => write(out, other, paths),
                None => out.push_str("none"),
            }
            out.push(')');
        }
        Node::Filter(base, filter, given) => {
            out.push('(');
            write(out, base, paths);
            out.push('|');
            out.push_str(filter);
            arguments(out, given, paths);
            out.push(')');
        }
        Node::Test(base, test, given) => {
            out.push('(');
            write(out, base, paths);
            out.push_str(" is ");
            out.push_str(test);
            arguments(out, given, paths);
            out.push(')');
        }
        Node::Call(function, given) => {
            out.push_str(function);
            arguments(out, given, paths);
            if given.positional.is_empty() && given.named.is_empty() {
                out.push_str("()");
            }
        }
        Node::List(items) => {
            out.push('[');
            for item in items {
                write(out, item, paths);
                out.push(',');
            }
            out.push(']');
        }
        Node::Map(entries) => {
            out.push('{');
            for (key, value) in entries {
                write(out, key, paths);
                out.push(':');
                write(out, value, paths);
                out.push(',');
            }
            out.push('}');
        }
    }
}

fn name(out: &mut String, index: usize) {
    // Writing to a String cannot fail.
    let _ = write!(out, "v{index}");
}

fn call(out: &mut String, function: &str, nodes: &[&Node], paths: usize) {
    out.push_str(function);
    out.push('(');
    for (at, node) in nodes.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, node, paths);
    }
    out.push(')');
}

fn group(out: &mut String, before: &[&str], nodes: &[&Node], paths: usize) {
    out.push('(');
    for (word, node) in before.iter().zip(nodes) {
        out.push(' ');
        out.push_str(word);
        out.push(' ');
        write(out, node, paths);
    }
    out.push(')');
}

fn arguments(out: &mut String, given: &Arguments, paths: usize) {
    if given.positional.is_empty() && given.named.is_empty() {
        return;
    }
    out.push('(');
    for node in &given.positional {
        write(out, node, paths);
        out.push(',');
    }
    for (key, node) in &given.named {
        out.push_str(key);
        out.push('=');
        write(out, node, paths);
        out.push(',');
    }
    out.push(')');
}
