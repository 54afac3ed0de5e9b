//! Archives of every format become the same release, and what changed or broke becomes none.

use std::io::Write;

use super::{testing::*, *};

const FILES: [(&str, u32, &str); 6] = [
    ("shop-1.2/artisan", 0o755, "#!/usr/bin/env php\n"),
    ("shop-1.2/public/index.php", 0o644, "<?php"),
    ("shop-1.2/.env", 0o600, "SECRET=1"),
    ("shop-1.2/.env.example", 0o644, "SECRET="),
    ("shop-1.2/node_modules/x/index.js", 0o644, "x"),
    ("shop-1.2/app/storage/kept", 0o644, "kept"),
];

const TREE: [&str; 8] = [
    ".env.example 644 SECRET=",
    "app/ 755",
    "app/storage/ 755",
    "app/storage/kept 644 kept",
    "artisan 755 #!/usr/bin/env php\n",
    "public/ 755",
    "public/index.php 644 <?php",
    "public/storage -> ../storage/app/public",
];

fn plain() -> Vec<u8> {
    let mut out = ::tar::Builder::new(Vec::new());
    for (name, mode, content) in FILES {
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(mode | 0o6000);
        header.set_size(content.len() as u64);
        out.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    out.append_link(&mut header, "shop-1.2/public/storage", "../storage/app/public").unwrap();
    out.into_inner().unwrap()
}

fn zipped() -> Vec<u8> {
    let mut out = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, mode, content) in FILES {
        let options = ::zip::write::SimpleFileOptions::default().unix_permissions(mode | 0o6000);
        out.start_file(name, options).unwrap();
        out.write_all(content.as_bytes()).unwrap();
    }
    let options = ::zip::write::SimpleFileOptions::default();
    out.add_symlink("shop-1.2/public/storage", "../storage/app/public", options).unwrap();
    out.finish().unwrap().into_inner()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn every_format_becomes_the_same_release() {
    let tar = plain();
    let half = tar.len() / 1024 * 512;
    let (first, second) = tar.split_at(half);
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(&tar)].concat();
    for (format, bytes) in [
        ("tar", tar.clone()),
        ("gzip", gzip(&tar)),
        ("gzip in two members", [gzip(first), gzip(second)].concat()),
        ("zstd", zstd(&tar)),
        ("zstd in two frames", [zstd(first), zstd(second)].concat()),
        ("zstd behind a frame to skip", skipped),
        ("xz", xz(&tar)),
        ("xz in two streams", [xz(first), xz(second)].concat()),
        ("zip", zipped()),
    ] {
        let place = Place::new(&bytes);
        let order = place.order();
        let asked = ["artisan", "public", "composer.json", ".env", "shop-1.2/artisan"];
        let (revision, markers) = place.resolve(&order, &asked).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(markers, ["artisan", "public"], "{format}");
        assert_eq!(revision, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes)));
        assert_eq!(place.export(&order, &revision).unwrap(), TREE, "{format}");
        // Without what was remembered, too.
        std::fs::remove_file(place.dir.path().join("cache").join(SEEN)).unwrap();
        assert_eq!(place.export(&order, &revision).unwrap(), TREE, "{format}");
    }
}

#[test]
fn the_top_is_stripped_only_where_it_is_one_and_wanted() {
    let one = tar_of(&[entry("./", b'5', "", b""), entry("./a/", b'5', "", b""), entry("./a/x", b'0', "", b"1")]);
    assert_eq!(Place::new(&one).released().unwrap(), ["x 755 1"]);
    let place = Place::new(&one);
    let order = ArchiveOrder { strip: false, ..place.order() };
    let (revision, _) = place.resolve(&order, &[]).unwrap();
    assert_eq!(place.export(&order, &revision).unwrap(), ["a/ 755", "a/x 755 1"]);
    let two = tar_of(&[entry("a/x", b'0', "", b"1"), entry("b/x", b'0', "", b"2")]);
    assert_eq!(Place::new(&two).released().unwrap(), ["a/ 755", "a/x 755 1", "b/ 755", "b/x 755 2"]);
    let like = tar_of(&[entry("a/x", b'0', "", b"1"), entry("ab", b'0', "", b"2")]);
    assert_eq!(Place::new(&like).released().unwrap(), ["a/ 755", "a/x 755 1", "ab 755 2"]);
    let file = tar_of(&[entry("a", b'0', "", b"1")]);
    assert_eq!(Place::new(&file).released().unwrap(), ["a 755 1"]);
}

