//! What one commit writes: from the changes of runs to rows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reflux_core::RunKey;
use reflux_proto::reflux::v1::Blob;

use crate::blobs;
use crate::cached::CachedResult;
use crate::error::Error;
use crate::rows::address::{Address, Workflow};
use crate::rows::calendar::{DUE, EXPIRY};
use crate::rows::meta::{self, Meta};
use crate::rows::{cached, current, items, run_id, started, summary, waiting, working};
use crate::summary::{Indexed, Summary};
use crate::table::Batch;
use crate::tally::Tallies;
use crate::view::View;

/// Longest encoded item, in bytes: a record of the log has 512 KiB.
pub const ITEM_BYTES_MAX: usize = 1 << 20;

/// What one or more records did to a partition.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The last of those records. Records count from 1.
    pub applied: u64,
    /// Runs that went on. One that stands twice goes on where it stopped before.
    pub runs: Vec<RunChange>,
    /// Parts of payloads. A record brings every payload that its run refers to for the first time,
    /// whether or not the store has it: else it could be collected in between.
    pub blobs: Vec<Blob>,
    /// Runs that leave the store.
    pub retired: Vec<RunKey>,
    /// Results of `runs` that other runs may take.
    pub cached: Vec<CachedResult>,
}

/// What a run went through.
#[derive(Debug, Clone)]
pub struct RunChange {
    /// Ordinal of the first of `items`; 0 makes it a new run.
    pub first_ordinal: u64,
    /// Encoded proto `Item`s to append; may be empty.
    pub items: Vec<Bytes>,
    /// The run as it is now; `summary.items` counts `items` too.
    pub summary: Summary,
    /// The index rows it had, if the caller knows ([`Summary::indexed`] of the last one
    /// committed); `None` costs a look-up.
    pub previous: Option<Indexed>,
}

/// The rows of a commit. Reads `rows` as they are before it: nobody else may write meanwhile.
pub(crate) fn batch(view: &View, changes: Changes) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    let retired: BTreeSet<Address> = changes.retired.iter().map(Address::of).collect();
    let mut orphaned: BTreeSet<Workflow> = BTreeSet::new();
    let mut tallies = Tallies::default();
    for (run, change) in merge(changes.runs)? {
        if !retired.contains(&run) {
            write_run(view, &mut batch, &mut tallies, run, &change)?;
        } else if change.first_ordinal == 0 {
            orphaned.insert(run.workflow());
        }
    }
    for run in &retired {
        if retire(view, &mut batch, &mut tallies, *run)? {
            orphaned.insert(run.workflow());
        }
    }
    for workflow in orphaned {
        choose_current(view, &mut batch, workflow, &retired)?;
    }
    for result in &changes.cached {
        if !retired.contains(&Address::of(&result.run)) {
            cached::put(&mut batch, result)?;
        }
    }
    for part in changes.blobs {
        blobs::put(view.rows.as_ref(), &mut batch, part, changes.applied)?;
    }
    tallies.put(&mut batch)?;
    meta::put(&mut batch, Meta { applied: changes.applied, loading: false });
    Ok(batch)
}

/// One change per run, in the order in which they came: the last new run is the current one.
fn merge(changes: Vec<RunChange>) -> Result<Vec<(Address, RunChange)>, Error> {
    let mut merged: Vec<(Address, RunChange)> = Vec::with_capacity(changes.len());
    let mut places: BTreeMap<Address, usize> = BTreeMap::new();
    for change in changes {
        check(&change)?;
        let run = Address::of(&change.summary.key);
        match places.get(&run).and_then(|place| merged.get_mut(*place)) {
            None => {
                places.insert(run, merged.len());
                merged.push((run, change));
            }
            Some((_, earlier)) if earlier.summary.items == change.first_ordinal => {
                earlier.items.extend(change.items);
                earlier.summary = change.summary;
            }
            Some((_, earlier)) => {
                return Err(Error::Invalid(format!(
                    "run {}: expected item {}, got {}",
                    change.summary.key, earlier.summary.items, change.first_ordinal
                )));
            }
        }
    }
    Ok(merged)
}

fn check(change: &RunChange) -> Result<(), Error> {
    let key = &change.summary.key;
    let items = change.first_ordinal.saturating_add(change.items.len() as u64);
    if change.summary.items != items {
        return Err(Error::Invalid(format!(
            "run {key}: its summary counts {} items, its rows {items}",
            change.summary.items
        )));
    }
    match change.items.iter().find(|item| item.len() > ITEM_BYTES_MAX) {
        Some(item) => Err(Error::Invalid(format!(
            "run {key}: an item of {} bytes; store payloads over 32 KiB by digest",
            item.len()
        ))),
        None => Ok(()),
    }
}

