//! The API as its descriptor tells it: calls with their HTTP routes, messages, what they mean.
//! REST and its document are made of this; there is no second definition.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, SourceCodeInfo};
use reflux_proto::google::api::HttpRule;
use reflux_proto::google::api::http_rule::Pattern;

/// The package of the API.
const PACKAGE: &str = "reflux.v1";

/// The API.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    /// Calls in the order of their files.
    pub calls: Vec<Call>,
    /// Services with what they are for.
    pub services: Vec<(String, String)>,
    /// Messages by name.
    pub messages: BTreeMap<String, Shape>,
    /// Enumerations by name: their values, what each means.
    pub enums: BTreeMap<String, Vec<(String, String)>>,
}

/// A call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Its service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub doc: String,
    /// Name of the request's message.
    pub request: String,
    /// Name of the response's message.
    pub response: String,
    /// Whether it answers with a stream.
    pub streams: bool,
    /// `get`, `post` or `delete`.
    pub verb: &'static str,
    /// Such as `/api/v1/runs/{run}`.
    pub path: String,
    /// Whether the rest of the request is its body; otherwise it is the query.
    pub has_body: bool,
}

/// A message.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// What it is.
    pub doc: String,
    /// In order.
    pub fields: Vec<Field>,
}

/// A field.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Its name.
    pub name: String,
    /// What it means.
    pub doc: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether it holds any number of them.
    pub repeated: bool,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// A boolean.
    Bool,
    /// A whole number from 0 to 4,294,967,295.
    Count,
    /// A number.
    Number,
    /// One of an enumeration.
    Enum(String),
    /// A message: ours by its short name, others by the whole.
    Message(String),
    /// Numbers by name.
    Numbers,
}

impl Call {
    /// The names in the path.
    pub fn path_names(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// As the table of calls names it.
    pub fn method(&self) -> String {
        format!("{}/{}", self.service, self.name)
    }
}

impl Schema {
    /// Reads the descriptor of this program.
    ///
    /// # Errors
    /// It is not one: this program was built wrong.
    pub fn read() -> Result<Self, prost::DecodeError> {
        let files = Files::decode(reflux_proto::DESCRIPTORS)?;
        let mut schema = Self::default();
        for file in files.file.iter().filter(|file| file.package == PACKAGE) {
            let docs = Docs::of(file.source_code_info.as_ref());
            for (at, message) in (0..).zip(&file.message_type) {
                schema.messages.insert(message.name().to_owned(), shape(message, at, &docs));
            }
            for (at, values) in (0..).zip(&file.enum_type) {
                schema.enums.insert(values.name().to_owned(), values_of(values, at, &docs));
            }
            for (at, service) in (0..).zip(&file.service) {
                schema.services.push((service.name.clone(), docs.at(&[6, at])));
                for (method_at, method) in (0..).zip(&service.method) {
                    let doc = docs.at(&[6, at, 2, method_at]);
                    schema.calls.extend(call(&service.name, method, doc));
                }
            }
        }
        schema.keep_what_is_spoken();
        Ok(schema)
    }

