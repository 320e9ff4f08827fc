//! `noiseball samplers`, and the options of samplers as arguments of `noiseball sample`: both follow the library's table.

use std::fmt::Write;

use clap::{ArgMatches, Command};
use noiseball::sampler::options::{self, Kind, OptionSpec, Value};
use noiseball::{SamplerKind, Settings};

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print the table as the JavaScript module that the package has
    #[arg(long)]
    js: bool,
}

pub(crate) fn run(arguments: &Arguments) -> noiseball::Result<()> {
    output::print(&if arguments.js { module() } else { table() })
}

/// What a person reads.
fn table() -> String {
    let mut out = String::new();
    for kind in SamplerKind::ALL {
        let entry = kind.entry();
        let steps = entry.default_steps.map_or("all".to_owned(), |steps| steps.to_string());
        let _ = writeln!(out, "{} ({} steps)\n    {}", entry.name, steps, entry.paper);
        let _ = writeln!(out, "    {} evaluations of the network in N steps", formula(kind.evaluations()));
        let _ = writeln!(out, "    for {}", entry.classes.join(", "));
        for row in entry.options {
            let (name, default) = (argument(row), row.default_text());
            let _ = writeln!(out, "    --{name}: {} [{}; default {default}]", row.doc, row.expected());
        }
    }
    out
}

/// The table for JavaScript, one sampler a line.
fn module() -> String {
    let mut out = "// Written by `noiseball samplers --js`; a test compares.\n\n".to_owned();
    out += "/** Every sampler with its options, by the names that JavaScript uses. */\nexport const SAMPLERS = [\n";
    for kind in SamplerKind::ALL {
        let entry = kind.entry();
        let options: Vec<_> = entry.options.iter().map(described).collect();
        let (classes, steps) = (entry.classes, entry.default_steps);
        let evaluations = kind.evaluations().map(|[a, b]| serde_json::json!({ "perStep": a, "more": b }));
        let line = serde_json::json!({
            "name": entry.name, "paper": entry.paper, "classes": classes, "defaultSteps": steps,
            "evaluations": evaluations, "options": options,
        });
        let _ = writeln!(out, "  {line},");
    }
    out + "];\n"
}

/// How often N steps ask the network.
fn formula(evaluations: Option<[i64; 2]>) -> String {
    let Some([each, more]) = evaluations else { return "as many as the tolerance needs".to_owned() };
    let each = if each == 1 { "N".to_owned() } else { format!("{each} N") };
    match more {
        0 => each,
        1.. => format!("{each} + {more}"),
        _ => format!("{each} - {}", -more),
    }
}

fn described(row: &OptionSpec) -> serde_json::Value {
    let mut camel = String::new();
    for (i, word) in row.name.split('_').enumerate() {
        let (first, rest) = word.split_at(1);
        camel += &if i == 0 { word.to_owned() } else { first.to_uppercase() + rest };
    }
    let (name, doc, default) = (camel, row.doc, row.default);
    match row.kind {
        Kind::Flag => {
            serde_json::json!({"name": name, "type": "flag", "default": default != 0.0, "doc": doc})
        }
        Kind::Choice(choices) => serde_json::json!({
            "name": name, "type": "choice", "choices": choices, "default": row.default_text(), "doc": doc,
        }),
        Kind::Whole(min, max) => serde_json::json!({
            "name": name, "type": "whole", "min": min, "max": max, "default": default, "doc": doc,
        }),
        Kind::List(whole) => {
            serde_json::json!({"name": name, "type": "list", "whole": whole, "default": null, "doc": doc})
        }
        Kind::Real(min, max) => serde_json::json!({
            "name": name, "type": "real", "min": min, "max": max, "default": default, "doc": doc,
        }),
    }
}

fn argument(row: &OptionSpec) -> String {
    row.name.replace('_', "-")
}

/// Every sampler's options as arguments.
pub(crate) struct Chosen(pub(crate) Settings);

impl clap::Args for Chosen {
    fn augment_args(command: Command) -> Command {
        options::ALL.iter().fold(command, |command, row| {
            let users: Vec<&str> = SamplerKind::ALL
                .iter()
                .filter(|kind| kind.entry().options.iter().any(|other| other.name == row.name))
                .map(|kind| kind.name())
                .collect();
            let help = format!("{}: {} [for {}]", row.doc, row.expected(), users.join(", "));
            // clap keeps names for as long as the program runs.
            let long: &'static str = Box::leak(argument(row).into_boxed_str());
            let argument = clap::Arg::new(row.name).long(long).help(help).value_name("VALUE");
            command.arg(argument.allow_hyphen_values(true).help_heading("Options of samplers"))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Settings::default();
        for row in options::ALL {
            if let Some(text) = matches.get_one::<String>(row.name) {
                settings.set(row.name, read(row, text));
            }
        }
        Ok(Self(settings))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A value as it is written on a terminal.
fn read(row: &OptionSpec, text: &str) -> Value {
    if let Kind::List(_) = row.kind {
        let list: Result<Vec<f64>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        return list.map_or(text.into(), Value::from);
    }
    match (text, text.parse::<f64>()) {
        ("true" | "false", _) => (text == "true").into(),
        (_, Ok(number)) => number.into(),
        (_, Err(_)) => text.into(),
    }
}
