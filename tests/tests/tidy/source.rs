//! The tracked files, and the Rust ones among them parsed; which of them are compiled for tests alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::Span;
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta};

/// A parsed file.
pub struct Source {
    /// From the repository's root.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Parsed.
    pub file: syn::File,
    /// Only tests are compiled from it.
    pub test_only: bool,
}

impl Source {
    /// Parses a file. What lies in the crate of the tests is for tests alone.
    pub fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let test_only = path.starts_with("tests/") || path.contains("/tests/");
        Source { path: path.to_owned(), text: text.to_owned(), file, test_only }
    }

    /// A fault at a place in the file.
    pub fn fault(&self, at: Span, what: impl std::fmt::Display) -> String {
        format!("{}:{}: {what}", self.path, at.start().line)
    }
}

/// Every tracked file.
pub struct Repository {
    /// Text files by path.
    pub texts: BTreeMap<String, String>,
    /// Rust files.
    pub sources: Vec<Source>,
    /// Rust files that no crate reaches.
    pub undeclared: Vec<String>,
}

impl Repository {
    /// Reads the work tree's tracked files.
    pub fn read() -> Self {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let listing = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
        let listing = listing.expect("git lists the tracked files");
        assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
        let names = String::from_utf8(listing.stdout).expect("UTF-8 names");
        let mut texts = BTreeMap::new();
        for name in names.split_terminator('\0') {
            // A file that the index has and the work tree has not is about to be removed; one that
            // is no UTF-8 is data.
            if let Ok(text) = std::fs::read_to_string(root.join(name)) {
                texts.insert(name.to_owned(), text);
            }
        }
        Self::of(texts)
    }

    /// Parses files and follows their modules.
    pub fn of(texts: BTreeMap<String, String>) -> Self {
        let rust = texts.iter().filter(|(path, _)| path.ends_with(".rs"));
        let mut sources: BTreeMap<String, Source> =
            rust.map(|(path, text)| (path.clone(), Source::parse(path, text))).collect();
        let mut reached = BTreeMap::new();
        let roots: Vec<String> = sources.keys().filter(|path| is_root(path)).cloned().collect();
        for root in roots {
            let test_only = sources[&root].test_only;
            follow(&sources, &root, test_only, &mut reached);
        }
        let undeclared = sources.keys().filter(|path| !reached.contains_key(*path)).cloned().collect();
        for (path, test_only) in reached {
            if let Some(source) = sources.get_mut(&path) {
                source.test_only = test_only;
            }
        }
        Repository { texts, sources: sources.into_values().collect(), undeclared }
    }
}

/// Whether cargo starts a crate there.
fn is_root(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = folder.rsplit('/').next().unwrap_or_default();
    let grandparent = folder.rsplit('/').nth(1).unwrap_or_default();
    let target = |name: &str| matches!(name, "tests" | "benches" | "examples" | "bin" | "fuzz_targets");
    let crate_file = parent == "src" && matches!(name, "lib.rs" | "main.rs");
    let inside_source = folder.split('/').any(|part| part == "src") && grandparent != "src";
    crate_file
        || name == "build.rs" && !inside_source
        || !inside_source && target(parent)
        || !inside_source && target(grandparent) && name == "main.rs"
}

/// Marks a file and what it declares; a file counts as for tests only if every way to it is.
fn follow(
    sources: &BTreeMap<String, Source>,
    path: &str,
    test_only: bool,
    reached: &mut BTreeMap<String, bool>,
) {
    let Some(source) = sources.get(path) else { return };
    match reached.get(path) {
        Some(known) if !*known || test_only => return,
        _ => reached.insert(path.to_owned(), test_only),
    };
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = PathBuf::from(folder);
    let own = match name {
        "mod.rs" | "lib.rs" | "main.rs" | "build.rs" => folder.clone(),
        _ if is_root(path) => folder.clone(),
        _ => folder.join(name.trim_end_matches(".rs")),
    };
    declare(sources, &source.file.items, &folder, &own, test_only, reached);
}

fn declare(
    sources: &BTreeMap<String, Source>,
    items: &[Item],
    folder: &Path,
    own: &Path,
    test_only: bool,
    reached: &mut BTreeMap<String, bool>,
) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let test_only = test_only || is_test(&module.attrs);
        if let Some((_, inner)) = &module.content {
            let own = own.join(module.ident.to_string());
            declare(sources, inner, &own, &own, test_only, reached);
            continue;
        }
        let candidates = match path_attribute(module) {
            Some(path) => vec![folder.join(path)],
            None => vec![
                own.join(format!("{}.rs", module.ident)),
                own.join(module.ident.to_string()).join("mod.rs"),
            ],
        };
        for candidate in candidates {
            follow(sources, &candidate.to_string_lossy(), test_only, reached);
        }
    }
}

fn path_attribute(module: &ItemMod) -> Option<String> {
    module.attrs.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| {
        match &attribute.meta {
            Meta::NameValue(pair) => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
                _ => None,
            },
            _ => None,
        }
    })
}

/// Whether something with these attributes is compiled for tests alone.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<Meta>().is_ok_and(|condition| !without_tests(&condition).0)
        }
        _ => false,
    })
}

/// Whether a condition can be true, and whether it can be false, where `test` is false.
fn without_tests(condition: &Meta) -> (bool, bool) {
    match condition {
        Meta::Path(path) if path.is_ident("test") => (false, true),
        Meta::List(list) => {
            let inner = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
            let inner: Vec<(bool, bool)> =
                list.parse_args_with(inner).iter().flatten().map(without_tests).collect();
            let (all_true, any_true) = (inner.iter().all(|i| i.0), inner.iter().any(|i| i.0));
            let (all_false, any_false) = (inner.iter().all(|i| i.1), inner.iter().any(|i| i.1));
            match list.path.get_ident().map(ToString::to_string).as_deref() {
                Some("not") => (any_false, any_true),
                Some("all") => (all_true, any_false),
                _ => (any_true, all_false),
            }
        }
        _ => (true, true),
    }
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// A set of words.
pub fn words(list: &[&'static str]) -> BTreeSet<&'static str> {
    list.iter().copied().collect()
}

#[test]
fn test_code_is_told_from_the_rest() {
    let of = |text: &str| is_test(attributes(&syn::parse_str::<Item>(text).expect("an item")));
    for text in ["#[cfg(test)] mod a;", "#[cfg(all(test, loom))] mod a;", "#[test] fn a() {}"] {
        assert!(of(text), "{text}");
    }
    for text in ["mod a;", "#[cfg(not(all(test, loom)))] use a;", "#[cfg(any(test, unix))] fn a() {}"] {
        assert!(!of(text), "{text}");
    }
}
