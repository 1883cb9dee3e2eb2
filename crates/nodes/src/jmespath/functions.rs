//! The functions of the JMESPath specification.

use std::cmp::Ordering;

use jmespath::ast::Ast;
use serde_json::{Map, Number, Value};

use super::PathError;
use super::eval::{Tank, equal, eval, order};

/// Name, fewest and most arguments.
const FUNCTIONS: [(&str, usize, usize); 26] = [
    ("abs", 1, 1),
    ("avg", 1, 1),
    ("ceil", 1, 1),
    ("contains", 2, 2),
    ("ends_with", 2, 2),
    ("floor", 1, 1),
    ("join", 2, 2),
    ("keys", 1, 1),
    ("length", 1, 1),
    ("map", 2, 2),
    ("max", 1, 1),
    ("max_by", 2, 2),
    ("merge", 1, usize::MAX),
    ("min", 1, 1),
    ("min_by", 2, 2),
    ("not_null", 1, usize::MAX),
    ("reverse", 1, 1),
    ("sort", 1, 1),
    ("sort_by", 2, 2),
    ("starts_with", 2, 2),
    ("sum", 1, 1),
    ("to_array", 1, 1),
    ("to_number", 1, 1),
    ("to_string", 1, 1),
    ("type", 1, 1),
    ("values", 1, 1),
];

/// Unknown functions and wrong numbers of arguments, found before there is data.
pub(super) fn check(ast: &Ast) -> Result<(), PathError> {
    match ast {
        Ast::Function { name, args, .. } => {
            let Some((_, least, most)) = FUNCTIONS.iter().find(|(known, ..)| known == name) else {
                let names: Vec<&str> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
                return Err(PathError(format!(
                    "unknown function `{name}`; there are {}",
                    names.join(", ")
                )));
            };
            if args.len() < *least || args.len() > *most {
                let wants =
                    if least == most { format!("{least}") } else { format!("at least {least}") };
                return Err(PathError(format!(
                    "{name}() takes {wants} argument(s), found {}",
                    args.len()
                )));
            }
            args.iter().try_for_each(check)
        }
        Ast::Comparison { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => check(lhs).and_then(|()| check(rhs)),
        Ast::Condition { predicate, then, .. } => check(predicate).and_then(|()| check(then)),
        Ast::Expref { ast: node, .. }
        | Ast::Flatten { node, .. }
        | Ast::Not { node, .. }
        | Ast::ObjectValues { node, .. } => check(node),
        Ast::MultiList { elements, .. } => elements.iter().try_for_each(check),
        Ast::MultiHash { elements, .. } => elements.iter().try_for_each(|pair| check(&pair.value)),
        Ast::Identity { .. }
        | Ast::Field { .. }
        | Ast::Index { .. }
        | Ast::Literal { .. }
        | Ast::Slice { .. } => Ok(()),
    }
}

/// An argument: a value, or an expression that the function applies to values.
enum Arg<'a> {
    Value(Value),
    Expression(&'a Ast),
}

pub(super) fn call(
    name: &str,
    args: &[Ast],
    data: &Value,
    tank: &mut Tank<'_>,
) -> Result<Value, PathError> {
    let mut evaluated = Vec::with_capacity(args.len());
    for arg in args {
        evaluated.push(match arg {
            Ast::Expref { ast, .. } => Arg::Expression(ast),
            _ => {
                let value = eval(arg, data, tank)?;
                Arg::Value(tank.owned(value)?)
            }
        });
    }
    let mut args = Args { name, next: 0, args: evaluated.into_iter() };
    match name {
        "abs" => args.number().map(|n| match (n.as_i64(), n.as_f64()) {
            (Some(n), _) if n != i64::MIN => n.abs().into(),
            (_, Some(n)) => float(n.abs()),
            (_, None) => Value::Null,
        }),
        "ceil" => args.number().map(|n| rounded(&n, f64::ceil)),
        "floor" => args.number().map(|n| rounded(&n, f64::floor)),
        "avg" => {
            let numbers = args.list_of("numbers", Value::is_number)?;
            let count = numbers.len();
            let sum: f64 = numbers.iter().filter_map(Value::as_f64).sum();
            Ok(if count == 0 { Value::Null } else { float(sum / count as f64) })
        }
        "sum" => args.list_of("numbers", Value::is_number).map(|numbers| sum(&numbers)),
        "contains" => contains(&mut args, tank),
        "starts_with" => Ok(args.text()?.starts_with(&args.text()?).into()),
        "ends_with" => Ok(args.text()?.ends_with(&args.text()?).into()),
        "join" => {
            let glue = args.text()?;
            let parts = args.list_of("strings", Value::is_string)?;
            let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
            tank.text(parts.iter().map(|part| part.len() + glue.len()).sum())?;
            Ok(parts.join(&glue).into())
        }
        "keys" => Ok(args.object()?.into_iter().map(|(key, _)| Value::from(key)).collect()),
        "values" => Ok(args.object()?.into_iter().map(|(_, value)| value).collect()),
        "length" => match args.value()? {
            Value::String(text) => Ok(text.chars().count().into()),
            Value::Array(items) => Ok(items.len().into()),
            Value::Object(fields) => Ok(fields.len().into()),
            other => Err(args.wrong("a string, an array or an object", &other)),
        },
        "map" => {
            let expression = args.expression()?;
            let mut mapped = Vec::new();
            for item in args.list()? {
                let value = eval(expression, &item, tank)?;
                mapped.push(tank.owned(value)?);
            }
            Ok(Value::Array(mapped))
        }
        "max" => extreme(args.comparable()?, Ordering::Greater, tank),
        "min" => extreme(args.comparable()?, Ordering::Less, tank),
        "max_by" => extreme_by(&mut args, Ordering::Greater, tank),
        "min_by" => extreme_by(&mut args, Ordering::Less, tank),
        "merge" => {
            let mut merged = args.object()?;
            while args.remaining() > 0 {
                merged.extend(args.object()?);
            }
            Ok(Value::Object(merged))
        }
        "not_null" => {
            while args.remaining() > 0 {
                let value = args.value()?;
                if !value.is_null() {
                    return Ok(value);
                }
            }
            Ok(Value::Null)
        }
        "reverse" => match args.value()? {
            Value::String(text) => Ok(text.chars().rev().collect::<String>().into()),
            Value::Array(mut items) => {
                items.reverse();
                Ok(Value::Array(items))
            }
            other => Err(args.wrong("an array or a string", &other)),
        },
        "sort" => {
            let items = args.comparable()?;
            let keyed = items.into_iter().map(|item| (item, ())).collect();
            Ok(Value::Array(sorted(keyed, tank)?.into_iter().map(|(item, ())| item).collect()))
        }
        "sort_by" => {
            let keyed = keyed(&mut args, tank)?;
            Ok(Value::Array(sorted(keyed, tank)?.into_iter().map(|(_, item)| item).collect()))
        }
        "to_array" => Ok(match args.value()? {
            Value::Array(items) => Value::Array(items),
            other => Value::Array(vec![other]),
        }),
        "to_number" => Ok(match args.value()? {
            Value::Number(number) => Value::Number(number),
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(Value::Number(number)) => Value::Number(number),
                Ok(_) | Err(_) => Value::Null,
            },
            _ => Value::Null,
        }),
        "to_string" => Ok(match args.value()? {
            Value::String(text) => Value::String(text),
            other => {
                tank.pay_for(&other)?;
                Value::String(other.to_string())
            }
        }),
        "type" => Ok(type_of(&args.value()?).into()),
        _ => Err(PathError(format!("unknown function `{name}`"))), // refused when parsed
    }
}