    /// The records of the log are of the same package and no business of the API.
    fn keep_what_is_spoken(&mut self) {
        let mut open: Vec<String> = Vec::new();
        for call in &self.calls {
            open.extend([call.request.clone(), call.response.clone()]);
        }
        let (mut messages, mut enums) = (BTreeMap::new(), BTreeMap::new());
        while let Some(name) = open.pop() {
            let Some(shape) = self.messages.remove(&name) else { continue };
            for field in &shape.fields {
                match &field.kind {
                    Kind::Message(name) => open.push(name.clone()),
                    Kind::Enum(name) => {
                        enums.extend(self.enums.remove(name).map(|values| (name.clone(), values)));
                    }
                    Kind::Text | Kind::Bool | Kind::Count | Kind::Number | Kind::Numbers => {}
                }
            }
            messages.insert(name, shape);
        }
        (self.messages, self.enums) = (messages, enums);
    }
}

fn call(service: &str, method: &Method, doc: String) -> Option<Call> {
    let rule = method.options.as_ref()?.http.as_ref()?;
    let (verb, path) = match rule.pattern.as_ref()? {
        Pattern::Get(path) => ("get", path),
        Pattern::Post(path) => ("post", path),
        Pattern::Delete(path) => ("delete", path),
        Pattern::Put(_) | Pattern::Patch(_) | Pattern::Custom(_) => return None,
    };
    Some(Call {
        service: service.to_owned(),
        name: method.name.clone(),
        doc,
        request: short(&method.input_type),
        response: short(&method.output_type),
        streams: method.server_streaming,
        verb,
        path: path.clone(),
        has_body: rule.body == "*",
    })
}

fn shape(message: &DescriptorProto, at: i32, docs: &Docs<'_>) -> Shape {
    let field = |(field_at, field): (i32, &FieldDescriptorProto)| Field {
        name: field.name().to_owned(),
        doc: docs.at(&[4, at, 2, field_at]),
        repeated: field.label() == Label::Repeated && kind(message, field) != Kind::Numbers,
        kind: kind(message, field),
    };
    Shape { doc: docs.at(&[4, at]), fields: (0..).zip(&message.field).map(field).collect() }
}

fn kind(message: &DescriptorProto, field: &FieldDescriptorProto) -> Kind {
    let name = short(field.type_name());
    match field.r#type() {
        Type::String | Type::Bytes => Kind::Text,
        Type::Bool => Kind::Bool,
        Type::Double | Type::Float => Kind::Number,
        Type::Enum => Kind::Enum(name),
        Type::Message | Type::Group => {
            // A map is a message inside of the message; all of ours hold numbers.
            let entry = name.rsplit('.').next().unwrap_or_default();
            match message.nested_type.iter().any(|nested| nested.name() == entry) {
                true => Kind::Numbers,
                false => Kind::Message(name),
            }
        }
        _ => Kind::Count,
    }
}

fn values_of(values: &EnumDescriptorProto, at: i32, docs: &Docs<'_>) -> Vec<(String, String)> {
    let value = |(value_at, value): (i32, &prost_types::EnumValueDescriptorProto)| {
        (value.name().to_owned(), docs.at(&[5, at, 2, value_at]))
    };
    (0..).zip(&values.value).map(value).collect()
}

fn short(name: &str) -> String {
    let name = name.trim_start_matches('.');
    name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name).to_owned()
}

/// What stands in front of things in the source, by their paths in the descriptor.
struct Docs<'a>(BTreeMap<&'a [i32], String>);

impl<'a> Docs<'a> {
    fn of(info: Option<&'a SourceCodeInfo>) -> Self {
        let locations = info.into_iter().flat_map(|info| &info.location);
        let doc = |text: &str| {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let paragraphs: Vec<String> =
                lines.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect();
            paragraphs.join("\n\n").trim().to_owned()
        };
        Self(locations.map(|it| (it.path.as_slice(), doc(it.leading_comments()))).collect())
    }

    fn at(&self, path: &[i32]) -> String {
        self.0.get(path).cloned().unwrap_or_default()
    }
}

/// A descriptor set down to the annotations, which the types of `prost-types` leave out.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    file: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<DescriptorProto>,
    #[prost(message, repeated, tag = "5")]
    enum_type: Vec<EnumDescriptorProto>,
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
    #[prost(message, optional, tag = "9")]
    source_code_info: Option<SourceCodeInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<Method>,
}

#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    input_type: String,
    #[prost(string, tag = "3")]
    output_type: String,
    #[prost(message, optional, tag = "4")]
    options: Option<Options>,
    #[prost(bool, tag = "6")]
    server_streaming: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    /// `google.api.http`.
    #[prost(message, optional, tag = "72295728")]
    http: Option<HttpRule>,
}
