//! What a schedule does next.

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{
    ContinueAsNew, Decision, ParentClosePolicy, Payloads, Run, StartChild, Target, Timestamp,
};
use serde_json::{Value, json};

use super::mark::{NAME, Resume, Tick};
use super::{HISTORY_EVENTS_MAX, STARTS_AT_ONCE, Schedule, is_over, rfc3339};
use crate::payload;
use crate::trigger::{Overlap, ScheduleSpec};

/// Longest timer: a time that is further away is looked at again, before a duration is too long.
const ALARM_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Times that came due, sorted by what becomes of them.
#[derive(Debug, Default)]
struct Verdict {
    /// Runs start for these.
    start: Vec<Timestamp>,
    /// Every time until then is dealt with.
    up_to: Option<Timestamp>,
    skipped: u64,
    missed: u64,
    more: bool,
}

impl Schedule {
    /// The decisions that follow from where it stands; none when it waits. Each of them takes what
    /// it answers away when its events are observed.
    pub fn next(&self, run: &Run, now: Timestamp) -> Vec<Decision> {
        if self.closed {
            return Vec::new();
        }
        if self.canceling {
            return vec![Decision::CancelRun { details: Payloads::default() }];
        }
        if !self.fires.is_empty() {
            return self.fire();
        }
        let Some(spec) = self.spec() else { return self.rest(None) };
        // A pause stops the clock, not people.
        if run.paused.is_some() {
            return Vec::new();
        }
        let verdict = self.judge(spec, now);
        if let Some(up_to) = verdict.up_to {
            return self.tick(&verdict, up_to);
        }
        let ends = self.end_others(spec, now);
        if !ends.is_empty() {
            return ends;
        }
        if run.history_events() > HISTORY_EVENTS_MAX
            && (self.open.is_empty() || spec.overlap == Overlap::AllowAll)
        {
            return vec![self.continue_as_new()];
        }
        self.rest(self.alarm(spec, now).map(|time| (time, now)))
    }

    /// Sorts the times that are due.
    fn judge(&self, spec: &ScheduleSpec, now: Timestamp) -> Verdict {
        let name = self.subject.jitter_name();
        let due = spec.timetable.due(self.handled, now, spec.jitter, &name);
        let waits = !self.open.is_empty() && spec.overlap != Overlap::AllowAll;
        if due.times.is_empty() || waits {
            return Verdict::default();
        }
        let mut verdict = Verdict { more: due.more, ..Verdict::default() };
        let mut times = Vec::new();
        for time in due.times {
            let start = self.start_of(spec, time);
            verdict.up_to = Some(time);
            if spec.overlap == Overlap::Skip && start <= self.free_since {
                verdict.skipped += 1;
            } else if is_over(start, spec.catch_up, now) {
                verdict.missed += 1;
            } else {
                times.push(time);
            }
        }
        let starts_max = match spec.overlap {
            Overlap::AllowAll => STARTS_AT_ONCE,
            Overlap::BufferAll => 1,
            Overlap::Skip | Overlap::BufferOne | Overlap::CancelOther | Overlap::TerminateOther => {
                // The newest wins.
                let newest = times.pop();
                verdict.skipped += u64::try_from(times.len()).unwrap_or(u64::MAX);
                times = newest.into_iter().collect();
                1
            }
        };
        if times.len() > starts_max {
            // The others have their turn at the next look.
            times.truncate(starts_max);
            verdict.up_to = times.last().copied();
        }
        verdict.start = times;
        verdict
    }

    fn tick(&self, verdict: &Verdict, up_to: Timestamp) -> Vec<Decision> {
        let mut tick = Tick {
            up_to: rfc3339(up_to),
            skipped: verdict.skipped,
            missed: verdict.missed,
            more: verdict.more,
            ..Tick::default()
        };
        let mut children = Vec::new();
        for time in &verdict.start {
            let time = rfc3339(*time);
            match self.input(&time) {
                Ok(input) => {
                    children.push(self.child(self.subject.run_workflow_id(&time), &input));
                }
                Err(error) => tick.error = Some(error),
            }
        }
        let mark = marker(&tick);
        std::iter::once(mark).chain(children).collect()
    }

    /// A start that somebody asked for, whatever is open.
    fn fire(&self) -> Vec<Decision> {
        let Some(fire) = self.fires.front() else { return Vec::new() };
        let mut tick = Tick { fired: 1, ..Tick::default() };
        let input = match (&fire.input, self.flow()) {
            (Some(input), Some(flow)) => {
                crate::input::check_input(flow, input.clone()).map_err(|problems| {
                    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    problems.join("; ")
                })
            }
            (None, _) => self.input(&rfc3339(fire.at)),
            (Some(_), None) => Err("the flow is not part of its bundle".to_owned()),
        };
        match input {
            Ok(input) => {
                let id = self.subject.run_workflow_id(&format!("fired/{}", fire.id));
                vec![marker(&tick), self.child(id, &input)]
            }
            Err(error) => {
                tick.error = Some(error);
                vec![marker(&tick)]
            }
        }
    }

