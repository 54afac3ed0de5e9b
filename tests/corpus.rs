//! The fuzz targets of tests/fuzz without a fuzzer: the seed corpus, and mutations of it. No coverage leads them; that is
//! libFuzzer's part (`make fuzz`). `DEPLOYD_FUZZ_SECONDS` is the time for each target, 2 s by default.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]
#![allow(clippy::print_stdout, reason = "they report to a terminal")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

#[path = "fuzz/targets.rs"]
mod targets;

/// Bytes that mean something to one parser or another.
const PIECES: &[u8] = b"\"'[]{}=,.\n\\\0-0 9az\x1b\xff";

/// xorshift64*.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11).unwrap() % end.max(1)
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One seed with a few changes: bits, bytes, pieces of itself or of another seed, an end that comes early.
fn mutated(numbers: &mut Numbers, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(data.len());
        match numbers.below(7) {
            0 if !data.is_empty() => data[at] ^= 1 << numbers.below(8),
            1 if !data.is_empty() => data[at] = u8::try_from(numbers.below(256)).unwrap(),
            2 => data.insert(at, PIECES[numbers.below(PIECES.len())]),
            3 => drop(data.drain(at..(at + numbers.below(16)).min(data.len()))),
            4 => data.truncate(at),
            5 => {
                let other = &seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len());
                let piece = other[from..(from + numbers.below(64)).min(other.len())].to_vec();
                data.splice(at..at, piece);
            }
            _ => {
                let end = (at + numbers.below(64)).min(data.len());
                let piece = data[at..end].to_vec();
                data.extend(piece);
            }
        }
    }
    data
}

fn run(name: &str, target: fn(&[u8])) {
    let seeds = corpus(name);
    assert!(seeds.len() > 1, "{name} has no corpus");
    let seconds = std::env::var("DEPLOYD_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let seed = std::env::var("DEPLOYD_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (mut numbers, mut tried) = (Numbers(seed), 0_u64);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut queue = seeds.clone();
    while let Some(data) = queue.pop().or_else(|| (Instant::now() < until).then(|| mutated(&mut numbers, &seeds))) {
        tried += 1;
        if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
            let kept = std::env::temp_dir().join(format!("deployd-fuzz-{name}"));
            fs::write(&kept, &data).unwrap();
            panic!("{name} failed at {}, seed {seed}: {:?}", kept.display(), String::from_utf8_lossy(&data));
        }
    }
    println!("{name}: {tried} inputs of {} seeds, no coverage", seeds.len());
}

#[test]
fn configuration() {
    run("config", targets::config);
}

#[test]
fn records() {
    run("record", targets::record);
}

#[test]
fn the_worker_s_protocol() {
    run("protocol", targets::protocol);
}

#[test]
fn archives() {
    run("archive", targets::archive);
}

#[test]
fn deliveries_of_forges() {
    run("webhook", targets::webhook);
}
