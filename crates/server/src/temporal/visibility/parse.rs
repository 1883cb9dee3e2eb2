//! From tokens to a condition. Everything that is not understood is refused with its place.

use reflux_core::Timestamp;

use super::lex::{Token, What, tokens};
use super::{
    Comparison, Condition, DEPTH_MAX, Field, Query, STATUSES, Test, VALUES_MAX, Value, Wrong,
    status_name, status_of,
};

pub(super) fn query(text: &str) -> Result<Query, Wrong> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let mut condition = None;
    if !parser.is_end() && !parser.is_word("ORDER") && !parser.is_word("GROUP") {
        condition = Some(parser.any()?);
    }
    let mut by_status = false;
    if parser.take_word("GROUP") {
        parser.expect_word("BY")?;
        let at = parser.at();
        if parser.field()? != Field::ExecutionStatus {
            return Err(wrong(at, "only GROUP BY ExecutionStatus is there"));
        }
        by_status = true;
    }
    if parser.take_word("ORDER") {
        parser.expect_word("BY")?;
        let at = parser.at();
        let newest_first = parser.field()? == Field::StartTime && parser.take_word("DESC");
        if !newest_first {
            return Err(wrong(at, "lists are ordered by StartTime DESC: leave ORDER BY out"));
        }
    }
    match parser.is_end() {
        true => Ok(Query { condition, by_status }),
        false => Err(parser.unexpected("AND, OR or the end")),
    }
}