struct Args<'a> {
    name: &'a str,
    next: usize,
    args: std::vec::IntoIter<Arg<'a>>,
}

impl<'a> Args<'a> {
    fn remaining(&self) -> usize {
        self.args.len()
    }

    fn next(&mut self) -> Result<Arg<'a>, PathError> {
        self.next += 1;
        let missing = || PathError(format!("{}() takes more arguments", self.name));
        self.args.next().ok_or_else(missing)
    }

    fn value(&mut self) -> Result<Value, PathError> {
        match self.next()? {
            Arg::Value(value) => Ok(value),
            Arg::Expression(_) => Err(PathError(format!(
                "{}(): argument {} must be a value, found an expression",
                self.name, self.next
            ))),
        }
    }

    fn expression(&mut self) -> Result<&'a Ast, PathError> {
        match self.next()? {
            Arg::Expression(ast) => Ok(ast),
            Arg::Value(value) => Err(self.wrong("an expression such as &name", &value)),
        }
    }

    fn text(&mut self) -> Result<String, PathError> {
        match self.value()? {
            Value::String(text) => Ok(text),
            other => Err(self.wrong("a string", &other)),
        }
    }

    fn number(&mut self) -> Result<Number, PathError> {
        match self.value()? {
            Value::Number(number) => Ok(number),
            other => Err(self.wrong("a number", &other)),
        }
    }

    fn list(&mut self) -> Result<Vec<Value>, PathError> {
        match self.value()? {
            Value::Array(items) => Ok(items),
            other => Err(self.wrong("an array", &other)),
        }
    }

    fn object(&mut self) -> Result<Map<String, Value>, PathError> {
        match self.value()? {
            Value::Object(fields) => Ok(fields),
            other => Err(self.wrong("an object", &other)),
        }
    }

    fn list_of(&mut self, what: &str, test: fn(&Value) -> bool) -> Result<Vec<Value>, PathError> {
        let items = self.list()?;
        match items.iter().find(|item| !test(item)) {
            Some(other) => Err(self.wrong(&format!("an array of {what}"), other)),
            None => Ok(items),
        }
    }

    /// All numbers or all strings.
    fn comparable(&mut self) -> Result<Vec<Value>, PathError> {
        let items = self.list()?;
        let fits = |test: fn(&Value) -> bool| items.iter().all(test);
        match items.first() {
            Some(first) if !fits(Value::is_number) && !fits(Value::is_string) => {
                let other =
                    items.iter().find(|item| type_of(item) != type_of(first)).unwrap_or(first);
                Err(self.wrong("an array of numbers or of strings", other))
            }
            _ => Ok(items),
        }
    }

    fn wrong(&self, expected: &str, found: &Value) -> PathError {
        PathError(format!(
            "{}(): argument {} must be {expected}, found {}",
            self.name,
            self.next,
            type_of(found)
        ))
    }
}

