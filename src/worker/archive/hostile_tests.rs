//! A hostile archive: each trick is refused with the entry named, or made harmless, and nothing outside is changed.

use std::{
    io::{Read, Write},
    process::Command,
};

use super::{testing::*, *};
use crate::worker::testing::tree;

fn file(name: &str) -> Vec<u8> {
    entry(name, b'0', "", b"evil")
}

/// Refused when it is looked at, with the entry named, and by what writes if nobody had looked (where it is told to).
#[track_caller]
fn refused(entries: &[Vec<u8>], names: &str, also_written: bool) {
    let place = Place::new(&tar_of(entries));
    let why = place.released().unwrap_err();
    assert!(why.reason().contains(names), "{names}: {why}");
    assert!(place.is_unharmed());
    if also_written {
        let blind = place.written_blindly();
        assert!(blind.is_err(), "{names}: {blind:?}");
    } else {
        let _ = place.written_blindly();
    }
    assert!(place.is_unharmed(), "{names}");
}

/// AR-01 and AR-02.
#[test]
fn names_and_links_that_lead_out() {
    for name in ["/evil", "../evil", "a/../../evil", "./../evil", "..\\evil", "C:/evil", "a//evil"] {
        refused(&[file("ok"), file(name)], name, true);
    }
    let link = |name: &str, to: &str| entry(name, b'2', to, b"");
    refused(&[link("d", ".."), file("d/evil")], "d", true);
    refused(&[link("d", "/tmp"), entry("d/", b'5', "", b""), file("d/evil")], "\"d\" is there twice", true);
    refused(&[entry("d/", b'5', "", b""), link("d", "..")], "\"d\" is there twice", true);
    refused(&[file("x"), file("x/evil")], "x/evil", true);
    refused(&[file("ok"), link("l", "/etc/passwd")], "\"l\" is a link to an absolute path", false);
    refused(&[file("ok"), link("l", "../outside")], "\"l\" is a link that leads out", false);
    refused(&[file("ok"), link("a/b/l", "../../../outside")], "\"a/b/l\"", false);
    // RUSTSEC-2026-0546: by its own text it stays, by the other link it does not.
    refused(&[file("ok"), link("x/y/up", "../.."), link("l", "x/y/up/..")], "\"l\"", false);
    refused(&[file("ok"), link("a", "b/../.."), link("b", "c/d"), link("c/d", ".")], "\"a\"", false);
    for (name, to) in [("a/l", "../ok"), ("l", "nowhere"), ("l", "l"), ("a/b", "./../a/../ok"), ("self", ".")] {
        let place = Place::new(&tar_of(&[file("ok"), link(name, to)]));
        place.released().unwrap_or_else(|why| panic!("{name} -> {to}: {why}"));
    }
}

/// AR-03.
#[test]
fn hard_links_only_to_earlier_files_of_the_archive() {
    let hard = |name: &str, to: &str| entry(name, b'1', to, b"");
    for to in ["/etc/passwd", "../outside", "later", "d", "l", ".env"] {
        let link = entry("l", b'2', "ok", b"");
        let entries = [file("ok"), entry("d/", b'5', "", b""), link, file(".env"), hard("h", to)];
        refused(&entries, "\"h\" is a hard link to something", !matches!(to, ".env"));
    }
    refused(&[hard("h", "later"), file("later")], "\"h\"", true);
    let place = Place::new(&tar_of(&[file("first"), hard("second", "./first")]));
    let files = place.released().unwrap();
    assert_eq!(files, ["first 755 evil", "second 755 evil"], "a copy, which shares nothing");
}

