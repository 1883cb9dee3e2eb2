//! The inputs of a run, from files, pairs and options; the most specific wins.

use clap::ArgMatches;
use reflux_flow::graph::Flow;
use reflux_flow::name::suggest;
use reflux_server::Error;
use serde_json::{Map, Value};

use super::arguments;

/// Most bytes of a file with inputs: an event holds no more.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Everything that was given, as the flow's types want it.
///
/// # Errors
/// Something cannot be read, or is not of the input's type.
pub fn gather(flow: &Flow, matches: &ArgMatches) -> Result<Value, Error> {
    let mut given = Map::new();
    for text in matches.get_many::<String>("input").into_iter().flatten() {
        match text.strip_prefix('@') {
            Some(file) => given.extend(from_file(file)?),
            None => {
                let (name, value) = pair(flow, text)?;
                given.insert(name, value);
            }
        }
    }
    for parameter in
        flow.parameters.iter().filter(|parameter| !arguments::is_taken(&parameter.name))
    {
        if let Some(text) = matches.get_one::<String>(&arguments::id(parameter)) {
            given.insert(parameter.name.clone(), coerce(flow, &parameter.name, text)?);
        }
    }
    Ok(Value::Object(given))
}

fn from_file(file: &str) -> Result<Map<String, Value>, Error> {
    let failed = |error: std::io::Error| Error::invalid(format!("cannot read {file}: {error}"));
    if std::fs::metadata(file).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(Error::invalid(format!("{file} has more than {FILE_BYTES_MAX} bytes"))
            .suggest("give its path as an input, and read it with `file.read`"));
    }
    let text = std::fs::read_to_string(file).map_err(failed)?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::invalid(format!("{file} does not hold a JSON object"))
            .suggest("write the inputs by name: {\"name\": \"value\"}")),
        Err(error) => Err(Error::invalid(format!("{file} is not JSON: {error}"))),
    }
}

fn pair(flow: &Flow, text: &str) -> Result<(String, Value), Error> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(Error::invalid(format!("--input `{text}` is neither NAME=VALUE nor @FILE"))
            .suggest("write for example --input name=value or --input @inputs.json"));
    };
    Ok((name.to_owned(), coerce(flow, name, value)?))
}

fn coerce(flow: &Flow, name: &str, text: &str) -> Result<Value, Error> {
    let Some(parameter) = flow.parameters.iter().find(|parameter| parameter.name == name) else {
        if flow.refs().whole_input {
            return Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)));
        }
        let error = Error::invalid(format!("the flow `{}` has no input `{name}`", flow.name));
        let known = flow.parameters.iter().map(|parameter| parameter.name.as_str());
        return Err(match suggest(name, known) {
            Some(alike) => error.suggest(format!("did you mean `{alike}`?")),
            None => error.suggest("see the flow's inputs with --help"),
        });
    };
    parameter
        .kind
        .coerce(text)
        .map_err(|problem| Error::invalid(format!("input `{name}`: {problem}")))
}
