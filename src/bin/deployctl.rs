//! The command line of deployd. Composes; no logic.

fn main() -> std::process::ExitCode {
    deployd::ctl::main().into()
}
