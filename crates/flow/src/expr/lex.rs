//! Splits an expression into tokens. Knows that names after `steps.` may hold hyphens anywhere,
//! and other names after a dot only before a letter (`input.api-url`, but `input.count-1`).

use super::ExprError;

/// A token and where it stands, in bytes of the source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Name(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Mark(&'static str),
}

// Longest first: `==` must win over `=`.
const MARKS: &[&str] = &[
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[",
    "]", "{", "}", ",", ".", ":", "|",
];

pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, ExprError> {
    let mut out: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(c) = rest(source, at).chars().next() {
        if c.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (kind, end) = if follows_dot(&out) && (c.is_ascii_alphanumeric() || c == '_') {
            let end = name_end(source, at, Hyphens::after(&out));
            (Kind::Name(slice(source, at, end).to_owned()), end)
        } else if c.is_ascii_digit() {
            number(source, at)?
        } else if c.is_ascii_alphabetic() || c == '_' {
            let end = name_end(source, at, Hyphens::BeforeLetter);
            (Kind::Name(slice(source, at, end).to_owned()), end)
        } else if c == '"' || c == '\'' {
            text(source, at, c)?
        } else if let Some(mark) = MARKS.iter().find(|m| rest(source, at).starts_with(**m)) {
            (Kind::Mark(mark), at + mark.len())
        } else {
            return Err(ExprError::syntax(
                at,
                format!("unexpected character `{}`", c.escape_debug()),
            ));
        };
        out.push(Token { kind, start: at, end });
        at = end;
    }
    Ok(out)
}

/// Replaces bare names at the root of a path: `f` is asked with the longest run of name
/// characters first, then with what remains when it is cut at its hyphens.
pub(crate) fn rewrite_roots(
    source: &str,
    f: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExprError> {
    let mut out = String::with_capacity(source.len());
    let mut copied = 0;
    let list = tokens(source)?;
    for (at, token) in list.iter().enumerate() {
        let Kind::Name(name) = &token.kind else { continue };
        if token.start < copied || !is_root(&list, at) || is_word(name) {
            continue;
        }
        let mut end = name_end(source, token.start, Hyphens::Anywhere);
        loop {
            if let Some(new) = f(slice(source, token.start, end)) {
                out.push_str(slice(source, copied, token.start));
                out.push_str(&new);
                copied = end;
                break;
            }
            match slice(source, token.start, end).rfind('-') {
                Some(cut) => end = token.start + cut,
                None => break,
            }
        }
    }
    out.push_str(rest(source, copied));
    Ok(out)
}

fn is_root(list: &[Token], at: usize) -> bool {
    let mark = |i: Option<usize>| match i.and_then(|i| list.get(i)).map(|t| &t.kind) {
        Some(Kind::Mark(m)) => *m,
        Some(Kind::Name(n)) if n == "is" => "is",
        Some(Kind::Name(n)) if n == "not" => "not",
        _ => "",
    };
    let before = mark(at.checked_sub(1));
    let is_not = before == "not" && mark(at.checked_sub(2)) == "is";
    let after = mark(at.checked_add(1));
    !matches!(before, "." | "|" | "is") && !is_not && !matches!(after, "(" | "=")
}

/// Whether a name is a word of the language and so never a variable.
pub(crate) fn is_word(name: &str) -> bool {
    matches!(
        name,
        "and"
            | "or"
            | "not"
            | "in"
            | "is"
            | "if"
            | "else"
            | "true"
            | "false"
            | "none"
            | "null"
            | "True"
            | "False"
            | "None"
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Hyphens {
    Anywhere,
    BeforeLetter,
}

impl Hyphens {
    fn after(out: &[Token]) -> Self {
        let named = |back: usize| {
            let token = out.len().checked_sub(back).and_then(|i| out.get(i))?;
            match &token.kind {
                Kind::Name(name) => Some(name.as_str()),
                Kind::Mark(m) => Some(*m),
                _ => None,
            }
        };
        match (named(2), named(3)) {
            (Some("steps"), before) if before != Some(".") => Self::Anywhere,
            _ => Self::BeforeLetter,
        }
    }
}

fn follows_dot(out: &[Token]) -> bool {
    out.last().is_some_and(|t| t.kind == Kind::Mark("."))
}

fn name_end(source: &str, start: usize, hyphens: Hyphens) -> usize {
    let bytes = source.as_bytes();
    let mut end = start;
    while let Some(b) = bytes.get(end) {
        let next = bytes.get(end + 1);
        let joins = *b == b'-'
            && match hyphens {
                Hyphens::Anywhere => {
                    next.is_some_and(|n| n.is_ascii_alphanumeric() || *n == b'_' || *n == b'-')
                }
                Hyphens::BeforeLetter => {
                    next.is_some_and(|n| n.is_ascii_alphabetic() || *n == b'_')
                }
            };
        if b.is_ascii_alphanumeric() || *b == b'_' || joins {
            end += 1;
        } else {
            break;
        }
    }
    end
}

fn number(source: &str, start: usize) -> Result<(Kind, usize), ExprError> {
    let bytes = source.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
            at += 1;
        }
        at
    };
    let mut end = digits(start);
    let mut float = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        float = true;
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            float = true;
            end = digits(end + 1 + sign);
        }
    }
    if bytes.get(end).is_some_and(|b| b.is_ascii_alphabetic()) {
        return Err(ExprError::syntax(end, "a name cannot start with a digit".into()));
    }
    let digits: String = slice(source, start, end).chars().filter(|c| *c != '_').collect();
    let kind = if float {
        digits.parse().ok().filter(|f: &f64| f.is_finite()).map(Kind::Float)
    } else {
        digits.parse().ok().map(Kind::Integer)
    };
    kind.map(|k| (k, end))
        .ok_or_else(|| ExprError::syntax(start, format!("number {digits} is too large")))
}

fn text(source: &str, start: usize, quote: char) -> Result<(Kind, usize), ExprError> {
    let mut out = String::new();
    let mut chars = rest(source, start + 1).char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Kind::Text(out), start + 1 + at + c.len_utf8())),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(c @ ('\\' | '/' | '"' | '\'')) => out.push(c),
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let c = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                    out.push(c.ok_or_else(|| {
                        ExprError::syntax(
                            start + 1 + at,
                            "`\\u` needs four hexadecimal digits of a character".into(),
                        )
                    })?);
                }
                other => {
                    let name = other.map(String::from).unwrap_or_default();
                    return Err(ExprError::syntax(
                        start + 1 + at,
                        format!("unknown escape `\\{name}`; write `\\\\` for a backslash"),
                    ));
                }
            },
            c => out.push(c),
        }
    }
    Err(ExprError::syntax(start, format!("text is not closed; add a {quote}")))
}

fn rest(source: &str, at: usize) -> &str {
    source.get(at..).unwrap_or_default()
}

fn slice(source: &str, start: usize, end: usize) -> &str {
    source.get(start..end).unwrap_or_default()
}
