//! Running a command to its end and keeping what it said. No shell, no timeouts: what runs here is ours.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit status; 128 + N when signal N ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    what: String,
}

impl Ended {
    /// Standard output, if the status is 0.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status == 0, "{self}");
        self.stdout
    }

    /// Both outputs, one after the other.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Checks the exit status and gives itself back.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert!(self.status == status, "status {status} was expected of {self}");
        self
    }

    /// Checks that it failed, with whatever status.
    #[track_caller]
    pub fn expect_failure(self) -> Self {
        assert!(self.status != 0, "a failure was expected of {self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} ended with status {}", self.what, self.status)?;
        write!(f, "{}{}", self.stdout, self.stderr)
    }
}

/// Runs `command` to its end with `input` on standard input.
#[track_caller]
pub fn run(mut command: Command, input: &[u8]) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    let what = format!("{:?}", command.get_args().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" "));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{what} could not be started: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    });
    let output = output.unwrap_or_else(|e| panic!("{what}: {e}"));
    let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { status, stdout: text(&output.stdout), stderr: text(&output.stderr), what }
}

/// Runs a program of the machine's own.
#[track_caller]
pub fn local(argv: &[&str]) -> Ended {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]);
    run(command, b"")
}
