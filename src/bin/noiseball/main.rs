//! `noiseball`: samples, inspects and trains diffusers checkpoints from a terminal, over the same modules as the page.
//!
//! Exit codes: 0 done, 1 the device, the network or the disk failed, or another process has the folder, 2 the input was
//! bad.

#![warn(clippy::print_stderr, reason = "it panics where nobody listens: see output::say")]

mod bench;
mod compare;
mod convert;
mod edit;
mod embed;
mod inspect;
mod likelihood;
mod output;
mod pack;
mod prompted;
mod sample;
mod samplers;
mod threads;
#[cfg(feature = "burn")]
mod train;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use noiseball::Error;

#[derive(Parser)]
#[command(
    name = "noiseball",
    version,
    about = "Samples and trains diffusion models in the format of Python's diffusers"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turn noise into pictures
    Sample(Box<sample::Arguments>),
    /// Run samplers on the same noise with as many evaluations each, side by side
    Compare(compare::Arguments),
    /// Tell how many bits a model takes for pictures
    Likelihood(likelihood::Arguments),
    /// List the samplers with their options
    Samplers(samplers::Arguments),
    /// Time one evaluation of a network with random weights
    Bench(bench::Arguments),
    /// Show what a checkpoint is: layers, parameters, FLOPs, memory, scheduler, and what is unsupported
    Inspect(inspect::Arguments),
    /// Write a checkpoint as safetensors in diffusers' layout, from any that can be opened
    Convert(convert::Arguments),
    /// Halve a checkpoint's size: weights of eight bits with a scale for each 64
    Pack(pack::Arguments),
    /// Make of a checkpoint what a web page needs to show it live: weights, poster, film, the lines to copy
    Embed(embed::Arguments),
    /// Train a model on pictures
    #[cfg(feature = "burn")]
    Train(train::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Sample(arguments) => prompted::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Likelihood(arguments) => likelihood::run(&arguments),
        Command::Samplers(arguments) => samplers::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Pack(arguments) => pack::run(&arguments),
        Command::Embed(arguments) => embed::run(&arguments),
        #[cfg(feature = "burn")]
        Command::Train(arguments) => train::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(&format!("noiseball: {error}\n"));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Whether an error means that another path should have been given.
fn is_of_the_path(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound};
    use ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(kind, NotFound | IsADirectory | NotADirectory | InvalidInput | InvalidData | InvalidFilename)
        || matches!(kind, PermissionDenied | ReadOnlyFilesystem)
}

fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        "busy" | "diverged" | "no-adapter" | "device-lost" | "limit" | "out-of-memory" => 1,
        // A reader that stopped listening, a full disk, or a server that is down is nobody's bad input.
        "fetch" if !matches!(error, Error::Io { source, .. } if is_of_the_path(source.kind())) => 1,
        _ => 2,
    }
}