/// AR-06 and AR-07.
#[test]
fn devices_and_doubles_are_refused_and_setuid_is_lost() {
    for (kind, what) in [(b'3', "device"), (b'4', "device"), (b'6', "fifo"), (b'V', "kind"), (b'M', "")] {
        refused(&[file("ok"), entry("dev", kind, "", b"")], what, true);
    }
    refused(&[file("x"), file("x")], "\"x\" is there twice", true);
    refused(&[file("x"), file("./x")], "\"x\" is there twice", true);
    // Their header said 6777. Another case is another name, as in the file system.
    assert_eq!(Place::new(&tar_of(&[file("x"), file("X")])).released().unwrap(), ["X 755 evil", "x 755 evil"]);
    let capability = [pax("SCHILY.xattr.security.capability", "x"), file("x")].concat();
    let place = Place::new(&tar_of(&[capability]));
    assert_eq!(place.released().unwrap(), ["x 755 evil"]);
}

/// AR-05: sparse files, bombs, endless headers.
#[test]
fn what_is_larger_than_it_looks() {
    let sparse = [pax("GNU.sparse.major", "1"), file("GNUSparseFile.0/x")].concat();
    refused(&[file("ok"), sparse], "is a sparse file", true);
    for format in ["gnu", "posix"] {
        let place = Place::new(b"");
        let large = std::fs::File::create(place.dir.path().join("large")).unwrap();
        large.set_len(10 << 30).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("--sparse").arg(format!("--format={format}")).arg("-cf").arg(place.archive());
        assert!(tar.arg("-C").arg(place.dir.path()).arg("large").status().unwrap().success());
        let why = place.released().unwrap_err();
        assert!(why.reason().contains("large") && why.reason().contains("is a sparse file"), "{format}: {why}");
    }
    // A name of 8 MiB.
    let long = [entry("././@LongLink", b'L', "", &vec![b'a'; 8 << 20]), file("x")].concat();
    refused(&[file("ok"), long], "header", true);
    refused(&[file("ok"), entry_of_size("big", b'0', "", b"", 10 << 30)], "\"big\"", true);
    assert!(stream::bomb(300 << 20, 1 << 20).unwrap().contains("bomb"));
    assert!(stream::bomb(65 << 30, 32 << 30).unwrap().contains("64 GiB"));
    assert_eq!(stream::bomb(200 << 20, 1), None, "small things may be dense");
    assert_eq!(stream::bomb(4 << 30, 1 << 30), None);
}

#[test]
fn a_bomb_ends_early() {
    let zeros = std::io::repeat(0).take(400 << 20);
    let header = entry_of_size("zeros", b'0', "", b"", 400 << 20);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&entry("ok", b'0', "", b"ok")).unwrap();
    packed.write_all(&header).unwrap();
    std::io::copy(&mut { zeros }, &mut packed).unwrap();
    packed.write_all(&[0; 1024]).unwrap();
    let place = Place::new(&packed.finish().unwrap());
    let why = place.released().unwrap_err();
    assert!(why.reason().contains("bomb") && why.reason().contains("zeros"), "{why}");
}

#[test]
fn two_archives_in_one_file_are_none() {
    let one = tar_of(&[file("one")]);
    let place = Place::new(&[one.clone(), tar_of(&[file("two")])].concat());
    assert!(place.released().unwrap_err().reason().contains("something after its end"));
    let padded = [one, vec![0; 9 * 1024]].concat();
    assert_eq!(Place::new(&padded).released().unwrap(), ["one 755 evil"], "tar fills its last record with zeros");
}

