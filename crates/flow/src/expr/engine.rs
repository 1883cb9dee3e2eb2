//! The one engine that all expressions share: what they may call, and what it costs. There is no
//! clock and no randomness in it, so the same scope always gives the same value.

use std::fmt::Write;
use std::sync::LazyLock;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, filters, tests};

use super::parse::Library;
use super::view::{kind_name, to_json};
use super::{EVALUATION_BYTES_MAX, ExprError};

/// Instructions of one evaluation. An expression of the longest source text has some thousands;
/// filters that take a test spend one call per item instead and are bounded by their lists.
const FUEL: u64 = 100_000;
/// Longest list that `range` makes: longer fan-outs come from data.
const RANGE_MAX: i64 = 1_000;
/// Largest exponent of `10` that `round` accepts: a float has no more digits.
const ROUND_DIGITS_MAX: i32 = 15;

pub(crate) static LIBRARY: Library = Library {
    filters: &[
        "abs",
        "bool",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "first",
        "float",
        "fromjson",
        "groupby",
        "int",
        "items",
        "join",
        "keys",
        "last",
        "length",
        "lines",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "select",
        "selectattr",
        "sort",
        "split",
        "string",
        "sum",
        "title",
        "tojson",
        "trim",
        "unique",
        "upper",
        "values",
    ],
    tests: &[
        "boolean",
        "defined",
        "divisibleby",
        "endingwith",
        "eq",
        "even",
        "float",
        "ge",
        "gt",
        "in",
        "integer",
        "le",
        "lt",
        "mapping",
        "ne",
        "none",
        "number",
        "odd",
        "sequence",
        "startingwith",
        "string",
        "undefined",
    ],
    functions: &["range"],
};

pub(crate) static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::empty();
    env.set_fuel(Some(FUEL));
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    operators(&mut env);
    text_filters(&mut env);
    list_filters(&mut env);
    value_filters(&mut env);
    add_tests(&mut env);
    env
});

fn operators(env: &mut Environment<'static>) {
    env.add_function("_at", |base: Value, key: Value| -> Result<Value, Error> {
        if base.is_none() || base.is_undefined() {
            return Ok(Value::from(()));
        }
        base.get_item(&key).map(or_null)
    });
    env.add_function("_join", |state: &mut State, a: Value, b: Value| -> Result<Value, Error> {
        let mut text = plain(state, &a)?;
        text.push_str(&plain(state, &b)?);
        Ok(Value::from(text))
    });
    env.add_function("_add", |state: &mut State, a: Value, b: Value| -> Result<Value, Error> {
        if let (Some(left), Some(right)) = (a.as_str(), b.as_str()) {
            charge(state, left.len() + right.len())?;
            return Ok(Value::from([left, right].concat()));
        }
        if is_list(&a) && is_list(&b) {
            charge(state, 8 * (a.len().unwrap_or(0) + b.len().unwrap_or(0)))?;
            return Ok(a.try_iter()?.chain(b.try_iter()?).collect());
        }
        arithmetic("+", &a, &b, i128::checked_add, |a, b| a + b)
    });
    env.add_function("_times", |state: &mut State, a: Value, b: Value| -> Result<Value, Error> {
        let (text, count) = if a.as_str().is_some() { (&a, &b) } else { (&b, &a) };
        let Some(text) = text.as_str() else {
            return arithmetic("*", &a, &b, i128::checked_mul, |a, b| a * b);
        };
        let count =
            count.as_usize().ok_or_else(|| wrong("text can be repeated only by a whole number"))?;
        charge(state, text.len().saturating_mul(count))?;
        Ok(Value::from(text.repeat(count)))
    });
    env.add_function(
        "range",
        |from: i64, to: Option<i64>, step: Option<i64>| -> Result<Value, Error> {
            let (from, to) = to.map_or((0, from), |to| (from, to));
            let step = step.unwrap_or(1);
            if step == 0 {
                return Err(wrong("the step of range must not be 0"));
            }
            let mut items = Vec::new();
            let mut at = from;
            while (step > 0 && at < to) || (step < 0 && at > to) {
                if items.len() as i64 >= RANGE_MAX {
                    return Err(wrong(&format!("range has more than {RANGE_MAX} numbers")));
                }
                items.push(Value::from(at));
                match at.checked_add(step) {
                    Some(next) => at = next,
                    None => break,
                }
            }
            Ok(Value::from(items))
        },
    );
}

