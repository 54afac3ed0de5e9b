//! Calls that nobody should make: of every method and property of the contract, with right, wrong, huge and hostile
//! arguments. What is made depends on the seed alone.

use std::os::fd::OwnedFd;

use zbus::{Array, Dict, Fd, ObjectPath, Signature, Structure, Variant};

/// Numbers that are the same for the same seed (xorshift64*).
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// From a seed.
    pub fn from(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 11).expect("64 bits") % end
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, of: usize) -> bool {
        self.below(100) < of
    }

    /// One of them.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// What can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its interface.
    pub interface: String,
    /// Its name.
    pub name: String,
    /// The types that it takes.
    pub takes: Vec<String>,
}

/// Every method of the contract, and what the bus adds.
pub fn methods() -> Vec<Member> {
    let mut methods: Vec<Member> = Vec::new();
    for (tag, interface) in tags() {
        match tag.split(' ').next().unwrap_or_default() {
            "method" => methods.push(Member { interface, name: attribute(&tag, "name"), takes: Vec::new() }),
            "arg" if tag.contains("direction=\"in\"") => {
                methods.last_mut().expect("an argument is a method's").takes.push(attribute(&tag, "type"));
            }
            _ => {}
        }
    }
    let standard = [
        ("Introspectable", "Introspect", ""),
        ("Peer", "Ping", ""),
        ("Peer", "GetMachineId", ""),
        ("Properties", "Get", "ss"),
        ("Properties", "GetAll", "s"),
        ("Properties", "Set", "ssv"),
        ("ObjectManager", "GetManagedObjects", ""),
    ];
    methods.extend(standard.map(|(interface, name, takes)| Member {
        interface: format!("org.freedesktop.DBus.{interface}"),
        name: name.to_owned(),
        takes: takes.chars().map(String::from).collect(),
    }));
    methods
}

/// Every property of the contract, with its interface.
pub fn properties() -> Vec<(String, String)> {
    let properties = tags().into_iter().filter(|(tag, _)| tag.starts_with("property "));
    properties.map(|(tag, interface)| (interface, attribute(&tag, "name"))).collect()
}

/// The opening tags of the contract, each with the interface that it stands in.
fn tags() -> Vec<(String, String)> {
    let mut interface = String::new();
    let mut tags = Vec::new();
    for tag in include_str!("../../dbus/org.deployd1.xml").split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        if tag.starts_with("interface ") {
            interface = attribute(&tag, "name");
        }
        tags.push((tag, interface.clone()));
    }
    tags
}

fn attribute(tag: &str, name: &str) -> String {
    let after = tag.split_once(&format!(" {name}=\"")).map(|(_, rest)| rest);
    after.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

/// Texts that have been a way in, or that look almost right.
const TEXTS: [&str; 26] = [
    "",
    "shop",
    "other",
    "../shop",
    "/etc/passwd",
    "shop\n",
    "shop\u{1b}[2J",
    "shop\u{202e}",
    "Shop",
    "a--b",
    "-",
    "%i",
    "shop@x",
    "shop:a",
    "shop.service",
    "main",
    "--upload-pack=x",
    "refs/heads/main",
    "@{-1}",
    "0000000000000000",
    "ffffffffffffffff",
    "20260101T000000Z-00000000",
    "deploy",
    "rollback",
    "org.deployd1.Manager",
    "org.deployd1.App",
];
const OPTIONS: [&str; 11] = [
    "ref",
    "force",
    "allow-destructive",
    "allow-key-rotation",
    "run-again",
    "release",
    "rotate",
    "stage",
    "lines",
    "follow",
    "deployment",
];
const TYPES: [&str; 20] = [
    "y", "b", "n", "q", "i", "u", "x", "t", "d", "s", "g", "o", "v", "h", "as", "a{sv}", "a{ss}", "aa{sv}", "(sv)",
    "ay",
];

/// The arguments of one call; `None`: none at all.
pub fn arguments(numbers: &mut Numbers, member: &Member) -> Option<Structure<'static>> {
    let mut takes = member.takes.clone();
    match numbers.below(20) {
        0 => takes.push((*numbers.of(&TYPES)).to_owned()),
        1 => drop(takes.pop()),
        2 => takes = (0..numbers.below(6)).map(|_| (*numbers.of(&TYPES)).to_owned()).collect(),
        3 | 4 if !takes.is_empty() => {
            let at = numbers.below(takes.len());
            takes[at] = (*numbers.of(&TYPES)).to_owned();
        }
        _ => {}
    }
    let properties = properties();
    let mut builder = Structure::builder();
    for (at, kind) in takes.iter().enumerate() {
        let known = member.interface.ends_with("Properties") && numbers.percent(70);
        let value = match (known.then(|| numbers.of(&properties)), at) {
            (Some((interface, _)), 0) => Variant::from(interface.clone()),
            (Some((_, name)), 1) => Variant::from(name.clone()),
            _ => value(numbers, kind, 0),
        };
        builder = builder.append_field(value);
    }
    builder.build().ok()
}

