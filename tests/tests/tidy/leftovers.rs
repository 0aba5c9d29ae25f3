//! What work leaves behind: stubs, commented-out code, tests switched off without a reason, and
//! names of the place where it was done.

use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, Macro, Meta, Stmt};

use crate::source::Source;

const STUBS: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// In two halves, or this file would break its own rule.
const MARKS: [(&str, &str); 4] = [("FIX", "ME"), ("TO", "DO"), ("XX", "X"), ("HA", "CK")];
/// A test that skips itself and does not say its name: `tests/run` counts it as passed.
const NAMELESS: (&str, &str) = ("\"SKIP", "PED:");
/// Host names of package registries, without their dots.
const HOSTS: [&[&str]; 8] = [
    &["crates", "io"],
    &["pypi", "org"],
    &["pythonhosted", "org"],
    &["npmjs", "org"],
    &["npmjs", "com"],
    &["debian", "org"],
    &["rust-lang", "org"],
    &["proxy", "golang", "org"],
];
/// Folders of a workplace, in pieces.
const FOLDERS: [&[&str]; 6] = [
    &["work", "main"],
    &["work", "wt"],
    &["work", "shared"],
    &["work", ".mirror"],
    &["work", ".library"],
    &["root", "."],
];
/// What a package manager writes itself.
const GENERATED: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// A file's first line says what lives there.
pub fn opening(source: &Source) -> Vec<String> {
    let opens = source.text.starts_with("//!");
    if opens { Vec::new() } else { vec![format!("{}: the first line is no //! comment", source.path)] }
}

/// Stubs, marks, commented-out code and tests that are switched off.
pub fn check(source: &Source) -> Vec<String> {
    let mut search = Search { source, faults: Vec::new() };
    search.visit_file(&source.file);
    let mut faults = search.faults;
    let mut fault = |line: usize, what: &str| faults.push(format!("{}:{line}: {what}", source.path));
    for (number, line) in (1..).zip(source.text.lines()) {
        if line.contains(&format!("{}{}", NAMELESS.0, NAMELESS.1)) {
            fault(number, "a test that is skipped and does not say its name");
        }
        for (left, right) in MARKS {
            if line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == format!("{left}{right}")) {
                fault(number, &format!("{left}{right}"));
            }
        }
    }
    for (number, text) in comments(&source.text) {
        if is_code(&text) || text.lines().any(is_code) {
            fault(number, "commented-out code");
        }
    }
    faults
}

/// Blocks of plain comments, each with the number of its first line.
fn comments(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        let comment = line.trim_start().strip_prefix("//").filter(|rest| !rest.starts_with(['/', '!']));
        match comment {
            Some(rest) => {
                if open && let Some(block) = blocks.last_mut() {
                    block.1.push('\n');
                    block.1.push_str(rest);
                } else {
                    blocks.push((number, rest.to_owned()));
                }
                open = true;
            }
            None => open = false,
        }
    }
    blocks
}

/// Whether a comment reads as statements, and says more than a word.
fn is_code(text: &str) -> bool {
    let text = text.trim();
    if !text.ends_with([';', '}']) {
        return false;
    }
    let Ok(Block { stmts, .. }) = syn::parse_str::<Block>(&format!("{{ {text} }}")) else { return false };
    stmts.iter().any(|statement| match statement {
        Stmt::Expr(expr, _) => !matches!(expr, Expr::Path(_) | Expr::Lit(_) | Expr::Block(_)),
        Stmt::Local(_) | Stmt::Item(_) | Stmt::Macro(_) => true,
    })
}

struct Search<'s> {
    source: &'s Source,
    faults: Vec<String>,
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_macro(&mut self, call: &'ast Macro) {
        if let Some(name) =
            call.path.segments.last().filter(|last| STUBS.iter().any(|stub| last.ident == stub))
        {
            self.faults.push(self.source.fault(name.ident.span(), format!("{}!", name.ident)));
        }
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if matches!(&attribute.meta, Meta::Path(path) if path.is_ident("ignore")) {
            let at = attribute.pound_token.spans[0];
            self.faults.push(self.source.fault(at, "a test is switched off without a reason"));
        }
    }
}

/// Names of a registry's host, and paths of a workplace.
pub fn places(path: &str, text: &str) -> Vec<String> {
    if GENERATED.iter().any(|name| path.ends_with(name)) {
        return Vec::new();
    }
    let hosts = HOSTS.iter().map(|parts| parts.join("."));
    let folders = FOLDERS.iter().map(|parts| format!("/{}", parts.join("/")));
    let names: Vec<String> = hosts.chain(folders).collect();
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for name in names.iter().filter(|name| line.contains(name.as_str())) {
            faults.push(format!("{path}:{number}: {name}"));
        }
    }
    faults
}

#[test]
fn leftovers_are_found() {
    let faults = |text: &str| check(&Source::parse("net/src/a.rs", text)).len();
    let mark = |(left, right): (&str, &str)| format!("// {left}{right}: later");
    for text in [
        "fn a() { todo!() }",
        "fn a() { dbg!(1); }",
        "fn a() { unimplemented!() }",
        "#[ignore] #[test] fn a() {}",
        "// let a = 1;",
        "// a.b(c);",
        "// First a word.\n// a = b;",
        "// if a {\n//     b();\n// }",
        "// fn a() {}",
        &mark(MARKS[0]),
        &mark(MARKS[1]),
        &format!("fn a() {{ print({}{} no disk\"); }}", NAMELESS.0, NAMELESS.1),
    ] {
        assert_eq!(faults(text), 1, "{text}");
    }
    for text in [
        "// A comment; with a semicolon;",
        "// Nothing;",
        "// It ends (as they say) like code (it is none).",
        "/// let a = 1;\nfn a() {}",
        "#[ignore = \"needs a disk\"] #[test] fn a() {}",
        "fn a() { method(); }",
        "fn a() { print(\"SKIPPED a_test: no disk\"); }",
    ] {
        assert_eq!(faults(text), 0, "{text}");
    }
    assert_eq!(opening(&Source::parse("net/src/a.rs", "use a;")).len(), 1);
    assert_eq!(opening(&Source::parse("net/src/a.rs", "//! A.\nuse a;")).len(), 0);
}

#[test]
fn places_are_found() {
    for parts in HOSTS {
        assert_eq!(places("README.md", &format!("see https://index.{}/a", parts.join("."))).len(), 1);
    }
    for parts in FOLDERS {
        assert_eq!(places("a.rs", &format!("cd /{}", parts.join("/"))).len(), 1);
    }
    assert_eq!(places("Cargo.lock", &format!("registry+https://{}", HOSTS[0].join("."))), [""; 0]);
    assert_eq!(places("a.rs", "a workshop on the main road, rooted"), [""; 0]);
}