fn arithmetic(
    op: &str,
    a: &Value,
    b: &Value,
    whole: fn(i128, i128) -> Option<i128>,
    fraction: fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    if !a.is_number() || !b.is_number() {
        return Err(wrong(&format!("cannot use `{op}` on {} and {}", kind_name(a), kind_name(b))));
    }
    if a.is_integer() && b.is_integer() {
        let (a, b) = (i128::try_from(a.clone())?, i128::try_from(b.clone())?);
        return whole(a, b).map(Value::from).ok_or_else(|| wrong(&format!("`{op}` overflows")));
    }
    Ok(Value::from(fraction(f64::try_from(a.clone())?, f64::try_from(b.clone())?)))
}

fn text_filters(env: &mut Environment<'static>) {
    env.add_filter("lower", |state: &mut State, v: Value| {
        map_text(state, &v, |s| s.to_lowercase())
    });
    env.add_filter("upper", |state: &mut State, v: Value| {
        map_text(state, &v, |s| s.to_uppercase())
    });
    env.add_filter("title", |state: &mut State, v: Value| {
        map_text(state, &v, |s| filters::title(s.into()))
    });
    env.add_filter("capitalize", |state: &mut State, v: Value| {
        map_text(state, &v, |s| {
            let mut chars = s.chars();
            chars.next().map_or_else(String::new, |first| {
                first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect()
            })
        })
    });
    env.add_filter("trim", |state: &mut State, v: Value, set: Option<String>| {
        map_text(state, &v, |s| match &set {
            Some(set) => s.trim_matches(|c| set.contains(c)).to_owned(),
            None => s.trim().to_owned(),
        })
    });
    env.add_filter(
        "replace",
        |state: &mut State, v: Value, from: Value, to: Value| -> Result<Value, Error> {
            let (text, from, to) = (text(&v)?, text(&from)?, text(&to)?);
            if from.is_empty() {
                return Err(wrong("replace needs a text to look for"));
            }
            let found = text.matches(from).count();
            charge(state, text.len().saturating_add(found.saturating_mul(to.len())))?;
            Ok(Value::from(text.replace(from, to)))
        },
    );
    env.add_filter(
        "split",
        |state: &mut State,
         v: Value,
         by: Option<String>,
         limit: Option<usize>|
         -> Result<Value, Error> {
            let text = text(&v)?;
            charge(state, text.len().saturating_mul(4))?;
            let limit = limit.map_or(usize::MAX, |n| n.saturating_add(1));
            Ok(match by.as_deref() {
                Some("") => return Err(wrong("split needs a text to split at")),
                Some(by) => text.splitn(limit, by).map(Value::from).collect(),
                None => text.split_whitespace().map(Value::from).collect(),
            })
        },
    );
    env.add_filter("lines", |state: &mut State, v: Value| -> Result<Value, Error> {
        let text = text(&v)?;
        charge(state, text.len().saturating_mul(4))?;
        Ok(text.lines().map(Value::from).collect())
    });
    env.add_filter(
        "join",
        |state: &mut State, v: Value, by: Option<String>| -> Result<Value, Error> {
            let mut out = String::new();
            for (at, item) in items(&v, "join")?.enumerate() {
                if at > 0
                    && let Some(by) = &by
                {
                    charge(state, by.len())?;
                    out.push_str(by);
                }
                out.push_str(&plain(state, &item)?);
            }
            Ok(Value::from(out))
        },
    );
    env.add_filter("string", |state: &mut State, v: Value| plain(state, &v).map(Value::from));
    env.add_filter("tojson", |state: &mut State, v: Value| -> Result<Value, Error> {
        json_text(state, &v).map(Value::from)
    });
    env.add_filter("fromjson", |state: &mut State, v: Value| -> Result<Value, Error> {
        let text = text(&v)?;
        // A parsed tree takes several times its text.
        charge(state, text.len().saturating_mul(8))?;
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|e| wrong(&format!("fromjson: {e}")))?;
        Ok(super::view::wrap(&std::sync::Arc::new(json), &[]))
    });
}

