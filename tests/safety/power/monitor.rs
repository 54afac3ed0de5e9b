//! qemu's monitor: a machine is saved and resumed through it.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

/// The monitor of one machine.
pub struct Monitor {
    stream: UnixStream,
    lines: Lines<BufReader<UnixStream>>,
}

impl Monitor {
    /// What qemu has to connect to.
    pub fn listen(path: &Path) -> UnixListener {
        std::fs::remove_file(path).ok();
        let listener = UnixListener::bind(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        listener.set_nonblocking(true).unwrap();
        listener
    }

    /// Waits until it has.
    pub fn of(listener: &UnixListener, qemu: &mut Child) -> Self {
        let until = Instant::now() + Duration::from_secs(30);
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if qemu.try_wait().unwrap().is_none() && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("qemu did not start: {error}"),
            }
        };
        stream.set_nonblocking(false).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut monitor = Self { stream, lines };
        monitor.wait(&["QMP"]);
        monitor.say("qmp_capabilities", "");
        monitor.say("migrate-set-capabilities", "\"capabilities\": [{\"capability\": \"events\", \"state\": true}]");
        monitor
    }

    /// Has it load a machine's state, and returns when the machine runs.
    pub fn load(&mut self, from: &Path) {
        self.say("migrate-incoming", &format!("\"uri\": \"exec:cat '{}'\"", from.display()));
        self.wait(&["\"RESUME\""]);
    }

    /// Has it save the machine's state; it stands still then.
    pub fn save(&mut self, to: &Path) {
        self.say("migrate-set-parameters", "\"max-bandwidth\": 100000000000");
        self.say("migrate", &format!("\"uri\": \"exec:cat > '{}'\"", to.display()));
        let end = self.wait(&["\"completed\"", "\"failed\""]);
        assert!(end.contains("completed"), "{}: {end}", to.display());
        self.say("quit", "");
    }

    fn say(&mut self, command: &str, arguments: &str) {
        let line = format!("{{\"execute\": \"{command}\", \"arguments\": {{{arguments}}}}}\n");
        self.stream.write_all(line.as_bytes()).unwrap();
        let answer = self.wait(&["\"return\"", "\"error\""]);
        assert!(answer.contains("return"), "{command}: {answer}");
    }

    fn wait(&mut self, what: &[&str]) -> String {
        let is_it = |line: &String| what.iter().any(|what| line.contains(what));
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines.find(is_it).unwrap_or_else(|| panic!("qemu ended before {what:?}"))
    }
}
