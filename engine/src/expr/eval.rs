//! Evaluation within an allowance.
//!
//! The tree that is evaluated is the parsed one with a call of a hidden function around two things: what a macro runs over,
//! and what an addition makes. The function charges them to the allowance; once that is spent it gives an empty value, so that
//! the evaluation ends at once, and the answer is thrown away.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cel::{
    Context, Env, ExecutionError, Value as Cel,
    common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, operators},
    objects::{Key, Map},
};
use serde_json::Value;

use super::{
    ExprError, Expression, Reference, Scope, WorkflowScope,
    convert::{self, Texts},
    reference, stack,
};

/// What one evaluation may spend.
const ALLOWANCE: u64 = 1 << 20;
/// The price of one element that a macro visits, besides a share of the values that its body may look at.
const VISIT: u64 = 16;
/// The bytes of values that raise the price of a visit by one.
const VISIT_BYTES: u64 = 256;
/// Cannot be written in CEL, so nobody calls it or hides it.
const CHARGE_VISITS: &str = "@visits";
const CHARGE_MADE: &str = "@made";

/// The standard functions; making them costs more than most evaluations.
static FUNCTIONS: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

impl Expression {
    /// The value, as JSON. See [`super::evaluate`].
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, ExprError> {
        if let Some(value) = reference::whole(&self.tree).and_then(|whole| plain(&whole, scope)) {
            return Ok(value.clone());
        }
        stack::deep(|| convert::to_json(&self.evaluate_cel(scope)?))
    }

    fn evaluate_cel(&self, scope: &Scope) -> Result<Cel, ExprError> {
        let (variables, weight) = variables(self.references(), scope)?;
        let mut context = Context::with_env(Arc::clone(&FUNCTIONS));
        for (name, value) in variables {
            context.add_variable_from_value(name, value);
        }
        let spent = Arc::new(AtomicU64::new(0));
        let price = VISIT + u64::try_from(weight).unwrap_or(u64::MAX) / VISIT_BYTES;
        for (name, price) in [(CHARGE_VISITS, price), (CHARGE_MADE, 1)] {
            let spent = Arc::clone(&spent);
            context
                .add_function(name, move |value: Cel| charge(&spent, price, value))
                .map_err(|error| ExprError::Evaluation(error.to_string()))?;
        }
        let mut tree = self.tree.clone();
        meter(&mut tree);
        let value = context.resolve(&tree);
        if spent.load(Ordering::Relaxed) > ALLOWANCE {
            return Err(ExprError::TooMuchWork);
        }
        value.map_err(|error| self.explain(&error, scope))
    }

    /// Whether the condition holds; anything but a boolean is an error.
    pub fn holds(&self, scope: &Scope) -> Result<bool, ExprError> {
        match stack::deep(|| self.evaluate_cel(scope))? {
            Cel::Bool(holds) => Ok(holds),
            other => Err(ExprError::Evaluation(format!(
                "a condition must be true or false, and {} is a value of type {}",
                self.text,
                other.type_of()
            ))),
        }
    }

    fn explain(&self, error: &ExecutionError, scope: &Scope) -> ExprError {
        if let ExecutionError::NoSuchKey(key) = error {
            let absent = self
                .references()
                .iter()
                .find_map(|reference| match reference.path.as_slice() {
                    [step, results, result, ..]
                        if reference.root == "steps" && results == "results" && result == key.as_str() =>
                    {
                        let (step, values) = scope.step(step)?;
                        (!values.results.contains_key(result)).then(|| (step.to_owned(), result.clone()))
                    }
                    _ => None,
                });
            if let Some((step, result)) = absent {
                return ExprError::Absent { step, result };
            }
            let own = self.references().iter().find_map(|reference| {
                let result = reference.path.first().filter(|result| *result == key.as_str())?;
                (reference.root == "results" && !scope.own.contains_key(result)).then(|| result.clone())
            });
            if let Some(result) = own {
                return ExprError::NotYet { result };
            }
        }
        ExprError::Evaluation(error.to_string().chars().take(300).collect())
    }
}

/// The value of a plain reference, exactly as it is.
fn plain<'a>(reference: &Reference, scope: &'a Scope) -> Option<&'a Value> {
    let (mut value, rest) = match (reference.root.as_str(), reference.path.as_slice()) {
        ("params", [param, rest @ ..]) => (scope.params.get(param)?, rest),
        ("steps", [step, results, result, rest @ ..]) if results == "results" => {
            (&scope.step(step)?.1.results.get(result)?.value, rest)
        }
        ("results", [result, rest @ ..]) => (&scope.own.get(result)?.value, rest),
        _ => return None,
    };
    for name in rest {
        value = value.get(name)?;
    }
    Some(value)
}

