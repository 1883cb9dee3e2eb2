//! What an expression finds. Follows the JMESPath specification; every step costs fuel.

use std::borrow::Cow;
use std::cmp::Ordering;

use jmespath::ast::{Ast, Comparator};
use serde_json::{Map, Value};

use super::{PathError, functions};

/// One value weighs as much as this many bytes of text.
const BYTES_PER_FUEL: usize = 64;

pub(super) type Found<'v> = Result<Cow<'v, Value>, PathError>;

pub(super) const NULL: Cow<'static, Value> = Cow::Owned(Value::Null);

/// The fuel of one evaluation.
pub(super) struct Tank<'f>(&'f mut u64);

pub(super) fn search(ast: &Ast, data: &Value, fuel: &mut u64) -> Result<Value, PathError> {
    let mut tank = Tank(fuel);
    let found = eval(ast, data, &mut tank)?;
    tank.owned(found)
}

impl Tank<'_> {
    pub(super) fn burn(&mut self, amount: usize) -> Result<(), PathError> {
        let amount = u64::try_from(amount).unwrap_or(u64::MAX);
        match self.0.checked_sub(amount) {
            Some(left) => {
                *self.0 = left;
                Ok(())
            }
            None => {
                *self.0 = 0;
                Err(PathError(
                    "the expression does too much work on this data; make either smaller"
                        .to_owned(),
                ))
            }
        }
    }

    pub(super) fn text(&mut self, bytes: usize) -> Result<(), PathError> {
        self.burn(1 + bytes / BYTES_PER_FUEL)
    }

    /// A copy, paid for before it is made.
    pub(super) fn copy(&mut self, value: &Value) -> Result<Value, PathError> {
        self.pay_for(value)?;
        Ok(value.clone())
    }

    pub(super) fn owned(&mut self, value: Cow<'_, Value>) -> Result<Value, PathError> {
        match value {
            Cow::Owned(value) => Ok(value),
            Cow::Borrowed(value) => self.copy(value),
        }
    }

    pub(super) fn pay_for(&mut self, value: &Value) -> Result<(), PathError> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.burn(1),
            Value::String(text) => self.text(text.len()),
            Value::Array(items) => {
                self.burn(1)?;
                items.iter().try_for_each(|item| self.pay_for(item))
            }
            Value::Object(fields) => {
                self.burn(1)?;
                fields.iter().try_for_each(|(name, field)| {
                    self.text(name.len())?;
                    self.pay_for(field)
                })
            }
        }
    }
}

pub(super) fn eval<'v>(ast: &Ast, data: &'v Value, tank: &mut Tank<'_>) -> Found<'v> {
    tank.burn(1)?;
    match ast {
        Ast::Identity { .. } => Ok(Cow::Borrowed(data)),
        Ast::Field { name, .. } => Ok(data.get(name).map_or(NULL, Cow::Borrowed)),
        Ast::Index { idx, .. } => Ok(index(data, *idx).map_or(NULL, Cow::Borrowed)),
        Ast::Literal { value, .. } => literal(value),
        Ast::Subexpr { lhs, rhs, .. } => {
            let left = eval(lhs, data, tank)?;
            then(rhs, left, tank)
        }
        Ast::Or { lhs, rhs, .. } => {
            let left = eval(lhs, data, tank)?;
            if truthy(&left) { Ok(left) } else { eval(rhs, data, tank) }
        }
        Ast::And { lhs, rhs, .. } => {
            let left = eval(lhs, data, tank)?;
            if truthy(&left) { eval(rhs, data, tank) } else { Ok(left) }
        }
        Ast::Not { node, .. } => Ok(Cow::Owned(Value::Bool(!truthy(&*eval(node, data, tank)?)))),
        Ast::Condition { predicate, then, .. } => {
            if truthy(&*eval(predicate, data, tank)?) {
                eval(then, data, tank)
            } else {
                Ok(NULL)
            }
        }
        Ast::Comparison { comparator, lhs, rhs, .. } => {
            let left = eval(lhs, data, tank)?;
            let right = eval(rhs, data, tank)?;
            compare(comparator, &left, &right, tank).map(Cow::Owned)
        }
        Ast::ObjectValues { node, .. } => {
            let Some(fields) = object(eval(node, data, tank)?) else {
                return Ok(NULL);
            };
            let values = fields.iter().map(|(_, field)| tank.copy(field));
            Ok(Cow::Owned(Value::Array(values.collect::<Result<_, _>>()?)))
        }
        Ast::Projection { lhs, rhs, .. } => {
            let left = eval(lhs, data, tank)?;
            let Value::Array(items) = &*left else {
                return Ok(NULL);
            };
            let mut found = Vec::new();
            for item in items {
                let value = eval(rhs, item, tank)?;
                if !value.is_null() {
                    found.push(tank.owned(value)?);
                }
            }
            Ok(Cow::Owned(Value::Array(found)))
        }
        Ast::Flatten { node, .. } => {
            let list = eval(node, data, tank)?;
            let Value::Array(items) = &*list else {
                return Ok(NULL);
            };
            let mut flat = Vec::new();
            for item in items {
                match item {
                    Value::Array(inner) => {
                        for value in inner {
                            flat.push(tank.copy(value)?);
                        }
                    }
                    _ => flat.push(tank.copy(item)?),
                }
            }
            Ok(Cow::Owned(Value::Array(flat)))
        }
        Ast::MultiList { .. } | Ast::MultiHash { .. } if data.is_null() => Ok(NULL),
        Ast::MultiList { elements, .. } => {
            let mut list = Vec::with_capacity(elements.len());
            for element in elements {
                let value = eval(element, data, tank)?;
                list.push(tank.owned(value)?);
            }
            Ok(Cow::Owned(Value::Array(list)))
        }
        Ast::MultiHash { elements, .. } => {
            let mut fields = Map::with_capacity(elements.len());
            for element in elements {
                let value = eval(&element.value, data, tank)?;
                tank.text(element.key.len())?;
                fields.insert(element.key.clone(), tank.owned(value)?);
            }
            Ok(Cow::Owned(Value::Object(fields)))
        }
        Ast::Slice { start, stop, step, .. } => slice(data, *start, *stop, *step, tank),
        Ast::Function { name, args, .. } => functions::call(name, args, data, tank).map(Cow::Owned),
        // only as a function's argument, and those are taken apart there
        Ast::Expref { .. } => Err(PathError(
            "`&` makes sense only as an argument of a function such as sort_by".to_owned(),
        )),
    }
}

