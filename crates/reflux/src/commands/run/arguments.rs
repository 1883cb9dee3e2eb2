//! The arguments of `run`, with one option for each input of the flow.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};
use reflux_flow::graph::{Flow, Parameter, ParameterKind};

use crate::cli::Global;

/// Options of `run` that take a value.
const VALUED: [&str; 4] = ["--id", "--input", "--dir", "-i"];
/// Names that an input's option cannot have, because `run` has them.
const TAKEN: [&str; 8] = ["id", "input", "dir", "json", "detach", "attach", "help", "flow"];

/// The flow among the arguments, and the arguments without it behind the program's name.
pub fn split(arguments: Vec<OsString>) -> (Option<String>, Vec<OsString>) {
    let mut rest = vec![OsString::from("reflux run")];
    let mut flow = None;
    let mut value_follows = false;
    for argument in arguments {
        let text = argument.to_string_lossy().into_owned();
        if flow.is_none() && !value_follows && !text.starts_with('-') {
            flow = Some(text);
            continue;
        }
        // Before the flow only the options of `run` itself are known.
        value_follows = !value_follows && VALUED.contains(&text.as_str());
        rest.push(argument);
    }
    (flow, rest)
}

/// What every command takes, if it stands behind `run`.
pub fn global(global: &Global, rest: &[OsString]) -> Global {
    let mut found = global.clone();
    let mut arguments = rest.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        match &*text {
            "--json" => found.json = true,
            "--dir" => found.dir = arguments.next().map(PathBuf::from).or(found.dir),
            other => {
                if let Some(dir) = other.strip_prefix("--dir=") {
                    found.dir = Some(PathBuf::from(dir));
                }
            }
        }
    }
    found
}

/// The command line of a flow; without one, what can be said of any.
pub fn command(flow: Option<(&str, &Flow)>) -> Command {
    let name = flow
        .map_or_else(|| "reflux run <FLOW>".to_owned(), |(name, _)| format!("reflux run {name}"));
    let command = Command::new("run")
        .bin_name(name)
        .no_binary_name(false)
        .max_term_width(100)
        .arg(option("id", "ID").help(
            "The workflow id: at most one open run has it [default: made of the flow's name]",
        ))
        .arg(
            option("input", "NAME=VALUE|@FILE")
                .short('i')
                .action(ArgAction::Append)
                .help("An input, or a file with a JSON object of inputs"),
        )
        .arg(flag("attach").help("If the workflow id is taken by an open run, follow that run"))
        .arg(flag("detach").help("Start the run and leave it to a background process"))
        .arg(option("dir", "DIR").help("The project"))
        .arg(flag("json").help("Print how the run ended as JSON"));
    let Some((_, flow)) = flow else {
        return command
            .about("Run a flow and follow it to its end")
            .override_usage("reflux run <FLOW> [INPUTS] [OPTIONS]")
            .after_help("FLOW is a file, or the name of a flow in flows/. `reflux run FLOW --help` shows its inputs.");
    };
    let about = match (flow.name.as_str(), flow.description.as_str()) {
        (name, "") => format!("Run the flow {name}"),
        (name, description) => format!("{name}: {description}"),
    };
    let inputs = flow.parameters.iter().filter(|parameter| !is_taken(&parameter.name)).map(input);
    let hidden: Vec<&str> = flow
        .parameters
        .iter()
        .map(|parameter| parameter.name.as_str())
        .filter(|name| is_taken(name))
        .collect();
    let command = command.about(about).next_help_heading("Inputs").args(inputs);
    match hidden.as_slice() {
        [] => command,
        names => command
            .after_help(format!("Given with --input only, as NAME=VALUE: {}", names.join(", "))),
    }
}

/// Whether an input's name is that of an option of `run`.
pub fn is_taken(name: &str) -> bool {
    TAKEN.contains(&name)
}

/// The id of an input's option.
pub fn id(parameter: &Parameter) -> String {
    format!("input:{}", parameter.name)
}

fn input(parameter: &Parameter) -> Arg {
    let arg = Arg::new(id(parameter))
        .long(parameter.name.clone())
        .value_name(parameter.kind.name().to_uppercase());
    let arg = match parameter.name.contains('_') {
        true => arg.alias(parameter.name.replace('_', "-")),
        false => arg,
    };
    let note = match (&parameter.default, parameter.required) {
        (Some(default), _) => format!("[default: {default}]"),
        (None, true) => "[required]".to_owned(),
        (None, false) => "[optional]".to_owned(),
    };
    let arg = arg.help(format!("{} {note}", parameter.description).trim().to_owned());
    match parameter.kind {
        ParameterKind::Boolean => {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true")
        }
        _ => arg.allow_hyphen_values(true),
    }
}

fn option(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], flow: Option<&str>, rest: &[&str]) {
        let (found, left) = split(arguments.iter().map(OsString::from).collect());
        assert_eq!(found.as_deref(), flow, "{arguments:?}");
        let left: Vec<_> = left.iter().skip(1).map(|argument| argument.to_string_lossy()).collect();
        assert_eq!(left, rest, "{arguments:?}");
    }

    #[test]
    fn the_flow_is_the_first_argument_that_is_no_option() {
        check(&["hello", "--name", "you"], Some("hello"), &["--name", "you"]);
        check(&["--id", "a", "hello", "x"], Some("hello"), &["--id", "a", "x"]);
        check(&["-i", "a=b", "--json", "f.yaml"], Some("f.yaml"), &["-i", "a=b", "--json"]);
        check(&["--help"], None, &["--help"]);
        check(&[], None, &[]);
    }

    #[test]
    fn global_options_count_behind_run_too() {
        let none = Global { dir: None, json: false };
        let of =
            |rest: &[&str]| global(&none, &rest.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(of(&["reflux run", "--json"]).json);
        assert_eq!(of(&["reflux run", "--dir", "/a"]).dir, Some("/a".into()));
        assert_eq!(of(&["reflux run", "--dir=/a"]).dir, Some("/a".into()));
    }
}
