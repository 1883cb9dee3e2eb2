//! Names: which are allowed, and which one was meant.

/// Longest name of a flow, step, parameter or node, in bytes: it becomes part of ids and keys.
pub const NAME_BYTES_MAX: usize = 200;

/// The known name closest to a misspelt one, if any is close enough to be what was meant.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Comparing is quadratic in length: names beyond the bound were refused as names already.
    if wrong.len() > NAME_BYTES_MAX {
        return None;
    }
    let folded = wrong.to_lowercase();
    // One slip in three letters, or a long common beginning, is still the same word.
    let slips_max = folded.chars().count() / 3;
    known
        .into_iter()
        .filter(|name| *name != wrong && name.len() <= NAME_BYTES_MAX)
        .filter_map(|name| {
            let candidate = name.to_lowercase();
            let slips = strsim::osa_distance(&folded, &candidate);
            let likeness = strsim::jaro_winkler(&folded, &candidate);
            (slips <= slips_max || likeness > 0.9).then_some((slips, 1.0 - likeness, name))
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(b.2)))
        .map(|(_, _, name)| name.to_owned())
}

/// Why a text is no step id, as the rest of a sentence about it; `Ok` when it is one.
///
/// # Errors
/// Says what is wrong and what to write instead.
pub fn check_step_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("is empty; use letters, digits, `_` and `-`".into());
    }
    if id.len() > NAME_BYTES_MAX {
        return Err(format!("has {} bytes; at most {NAME_BYTES_MAX} are allowed", id.len()));
    }
    match id.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        None => Ok(()),
        Some(c) => Err(format!("holds {}; use letters a-z, digits, `_` and `-`", describe(c))),
    }
}

/// Why a text is no parameter name; `Ok` when it is one.
///
/// # Errors
/// Says what is wrong and what to write instead.
pub fn check_parameter_name(name: &str) -> Result<(), String> {
    check_step_id(name)?;
    if name.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Err("must start with a letter or `_`".into());
    }
    Ok(())
}

/// Why a text cannot name a flow or a node: these may hold spaces and letters of any script, but
/// nothing that a reader cannot see.
///
/// # Errors
/// Says what is wrong and what to write instead.
pub fn check_title(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("is empty; give it a name".into());
    }
    if name.trim() != name {
        return Err("has spaces at its ends; remove them".into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("has {} bytes; at most {NAME_BYTES_MAX} are allowed", name.len()));
    }
    match name.chars().find(|c| is_hidden(*c)) {
        None => Ok(()),
        Some(c) => Err(format!("holds {}; remove it", describe(c))),
    }
}

/// Why a text cannot name a node: `[A-Za-z0-9_.-/]`, with at least one letter.
///
/// # Errors
/// Says what is wrong and what to write instead.
pub fn check_node_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty; write a name such as `http.request`".into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("has {} bytes; at most {NAME_BYTES_MAX} are allowed", name.len()));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')))
    {
        None => Ok(()),
        Some(c) => {
            Err(format!("holds {}; use letters a-z, digits, `.`, `_`, `-` and `/`", describe(c)))
        }
    }
}

/// Controls, invisible characters and those that turn the direction of writing.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00AD | 0x034F | 0x061C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F
            | 0x200B..=0x200F | 0x2028..=0x202F | 0x205F..=0x206F | 0x3164 | 0xFE00..=0xFE0F
            | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0xE0000..=0xE0FFF)
}

fn describe(c: char) -> String {
    let code = u32::from(c);
    if is_hidden(c) {
        format!("the invisible character U+{code:04X}")
    } else if c.is_alphabetic() && !c.is_ascii() {
        format!("`{c}` (U+{code:04X}, not one of a-z even if it looks like it)")
    } else if c == ' ' {
        "a space".to_owned()
    } else {
        format!("`{c}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["test", "build", "error-handler", "publish"];
        for (wrong, expected) in [
            ("tset", Some("test")),
            ("Test", Some("test")),
            ("errorhandler", Some("error-handler")),
            ("error_handler", Some("error-handler")),
            ("pubish", Some("publish")),
            ("deploy", None),
            ("", None),
            ("x", None),
            ("tet", Some("test")),
        ] {
            assert_eq!(suggest(wrong, known).as_deref(), expected, "{wrong}");
        }
        assert_eq!(suggest(&"t".repeat(1_000_000), known), None);
    }

    #[test]
    fn names_that_deceive_the_eye_are_refused() {
        for (id, part) in [
            ("", "empty"),
            ("a b", "a space"),
            ("tеst", "U+0435, not one of a-z"),
            ("a\u{202e}b", "invisible character U+202E"),
            ("a\u{200b}", "invisible character U+200B"),
            ("a/b", "`/`"),
            ("a\0", "U+0000"),
        ] {
            assert!(check_step_id(id).unwrap_err().contains(part), "{id}: {:?}", check_step_id(id));
        }
        assert!(check_step_id(&"a".repeat(1_001)).unwrap_err().contains("1001 bytes"));
        assert_eq!(check_step_id("2-Fa_x"), Ok(()));
        assert_eq!(check_title("Release a päckage"), Ok(()));
        assert!(check_title("a\u{2066}b").is_err());
        assert!(check_title(" a").is_err());
        assert!(check_parameter_name("1a").is_err());
        assert!(check_node_name("http request").is_err());
    }
}
