//! The engine and the quorum decide everything, so a seed must replay them: no file, socket, clock,
//! thread or ambient randomness in the code that is not a test's.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{GenericArgument, Item, ItemUse, Macro, Path, PathArguments, PathSegment, UseTree};

use crate::source::{Source, attributes, is_test, words};

/// Modules of the standard library that know nothing of the world outside.
const STD: [&str; 31] = [
    "alloc",
    "any",
    "array",
    "ascii",
    "borrow",
    "boxed",
    "cell",
    "char",
    "cmp",
    "collections",
    "convert",
    "default",
    "error",
    "fmt",
    "hash",
    "hint",
    "iter",
    "marker",
    "mem",
    "num",
    "ops",
    "option",
    "ptr",
    "result",
    "slice",
    "str",
    "string",
    "sync",
    "vec",
    "rc",
    "primitive",
];
/// Of modules that do: what is only a value.
const VALUES: [&str; 7] = [
    "time::Duration",
    "net::IpAddr",
    "net::Ipv4Addr",
    "net::Ipv6Addr",
    "net::SocketAddr",
    "net::AddrParseError",
    "f64::consts",
];
/// Of modules that do not: what waits for another thread.
const WAITING: [&str; 5] = ["sync::mpsc", "sync::Mutex", "sync::RwLock", "sync::Condvar", "sync::Barrier"];
/// Hashes with keys of their own choice.
const RANDOM: [&str; 3] = ["RandomState", "DefaultHasher", "SharedSeed"];
/// Macros that write to the process's streams.
const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// What a pure crate's file uses of the world.
pub fn check(source: &Source) -> Vec<String> {
    let pure = ["engine/src/", "quorum/src/"].iter().any(|folder| source.path.starts_with(folder));
    if !pure || source.test_only {
        return Vec::new();
    }
    let mut search = Search { source, faults: Vec::new() };
    search.visit_file(&source.file);
    search.faults
}

struct Search<'s> {
    source: &'s Source,
    faults: Vec<String>,
}

impl Search<'_> {
    fn fault(&mut self, at: Span, what: &str) {
        self.faults.push(self.source.fault(at, what));
    }

    /// A path as written: `std::time::Instant`.
    fn path(&mut self, segments: &[String], at: Span) {
        let name = segments.join("::");
        let within = segments.get(1..).unwrap_or_default();
        let impure = match segments[0].as_str() {
            "std" | "core" | "alloc" => impure_std(within),
            "crossbeam" => !matches!(within.first().map(String::as_str), Some("epoch" | "queue" | "utils")),
            _ => false,
        };
        if impure {
            self.fault(at, &format!("{name} belongs to the world outside"));
        }
        if segments.iter().any(|segment| RANDOM.contains(&segment.as_str())) {
            self.fault(at, &format!("{name} hashes by chance"));
        }
    }

    fn tree(&mut self, tree: &UseTree, before: &[String]) {
        let joined = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &joined(path.ident.to_string())),
            UseTree::Name(name) if name.ident == "self" => self.path(before, name.ident.span()),
            UseTree::Name(name) => self.path(&joined(name.ident.to_string()), name.ident.span()),
            UseTree::Rename(rename) => self.path(&joined(rename.ident.to_string()), rename.ident.span()),
            UseTree::Glob(glob) => {
                self.path(&joined("*".to_owned()), glob.star_token.spans[0]);
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
        }
    }

    /// A macro's arguments are tokens: `a :: b :: c` is a path there too.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut at, mut colons) = (Span::call_site(), 0);
        for token in tokens.into_iter().map(Some).chain([None]) {
            match &token {
                Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                Some(TokenTree::Ident(ident)) if colons == 2 => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                _ => {
                    if path.len() > 1 {
                        self.path(&std::mem::take(&mut path), at);
                    }
                    path.clear();
                    colons = 0;
                    if let Some(TokenTree::Ident(ident)) = &token {
                        at = ident.span();
                        path.push(ident.to_string());
                    }
                }
            }
            if let Some(TokenTree::Group(group)) = token {
                self.tokens(group.stream());
            }
        }
    }

    /// A standard map or set whose hasher is not named hashes by chance.
    fn hasher(&mut self, segments: &[&PathSegment]) {
        for (index, segment) in segments.iter().enumerate() {
            let parameters = match segment.ident.to_string().as_str() {
                "HashMap" => 3,
                "HashSet" => 2,
                _ => continue,
            };
            let given = match &segment.arguments {
                PathArguments::AngleBracketed(given) => {
                    Some(given.args.iter().filter(|arg| matches!(arg, GenericArgument::Type(_))).count())
                }
                _ => None,
            };
            let makes = segments.get(index + 1).map(|next| next.ident.to_string());
            let chance = matches!(makes.as_deref(), Some("new" | "with_capacity" | "from"));
            if given.is_some_and(|given| given < parameters) || chance {
                self.fault(segment.ident.span(), &format!("a {} without a named hasher", segment.ident));
            }
        }
    }
}

fn impure_std(path: &[String]) -> bool {
    let Some(module) = path.first() else { return true };
    let name = path.iter().take(2).cloned().collect::<Vec<_>>().join("::");
    if WAITING.contains(&name.as_str()) {
        return true;
    }
    // Numbers, `str` and `char` have modules of their names.
    let primitive =
        ["f64", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "usize"].contains(&module.as_str());
    !(words(&STD).contains(module.as_str()) || VALUES.contains(&name.as_str()) || primitive)
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Vec<&PathSegment> = path.segments.iter().collect();
        let names: Vec<String> = segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) =
            segments.first().filter(|_| names.len() > 1 || RANDOM.contains(&names[0].as_str()))
        {
            self.path(&names, first.ident.span());
        }
        self.hasher(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if let Some(name) = call.path.segments.last().filter(|last| PRINTING.iter().any(|p| last.ident == p))
        {
            self.fault(name.ident.span(), "it prints");
        }
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

#[test]
fn the_world_outside_is_found_however_it_is_named() {
    let faults = |text: &str| check(&Source::parse("engine/src/a.rs", text)).len();
    for text in [
        "use std::fs::File;",
        "use std::{fmt, io::Read};",
        "use std::time::{Duration, Instant};",
        "use std::time;",
        "use std::*;",
        "use std::net::TcpStream as S;",
        "use core::time;",
        "use std::sync::{Arc, Mutex};",
        "use crossbeam::channel;",
        "use crossbeam::*;",
        "use foldhash::fast::RandomState;",
        "fn a() { std::thread::spawn(|| ()); }",
        "fn a() -> std::io::Result<()> { Ok(()) }",
        "fn a() { assert!(std::env::args().count() > 0); }",
        "fn a() { vec![(1, std::time::SystemTime::now())]; }",
        "fn a() { println!(\"a\"); }",
        "struct A { a: HashMap<u8, u8> }",
        "fn a() { let a = HashSet::new(); }",
        "fn a() { b.collect::<HashSet<_>>(); }",
    ] {
        assert_eq!(faults(text), 1, "{text}");
    }
    for text in [
        "use std::collections::{BTreeMap, HashMap}; use std::sync::Arc; use std::time::Duration;",
        "struct A { a: HashMap<u8, Vec<u8>, FixedState>, b: std::net::SocketAddr }",
        "fn a() { HashMap::with_hasher(b); std::mem::take(c); std::u64::MAX; }",
        "#[cfg(test)] mod tests { use std::fs; }",
        "#[cfg(test)] use std::fs;",
    ] {
        assert_eq!(faults(text), 0, "{text}");
    }
    assert!(check(&Source::parse("net/src/a.rs", "use std::fs;")).is_empty());
}