/// AR-04: what is read here is what GNU tar reads, or nothing.
#[test]
fn the_same_as_gnu_tar_or_refused() {
    let long = "d/".repeat(60) + "name";
    let cases = [
        ("a plain one", vec![file("a/x"), entry("a/y/", b'5', "", b""), file("b")], true),
        ("POSIX's size is smaller", vec![pax("size", "512"), entry("x", b'0', "", &[b'1'; 1024])], false),
        (
            "POSIX's size is larger",
            vec![pax("size", "1024"), entry("x", b'0', "", &[b'1'; 512]), file("hidden")],
            false,
        ),
        ("POSIX's name", vec![pax("path", "real"), file("false"), file("b")], true),
        ("POSIX's name leads out", vec![pax("path", "../evil"), file("false")], false),
        ("GNU's long name", vec![entry("././@LongLink", b'L', "", format!("{long}\0").as_bytes()), file("x")], true),
        ("GNU's long name without its end", vec![entry("././@LongLink", b'L', "", long.as_bytes()), file("x")], true),
        ("two long names", vec![entry("l", b'L', "", b"a\0"), entry("l", b'L', "", b"b\0"), file("x")], false),
        ("a long name of nothing", vec![file("a"), entry("l", b'L', "", b"b\0")], false),
        ("a name of two", vec![entry("l", b'L', "", b"a\0b\0"), file("x")], false),
        ("an old directory", vec![entry("a/", 0, "", b""), file("a/x")], true),
        ("a directory with a size", vec![entry_of_size("a/", b'5', "", b"", 512), file("a/x")], false),
        ("a contiguous file", vec![entry("a", b'7', "", b"x"), file("b")], true),
    ];
    for (what, entries, readable) in cases {
        let bytes = tar_of(&entries);
        let place = Place::new(&bytes);
        let order = ArchiveOrder { strip: false, exclude: Vec::new(), ..place.order() };
        let ours = place.resolve(&order, &[]).and_then(|(revision, _)| place.export(&order, &revision));
        let theirs = place.dir.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--no-same-owner", "--no-same-permissions", "-xf"]).arg(place.archive()).arg("-C").arg(&theirs);
        let tar = tar.output().unwrap();
        let names = |tree: Vec<String>| -> Vec<String> {
            tree.iter().map(|line| line.replace(" 777 ", " 755 ").replace(" 777", " 755")).collect()
        };
        match ours {
            Ok(ours) => assert_eq!(names(ours), names(tree(&theirs)), "{what}: {tar:?}"),
            Err(why) => assert!(!readable, "{what}: {why}"),
        }
        assert!(place.is_unharmed(), "{what}");
    }
}

/// The same tricks in a zip file.
#[test]
fn a_hostile_zip_file() {
    let options = ::zip::write::SimpleFileOptions::default;
    let zip = |name: &str| {
        let mut out = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        out.start_file("ok", options()).unwrap();
        out.start_file(name, options().unix_permissions(0o4755)).unwrap();
        out.write_all(b"evil").unwrap();
        out.finish().unwrap().into_inner()
    };
    for name in ["../evil", "a/../../evil", "/evil", "a\\..\\..\\evil", "C:/evil"] {
        let place = Place::new(&zip(name));
        let why = place.released().unwrap_err();
        assert!(why.reason().contains(name) || name.contains('\\'), "{name}: {why}");
        assert!(place.written_blindly().is_err() && place.is_unharmed());
    }
    // Two entries of one name: the writer does not do it, so the second is renamed in the bytes.
    let mut twice = zip("kO");
    while let Some(at) = twice.windows(2).position(|two| two == b"kO") {
        twice[at..at + 2].copy_from_slice(b"ok");
    }
    let place = Place::new(&twice);
    assert!(place.released().unwrap_err().reason().contains("\"ok\" is there twice"));
    assert!(place.written_blindly().is_err());
    // The file's own header says another name than the directory.
    let mut cloaked = zip("seen");
    let at = cloaked.windows(4).position(|four| four == b"seen").unwrap();
    cloaked[at..at + 4].copy_from_slice(b"evil");
    assert!(Place::new(&cloaked).released().is_err());
    let mut linked = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    linked.start_file("ok", options()).unwrap();
    linked.add_symlink("l", "/etc/passwd", options()).unwrap();
    let place = Place::new(&linked.finish().unwrap().into_inner());
    assert!(place.released().unwrap_err().reason().contains("\"l\" is a link to an absolute path"));
    let place = Place::new(&zip("setuid"));
    let found = place.released().unwrap();
    assert_eq!(found, ["ok 644 ", "setuid 755 evil"]);
}
