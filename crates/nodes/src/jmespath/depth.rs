//! How deep the tree of an expression can get, found without parsing it.
//!
//! The parser calls itself for every bracket and operator, so its input must be bounded first.
//! A list as long as you like is not deep: at a comma the count of its level starts again.

use super::PathError;

/// Deeper than any sensible expression, and far from the end of a 2 MiB stack.
const DEPTH_MAX: usize = 256;

pub(crate) fn check(text: &str) -> Result<(), PathError> {
    let mut levels = vec![0_usize]; // operators since the last comma, for each open bracket
    let mut depth = 0_usize; // their sum
    let mut chars = text.chars();
    let mut before = ' ';
    while let Some(char) = chars.next() {
        match char {
            '*' if before == '[' => {} // `[*]` is one operator
            '"' | '\'' | '`' => skip_quoted(&mut chars, char),
            '(' | '[' | '{' => {
                deeper(&mut levels, &mut depth);
                levels.push(0);
            }
            ')' | ']' | '}' => {
                // Closing keeps its own link, which is counted at the level outside.
                if levels.len() > 1
                    && let Some(inner) = levels.pop()
                {
                    depth -= inner;
                }
            }
            ',' => {
                if let Some(level) = levels.last_mut() {
                    depth -= std::mem::take(level);
                }
            }
            '.' | '|' | '&' | '!' | '<' | '>' | '=' | '*' => deeper(&mut levels, &mut depth),
            _ => {}
        }
        before = char;
        if depth > DEPTH_MAX {
            return Err(PathError(format!(
                "the expression is deeper than {DEPTH_MAX} operators and brackets; split it into several"
            )));
        }
    }
    Ok(())
}

fn deeper(levels: &mut [usize], depth: &mut usize) {
    if let Some(level) = levels.last_mut() {
        *level += 1;
        *depth += 1;
    }
}

fn skip_quoted(chars: &mut std::str::Chars<'_>, quote: char) {
    while let Some(char) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            _ if char == quote => return,
            _ => {}
        }
    }
}
