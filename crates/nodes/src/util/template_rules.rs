//! What a template may be made of.
//!
//! Fuel counts instructions, but one instruction can make a value of any size, and a name
//! bound to such a value doubles it again. So nothing in a template makes a value much larger than
//! what it is made of, and only elements of lists can be bound to names: what remains is
//! printing, choosing and looping, with the output bounded by the writer.

use minijinja::machinery;
use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, filters, functions, syntax::SyntaxConfig, tests};

type Checked = Result<(), Error>;

/// Whether a template keeps the rules; syntax errors are found on the way.
pub(super) fn check(source: &str) -> Checked {
    let template = machinery::parse(source, "template", SyntaxConfig::default())?;
    statement(&template)
}

/// The filters, tests and functions of templates, those that make text longer with a bound.
pub(super) fn install(environment: &mut Environment<'_>, bytes_max: usize) {
    let env = environment;
    env.add_filter("abs", filters::abs);
    env.add_filter("attr", filters::attr);
    env.add_filter("bool", filters::bool);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("count", filters::length);
    env.add_filter("d", filters::default);
    env.add_filter("default", filters::default);
    env.add_filter("dictsort", filters::dictsort);
    env.add_filter("e", filters::escape);
    env.add_filter("escape", filters::escape);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("int", filters::int);
    env.add_filter("items", filters::items);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lines", filters::lines);
    env.add_filter("list", filters::list);
    env.add_filter("lower", filters::lower);
    env.add_filter("max", filters::max);
    env.add_filter("min", filters::min);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("safe", filters::safe);
    env.add_filter("sort", filters::sort);
    env.add_filter("split", filters::split);
    env.add_filter("string", filters::string);
    env.add_filter("title", filters::title);
    env.add_filter("trim", filters::trim);
    env.add_filter("unique", filters::unique);
    env.add_filter("upper", filters::upper);
    env.add_filter("plus", |a: f64, b: f64| number(a + b));
    env.add_filter("times", |a: f64, b: f64| number(a * b));
    env.add_filter("join", move |list: Value, glue: Option<String>| {
        join(&list, &glue.unwrap_or_default(), bytes_max)
    });
    env.add_filter("replace", move |text: String, from: String, to: String| {
        replace(&text, &from, &to, bytes_max)
    });
    env.add_filter("tojson", move |value: Value| to_json(&value, bytes_max));
    env.add_function("range", functions::range);
    env.add_test("defined", tests::is_defined);
    env.add_test("undefined", tests::is_undefined);
    env.add_test("none", tests::is_none);
    env.add_test("boolean", tests::is_boolean);
    env.add_test("number", tests::is_number);
    env.add_test("string", tests::is_string);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("odd", tests::is_odd);
    env.add_test("even", tests::is_even);
    env.add_test("in", tests::is_in);
    env.add_test("startingwith", tests::is_startingwith);
    env.add_test("endingwith", tests::is_endingwith);
}

fn statement(statement: &Stmt<'_>) -> Checked {
    match statement {
        Stmt::Template(template) => statements(&template.children),
        Stmt::EmitRaw(_) => Ok(()),
        Stmt::EmitExpr(emit) => expression(&emit.expr),
        Stmt::IfCond(condition) => {
            expression(&condition.expr)?;
            statements(&condition.true_body)?;
            statements(&condition.false_body)
        }
        Stmt::ForLoop(each) if each.recursive => refused("a recursive loop"),
        Stmt::ForLoop(each) => {
            // what is iterated becomes bound to a name, so nothing may be made here
            list(&each.iter)?;
            each.filter_expr.as_ref().map_or(Ok(()), expression)?;
            statements(&each.body)?;
            statements(&each.else_body)
        }
        Stmt::Set(_) | Stmt::SetBlock(_) | Stmt::WithBlock(_) => {
            refused("`set` and `with`; put the value into `data`")
        }
        _ => refused("a statement other than `if`, `for` and `raw`"),
    }
}

