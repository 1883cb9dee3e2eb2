//! Tokens to a tree. The grammar is Jinja's expressions without methods, tuples and macros;
//! a path of literal names (`steps.fetch.output.items[0]`) is one leaf, so that what an
//! expression reads is known before it runs.

use serde_json::Value;

use super::lex::{Kind, Token, tokens};
use super::{ExprError, Path, Segment};
use crate::name::suggest;

/// Longest source text of one expression in bytes: longer ones belong into a node.
pub(crate) const SOURCE_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting of parentheses, lists and operators: bounds the stack of parser and engine.
const DEPTH_MAX: usize = 32;

#[derive(Debug)]
pub(crate) enum Node {
    /// Index into [`Tree::paths`].
    Path(usize),
    /// Index into [`Tree::constants`].
    Constant(usize),
    /// A number, `true`, `false` or `none`, as the engine writes it.
    Word(String),
    At(Box<Node>, Box<Node>),
    Slice(Box<Node>, [Option<Box<Node>>; 3]),
    Unary(&'static str, Box<Node>),
    Binary(&'static str, Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Option<Box<Node>>),
    Filter(Box<Node>, String, Arguments),
    Test(Box<Node>, String, Arguments),
    Call(String, Arguments),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub positional: Vec<Node>,
    pub named: Vec<(String, Node)>,
}

#[derive(Debug)]
pub(crate) struct Tree {
    pub root: Node,
    pub paths: Vec<Path>,
    pub constants: Vec<Value>,
}

/// Names an expression may call.
pub(crate) struct Library {
    pub filters: &'static [&'static str],
    pub tests: &'static [&'static str],
    pub functions: &'static [&'static str],
}

pub(crate) fn parse(source: &str, library: &'static Library) -> Result<Tree, ExprError> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(ExprError::syntax(
            0,
            format!(
                "expression has {} bytes, at most {SOURCE_BYTES_MAX} are allowed; move the work into a node",
                source.len()
            ),
        ));
    }
    let mut parser = Parser {
        tokens: tokens(source)?,
        at: 0,
        end: source.len(),
        depth: 0,
        paths: Vec::new(),
        constants: Vec::new(),
        library,
    };
    if parser.tokens.is_empty() {
        return Err(ExprError::syntax(0, "expression is empty".into()));
    }
    let root = parser.choice()?;
    if let Some(token) = parser.tokens.get(parser.at) {
        let hint = if token.kind == Kind::Mark("=") { "; compare with `==`" } else { "" };
        return Err(ExprError::syntax(
            token.start,
            format!("unexpected {}{hint}", show(&token.kind)),
        ));
    }
    Ok(Tree { root, paths: parser.paths, constants: parser.constants })
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    end: usize,
    depth: usize,
    paths: Vec<Path>,
    constants: Vec<Value>,
    library: &'static Library,
}

type Parsed = Result<Node, ExprError>;