/// Values by the names of the variables, and the weight of those that the manifest or user code made.
type Variables = ([(&'static str, Cel); 4], usize);

/// The variables that the references need: what is not referred to is not converted.
fn variables(references: &[Reference], scope: &Scope) -> Result<Variables, ExprError> {
    let mut params: HashMap<Key, Cel> = HashMap::new();
    let mut steps: HashMap<Key, Cel> = HashMap::new();
    let mut own: HashMap<Key, Cel> = HashMap::new();
    let mut weight = 0;
    for reference in references {
        let Some(name) = reference.path.first() else { continue };
        if reference.root == "results"
            && let Some(given) = scope.own.get(name)
            && !own.contains_key(&key(name))
        {
            weight += convert::weight(&given.value);
            own.insert(
                key(name),
                convert::to_cel(&given.value, given.kind.into(), &format!("results.{name}"))?,
            );
        }
        if reference.root == "params"
            && let Some(value) = scope.params.get(name)
            && !params.contains_key(&key(name))
        {
            weight += convert::weight(value);
            params.insert(
                key(name),
                convert::to_cel(value, Texts::Plain, &format!("params.{name}"))?,
            );
        }
        if reference.root == "steps"
            && let Some((_, step)) = scope.step(name)
        {
            let mut results = match steps.get(&key(name)) {
                Some(Cel::Map(step)) => match step.map.get(&key("results")) {
                    Some(Cel::Map(results)) => results.map.as_ref().clone(),
                    _ => HashMap::new(),
                },
                _ => HashMap::new(),
            };
            let wanted: Vec<&String> = match reference.path.as_slice() {
                [_, results, result, ..] if results == "results" => vec![result],
                [_, results] if results == "results" => step.results.keys().collect(),
                [_] => step.results.keys().collect(),
                _ => Vec::new(),
            };
            for result in wanted {
                if let Some(given) = step.results.get(result)
                    && !results.contains_key(&key(result))
                {
                    weight += convert::weight(&given.value);
                    let what = format!("steps.{name}.results.{result}");
                    results.insert(key(result), convert::to_cel(&given.value, given.kind.into(), &what)?);
                }
            }
            let failed = i64::try_from(step.failed).unwrap_or(i64::MAX);
            let fields = [
                ("phase", Cel::from(step.phase.as_str())),
                ("failed", Cel::Int(failed)),
                ("results", map(results)),
            ];
            steps.insert(
                key(name),
                map(fields.into_iter().map(|(name, value)| (key(name), value)).collect()),
            );
        }
    }
    let variables = [
        ("params", map(params)),
        ("steps", map(steps)),
        ("workflow", workflow(&scope.workflow)),
        ("results", map(own)),
    ];
    Ok((variables, weight))
}

fn workflow(run: &WorkflowScope) -> Cel {
    let text = |text: &String| Cel::from(text.as_str());
    let failures = run.failures.iter().map(|failure| {
        let fields = [
            ("step", text(&failure.step)),
            ("reason", text(&failure.reason)),
            ("message", text(&failure.message)),
        ];
        map(fields.into_iter().map(|(name, value)| (key(name), value)).collect())
    });
    let fields = [
        ("name", text(&run.name)),
        ("phase", text(&run.phase)),
        ("uid", text(&run.uid)),
        ("failed", Cel::Bool(run.failed)),
        ("message", text(&run.message)),
        ("failures", Cel::List(Arc::new(failures.collect()))),
    ];
    map(fields.into_iter().map(|(name, value)| (key(name), value)).collect())
}

fn key(name: &str) -> Key {
    Key::String(Arc::new(name.to_owned()))
}

fn map(fields: HashMap<Key, Cel>) -> Cel {
    Cel::Map(Map { map: Arc::new(fields) })
}

/// Charges a value's size; gives an empty one of its kind when the allowance is spent.
fn charge(spent: &AtomicU64, price: u64, value: Cel) -> Cel {
    let (size, empty) = match &value {
        Cel::String(text) => (text.len(), Cel::from("")),
        Cel::Bytes(bytes) => (bytes.len(), Cel::Bytes(Arc::default())),
        Cel::List(items) => (items.len(), Cel::List(Arc::default())),
        Cel::Map(fields) => (fields.map.len(), map(HashMap::new())),
        _ => return value,
    };
    let price = u64::try_from(size)
        .unwrap_or(u64::MAX)
        .saturating_add(1)
        .saturating_mul(price)
        .min(ALLOWANCE + 1);
    // Far from a wrap: after the allowance is spent a charge is for an empty value.
    let before = spent.fetch_add(price, Ordering::Relaxed);
    if before.saturating_add(price) > ALLOWANCE {
        empty
    } else {
        value
    }
}

/// Puts the charges into a tree.
fn meter(node: &mut IdedExpr) {
    match &mut node.expr {
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| meter(target));
            call.args.iter_mut().for_each(meter);
            if call.func_name == operators::ADD && !is_accumulator(call.args.first()) {
                wrap(node, CHARGE_MADE);
            }
        }
        Expr::Comprehension(comprehension) => {
            for part in [
                &mut comprehension.iter_range,
                &mut comprehension.accu_init,
                &mut comprehension.loop_cond,
                &mut comprehension.loop_step,
                &mut comprehension.result,
            ] {
                meter(part);
            }
            wrap(&mut comprehension.iter_range, CHARGE_VISITS);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(meter),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| meter_entry(&mut entry.expr)),
        Expr::Struct(made) => made.entries.iter_mut().for_each(|entry| meter_entry(&mut entry.expr)),
        Expr::Select(select) => meter(&mut select.operand),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn meter_entry(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::StructField(field) => meter(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            meter(&mut entry.key);
            meter(&mut entry.value);
        }
    }
}

/// The additions that macros are made of add one element, which the visit has paid for.
fn is_accumulator(left: Option<&IdedExpr>) -> bool {
    matches!(left.map(|left| &left.expr), Some(Expr::Ident(name)) if name.starts_with('@'))
}

fn wrap(node: &mut IdedExpr, function: &str) {
    let id = node.id;
    let inner = std::mem::take(node);
    *node = IdedExpr {
        id,
        expr: Expr::Call(CallExpr {
            func_name: function.to_owned(),
            target: None,
            args: vec![inner],
        }),
    };
}
