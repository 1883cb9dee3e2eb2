//! JSON seen by the engine without copying it, and back.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind};
use serde_json::{Map, Number, Value as Json};

use super::{ExprError, Segment};

/// Deepest result of an expression: the same as what a JSON reader accepts.
const DEPTH_MAX: usize = 128;

/// A list or an object within a shared JSON value. The path is walked at each access: the tree
/// is shared by many steps and cannot be borrowed by the engine.
#[derive(Debug)]
pub(crate) struct View {
    root: Arc<Json>,
    path: Vec<Segment>,
}

impl View {
    fn target(&self) -> Option<&Json> {
        walk(&self.root, &self.path)
    }

    fn child(&self, segment: Segment) -> Option<Value> {
        let found = look_up(self.target()?, &segment)?;
        Some(wrap_with(&self.root, found, || {
            let mut path = Vec::with_capacity(self.path.len() + 1);
            path.extend_from_slice(&self.path);
            path.push(segment);
            path
        }))
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.target() {
            Some(Json::Array(_)) => ObjectRepr::Seq,
            _ => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some(key) => self.child(Segment::Key(key.into())),
            None => self.child(Segment::Index(key.as_i64()?)),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.target() {
            Some(Json::Array(items)) => Enumerator::Seq(items.len()),
            Some(Json::Object(map)) => {
                let keys: Vec<Value> = map.keys().map(|k| Value::from(k.as_str())).collect();
                Enumerator::Iter(Box::new(keys.into_iter()))
            }
            _ => Enumerator::Empty,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        match self.target() {
            Some(Json::Array(items)) => Some(items.len()),
            Some(Json::Object(map)) => Some(map.len()),
            _ => Some(0),
        }
    }
}

/// Follows a path; `None` when it leads nowhere.
pub(crate) fn walk<'a>(mut value: &'a Json, path: &[Segment]) -> Option<&'a Json> {
    for segment in path {
        value = look_up(value, segment)?;
    }
    Some(value)
}

fn look_up<'a>(value: &'a Json, segment: &Segment) -> Option<&'a Json> {
    match (value, segment) {
        (Json::Object(map), Segment::Key(key)) => map.get(&**key),
        (Json::Array(items), Segment::Index(index)) => items.get(position(*index, items.len())?),
        // `items.0` is written as a name.
        (Json::Array(items), Segment::Key(key)) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 { length.checked_sub(from_end) } else { Some(from_end) }
}

/// What the engine sees of the value at `path` within `root`.
pub(crate) fn wrap(root: &Arc<Json>, path: &[Segment]) -> Value {
    walk(root, path).map_or(Value::from(()), |target| wrap_with(root, target, || path.to_vec()))
}

fn wrap_with(root: &Arc<Json>, target: &Json, path: impl FnOnce() -> Vec<Segment>) -> Value {
    match target {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => number(n),
        Json::String(s) => Value::from(s.as_str()),
        Json::Array(_) | Json::Object(_) => {
            Value::from_object(View { root: root.clone(), path: path() })
        }
    }
}

fn number(n: &Number) -> Value {
    if let Some(i) = n.as_i64() {
        Value::from(i)
    } else if let Some(u) = n.as_u64() {
        Value::from(u)
    } else {
        n.as_f64().map_or(Value::from(()), Value::from)
    }
}

/// Takes a value out of the engine. `left` is what it may still cost in bytes.
pub(crate) fn to_json(value: &Value, left: &mut usize) -> Result<Json, ExprError> {
    to_json_at(value, left, 0)
}

fn to_json_at(value: &Value, left: &mut usize, depth: usize) -> Result<Json, ExprError> {
    if depth > DEPTH_MAX {
        return Err(ExprError::evaluation(format!("result is nested more than {DEPTH_MAX} deep")));
    }
    if let Some(view) = value.downcast_object_ref::<View>() {
        let target = view.target().unwrap_or(&Json::Null);
        spend_json(target, left)?;
        return Ok(target.clone());
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => spend(left, 4).map(|()| Json::Null),
        ValueKind::Bool => spend(left, 5).map(|()| Json::Bool(value.is_true())),
        ValueKind::Number => spend(left, 8).and_then(|()| number_of(value)),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            spend(left, text.len() + 2)?;
            Ok(Json::from(text))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Vec::new();
            spend(left, 2)?;
            for item in value.try_iter().map_err(ExprError::from_engine)? {
                spend(left, 1)?;
                items.push(to_json_at(&item, left, depth + 1)?);
            }
            Ok(Json::Array(items))
        }
        ValueKind::Map => {
            let mut map = Map::new();
            spend(left, 2)?;
            for key in value.try_iter().map_err(ExprError::from_engine)? {
                let item = value.get_item(&key).map_err(ExprError::from_engine)?;
                let key = match key.as_str() {
                    Some(key) => key.to_owned(),
                    None if key.is_number() => key.to_string(),
                    None => {
                        return Err(ExprError::evaluation(format!(
                            "a key must be text, but is {}",
                            kind_name(&key)
                        )));
                    }
                };
                spend(left, key.len() + 4)?;
                let item = to_json_at(&item, left, depth + 1)?;
                map.insert(key, item);
            }
            Ok(Json::Object(map))
        }
        ValueKind::Invalid => Err(ExprError::evaluation(value.to_string())),
        _ => Err(ExprError::evaluation(format!(
            "the result is {}, which is no JSON value",
            kind_name(value)
        ))),
    }
}

fn number_of(value: &Value) -> Result<Json, ExprError> {
    if value.is_integer() {
        if let Some(i) = value.as_i64() {
            return Ok(Json::from(i));
        }
        return u64::try_from(value.clone())
            .map(Json::from)
            .map_err(|_| ExprError::evaluation(format!("{value} does not fit into 64 bits")));
    }
    f64::try_from(value.clone())
        .ok()
        .and_then(Number::from_f64)
        .map(Json::Number)
        .ok_or_else(|| ExprError::evaluation(format!("{value} is no finite number")))
}

pub(crate) fn spend(left: &mut usize, bytes: usize) -> Result<(), ExprError> {
    match left.checked_sub(bytes) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err(ExprError::budget()),
    }
}

/// Charges about what the value takes as JSON text, before it is copied.
pub(crate) fn spend_json(value: &Json, left: &mut usize) -> Result<(), ExprError> {
    match value {
        Json::Null | Json::Bool(_) => spend(left, 4),
        Json::Number(_) => spend(left, 8),
        Json::String(s) => spend(left, s.len() + 2),
        Json::Array(items) => {
            spend(left, 2 + items.len())?;
            items.iter().try_for_each(|item| spend_json(item, left))
        }
        Json::Object(map) => {
            spend(left, 2)?;
            map.iter().try_for_each(|(key, item)| {
                spend(left, key.len() + 4)?;
                spend_json(item, left)
            })
        }
    }
}

/// A value as it reads inside other text: text as it is, null as nothing, the rest as JSON.
pub(crate) fn text(value: &Json) -> std::borrow::Cow<'_, str> {
    match value {
        Json::Null => "".into(),
        Json::String(s) => s.as_str().into(),
        other => other.to_string().into(),
    }
}

/// `a number`, `text`…, for messages.
pub(crate) fn kind_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => "null",
        ValueKind::Bool => "a boolean",
        ValueKind::Number => "a number",
        ValueKind::String => "text",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "an object",
        _ => "something else",
    }
}

/// `a number`, `text`…, for messages.
pub fn json_kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}