    fn input(&self, time: &str) -> Result<Value, String> {
        let missing = || "the flow has no such trigger".to_owned();
        let flow = self.flow().ok_or_else(missing)?;
        let trigger = flow.triggers.iter().find(|trigger| trigger.id == self.subject.trigger);
        let occurrence = json!({ "time": time, "trigger": self.subject.trigger });
        trigger.ok_or_else(missing)?.input(flow, &Arc::new(occurrence))
    }

    fn child(&self, workflow_id: String, input: &Value) -> Decision {
        Decision::StartChild(Box::new(StartChild {
            namespace: self.subject.namespace.as_str().into(),
            workflow_id: workflow_id.into(),
            workflow_type: self.subject.flow.as_str().into(),
            input: payload::of_value(input),
            header: self.header(false),
            parent_close_policy: ParentClosePolicy::Abandon,
            ..StartChild::default()
        }))
    }

    /// When a time has come that ends what is open.
    fn end_others(&self, spec: &ScheduleSpec, now: Timestamp) -> Vec<Decision> {
        let ends = matches!(spec.overlap, Overlap::CancelOther | Overlap::TerminateOther);
        if !ends || self.open.values().all(|run| run.ending) {
            return Vec::new();
        }
        let name = self.subject.jitter_name();
        if spec.timetable.due(self.handled, now, spec.jitter, &name).times.is_empty() {
            return Vec::new();
        }
        let others = self.open.iter().filter(|(_, run)| !run.ending);
        others
            .map(|(initiated, run)| match spec.overlap {
                Overlap::TerminateOther => Decision::TerminateChild { initiated: *initiated },
                _ => Decision::RequestCancelExternal {
                    target: Target {
                        namespace: run.namespace.clone(),
                        workflow_id: run.workflow_id.clone(),
                        run_id: None,
                        first_run: None,
                    },
                    child_only: true,
                    reason: "the next run of the schedule is due".into(),
                },
            })
            .take(STARTS_AT_ONCE)
            .collect()
    }

    /// When it has to look again by itself. While a run is open that others wait for, its end wakes
    /// the schedule: a run that takes a week costs no event for each time that it stands in.
    fn alarm(&self, spec: &ScheduleSpec, now: Timestamp) -> Option<Timestamp> {
        let idle = self.open.is_empty();
        let wakes = match spec.overlap {
            Overlap::AllowAll => true,
            Overlap::Skip | Overlap::BufferOne | Overlap::BufferAll => idle,
            Overlap::CancelOther | Overlap::TerminateOther => {
                idle || self.open.values().any(|run| !run.ending)
            }
        };
        let time = spec.timetable.after(self.handled).filter(|_| wakes)?;
        let start = self.start_of(spec, time);
        if start > now {
            return Some(start);
        }
        // Nothing is due, so that time is none: an alarm in the past would ring for ever.
        spec.timetable.after(now).map(|time| self.start_of(spec, time))
    }

    /// Waits until the alarm, and for nothing else.
    fn rest(&self, alarm: Option<(Timestamp, Timestamp)>) -> Vec<Decision> {
        let wanted =
            alarm.map(|(at, now)| (Arc::<str>::from(rfc3339(at)), at.since(now).min(ALARM_MAX)));
        match (&self.timer, wanted) {
            (Some(running), Some((wanted, _))) if *running == wanted => Vec::new(),
            (Some(running), _) => vec![Decision::CancelTimer { timer_id: running.clone() }],
            (None, Some((timer_id, duration))) => {
                vec![Decision::StartTimer { timer_id, duration }]
            }
            (None, None) => Vec::new(),
        }
    }

    fn continue_as_new(&self) -> Decision {
        let resume = Resume { after: rfc3339(self.handled), counts: self.counts.clone() };
        Decision::ContinueAsNew(Box::new(ContinueAsNew {
            input: payload::of_value(&serde_json::to_value(resume).unwrap_or_default()),
            header: Some(self.header(true)),
            ..ContinueAsNew::default()
        }))
    }
}

fn marker(tick: &Tick) -> Decision {
    let json = serde_json::to_vec(tick).unwrap_or_default();
    Decision::RecordMarker { name: NAME.into(), details: payload::marker_of(json), failure: None }
}