fn text(numbers: &mut Numbers) -> String {
    match numbers.below(12) {
        0 => "a".repeat(1 << numbers.below(17)),
        1 => (0..numbers.below(40)).filter_map(|_| char::from_u32(1 + numbers.below(0x3000) as u32)).collect(),
        2 => "\u{1F600}".repeat(numbers.below(400)),
        // Right, so that what comes after it is reached.
        3..=7 => "shop".into(),
        _ => (*numbers.of(&TEXTS)).to_owned(),
    }
}

/// A value of a type, its size and depth bounded by what the bus carries.
fn value(numbers: &mut Numbers, kind: &str, depth: usize) -> Variant<'static> {
    let edge = *numbers.of(&[0, 1, 2, 127, 128, 255, 256, 65_535, 1 << 31, u64::MAX >> 1, u64::MAX]);
    let signature = |text: &str| Signature::try_from(text).expect("one of ours");
    match kind {
        "y" => Variant::U8(edge as u8),
        "b" => Variant::Bool(edge == 1),
        "n" => Variant::I16(edge as i16),
        "q" => Variant::U16(edge as u16),
        "i" => Variant::I32(edge as i32),
        "u" => Variant::U32(edge as u32),
        "x" => Variant::I64(edge as i64),
        "t" => Variant::U64(edge),
        "d" => Variant::F64(*numbers.of(&[0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE])),
        "g" => {
            let text: &str = numbers.of::<&str>(&TYPES);
            Variant::Signature(signature(text))
        }
        "o" => Variant::ObjectPath(path(numbers)),
        // The bus itself ends who sends more than 16 in a message.
        "h" if depth > 1 => Variant::U32(edge as u32),
        "h" => Variant::Fd(Fd::Owned(descriptor(numbers))),
        "v" if depth > 30 => Variant::Variant(Box::new(Variant::U8(1))),
        "v" => {
            let inside = if numbers.percent(40) { "v" } else { *numbers.of(&TYPES) };
            Variant::Variant(Box::new(value(numbers, inside, depth + 1)))
        }
        "(sv)" => {
            let builder = Structure::builder().append_field(Variant::from(text(numbers)));
            Variant::Structure(builder.append_field(value(numbers, "v", depth + 8)).build().expect("two fields"))
        }
        "a{sv}" | "a{ss}" => {
            let inside = &kind[3..4];
            let mut dict = Dict::new(&signature("s"), &signature(inside));
            for _ in 0..several(numbers, depth) {
                let key = if numbers.percent(70) { (*numbers.of(&OPTIONS)).to_owned() } else { text(numbers) };
                let value = if inside == "v" { option(numbers, &key, depth) } else { Variant::from(text(numbers)) };
                dict.append(Variant::from(key), value).expect("of its types");
            }
            Variant::Dict(dict)
        }
        _ if kind.starts_with('a') => {
            let mut array = Array::new(&signature(&kind[1..]));
            for _ in 0..several(numbers, depth) {
                array.append(value(numbers, &kind[1..], depth + 4)).expect("of its type");
            }
            Variant::Array(array)
        }
        _ => Variant::from(text(numbers)),
    }
}

/// The value of an option: mostly of its type.
fn option(numbers: &mut Numbers, key: &str, depth: usize) -> Variant<'static> {
    let kind = match key {
        _ if numbers.percent(20) => *numbers.of(&TYPES),
        "ref" | "release" | "deployment" => "s",
        "lines" => "u",
        _ => "b",
    };
    Variant::Variant(Box::new(value(numbers, kind, depth + 4)))
}

fn several(numbers: &mut Numbers, depth: usize) -> usize {
    match numbers.below(200) {
        0 if depth == 0 => 5_000,
        n if depth < 12 => n % 4,
        _ => 0,
    }
}

/// An object: one that is there, or one that is not.
pub fn path(numbers: &mut Numbers) -> ObjectPath<'static> {
    let path = match numbers.below(12) {
        0..=5 => "/org/deployd1".to_owned(),
        6..=8 => "/org/deployd1/app/shop".to_owned(),
        9 => format!("/org/deployd1/deployment/{:016x}", numbers.next()),
        10 => format!("/org/deployd1{}", "/a".repeat(numbers.below(200))),
        _ => (*numbers.of(&["/", "/org/deployd1/app/none", "/org/deployd1/app", "/org/freedesktop/DBus"])).to_owned(),
    };
    ObjectPath::try_from(path).expect("a path")
}

/// An open file of some kind.
fn descriptor(numbers: &mut Numbers) -> OwnedFd {
    let open = |path: &str| std::fs::File::open(path).expect("everybody may").into();
    match numbers.below(5) {
        0 => open("/dev/zero"),
        1 => open("/"),
        2 => open("/etc/hostname"),
        3 => std::io::pipe().expect("a pipe").0.into(),
        _ => std::os::unix::net::UnixStream::pair().expect("a pair").0.into(),
    }
}
