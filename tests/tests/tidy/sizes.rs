//! A file is at most 900 lines long, a function 80, or 120 if most of it is one table or one match.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ImplItemFn, ItemFn, TraitItemFn};

use crate::source::Source;

const FILE_LINES_MAX: usize = 900;
const FUNCTION_LINES_MAX: usize = 80;
const TABLE_LINES_MAX: usize = 120;

/// What is too long in a file.
pub fn check(source: &Source) -> Vec<String> {
    let mut search = Search { source, faults: Vec::new() };
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        search.faults.push(format!("{}: {lines} lines", source.path));
    }
    search.visit_file(&source.file);
    search.faults
}

struct Search<'s> {
    source: &'s Source,
    faults: Vec<String>,
}

fn lines(span: Span) -> usize {
    span.end().line - span.start().line + 1
}

impl Search<'_> {
    fn function(&mut self, name: &syn::Ident, body: &Block) {
        let long = lines(body.span());
        let mut table = Table(0);
        table.visit_block(body);
        let max = if table.0 * 2 > long { TABLE_LINES_MAX } else { FUNCTION_LINES_MAX };
        if long > max {
            self.faults
                .push(self.source.fault(name.span(), format!("{name} has {long} lines of at most {max}")));
        }
    }
}

/// The lines of the longest match, list or macro call.
struct Table(usize);

impl<'ast> Visit<'ast> for Table {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        if matches!(expr, Expr::Match(_) | Expr::Array(_) | Expr::Struct(_) | Expr::Macro(_)) {
            self.0 = self.0.max(lines(expr.span()));
        }
        visit::visit_expr(self, expr);
    }
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig.ident, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn what_is_too_long_is_found() {
    let faults = |text: &str| check(&Source::parse("net/src/a.rs", text)).len();
    let plain = |count: usize| format!("fn a() {{\n{}}}", "    b();\n".repeat(count - 2));
    let table = |count: usize| format!("fn a() {{\nmatch b {{\n{}}}\n}}", "    1 => 2,\n".repeat(count - 4));
    assert_eq!([faults(&plain(80)), faults(&plain(81))], [0, 1]);
    assert_eq!([faults(&table(120)), faults(&table(121))], [0, 1]);
    assert_eq!(faults(&format!("impl A {{\n{}\n}}", plain(81))), 1);
    assert_eq!(
        [faults(&"const A: u8 = 1;\n".repeat(900)), faults(&"const A: u8 = 1;\n".repeat(901))],
        [0, 1]
    );
}