/// Evaluate on a value that may be our own.
fn then<'v>(ast: &Ast, left: Cow<'v, Value>, tank: &mut Tank<'_>) -> Found<'v> {
    match left {
        Cow::Borrowed(left) => eval(ast, left, tank),
        Cow::Owned(left) => {
            let found = eval(ast, &left, tank)?;
            tank.owned(found).map(Cow::Owned)
        }
    }
}

fn literal<'v>(value: &jmespath::Rcvar) -> Found<'v> {
    let value = serde_json::to_value(&**value).map_err(|e| PathError(format!("literal: {e}")))?;
    Ok(Cow::Owned(value))
}

fn object(value: Cow<'_, Value>) -> Option<Cow<'_, Map<String, Value>>> {
    match value {
        Cow::Borrowed(Value::Object(fields)) => Some(Cow::Borrowed(fields)),
        Cow::Owned(Value::Object(fields)) => Some(Cow::Owned(fields)),
        Cow::Borrowed(_) | Cow::Owned(_) => None,
    }
}

fn index(data: &Value, index: i32) -> Option<&Value> {
    let items = data.as_array()?;
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    match index {
        0.. => items.get(distance),
        _ => items.len().checked_sub(distance).and_then(|at| items.get(at)),
    }
}

/// Slices work as in Python: bounds may be negative or beyond the end, a negative step goes backwards.
fn slice<'v>(
    data: &'v Value,
    start: Option<i32>,
    stop: Option<i32>,
    step: i32,
    tank: &mut Tank<'_>,
) -> Found<'v> {
    if step == 0 {
        return Err(PathError("the step of a slice cannot be 0".to_owned()));
    }
    let Value::Array(items) = data else {
        return Ok(NULL);
    };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let step = i64::from(step);
    let (least, greatest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |bound: Option<i32>, default: i64| match bound.map(i64::from) {
        Some(bound) if bound < 0 => (bound + length).clamp(least, greatest),
        Some(bound) => bound.clamp(least, greatest),
        None => default,
    };
    let (first, last) = if step > 0 { (0, length) } else { (length - 1, -1) };
    let (mut at, stop) = (bound(start, first), bound(stop, last));
    let mut found = Vec::new();
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        if let Some(item) = usize::try_from(at).ok().and_then(|at| items.get(at)) {
            found.push(tank.copy(item)?);
        }
        at += step;
    }
    Ok(Cow::Owned(Value::Array(found)))
}

fn compare(
    comparator: &Comparator,
    left: &Value,
    right: &Value,
    tank: &mut Tank<'_>,
) -> Result<Value, PathError> {
    let ordered = |test: fn(Ordering) -> bool| match (left, right) {
        (Value::Number(_), Value::Number(_)) => {
            order(left, right).map_or(Value::Null, |order| Value::Bool(test(order)))
        }
        _ => Value::Null, // the specification orders numbers only
    };
    Ok(match comparator {
        Comparator::Equal => Value::Bool(equal(left, right, tank)?),
        Comparator::NotEqual => Value::Bool(!equal(left, right, tank)?),
        Comparator::LessThan => ordered(Ordering::is_lt),
        Comparator::LessThanEqual => ordered(Ordering::is_le),
        Comparator::GreaterThan => ordered(Ordering::is_gt),
        Comparator::GreaterThanEqual => ordered(Ordering::is_ge),
    })
}

/// Equality of values, where 1 and 1.0 are the same number.
pub(super) fn equal(left: &Value, right: &Value, tank: &mut Tank<'_>) -> Result<bool, PathError> {
    tank.burn(1)?;
    Ok(match (left, right) {
        (Value::Number(_), Value::Number(_)) => order(left, right) == Some(Ordering::Equal),
        (Value::String(a), Value::String(b)) => {
            tank.text(a.len().min(b.len()))?;
            a == b
        }
        (Value::Array(a), Value::Array(b)) => {
            let mut equal_so_far = a.len() == b.len();
            for (a, b) in a.iter().zip(b) {
                equal_so_far = equal_so_far && equal(a, b, tank)?;
            }
            equal_so_far
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut equal_so_far = a.len() == b.len();
            for (name, a) in a {
                equal_so_far =
                    equal_so_far && b.get(name).map_or(Ok(false), |b| equal(a, b, tank))?;
            }
            equal_so_far
        }
        (a, b) => a == b,
    })
}

/// The order of two numbers or two strings; none for anything else.
pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => match (left.as_i64(), right.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)), // beyond 2^53 a float would lose the difference
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
    }
}

/// False, null and everything empty are false (JMESPath, "Or Expressions").
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}
