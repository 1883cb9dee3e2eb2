//! What every benchmark stands on: a directory on a real disk, an engine with a no-op node, and
//! figures.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reflux_core::{RunId, RunKey};
use reflux_engine::{Engine, Options, Redriving, Spec, StartFlow, WhenClosed, WhenOpen};
use reflux_flow::redrive::Plan;
use reflux_flow::{Bundle, payload};
use reflux_sdk::{Call, Catalogue, Context, Manifest, Node};
use reflux_server::catalogue::Nodes;
use reflux_server::host::LocalHost;
use reflux_server::secrets::Secrets;
use serde_json::{Value, json};

/// One measured figure.
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// The bar and the floor, if the figure has them; lower is better when the bar is the lower.
    pub bar: Option<(f64, f64)>,
    pub note: String,
}

impl Figure {
    pub fn new(name: &str, value: f64, unit: &'static str) -> Self {
        Self { name: name.to_owned(), value, unit, bar: None, note: String::new() }
    }

    pub fn bar(mut self, bar: f64, floor: f64) -> Self {
        self.bar = Some((bar, floor));
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bar": self.bar.map(|(bar, _)| bar),
            "floor": self.bar.map(|(_, floor)| floor),
            "note": self.note,
        })
    }

    fn verdict(&self) -> &'static str {
        let Some((bar, floor)) = self.bar else { return "" };
        let reaches = |mark: f64| if bar < floor { self.value <= mark } else { self.value >= mark };
        match (reaches(bar), reaches(floor)) {
            (true, _) => "bar",
            (false, true) => "floor",
            (false, false) => "BELOW",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bar = self.bar.map_or(String::new(), |(bar, floor)| format!("{bar} ({floor})"));
        write!(
            f,
            "{:<44} {:>12.3} {:<9} {:>18} {:<6} {}",
            self.name,
            self.value,
            self.unit,
            bar,
            self.verdict(),
            self.note
        )
    }
}

/// Where benchmarks run.
pub struct Bed {
    dir: PathBuf,
}

impl Bed {
    /// Refuses a directory in memory: there an fsync costs nothing.
    pub fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("the directory can be made");
        let dir = dir.canonicalize().expect("the directory exists");
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let mount = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ').skip(1);
                Some((fields.next()?, fields.next()?))
            })
            .filter(|(at, _)| dir.starts_with(at))
            .max_by_key(|(at, _)| at.len());
        if let Some((at, "tmpfs" | "ramfs")) = mount {
            eprintln!(
                "{} is in memory ({at}); give a directory on a disk with --dir",
                dir.display()
            );
            std::process::exit(2);
        }
        Self { dir }
    }

    /// A directory that vanishes.
    pub fn place(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(&self.dir).expect("a directory")
    }

    /// What one write of 4 KiB and its fdatasync take.
    pub fn fdatasync(&self) -> Figure {
        let place = self.place();
        let mut file = std::fs::File::create(place.path().join("raw")).expect("a file");
        file.write_all(&vec![0; 4 << 20]).expect("written");
        file.sync_all().expect("synced");
        let mut times: Vec<f64> = (0..500)
            .map(|n| {
                let started = Instant::now();
                std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], n * 4096)
                    .expect("written");
                file.sync_data().expect("synced");
                started.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        Figure::new("raw write of 4 KiB + fdatasync, p50", percentile(&mut times, 50), "us")
    }
}

/// A node that gives back what it gets.
struct Noop(Manifest);

impl Node for Noop {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn call<'a>(&'a self, _: &'a Context, input: Value) -> Call<'a> {
        Box::pin(std::future::ready(Ok(input)))
    }
}

/// An engine with its host.
pub struct Bench {
    pub engine: Engine,
    host: Arc<LocalHost>,
}

impl Bench {
    pub fn open(dir: &Path) -> Self {
        let mut manifest = Manifest::new("bench.noop", "1.0.0").expect("a manifest");
        manifest.effects = reflux_sdk::Effects::Pure;
        let mut catalogue = Catalogue::new();
        catalogue.insert(Arc::new(Noop(manifest)));
        let host = LocalHost::new(Nodes::of(catalogue), Secrets::default(), 256).expect("a host");
        let engine = Engine::open(Options::at(dir), host.clone()).expect("an engine");
        host.connect(engine.clone());
        Self { engine, host }
    }

    /// The request to start a run.
    pub fn start(&self, flow: &Compiled, id: String, input: &Value) -> StartFlow {
        StartFlow {
            namespace: "default".into(),
            workflow_id: id.into(),
            run_id: RunId(uuid::Uuid::now_v7()),
            spec: flow.spec.clone(),
            flow: flow.name.as_str().into(),
            input: payload::of_value(input),
            request_id: "".into(),
            when_open: WhenOpen::Refuse,
            when_closed: WhenClosed::Allow,
            identity: "bench".into(),
        }
    }

    /// Starts a run and waits until its end is durable.
    pub fn finish(&self, flow: &Compiled, id: String, input: &Value) -> RunKey {
        let start = self.start(flow, id, input);
        let key = RunKey {
            namespace: start.namespace.clone(),
            workflow_id: start.workflow_id.clone(),
            run_id: start.run_id,
        };
        let mut watch = self.engine.watch(&key);
        self.engine.start(start).expect("it starts");
        while watch.blocking_recv().expect("it is told of the end").closed.is_none() {}
        key
    }

    /// What a re-drive of a run would do.
    pub fn plan(&self, base: &RunKey, wanted: &Redriving) -> Plan {
        self.engine.plan_redrive(base, wanted, &*self.host).expect("it can be re-driven")
    }

    pub fn close(self) {
        self.engine.shutdown();
        self.host.stop();
    }
}

/// A flow, ready to be started.
pub struct Compiled {
    pub spec: Spec,
    pub name: String,
}

pub fn compile(source: &Value) -> Compiled {
    let text = source.to_string();
    let parsed = reflux_flow::syntax::parse("bench.json", &text).expect("the flow is valid");
    let name = parsed.flow.name.clone();
    let bytes = Bundle::collect_parsed(&parsed, |_| None).expect("no sub-flows").to_bytes();
    Compiled { spec: Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes: bytes.into() }, name }
}

/// A flow of that many steps, each of which reads the one before.
pub fn chain(steps: usize) -> Compiled {
    let steps: Vec<Value> = (0..steps)
        .map(|n| match n {
            0 => json!({ "id": "s0", "node": "bench.noop", "with": { "n": "{{ input.n }}" } }),
            n => json!({
                "id": format!("s{n}"),
                "node": "bench.noop",
                "with": { "n": format!("{{{{ steps.s{}.output.n }}}}", n - 1) },
            }),
        })
        .collect();
    compile(&json!({ "name": "chain", "input": { "n": "number" }, "steps": steps }))
}

pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