fn list_filters(env: &mut Environment<'static>) {
    env.add_filter("first", |v: Value| -> Result<Value, Error> {
        Ok(or_null(items(&v, "first")?.next().unwrap_or_default()))
    });
    env.add_filter("last", |v: Value| -> Result<Value, Error> {
        Ok(or_null(items(&v, "last")?.last().unwrap_or_default()))
    });
    env.add_filter("min", |state: &State, v: Value, k: Kwargs| {
        filters::min(state, v, k).map(or_null)
    });
    env.add_filter("max", |state: &State, v: Value, k: Kwargs| {
        filters::max(state, v, k).map(or_null)
    });
    env.add_filter(
        "sum",
        |state: &mut State,
         v: Value,
         attribute: Option<String>,
         kwargs: Kwargs|
         -> Result<Value, Error> {
            let attribute = match attribute {
                Some(attribute) => Some(attribute),
                None => kwargs.get::<Option<String>>("attribute")?,
            };
            kwargs.assert_all_used()?;
            let mut total = Value::from(0);
            for item in items(&v, "sum")? {
                charge(state, 1)?;
                let item = match &attribute {
                    Some(name) => item.get_attr(name)?,
                    None => item,
                };
                if !item.is_undefined() && !item.is_none() {
                    total = arithmetic("sum", &total, &item, i128::checked_add, |a, b| a + b)?;
                }
            }
            Ok(total)
        },
    );
    env.add_filter("list", |state: &mut State, v: Value| collect(state, &v, "list"));
    env.add_filter("reverse", |state: &mut State, v: Value| -> Result<Value, Error> {
        if let Some(text) = v.as_str() {
            charge(state, text.len())?;
            return Ok(Value::from(text.chars().rev().collect::<String>()));
        }
        charge(state, 8 * v.len().unwrap_or(0))?;
        let mut all: Vec<Value> = items(&v, "reverse")?.collect();
        all.reverse();
        Ok(Value::from(all))
    });
    env.add_filter("keys", |state: &mut State, v: Value| -> Result<Value, Error> {
        if v.kind() != ValueKind::Map {
            return Err(wrong(&format!("keys needs an object, not {}", kind_name(&v))));
        }
        collect(state, &v, "keys")
    });
    env.add_filter("values", |state: &mut State, v: Value| -> Result<Value, Error> {
        if v.kind() != ValueKind::Map {
            return Err(wrong(&format!("values needs an object, not {}", kind_name(&v))));
        }
        charge(state, 8 * v.len().unwrap_or(0))?;
        v.try_iter()?.map(|key| v.get_item(&key)).collect::<Result<Vec<_>, _>>().map(Value::from)
    });
    env.add_filter("items", filters::items);
    env.add_filter("sort", filters::sort);
    env.add_filter("unique", filters::unique);
    env.add_filter("map", filters::map);
    env.add_filter("select", filters::select);
    env.add_filter("selectattr", filters::selectattr);
    env.add_filter("reject", filters::reject);
    env.add_filter("rejectattr", filters::rejectattr);
    env.add_filter("groupby", filters::groupby);
    env.add_filter("dictsort", filters::dictsort);
}

fn value_filters(env: &mut Environment<'static>) {
    for name in ["length", "count"] {
        env.add_filter(name, |v: Value| -> Result<Value, Error> {
            if v.is_none() || v.is_undefined() {
                return Ok(Value::from(0));
            }
            v.len()
                .map(Value::from)
                .ok_or_else(|| wrong(&format!("{} has no length", kind_name(&v))))
        });
    }
    for name in ["default", "d"] {
        env.add_filter(name, |v: Value, other: Value, also_empty: Option<bool>| {
            let missing =
                v.is_none() || v.is_undefined() || (also_empty == Some(true) && !v.is_true());
            if missing { other } else { v }
        });
    }
    env.add_filter("int", |v: Value, other: Option<Value>| -> Result<Value, Error> {
        let number = match v.as_str() {
            Some(text) => {
                text.trim().parse::<i64>().ok().or_else(|| whole(text.trim().parse().ok()?))
            }
            None if v.kind() == ValueKind::Bool => Some(i64::from(v.is_true())),
            None if v.is_integer() => return Ok(v),
            None if v.is_number() => f64::try_from(v.clone()).ok().and_then(whole),
            None => None,
        };
        number
            .map(Value::from)
            .or(other)
            .ok_or_else(|| wrong(&format!("{} is no whole number", shown(&v))))
    });
    env.add_filter("float", |v: Value, other: Option<Value>| -> Result<Value, Error> {
        let number = match v.as_str() {
            Some(text) => text.trim().parse::<f64>().ok().filter(|f| f.is_finite()),
            None if v.is_number() => f64::try_from(v.clone()).ok(),
            None => None,
        };
        number
            .map(Value::from)
            .or(other)
            .ok_or_else(|| wrong(&format!("{} is no number", shown(&v))))
    });
    env.add_filter("bool", |v: Value| v.is_true());
    env.add_filter("abs", filters::abs);
    env.add_filter("round", |v: Value, digits: Option<i32>| -> Result<Value, Error> {
        if v.is_integer() {
            return Ok(v);
        }
        let number = f64::try_from(v.clone())
            .map_err(|_| wrong(&format!("cannot round {}", kind_name(&v))))?;
        let digits = digits.unwrap_or(0);
        if !(0..=ROUND_DIGITS_MAX).contains(&digits) {
            return Err(wrong(&format!("round takes 0 to {ROUND_DIGITS_MAX} digits")));
        }
        let factor = 10_f64.powi(digits);
        let rounded = (number * factor).round() / factor;
        Ok(Value::from(if rounded.is_finite() { rounded } else { number }))
    });
}