#[test]
fn another_content_than_the_configured_or_the_resolved_is_refused() {
    let place = Place::new(&gzip(&plain()));
    let order = ArchiveOrder { sha256: Some("0".repeat(64)), ..place.order() };
    let refused = place.resolve(&order, &[]).unwrap_err();
    assert!(refused.reason().contains("has the SHA-256") && refused.reason().contains(&"0".repeat(64)), "{refused}");
    let order = place.order();
    let (revision, _) = place.resolve(&order, &[]).unwrap();
    for bytes in [zstd(&plain()), zipped(), [gzip(&plain()), vec![0]].concat()] {
        std::fs::write(place.archive(), bytes).unwrap();
        assert!(place.export(&order, &revision).is_err());
    }
    std::fs::write(place.archive(), zipped()).unwrap();
    std::fs::remove_file(place.dir.path().join("cache").join(SEEN)).unwrap();
    assert!(place.export(&order, &revision).unwrap_err().reason().contains("changed after it was looked at"));
}

#[test]
fn no_archive_no_file_and_a_fifo_are_told_apart() {
    for (bytes, why) in [(&b"<html>"[..], "is no archive"), (b"", "is no archive")] {
        assert!(Place::new(bytes).released().unwrap_err().reason().contains(why));
    }
    let place = Place::new(b"");
    std::fs::remove_file(place.archive()).unwrap();
    assert!(place.released().unwrap_err().reason().contains("cannot open"));
    rustix::fs::mkfifoat(rustix::fs::CWD, place.archive(), rustix::fs::Mode::RWXU).unwrap();
    assert!(place.released().unwrap_err().reason().contains("is no regular file"), "and nobody waits for a writer");
    let empty = tar_of(&[entry("a/", b'5', "", b"")]);
    assert!(Place::new(&empty).released().unwrap_err().reason().contains("no files"));
}

/// AR-08: whatever is cut off is an error, at every block of a tar file and at any byte of a packed one.
#[test]
fn what_is_cut_off_is_refused() {
    let tar = plain();
    let end = tar.len() - 1024;
    for at in (0..=end).step_by(512) {
        let refused = Place::new(&tar[..at]).released();
        assert!(refused.is_err(), "cut at {at} of {end}: {refused:?}");
    }
    for (format, bytes) in [("gzip", gzip(&tar)), ("zstd", zstd(&tar)), ("xz", xz(&tar)), ("zip", zipped())] {
        for at in (1..bytes.len()).step_by(bytes.len() / 40) {
            assert!(Place::new(&bytes[..at]).released().is_err(), "{format} cut at {at} of {}", bytes.len());
        }
    }
}

/// AR-08: a flipped bit is never taken for what was resolved, ends nothing early, and harms nothing outside.
#[test]
fn a_flipped_bit_is_refused() {
    let (mut refused, mut seed) = (0, 88172645463325252u64);
    for bytes in [plain(), gzip(&plain()), zstd(&plain()), xz(&plain()), zipped()] {
        let place = Place::new(&bytes);
        let (revision, _) = place.resolve(&place.order(), &[]).unwrap();
        for _ in 0..200 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = usize::try_from(seed).unwrap() % (bytes.len() * 8);
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            std::fs::write(place.archive(), &flipped).unwrap();
            assert!(place.export(&place.order(), &revision).is_err());
            let _ = Place::new(&flipped).released();
            refused += 1;
        }
        assert!(place.is_unharmed());
    }
    assert_eq!(refused, 1000);
}
