//! What of the scope an expression reads: every reference, and where it stands.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

/// A chain of names that begins at a variable of the scope: `steps.count.results.words`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The variable.
    pub root: String,
    /// The names behind it.
    pub path: Vec<String>,
    /// The byte of the expression where it begins.
    pub(super) at: usize,
}

/// What a walk over a syntax tree finds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub references: Vec<Reference>,
    /// Called functions and the node that calls.
    pub functions: Vec<(String, u64)>,
    /// `steps.a-b`: the place of the whole.
    pub subtractions: Vec<usize>,
    /// Nodes that make a message of a named type.
    pub structs: Vec<u64>,
    /// The deepest nesting of macros, and a node there.
    pub macros: (usize, u64),
}

/// Walks over a syntax tree; `place` tells the byte where a node was written.
pub(super) fn walk(expression: &IdedExpr, place: &dyn Fn(u64) -> usize) -> Found {
    let mut walker = Walker {
        found: Found::default(),
        bound: Vec::new(),
        macros: 0,
        place,
    };
    walker.visit(expression);
    walker.found
}

struct Walker<'a> {
    found: Found,
    bound: Vec<String>,
    macros: usize,
    place: &'a dyn Fn(u64) -> usize,
}

impl Walker<'_> {
    fn visit(&mut self, node: &IdedExpr) {
        if let Some(reference) = self.reference(node) {
            if !self.bound.contains(&reference.root) {
                self.found.references.push(reference);
            }
            return;
        }
        match &node.expr {
            Expr::Call(call) => self.call(call, node.id),
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range);
                self.visit(&comprehension.accu_init);
                let before = self.bound.len();
                self.bound.push(comprehension.iter_var.clone());
                self.bound.extend(comprehension.iter_var2.clone());
                self.macros += 1;
                if self.macros > self.found.macros.0 {
                    self.found.macros = (self.macros, node.id);
                }
                for part in [
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.visit(part);
                }
                self.macros -= 1;
                self.bound.truncate(before);
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.visit(element)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => {
                self.found.structs.push(node.id);
                made.entries.iter().for_each(|entry| self.entry(&entry.expr));
            }
            Expr::Select(select) => self.visit(&select.operand),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key);
                self.visit(&entry.value);
            }
        }
    }

    fn call(&mut self, call: &CallExpr, id: u64) {
        if call.func_name == operators::SUBSTRACT
            && let Some(at) = self.subtracted_step(call)
        {
            self.found.subtractions.push(at);
            return;
        }
        self.found.functions.push((call.func_name.clone(), id));
        call.target.iter().for_each(|target| self.visit(target));
        call.args.iter().for_each(|argument| self.visit(argument));
    }

    /// `steps.NAME - ...`: nobody subtracts from a step, so a name with a `-` is meant.
    fn subtracted_step(&self, call: &CallExpr) -> Option<usize> {
        let mut left = call.args.first()?;
        // `1 + steps.a - b` is `(1 + steps.a) - b`, and `steps.a - b - c` is `(steps.a - b) - c`.
        while let Expr::Call(inner) = &left.expr
            && inner.func_name != operators::INDEX
        {
            left = match inner.func_name.as_str() {
                operators::SUBSTRACT if self.reference(inner.args.first()?).is_some() => inner.args.first()?,
                _ => inner.args.last()?,
            };
        }
        let reference = self.reference(left)?;
        (reference.root == "steps" && reference.path.len() == 1 && !self.bound.contains(&reference.root))
            .then_some(reference.at)
    }

    /// The chain of names that a node is, if it is one.
    fn reference(&self, node: &IdedExpr) -> Option<Reference> {
        match &node.expr {
            Expr::Ident(name) if !name.starts_with('@') => Some(Reference {
                root: name.trim_start_matches('.').to_owned(),
                path: Vec::new(),
                at: (self.place)(node.id),
            }),
            Expr::Select(select) => {
                let mut reference = self.reference(&select.operand)?;
                reference.path.push(select.field.clone());
                Some(reference)
            }
            Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
                [operand, index] => {
                    let Expr::Literal(LiteralValue::String(name)) = &index.expr else {
                        return None;
                    };
                    let mut reference = self.reference(operand)?;
                    reference.path.push(name.inner().to_owned());
                    Some(reference)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// The chain that an expression as a whole is.
pub(super) fn whole(expression: &IdedExpr) -> Option<Reference> {
    let nowhere = |_| 0;
    let walker = Walker {
        found: Found::default(),
        bound: Vec::new(),
        macros: 0,
        place: &nowhere,
    };
    match &expression.expr {
        Expr::Select(select) if select.test => None,
        _ => walker.reference(expression),
    }
}
