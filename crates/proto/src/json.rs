//! JSON values as protobuf writes them (`google.protobuf.Value` and `Struct`), on the wire the same
//! as everybody's. Unlike the generated types they keep the order of keys, as flows do, and a whole
//! number stays one when it is written as JSON.

use prost::{Enumeration, Message, Oneof};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value as Json};

/// Greatest whole number up to which every one is a double.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// What it is; a value without one is null.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// What a value is.
#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    /// Null.
    #[prost(enumeration = "NullValue", tag = "1")]
    Null(i32),
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// Text.
    #[prost(string, tag = "3")]
    String(String),
    /// A boolean.
    #[prost(bool, tag = "4")]
    Bool(bool),
    /// An object.
    #[prost(message, tag = "5")]
    Struct(Struct),
    /// A list.
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// `google.protobuf.NullValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum NullValue {
    /// The only one.
    NullValue = 0,
}

/// `google.protobuf.Struct`: on the wire, a map is a list of its entries.
#[derive(Clone, PartialEq, Message)]
pub struct Struct {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub fields: Vec<Field>,
}

/// An entry of an object.
#[derive(Clone, PartialEq, Message)]
pub struct Field {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, Message)]
pub struct ListValue {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        let kind = match json {
            Json::Null => Kind::Null(0),
            Json::Bool(it) => Kind::Bool(*it),
            Json::Number(it) => Kind::Number(it.as_f64().unwrap_or_default()),
            Json::String(it) => Kind::String(it.clone()),
            Json::Array(items) => {
                Kind::List(ListValue { values: items.iter().map(Self::from).collect() })
            }
            Json::Object(map) => Kind::Struct(Struct::from(map)),
        };
        Self { kind: Some(kind) }
    }
}

impl From<&Map<String, Json>> for Struct {
    fn from(map: &Map<String, Json>) -> Self {
        let field = |(key, value): (&String, &Json)| Field {
            key: key.clone(),
            value: Some(Value::from(value)),
        };
        Self { fields: map.iter().map(field).collect() }
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value.kind {
            None | Some(Kind::Null(_)) => Self::Null,
            Some(Kind::Bool(it)) => Self::Bool(it),
            Some(Kind::Number(it)) => number(it),
            Some(Kind::String(it)) => Self::String(it),
            Some(Kind::List(list)) => list.values.into_iter().map(Self::from).collect(),
            Some(Kind::Struct(fields)) => Self::Object(fields.into()),
        }
    }
}

impl From<Struct> for Map<String, Json> {
    fn from(fields: Struct) -> Self {
        let pair = |field: Field| (field.key, field.value.unwrap_or_default().into());
        fields.fields.into_iter().map(pair).collect()
    }
}

/// Infinities and what is no number have no JSON: they are null, as in JavaScript.
#[allow(clippy::cast_possible_truncation)] // whole and below 2^53
fn number(it: f64) -> Json {
    if it.fract() == 0.0 && it.abs() <= WHOLE_MAX {
        return Json::from(it as i64);
    }
    Number::from_f64(it).map_or(Json::Null, Json::Number)
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Json::from(self.clone()).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::from(&Json::deserialize(from)?))
    }
}

impl Serialize for Struct {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Map::from(self.clone()).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Struct {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Json::deserialize(from)? {
            Json::Object(map) => Ok(Self::from(&map)),
            _ => Err(D::Error::custom("expected an object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_survives_the_wire_in_order() {
        for json in [
            json!(null),
            json!({"z": 1, "a": [true, 1.5, "x", null, {"k": -3}], "m": {}}),
            json!(9_007_199_254_740_992_i64),
        ] {
            let bytes = Value::from(&json).encode_to_vec();
            let back = Json::from(Value::decode(bytes.as_slice()).unwrap());
            assert_eq!(back.to_string(), json.to_string());
        }
    }

    #[test]
    fn the_wire_is_that_of_everybody() {
        let ours = Value::from(&json!({"a": [1, "b", null]})).encode_to_vec();
        let theirs = prost_types::Value::decode(ours.as_slice()).unwrap();
        assert_eq!(theirs.encode_to_vec(), ours);
    }
}
