//! The command line `tunesmith`: arguments in, text and progress out.
//!
//! Exit codes: 0 all went well; 1 the work failed; 2 bad usage or bad input, nothing was run and nothing was written.

mod arguments;
mod commands;
mod doctor;
mod environment;
mod files;
mod progress;
mod report;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command, Data, Model, Plugin};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::say(&terminal::rendered(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Train(train) => commands::train::run(&train),
        Command::Check(check) => commands::check::run(&check),
        Command::Eval(eval) => commands::eval::run(&eval),
        Command::Generate(generate) => commands::generate::run(&generate),
        Command::Doctor(doctor) => commands::doctor::run(&doctor),
        Command::Report(report) => commands::report::run(&report),
        Command::Model(Model::Import { gguf, out }) => commands::model::import(&gguf, &out),
        Command::Model(Model::Inspect { folder, json }) => commands::model::inspect(&folder, json),
        Command::Model(Model::Merge(merge)) => commands::model::merge(&merge),
        Command::Model(Model::Compare(compare)) => commands::model::compare(&compare),
        Command::Data(Data::Inspect(inspect)) => commands::data::inspect(&inspect),
        Command::Plugin(Plugin::Build(build)) => commands::build::run(&build),
        Command::Plugin(Plugin::New(new)) => commands::new::run(&new),
        Command::Plugin(Plugin::Check { file, json }) => commands::plugin::check(&file, json),
        Command::Plugin(Plugin::Inspect { file, json }) => commands::plugin::inspect(&file, json),
    }
}

/// 2 where the user has to mend the input, else 1.
fn exit_code(error: &anyhow::Error) -> u8 {
    let is_input = error.downcast_ref::<commands::BadInput>().is_some()
        || error.downcast_ref::<tunesmith::Error>().is_some_and(|error| error.fault().is_some());
    if is_input { 2 } else { 1 }
}