impl Parser {
    fn choice(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExprError::syntax(
                self.place(),
                format!("expression is nested more than {DEPTH_MAX} deep"),
            ));
        }
        let mut node = self.or()?;
        if self.take_word("if") {
            let condition = self.or()?;
            let other = if self.take_word("else") { Some(Box::new(self.choice()?)) } else { None };
            node = Node::Choice(Box::new(condition), Box::new(node), other);
        }
        self.depth -= 1;
        Ok(node)
    }

    fn or(&mut self) -> Parsed {
        let mut node = self.and()?;
        while self.take_word("or") {
            node = Node::Binary("or", Box::new(node), Box::new(self.and()?));
        }
        Ok(node)
    }

    fn and(&mut self) -> Parsed {
        let mut node = self.not()?;
        while self.take_word("and") {
            node = Node::Binary("and", Box::new(node), Box::new(self.not()?));
        }
        Ok(node)
    }

    fn not(&mut self) -> Parsed {
        let mut count = 0_usize;
        while self.take_word("not") {
            count += 1;
        }
        let node = self.compare()?;
        Ok(match count {
            0 => node,
            n if n % 2 == 1 => Node::Unary("not", Box::new(node)),
            _ => Node::Unary("not", Box::new(Node::Unary("not", Box::new(node)))),
        })
    }

    fn compare(&mut self) -> Parsed {
        let mut node = self.concat()?;
        loop {
            if let Some(op) = self.take_any(&["==", "!=", "<=", ">=", "<", ">"]) {
                node = Node::Binary(op, Box::new(node), Box::new(self.concat()?));
            } else if self.take_word("in") {
                node = Node::Binary("in", Box::new(node), Box::new(self.concat()?));
            } else if self.is_word(0, "not") && self.is_word(1, "in") {
                self.at += 2;
                node = Node::Binary("not in", Box::new(node), Box::new(self.concat()?));
            } else {
                return Ok(node);
            }
        }
    }

    fn concat(&mut self) -> Parsed {
        let mut node = self.sum()?;
        while self.take("~") {
            node = Node::Binary("~", Box::new(node), Box::new(self.sum()?));
        }
        Ok(node)
    }

    fn sum(&mut self) -> Parsed {
        let mut node = self.product()?;
        while let Some(op) = self.take_any(&["+", "-"]) {
            node = Node::Binary(op, Box::new(node), Box::new(self.product()?));
        }
        Ok(node)
    }

    fn product(&mut self) -> Parsed {
        let mut node = self.unary()?;
        while let Some(op) = self.take_any(&["*", "//", "/", "%"]) {
            node = Node::Binary(op, Box::new(node), Box::new(self.unary()?));
        }
        Ok(node)
    }

    fn unary(&mut self) -> Parsed {
        let negative = self.take("-");
        let mut node = self.postfix()?;
        if self.take("**") {
            node = Node::Binary("**", Box::new(node), Box::new(self.postfix()?));
        }
        Ok(if negative { Node::Unary("-", Box::new(node)) } else { node })
    }

    fn postfix(&mut self) -> Parsed {
        let mut node = self.primary()?;
        let mut length = 0_usize;
        loop {
            length += 1;
            // A chain is a nest in the engine: `x|a|b` is `b(a(x))`.
            if length > DEPTH_MAX * 2 {
                return Err(ExprError::syntax(
                    self.place(),
                    format!("more than {} lookups or filters in a row", DEPTH_MAX * 2),
                ));
            }
            if self.take(".") {
                let start = self.place();
                let name = self.name("a name after `.`")?;
                if self.peek_mark("(") {
                    return Err(ExprError::syntax(
                        start,
                        format!("`.{name}()` is a method; use a filter such as `|length` instead"),
                    ));
                }
                node = self.lookup(node, Segment::Key(name.into()));
            } else if self.take("[") {
                node = self.subscript(node)?;
            } else if self.take("|") {
                let start = self.place();
                let name = self.name("a filter after `|`")?;
                check_name(&name, start, "filter", self.library.filters)?;
                let arguments = self.optional_arguments()?;
                node = Node::Filter(Box::new(node), name, arguments);
            } else if self.take_word("is") {
                let negated = self.take_word("not");
                let start = self.place();
                let name = self.name("a test after `is`")?;
                let name = if name == "null" || name == "None" { "none".to_owned() } else { name };
                check_name(&name, start, "test", self.library.tests)?;
                let arguments = self.optional_arguments()?;
                node = Node::Test(Box::new(node), name, arguments);
                if negated {
                    node = Node::Unary("not", Box::new(node));
                }
            } else {
                return Ok(node);
            }
        }
    }

    fn lookup(&mut self, node: Node, key: Segment) -> Node {
        let end =
            self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(self.end, |t| t.end);
        if let Node::Path(index) = &node
            && let Some(path) = self.paths.get_mut(*index)
        {
            path.segments.push(key);
            path.end = end;
            return node;
        }
        let key = match key {
            Segment::Key(key) => self.constant(Value::from(&*key)),
            Segment::Index(index) => Node::Word(index.to_string()),
        };
        Node::At(Box::new(node), Box::new(key))
    }

    fn subscript(&mut self, node: Node) -> Parsed {
        if self.peek_mark("]") {
            return Err(ExprError::syntax(self.place(), "`[]` needs an index or a key".into()));
        }
        let literal = match (self.kind(0), self.kind(1)) {
            (Some(Kind::Text(text)), Some(Kind::Mark("]"))) => {
                Some((Segment::Key(text.as_str().into()), 2))
            }
            (Some(Kind::Integer(n)), Some(Kind::Mark("]"))) => Some((Segment::Index(*n), 2)),
            (Some(Kind::Mark("-")), Some(Kind::Integer(n)))
                if self.kind(2) == Some(&Kind::Mark("]")) =>
            {
                Some((Segment::Index(-*n), 3))
            }
            _ => None,
        };
        if let Some((segment, length)) = literal {
            self.at += length;
            return Ok(self.lookup(node, segment));
        }
        let start = self.place();
        let mut parts: [Option<Box<Node>>; 3] = [None, None, None];
        let mut colons = 0;
        for part in &mut parts {
            if !self.peek_mark(":") && !self.peek_mark("]") {
                *part = Some(Box::new(self.choice()?));
            }
            if !self.take(":") {
                break;
            }
            colons += 1;
        }
        self.expect("]")?;
        let [first, ..] = &mut parts;
        match (colons, first.take()) {
            (0, Some(key)) => {
                if let Node::Path(index) = &node
                    && let Some(path) = self.paths.get(*index)
                    && matches!(path.segments.as_slice(), [Segment::Key(root)] if &**root == "steps" || &**root == "secrets")
                {
                    return Err(ExprError::syntax(start, "the name must be written out here, so that what is read is known before the run starts".into()));
                }
                Ok(Node::At(Box::new(node), key))
            }
            (_, key) => {
                let [first, ..] = &mut parts;
                *first = key;
                Ok(Node::Slice(Box::new(node), parts))
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let start = self.place();
        let Some(token) = self.tokens.get(self.at).cloned() else {
            return Err(ExprError::syntax(self.end, "expression ends too early".into()));
        };
        self.at += 1;
        match token.kind {
            Kind::Text(text) => Ok(self.constant(Value::from(text))),
            Kind::Integer(n) => Ok(Node::Word(n.to_string())),
            Kind::Float(f) => Ok(Node::Word(format!("{f:?}"))),
            Kind::Mark("(") => {
                let node = self.choice()?;
                if self.peek_mark(",") {
                    return Err(ExprError::syntax(
                        self.place(),
                        "write a list with [ ] instead of ( )".into(),
                    ));
                }
                self.expect(")")?;
                Ok(node)
            }
            Kind::Mark("[") => {
                let mut items = Vec::new();
                while !self.take("]") {
                    items.push(self.choice()?);
                    if !self.take(",") && !self.peek_mark("]") {
                        return Err(self.wanted("`,` or `]`"));
                    }
                }
                Ok(Node::List(items))
            }
            Kind::Mark("{") => self.map(),
            Kind::Mark(mark) => Err(ExprError::syntax(start, format!("unexpected `{mark}`"))),
            Kind::Name(name) => self.named(name, token.start, token.end),
        }
    }

    fn map(&mut self) -> Parsed {
        let mut entries = Vec::new();
        while !self.take("}") {
            let key = self.choice()?;
            self.expect(":")?;
            entries.push((key, self.choice()?));
            if !self.take(",") && !self.peek_mark("}") {
                return Err(self.wanted("`,` or `}`"));
            }
        }
        Ok(Node::Map(entries))
    }

    fn named(&mut self, name: String, start: usize, end: usize) -> Parsed {
        match name.as_str() {
            "true" | "True" => return Ok(Node::Word("true".into())),
            "false" | "False" => return Ok(Node::Word("false".into())),
            "none" | "null" | "None" => return Ok(Node::Word("none".into())),
            "and" | "or" | "not" | "in" | "is" | "if" | "else" => {
                return Err(ExprError::syntax(start, format!("unexpected `{name}`")));
            }
            _ => {}
        }
        if self.peek_mark("(") {
            check_name(&name, start, "function", self.library.functions)?;
            let arguments = self.optional_arguments()?;
            return Ok(Node::Call(name, arguments));
        }
        self.paths.push(Path { segments: vec![Segment::Key(name.into())], start, end });
        Ok(Node::Path(self.paths.len() - 1))
    }

    fn optional_arguments(&mut self) -> Result<Arguments, ExprError> {
        let mut out = Arguments::default();
        if !self.take("(") {
            return Ok(out);
        }
        while !self.take(")") {
            if let (Some(Kind::Name(name)), Some(Kind::Mark("="))) = (self.kind(0), self.kind(1)) {
                let name = name.clone();
                if name.contains('-') {
                    return Err(ExprError::syntax(
                        self.place(),
                        format!("`{name}` is no argument"),
                    ));
                }
                self.at += 2;
                out.named.push((name, self.choice()?));
            } else if out.named.is_empty() {
                out.positional.push(self.choice()?);
            } else {
                return Err(ExprError::syntax(self.place(), "named arguments come last".into()));
            }
            if !self.take(",") && !self.peek_mark(")") {
                return Err(self.wanted("`,` or `)`"));
            }
        }
        Ok(out)
    }

    fn constant(&mut self, value: Value) -> Node {
        self.constants.push(value);
        Node::Constant(self.constants.len() - 1)
    }

    fn name(&mut self, what: &str) -> Result<String, ExprError> {
        match self.kind(0) {
            Some(Kind::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.wanted(what)),
        }
    }

    fn expect(&mut self, mark: &'static str) -> Result<(), ExprError> {
        if self.take(mark) { Ok(()) } else { Err(self.wanted(&format!("`{mark}`"))) }
    }

    fn wanted(&self, what: &str) -> ExprError {
        let found = self.kind(0).map_or_else(|| "the end".to_owned(), show);
        ExprError::syntax(self.place(), format!("expected {what}, found {found}"))
    }

    fn take(&mut self, mark: &'static str) -> bool {
        let found = self.peek_mark(mark);
        self.at += usize::from(found);
        found
    }

    fn take_any(&mut self, marks: &[&'static str]) -> Option<&'static str> {
        let mark = marks.iter().find(|m| self.peek_mark(m)).copied()?;
        self.at += 1;
        Some(mark)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        self.at += usize::from(found);
        found
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.kind(ahead), Some(Kind::Name(name)) if name == word)
    }

    fn peek_mark(&self, mark: &str) -> bool {
        matches!(self.kind(0), Some(Kind::Mark(m)) if *m == mark)
    }

    fn kind(&self, ahead: usize) -> Option<&Kind> {
        self.tokens.get(self.at + ahead).map(|t| &t.kind)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |t| t.start)
    }
}

fn check_name(name: &str, start: usize, what: &str, known: &[&str]) -> Result<(), ExprError> {
    if known.contains(&name) {
        return Ok(());
    }
    let mut error = ExprError::syntax(start, format!("unknown {what} `{name}`"));
    error.suggestion = suggest(name, known.iter().copied());
    Err(error)
}

fn show(kind: &Kind) -> String {
    match kind {
        Kind::Name(name) => format!("`{name}`"),
        Kind::Text(text) => format!("text {text:?}"),
        Kind::Integer(n) => format!("`{n}`"),
        Kind::Float(f) => format!("`{f}`"),
        Kind::Mark(mark) => format!("`{mark}`"),
    }
}
