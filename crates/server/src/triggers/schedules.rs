//! Schedules as runs: started, brought up to date, ended, read.

use std::collections::BTreeSet;
use std::sync::Arc;

use reflux_core::{Command, Item, Kind as EventKind, RequestCancel, RunId, RunKey, Signal, Status};
use reflux_engine::{Ask, Engine, Lane, NewRun, Reply, Request, WhenClosed, WhenOpen};
use reflux_flow::graph::Bundle;
use reflux_flow::schedule::{NAMESPACE, SIGNAL_ADOPT, Schedule, Subject, WORKFLOW_TYPE};
use reflux_flow::trigger::TriggerKind;
use reflux_flow::{Decider, payload};
use reflux_store::Filter;
use uuid::Uuid;

use super::table::{Active, Table};
use crate::Error;

/// Makes the schedules what the table says.
pub(super) fn align(engine: &Engine, table: &Table, identity: &Arc<str>) -> Result<(), Error> {
    let mut wanted = BTreeSet::new();
    for active in &table.all {
        if matches!(active.trigger.kind, TriggerKind::Schedule(_)) {
            wanted.insert(active.subject().workflow_id());
            bring(engine, active, identity)?;
        }
    }
    for run in open(engine)? {
        if !wanted.contains(&*run.workflow_id) {
            end(engine, &run, identity)?;
        }
    }
    Ok(())
}

/// The lane of a trigger's schedule.
pub(super) fn lane(subject: &Subject) -> Lane {
    Lane { namespace: NAMESPACE.into(), workflow_id: subject.workflow_id().into() }
}

/// A run of the schedule and where it stands; `None` when there is none.
pub(super) fn read(
    engine: &Engine,
    subject: &Subject,
) -> Result<Option<(reflux_store::Summary, Schedule)>, Error> {
    let Some(key) = engine.current(&lane(subject))? else { return Ok(None) };
    let Some(summary) = engine.summary(&key)? else { return Ok(None) };
    Ok(fold(engine, &key)?.map(|schedule| (summary, schedule)))
}

/// The schedule runs that are open.
fn open(engine: &Engine) -> Result<Vec<RunKey>, Error> {
    let filter = Filter {
        workflow_type: Some(WORKFLOW_TYPE.into()),
        statuses: vec![Status::Running],
        ..Filter::all(NAMESPACE)
    };
    let (mut runs, mut after) = (Vec::new(), None);
    loop {
        let page = engine.list(&filter, after, reflux_store::PAGE_RUNS_MAX)?;
        runs.extend(page.runs.into_iter().map(|run| run.key));
        after = page.next;
        if after.is_none() {
            return Ok(runs);
        }
    }
}

/// Starts the schedule of a trigger, or hands it the bundle of now.
fn bring(engine: &Engine, active: &Active, identity: &Arc<str>) -> Result<(), Error> {
    let subject = active.subject();
    let spec = active.deployed.spec.clone();
    let start = reflux_core::Start {
        workflow_type: WORKFLOW_TYPE.into(),
        task_queue: reflux_engine::LOCAL_QUEUE.into(),
        header: subject.header(spec.digest),
        identity: identity.clone(),
        ..reflux_core::Start::default()
    };
    let existing = ask(
        engine,
        lane(&subject),
        Ask::Start(NewRun {
            run_id: RunId(Uuid::now_v7()),
            start: Box::new(start),
            when_open: WhenOpen::UseExisting,
            when_closed: WhenClosed::Allow,
            spec: Some(spec.clone()),
        }),
    )?;
    if !existing {
        return Ok(());
    }
    let known = read(engine, &subject)?;
    if known.is_some_and(|(_, schedule)| *schedule.digest() == spec.digest) {
        return Ok(());
    }
    let signal = Signal {
        name: SIGNAL_ADOPT.into(),
        header: payload::spec_header(spec.digest),
        identity: identity.clone(),
        request_id: Uuid::now_v7().to_string().into(),
        ..Signal::default()
    };
    ask(engine, lane(&subject), Ask::Adopt { signal: Box::new(signal), spec }).map(drop)
}

fn end(engine: &Engine, run: &RunKey, identity: &Arc<str>) -> Result<(), Error> {
    let cancel = RequestCancel {
        reason: "no deployed flow has this trigger".into(),
        identity: identity.clone(),
        ..RequestCancel::default()
    };
    let asked = engine.command(Lane::of(run), None, Command::RequestCancel(cancel));
    match asked {
        // It has ended meanwhile.
        Ok(_) | Err(reflux_engine::Error::Rejected(_) | reflux_engine::Error::NotFound { .. }) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks and waits, on a thread that may; whether the run was there already.
fn ask(engine: &Engine, lane: Lane, ask: Ask) -> Result<bool, Error> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let reply: Reply = Box::new(move |result| {
        drop(sender.send(result.map(|(answer, _)| answer.existing)));
    });
    engine.submit(Request { lane, ask, reply });
    Ok(receiver.recv().unwrap_or(Err(reflux_engine::Error::Stopping))?)
}

/// Where a schedule stands: a fold of its history.
fn fold(engine: &Engine, key: &RunKey) -> Result<Option<Schedule>, Error> {
    let corrupt = |error: String| Error::new(crate::Kind::Corrupt, format!("{key}: {error}"));
    let bundle = |spec: &reflux_core::Payload| -> Result<Arc<Bundle>, Error> {
        let digest = <[u8; 32]>::try_from(&*spec.data)
            .map_err(|_| corrupt("the header names no digest".to_owned()))?;
        let bytes = engine.bundle(&digest)?;
        let bytes = bytes.ok_or_else(|| corrupt("its flow is missing".to_owned()))?;
        let bundle = Bundle::from_bytes(&bytes)
            .map_err(|problems| corrupt(problems.iter().map(ToString::to_string).collect()))?;
        Ok(Arc::new(bundle))
    };
    let mut decider: Option<Decider> = None;
    for item in engine.items(key)? {
        let Item::Event(event) = item else { continue };
        if let EventKind::Started(started) = &event.kind {
            let Some(spec) = payload::spec_of(&started.header) else { return Ok(None) };
            let (bundle, kind) = (bundle(spec)?, &started.workflow_type);
            let made = Decider::new(bundle, kind, &started.header, key.clone());
            decider = Some(made.map_err(|error| corrupt(error.to_string()))?);
        }
        let Some(decider) = &mut decider else { return Ok(None) };
        if let Some(spec) = decider.wants(&event.kind).cloned() {
            decider.offer(&spec, bundle(&spec)?);
        }
        decider.observe(&event).map_err(|error| corrupt(error.to_string()))?;
    }
    Ok(match decider {
        Some(Decider::Schedule(schedule)) => Some(*schedule),
        Some(Decider::Flow(_)) | None => None,
    })
}