struct Parser {
    /// The last one is the end.
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn any(&mut self) -> Result<Condition, Wrong> {
        let mut any = vec![self.all()?];
        while self.take_word("OR") {
            any.push(self.all()?);
        }
        Ok(one_or(any, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition, Wrong> {
        let mut all = vec![self.not()?];
        while self.take_word("AND") {
            all.push(self.not()?);
        }
        Ok(one_or(all, Condition::All))
    }

    fn not(&mut self) -> Result<Condition, Wrong> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(wrong(self.at(), format!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        let condition = if self.take_word("NOT") {
            Condition::Not(Box::new(self.not()?))
        } else if self.take_sign("(") {
            let inner = self.any()?;
            if !self.take_sign(")") {
                return Err(self.unexpected("`)`"));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn test(&mut self) -> Result<Condition, Wrong> {
        let field = self.field()?;
        if self.take_word("IS") {
            let negated = self.take_word("NOT");
            self.expect_word("NULL")?;
            return Ok(negate(negated, Condition::Test(field, Test::Null)));
        }
        let negated = self.take_word("NOT");
        let test = if self.take_word("IN") {
            Test::In(self.values(field)?)
        } else if self.take_word("BETWEEN") {
            let first = self.value(field)?;
            self.expect_word("AND")?;
            Test::Between(first, self.value(field)?)
        } else if self.take_word("STARTS_WITH") {
            Test::StartsWith(self.prefix(field)?)
        } else if negated {
            return Err(self.unexpected("IN, BETWEEN or STARTS_WITH"));
        } else {
            let comparison = self.comparison()?;
            let at = self.at();
            let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
            if ordered && field == Field::ExecutionStatus {
                return Err(wrong(at, "ExecutionStatus has no order: use =, != or IN"));
            }
            Test::Is(comparison, self.value(field)?)
        };
        Ok(negate(negated, Condition::Test(field, test)))
    }

    fn comparison(&mut self) -> Result<Comparison, Wrong> {
        for (sign, comparison) in [
            ("=", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ] {
            if self.take_sign(sign) {
                return Ok(comparison);
            }
        }
        Err(self.unexpected("=, !=, <, <=, >, >=, IN, BETWEEN, STARTS_WITH or IS"))
    }

    fn field(&mut self) -> Result<Field, Wrong> {
        let at = self.at();
        let What::Word { text, .. } = self.peek().clone() else {
            return Err(self.unexpected("a field"));
        };
        let found = Field::ALL.into_iter().find(|(_, name)| *name == text);
        let Some((field, _)) = found else {
            let names: Vec<_> = Field::ALL.into_iter().map(|(_, name)| name).collect();
            let near = names.iter().find(|name| name.eq_ignore_ascii_case(&text));
            return Err(wrong(
                at,
                match near {
                    Some(name) => format!("`{text}` is not a field: write {name}"),
                    None => format!(
                        "`{text}` is not a field that can be filtered by: there are {}",
                        names.join(", ")
                    ),
                },
            ));
        };
        self.next += 1;
        Ok(field)
    }

    fn values(&mut self, field: Field) -> Result<Vec<Value>, Wrong> {
        if !self.take_sign("(") {
            return Err(self.unexpected("`(`"));
        }
        let mut values = vec![self.value(field)?];
        while self.take_sign(",") {
            if values.len() >= VALUES_MAX {
                return Err(wrong(self.at(), format!("IN has more than {VALUES_MAX} values")));
            }
            values.push(self.value(field)?);
        }
        if !self.take_sign(")") {
            return Err(self.unexpected("`,` or `)`"));
        }
        Ok(values)
    }

    fn prefix(&mut self, field: Field) -> Result<String, Wrong> {
        let at = self.at();
        match (field, self.take()) {
            (
                Field::WorkflowType
                | Field::WorkflowId
                | Field::RunId
                | Field::ParentWorkflowId
                | Field::ParentRunId,
                What::Text(text),
            ) => Ok(text),
            _ => Err(wrong(at, "STARTS_WITH takes a quoted text, and a field that holds text")),
        }
    }

    fn value(&mut self, field: Field) -> Result<Value, Wrong> {
        let at = self.at();
        let given = self.take();
        match field {
            Field::ExecutionStatus => {
                let status = match &given {
                    What::Text(name) => status_of(name),
                    // The numbers of the API's enumeration, in the same order.
                    What::Number(code) => usize::try_from(*code)
                        .ok()
                        .and_then(|code| STATUSES.get(code.checked_sub(1)?))
                        .map(|(status, _)| *status),
                    What::Word { .. } | What::Sign(_) | What::End => None,
                };
                let name = status.map(status_name).ok_or_else(|| {
                    let names: Vec<_> = STATUSES.iter().map(|(_, name)| *name).collect();
                    wrong(at, format!("expected one of '{}'", names.join("', '")))
                })?;
                Ok(Value::Text(name.to_owned()))
            }
            Field::StartTime | Field::CloseTime => match given {
                What::Text(text) => time(&text)
                    .map(Value::Time)
                    .ok_or_else(|| wrong(at, "expected a time as '2026-01-31T12:00:00Z'")),
                What::Number(nanos) => Ok(Value::Time(Timestamp(nanos))),
                What::Word { .. } | What::Sign(_) | What::End => {
                    Err(wrong(at, "expected a time as '2026-01-31T12:00:00Z'"))
                }
            },
            Field::HistoryLength => match given {
                What::Number(number) => Ok(Value::Number(number)),
                What::Text(_) | What::Word { .. } | What::Sign(_) | What::End => {
                    Err(wrong(at, "expected a whole number"))
                }
            },
            Field::WorkflowType
            | Field::WorkflowId
            | Field::RunId
            | Field::ParentWorkflowId
            | Field::ParentRunId => match given {
                What::Text(text) => Ok(Value::Text(text)),
                What::Number(_) | What::Word { .. } | What::Sign(_) | What::End => {
                    Err(wrong(at, "expected a text in quotes"))
                }
            },
        }
    }

    fn peek(&self) -> &What {
        self.tokens.get(self.next).map_or(&What::End, |token| &token.what)
    }

    fn take(&mut self) -> What {
        let taken = self.peek().clone();
        self.next += 1;
        taken
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |token| token.at)
    }

    fn is_end(&self) -> bool {
        *self.peek() == What::End
    }

    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), What::Word { text, quoted: false } if text.eq_ignore_ascii_case(keyword))
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let is_it = self.is_word(keyword);
        self.next += usize::from(is_it);
        is_it
    }

    fn expect_word(&mut self, keyword: &str) -> Result<(), Wrong> {
        if self.take_word(keyword) { Ok(()) } else { Err(self.unexpected(keyword)) }
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), What::Sign(found) if *found == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn unexpected(&self, expected: &str) -> Wrong {
        let found = match self.peek() {
            What::Word { text, .. } => format!("`{text}`"),
            What::Text(text) => format!("'{text}'"),
            What::Number(number) => format!("`{number}`"),
            What::Sign(sign) => format!("`{sign}`"),
            What::End => "the end".to_owned(),
        };
        wrong(self.at(), format!("expected {expected}, found {found}"))
    }
}

fn wrong(at: usize, message: impl Into<String>) -> Wrong {
    Wrong { at, message: message.into() }
}

fn negate(negated: bool, condition: Condition) -> Condition {
    if negated { Condition::Not(Box::new(condition)) } else { condition }
}

fn one_or(mut some: Vec<Condition>, more: fn(Vec<Condition>) -> Condition) -> Condition {
    match some.pop() {
        Some(only) if some.is_empty() => only,
        last => {
            some.extend(last);
            more(some)
        }
    }
}

fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}
