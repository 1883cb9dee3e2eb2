//! Words, values and signs of a filter, with their places.

use super::{TEXT_BYTES_MAX, Wrong};

/// A piece of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Characters before it.
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A field or a keyword; `quoted` in backticks it is a field.
    Word {
        text: String,
        quoted: bool,
    },
    Text(String),
    Number(i64),
    Sign(&'static str),
    End,
}

/// Longer signs first.
const SIGNS: [&str; 10] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ","];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Wrong> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("it has more than {TEXT_BYTES_MAX} bytes: shorten it");
        return Err(Wrong { at: 0, message });
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            at += 1;
            continue;
        }
        let (what, length) = token(rest, first).map_err(|message| Wrong { at, message })?;
        tokens.push(Token { at, what });
        let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        at += taken.chars().count();
        rest = left;
    }
    tokens.push(Token { at, what: What::End });
    Ok(tokens)
}

/// The first token, and its length in bytes.
fn token(rest: &str, first: char) -> Result<(What, usize), String> {
    if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
        return Ok((What::Sign(sign), sign.len()));
    }
    match first {
        '\'' | '"' => quoted(rest, first).map(|(text, length)| (What::Text(text), length)),
        '`' => {
            quoted(rest, first).map(|(text, length)| (What::Word { text, quoted: true }, length))
        }
        '-' | '0'..='9' => {
            let length = run(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
            let digits = rest.get(..length).unwrap_or_default();
            let number = digits.parse().map_err(|_| format!("`{digits}` is not a whole number"))?;
            Ok((What::Number(number), length))
        }
        'A'..='Z' | 'a'..='z' | '_' => {
            let length = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
            let text = rest.get(..length).unwrap_or_default().to_owned();
            Ok((What::Word { text, quoted: false }, length))
        }
        other => Err(format!("`{}` has no meaning", other.escape_default())),
    }
}

fn run(rest: &str, belongs: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !belongs(c)).unwrap_or(rest.len())
}

/// A doubled quote or one behind a backslash stands for itself.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char == '\\' {
            match chars.next() {
                Some((_, escaped)) => text.push(escaped),
                None => break,
            }
        } else if char == quote {
            if chars.next_if(|(_, next)| *next == quote).is_none() {
                return Ok((text, at + quote.len_utf8()));
            }
            text.push(quote);
        } else {
            text.push(char);
        }
    }
    Err(format!("the text that begins here has no closing {quote}"))
}