fn add_tests(env: &mut Environment<'static>) {
    env.add_test("none", |v: Value| v.is_none() || v.is_undefined());
    env.add_test("undefined", |v: Value| v.is_none() || v.is_undefined());
    env.add_test("defined", |v: Value| !v.is_none() && !v.is_undefined());
    env.add_test("boolean", tests::is_boolean);
    env.add_test("number", tests::is_number);
    env.add_test("integer", tests::is_integer);
    env.add_test("float", tests::is_float);
    env.add_test("string", tests::is_string);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("odd", tests::is_odd);
    env.add_test("even", tests::is_even);
    env.add_test("divisibleby", tests::is_divisibleby);
    env.add_test("startingwith", tests::is_startingwith);
    env.add_test("endingwith", tests::is_endingwith);
    env.add_test("in", |state: &mut State, v: Value, other: Value| -> Result<bool, Error> {
        // As a filter's test it is asked for every item: fuel does not see these comparisons.
        charge(state, other.len().unwrap_or(0))?;
        tests::is_in(state, &v, &other)
    });
    env.add_test("eq", tests::is_eq);
    env.add_test("ne", tests::is_ne);
    env.add_test("lt", tests::is_lt);
    env.add_test("le", tests::is_le);
    env.add_test("gt", tests::is_gt);
    env.add_test("ge", tests::is_ge);
}

/// Bytes one evaluation may still make.
struct Left(usize);

fn charge(state: &mut State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let left = state.get_or_insert_extension(Left(EVALUATION_BYTES_MAX));
    match left.0.checked_sub(bytes) {
        Some(rest) => {
            left.0 = rest;
            Ok(())
        }
        None => Err(wrong(&ExprError::budget().message)),
    }
}

fn plain(state: &mut State<'_, '_>, value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        charge(state, text.len())?;
        return Ok(text.to_owned());
    }
    if value.is_none() || value.is_undefined() {
        return Ok(String::new());
    }
    json_text(state, value)
}

fn json_text(state: &mut State<'_, '_>, value: &Value) -> Result<String, Error> {
    let left = state.get_or_insert_extension(Left(EVALUATION_BYTES_MAX));
    let json = to_json(value, &mut left.0).map_err(|e| wrong(&e.message))?;
    Ok(json.to_string())
}

fn map_text(
    state: &mut State<'_, '_>,
    value: &Value,
    f: impl FnOnce(&str) -> String,
) -> Result<Value, Error> {
    let text = text(value)?;
    // Changing case can triple a character's bytes.
    charge(state, text.len().saturating_mul(3))?;
    Ok(Value::from(f(text)))
}

fn collect(state: &mut State<'_, '_>, value: &Value, what: &str) -> Result<Value, Error> {
    let mut out = Vec::new();
    for item in items(value, what)? {
        charge(state, 8)?;
        out.push(item);
    }
    Ok(Value::from(out))
}

fn items<'a>(value: &'a Value, what: &str) -> Result<impl Iterator<Item = Value> + use<'a>, Error> {
    value.try_iter().map_err(|_| wrong(&format!("{what} needs a list, not {}", kind_name(value))))
}

fn text(value: &Value) -> Result<&str, Error> {
    value.as_str().ok_or_else(|| {
        wrong(&format!(
            "text is needed here, not {}; add `|string` to turn it into text",
            kind_name(value)
        ))
    })
}

fn shown(value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        None => kind_name(value).to_owned(),
    }
}

fn whole(number: f64) -> Option<i64> {
    // The bounds are exact in f64; beyond them the cast would saturate silently.
    let inside = number.trunc() >= -9_223_372_036_854_775_808.0
        && number.trunc() < 9_223_372_036_854_775_808.0;
    inside.then_some(number.trunc() as i64)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn or_null(value: Value) -> Value {
    if value.is_undefined() { Value::from(()) } else { value }
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}

/// Writes what the engine says without its own location suffix.
pub(crate) fn message_of(error: &Error) -> String {
    let mut out = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    if error.kind() == ErrorKind::OutOfFuel {
        out.clear();
        let _ = write!(out, "expression runs too long (more than {FUEL} operations)");
    }
    out
}
