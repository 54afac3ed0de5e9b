//! How long the worker's orders take on a tree of 2,000 files; prints milliseconds, judges nothing.
//!
//! `cargo test --lib worker::timing -- --ignored --nocapture`, with optimisation to mean anything.

use std::{path::Path, time::Instant};

use super::{
    directory, empty, export,
    git::Git,
    mirror,
    order::{GitOrder, SourceOrder},
    seal, testing,
};

fn timed<T>(what: &str, work: impl Fn() -> T) -> T {
    let mut best = f64::MAX;
    let mut last = None;
    for _ in 0..7 {
        let start = Instant::now();
        last = Some(work());
        best = best.min(start.elapsed().as_secs_f64() * 1000.0);
    }
    println!("{what:<28} {best:8.1} ms");
    last.unwrap()
}

fn once<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what:<28} {:8.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    result
}

fn grow(dir: &Path) {
    for index in 0..2000 {
        let sub = dir.join(format!("app/module{}/part{}", index / 100, index / 20));
        std::fs::create_dir_all(&sub).unwrap();
        std::fs::write(sub.join(format!("Class{index}.php")), format!("<?php // {index}\n").repeat(200)).unwrap();
    }
}

#[test]
#[ignore = "measures"]
fn two_thousand_files() {
    let source = tempfile::tempdir().unwrap();
    grow(source.path());
    testing::repository(source.path());
    let cache = tempfile::tempdir().unwrap();
    let url = source.path().to_str().unwrap();
    let order = SourceOrder::Git(GitOrder { url: url.into(), reference: "main".into(), ..GitOrder::default() });
    let markers = ["artisan", "composer.json", "package.json"].map(str::to_owned);
    let git = Git::new(url, cache.path()).unwrap();
    let resolve = |reference: &str| match mirror::resolve(&git, reference, &markers).unwrap() {
        super::order::Answer::Resolved { revision, .. } => revision,
        other => panic!("{other:?}"),
    };
    once("resolve, first", || resolve("main"));
    timed("resolve, nothing new", || resolve("main"));
    std::fs::write(source.path().join("new"), "x").unwrap();
    testing::commit(source.path(), "second");
    let revision = once("resolve, one new commit", || resolve("main"));
    timed("resolve, known commit", || resolve(&revision));
    let release = tempfile::tempdir().unwrap();
    let exported = |order: &SourceOrder, revision: &str| {
        empty::run(release.path()).unwrap();
        once("export", || export::run(&testing::export(order, cache.path(), revision, release.path())).unwrap())
    };
    for _ in 0..4 {
        exported(&order, &revision);
    }
    timed("seal", || seal::run(release.path(), cache.path(), &[], None).unwrap());
    let plain = tempfile::tempdir().unwrap();
    grow(plain.path());
    let super::order::Answer::Resolved { revision, .. } =
        timed("resolve, directory", || directory::resolve(plain.path(), &[], cache.path(), &[]).unwrap())
    else {
        panic!()
    };
    let order = SourceOrder::Directory { path: plain.path().to_owned(), exclude: Vec::new() };
    for _ in 0..3 {
        exported(&order, &revision);
    }
    once("empty", || empty::run(release.path()).unwrap());
}