fn statements(list: &[Stmt<'_>]) -> Checked {
    list.iter().try_for_each(statement)
}

/// The list of a loop: a name, what is found in it, a filter of it, or a range.
fn list(iterated: &Expr<'_>) -> Checked {
    match iterated {
        Expr::Var(_) => Ok(()),
        Expr::GetAttr(get) => list(&get.expr),
        Expr::GetItem(get) => {
            expression(&get.subscript_expr)?;
            list(&get.expr)
        }
        Expr::Slice(slice) => {
            expression(iterated)?;
            list(&slice.expr)
        }
        Expr::Filter(filter) => {
            arguments(&filter.args)?;
            filter.expr.as_ref().map_or(Ok(()), list)
        }
        Expr::Call(_) => expression(iterated),
        _ => refused("a loop over something made in the loop; put the list into `data`"),
    }
}

fn expression(whole: &Expr<'_>) -> Checked {
    let all = |parts: &[Expr<'_>]| parts.iter().try_for_each(expression);
    let optional = |part: &Option<Expr<'_>>| part.as_ref().map_or(Ok(()), expression);
    match whole {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::Slice(slice) => {
            expression(&slice.expr)?;
            optional(&slice.start)?;
            optional(&slice.stop)?;
            optional(&slice.step)
        }
        Expr::UnaryOp(unary) => expression(&unary.expr),
        Expr::BinOp(binary) => {
            match binary.op {
                BinOpKind::Concat => return refused("`~`; write {{ a }}{{ b }}"),
                BinOpKind::Mul => {
                    return refused("`*`, which also repeats text; write {{ a | times(b) }}");
                }
                BinOpKind::Add if !is_number(&binary.left) && !is_number(&binary.right) => {
                    return refused(
                        "`+` without a number, which also joins text; write {{ a }}{{ b }}, or {{ a | plus(b) }}",
                    );
                }
                BinOpKind::Pow => return refused("`**`"),
                _ => {}
            }
            expression(&binary.left)?;
            expression(&binary.right)
        }
        Expr::Compare(compare) => {
            expression(&compare.expr)?;
            compare.ops.iter().try_for_each(|op| expression(&op.expr))
        }
        Expr::IfExpr(choice) => {
            expression(&choice.test_expr)?;
            expression(&choice.true_expr)?;
            optional(&choice.false_expr)
        }
        Expr::Filter(filter) => {
            optional(&filter.expr)?;
            arguments(&filter.args)
        }
        Expr::Test(test) => {
            expression(&test.expr)?;
            arguments(&test.args)
        }
        Expr::GetAttr(get) => expression(&get.expr),
        Expr::GetItem(get) => {
            expression(&get.expr)?;
            expression(&get.subscript_expr)
        }
        Expr::Call(call) => match &call.expr {
            Expr::Var(function) if function.id == "range" => arguments(&call.args),
            Expr::GetAttr(method) if matches!(&method.expr, Expr::Var(name) if name.id == "loop") => {
                arguments(&call.args)
            }
            _ => refused("a call of anything but `range`, `loop.cycle` and `loop.changed`"),
        },
        Expr::List(items) => all(&items.items),
        Expr::Tuple(items) => all(&items.items),
        Expr::Map(map) => {
            all(&map.keys)?;
            all(&map.values)
        }
    }
}

fn arguments(arguments: &[CallArg<'_>]) -> Checked {
    arguments.iter().try_for_each(|argument| match argument {
        CallArg::Pos(value) | CallArg::Kwarg(_, value) => expression(value),
        CallArg::PosSplat(_) | CallArg::KwargSplat(_) => refused("`*` and `**` in arguments"),
    })
}

fn is_number(part: &Expr<'_>) -> bool {
    matches!(part, Expr::Const(constant) if constant.value.kind() == ValueKind::Number)
}

fn refused(what: &str) -> Checked {
    Err(Error::new(ErrorKind::InvalidOperation, format!("a template may not use {what}")))
}

fn number(n: f64) -> Value {
    match n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 {
        true => Value::from(n as i64),
        false => Value::from(n),
    }
}

fn within(bytes: usize, bytes_max: usize) -> Checked {
    match bytes > bytes_max {
        true => Err(Error::from(ErrorKind::WriteFailure)),
        false => Ok(()),
    }
}

fn join(list: &Value, glue: &str, bytes_max: usize) -> Result<String, Error> {
    let mut joined = String::new();
    for (index, item) in list.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(glue);
        }
        match item.as_str() {
            Some(text) => joined.push_str(text),
            None => joined.push_str(&item.to_string()),
        }
        within(joined.len(), bytes_max)?;
    }
    Ok(joined)
}

fn replace(text: &str, from: &str, to: &str, bytes_max: usize) -> Result<String, Error> {
    let grown = text.matches(from).count().saturating_mul(to.len());
    within(text.len().saturating_add(grown), bytes_max)?;
    Ok(text.replace(from, to))
}

fn to_json(value: &Value, bytes_max: usize) -> Result<Value, Error> {
    let json = serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    within(json.len(), bytes_max)?;
    Ok(Value::from_safe_string(json))
}