fn write_run(
    view: &View,
    batch: &mut Batch,
    tallies: &mut Tallies,
    run: Address,
    change: &RunChange,
) -> Result<(), Error> {
    let now = &change.summary;
    items::put(batch, run, change.first_ordinal, &change.items);
    let before = match &change.previous {
        _ if change.first_ordinal == 0 => {
            add_run(batch, run, now);
            Indexed::default()
        }
        Some(previous) => previous.clone(),
        None => match view.summary_at(run)? {
            Some(before) if before.items == change.first_ordinal => before.indexed(),
            before => {
                let have = before.map_or(0, |before| before.items);
                return Err(Error::Invalid(format!(
                    "run {}: expected item {have}, got {}",
                    now.key, change.first_ordinal
                )));
            }
        },
    };
    summary::put(batch, run, now)?;
    let (rows, counted) = (view.rows.as_ref(), Some(now.counted()));
    tallies.note(rows, &now.key.namespace, before.counted, counted)?;
    write_indexes(batch, run, before, now)
}

/// The rows a run gets once.
pub(crate) fn add_run(batch: &mut Batch, run: Address, summary: &Summary) {
    started::put(batch, &summary.key.namespace, summary.started, run);
    run_id::put(batch, run);
    current::put(batch, run);
}

/// Rows that did not change are not written.
pub(crate) fn write_indexes(
    batch: &mut Batch,
    run: Address,
    before: Indexed,
    now: &Summary,
) -> Result<(), Error> {
    if before.due != now.due {
        if let Some(when) = before.due {
            DUE.delete(batch, when, run);
        }
        if let Some(when) = now.due {
            DUE.put(batch, when, run, &now.key)?;
        }
    }
    if before.expires != now.expires {
        if let Some(when) = before.expires {
            EXPIRY.delete(batch, when, run);
        }
        if let Some(when) = now.expires {
            EXPIRY.put(batch, when, run, &now.key)?;
        }
    }
    for gone in before.waiting.iter().filter(|it| !now.waiting.contains(it)) {
        waiting::delete(batch, gone, run);
    }
    for new in now.waiting.iter().filter(|it| !before.waiting.contains(it)) {
        waiting::put(batch, new, run, &now.key)?;
    }
    match (before.working, now.working) {
        (true, false) => working::delete(batch, run),
        (false, true) => working::put(batch, run, &now.key)?,
        (true, true) | (false, false) => {}
    }
    Ok(())
}

/// Takes a run away; tells whether it was the current one.
fn retire(
    view: &View,
    batch: &mut Batch,
    tallies: &mut Tallies,
    run: Address,
) -> Result<bool, Error> {
    let Some(gone) = view.summary_at(run)? else { return Ok(false) };
    let (from, to) = items::range(run);
    for row in view.rows.range(from, to) {
        batch.delete(row?.0);
    }
    tallies.note(view.rows.as_ref(), &gone.key.namespace, gone.indexed().counted, None)?;
    let (from, to) = cached::of_run(run);
    for row in view.rows.range(from, to) {
        batch.delete(row?.0);
    }
    summary::delete(batch, run);
    started::delete(batch, &gone.key.namespace, gone.started, run);
    run_id::delete(batch, run);
    if let Some(when) = gone.due {
        DUE.delete(batch, when, run);
    }
    if let Some(when) = gone.expires {
        EXPIRY.delete(batch, when, run);
    }
    if gone.working {
        working::delete(batch, run);
    }
    gone.waiting.iter().for_each(|it| waiting::delete(batch, it, run));
    Ok(view.current_run(run.workflow())? == Some(run.run_id()))
}

/// After the current run left: the open one of those that stay, else the last one.
fn choose_current(
    view: &View,
    batch: &mut Batch,
    workflow: Workflow,
    retired: &BTreeSet<Address>,
) -> Result<(), Error> {
    if batch.writes(&current::key(workflow)) {
        return Ok(());
    }
    let (from, to) = summary::of_workflow(workflow);
    let mut best = None;
    for row in view.rows.range(from, to) {
        let (key, value) = row?;
        let Some(run) = Address::at_end_of(&key).filter(|run| !retired.contains(run)) else {
            continue;
        };
        let summary = summary::decode(&value)?;
        best = best.max(Some((summary.is_open(), summary.started, run)));
    }
    match best {
        Some((_, _, run)) => current::put(batch, run),
        None => current::delete(batch, workflow),
    }
    Ok(())
}
