//! `unsafe` has three addresses, and each block of it says which law keeps it sound.

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{ExprUnsafe, ForeignItem, ItemForeignMod, ItemImpl, ItemTrait, Meta, Signature};

use crate::source::Source;

const ADDRESSES: [&str; 3] = ["engine/src/tree/index.rs", "net/src/disk/map.rs", "net/src/ring.rs"];

/// Unsafe code elsewhere, or without its law; permission for it elsewhere.
pub fn check(source: &Source) -> Vec<String> {
    let mut search = Search { source, faults: Vec::new() };
    search.visit_file(&source.file);
    if source.path == "quorum/src/lib.rs" && !source.text.contains("#![forbid(unsafe_code)]") {
        search.faults.push(format!("{}: it does not forbid unsafe code", source.path));
    }
    search.faults
}

struct Search<'s> {
    source: &'s Source,
    faults: Vec<String>,
}

impl Search<'_> {
    fn at(&mut self, at: Span) {
        if !ADDRESSES.contains(&self.source.path.as_str()) {
            self.faults.push(self.source.fault(at, "unsafe code has three addresses, and this is none"));
        } else if !says_why(&self.source.text, at.start().line) {
            self.faults.push(self.source.fault(at, "unsafe without a `// SAFETY:` above it"));
        }
    }
}

/// Whether the comment above a line's statement has the word. Lines are counted from 1.
fn says_why(text: &str, line: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(line - 1).map(str::trim).collect();
    let begins = |line: &&&str| !line.ends_with([';', '{', '}', ',']) || line.starts_with("//");
    let mut above = lines.iter().rev().take_while(begins);
    let mut comment =
        above.by_ref().skip_while(|line| !line.starts_with("//")).take_while(|line| line.starts_with("//"));
    comment.any(|line| line.trim_start_matches(['/', ' ']).starts_with("SAFETY:"))
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.at(block.unsafe_token.span);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        if let syn::Safety::Unsafe(token) = &signature.safety {
            self.at(token.span);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.at(token.span);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        if let Some(token) = &item.unsafety {
            self.at(token.span);
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast ItemForeignMod) {
        self.at(item.abi.extern_token.span);
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_foreign_item(&mut self, _: &'ast ForeignItem) {}

    fn visit_meta(&mut self, meta: &'ast Meta) {
        let Meta::List(list) = meta else { return };
        let permits = list.path.is_ident("allow") || list.path.is_ident("expect");
        let permits = permits && list.tokens.to_string().contains("unsafe_code");
        if permits && !ADDRESSES.contains(&self.source.path.as_str()) {
            self.faults.push(self.source.fault(list.delimiter.span().open(), "unsafe code is permitted"));
        }
    }
}

#[test]
fn unsafe_code_elsewhere_or_without_its_law_is_found() {
    let faults = |path: &str, text: &str| check(&Source::parse(path, text)).len();
    let law = "fn a() {\n    // SAFETY: nobody else has it,\n    // not even us.\n    let a =\n        unsafe { b() };\n}";
    let lawless = "fn a() {\n    // SAFETY: of another.\n    c();\n    unsafe { b() };\n}";
    for (path, text, count) in [
        (ADDRESSES[0], law, 0),
        (ADDRESSES[0], lawless, 1),
        ("net/src/drive.rs", law, 1),
        ("net/src/drive.rs", "unsafe fn a() {}", 1),
        ("net/src/drive.rs", "unsafe impl Send for A {}", 1),
        ("net/src/drive.rs", "unsafe extern \"C\" { fn a(); }", 1),
        ("net/src/drive.rs", "#![allow(unsafe_code)]", 1),
        ("net/src/drive.rs", "#[expect(unsafe_code, reason = \"no\")] fn a() {}", 1),
        ("quorum/src/lib.rs", "mod a;", 1),
        ("quorum/src/lib.rs", "#![forbid(unsafe_code)] mod a;", 0),
    ] {
        assert_eq!(faults(path, text), count, "{path}: {text}");
    }
}