fn contains(args: &mut Args<'_>, tank: &mut Tank<'_>) -> Result<Value, PathError> {
    match (args.value()?, args.value()?) {
        (Value::String(text), Value::String(part)) => {
            tank.text(text.len())?;
            Ok(text.contains(&part).into())
        }
        (Value::String(_), _) => Ok(false.into()),
        (Value::Array(items), wanted) => {
            for item in &items {
                if equal(item, &wanted, tank)? {
                    return Ok(true.into());
                }
            }
            Ok(false.into())
        }
        (other, _) => {
            args.next = 1;
            Err(args.wrong("an array or a string", &other))
        }
    }
}

/// Each item with what the expression finds in it: all numbers, or all strings.
fn keyed(args: &mut Args<'_>, tank: &mut Tank<'_>) -> Result<Vec<(Value, Value)>, PathError> {
    let items = args.list()?;
    let expression = args.expression()?;
    let mut keyed: Vec<(Value, Value)> = Vec::with_capacity(items.len());
    for item in items {
        let key = eval(expression, &item, tank)?;
        let key = tank.owned(key)?;
        let expected = keyed.first().map_or_else(|| type_of(&key), |(first, _)| type_of(first));
        if !(key.is_number() || key.is_string()) || type_of(&key) != expected {
            return Err(args.wrong("an expression that finds numbers only or strings only", &key));
        }
        keyed.push((key, item));
    }
    Ok(keyed)
}

fn extreme_by(
    args: &mut Args<'_>,
    wanted: Ordering,
    tank: &mut Tank<'_>,
) -> Result<Value, PathError> {
    let keyed = keyed(args, tank)?;
    let best = keyed
        .into_iter()
        .reduce(|best, next| if order(&next.0, &best.0) == Some(wanted) { next } else { best });
    Ok(best.map_or(Value::Null, |(_, item)| item))
}

fn extreme(items: Vec<Value>, wanted: Ordering, tank: &mut Tank<'_>) -> Result<Value, PathError> {
    tank.burn(items.len())?;
    let best = items
        .into_iter()
        .reduce(|best, next| if order(&next, &best) == Some(wanted) { next } else { best });
    Ok(best.unwrap_or(Value::Null))
}

/// Stable, as the specification asks.
fn sorted<T>(
    mut keyed: Vec<(Value, T)>,
    tank: &mut Tank<'_>,
) -> Result<Vec<(Value, T)>, PathError> {
    let comparisons =
        keyed.len().saturating_mul(keyed.len().checked_ilog2().unwrap_or(0) as usize + 1);
    tank.burn(comparisons / 4)?; // a comparison is cheaper than a value
    keyed.sort_by(|(a, _), (b, _)| order(a, b).unwrap_or(Ordering::Equal));
    Ok(keyed)
}

fn sum(numbers: &[Value]) -> Value {
    let whole = numbers.iter().try_fold(0_i64, |sum, n| sum.checked_add(n.as_i64()?));
    match whole {
        Some(sum) => sum.into(),
        None => float(numbers.iter().filter_map(Value::as_f64).sum()),
    }
}

fn rounded(number: &Number, round: fn(f64) -> f64) -> Value {
    match number.as_f64() {
        Some(n) if !number.is_i64() && !number.is_u64() => {
            let rounded = round(n);
            // whole numbers are written without a fraction as far as a float is exact
            if rounded.abs() < 9_007_199_254_740_992.0 {
                Value::from(rounded as i64)
            } else {
                float(rounded)
            }
        }
        Some(_) | None => Value::Number(number.clone()),
    }
}

fn float(n: f64) -> Value {
    Number::from_f64(n).map_or(Value::Null, Value::Number)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
