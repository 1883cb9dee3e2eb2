//! A run's fingerprint: equal runs have equal hashes, on every machine.
//!
//! Structures are taken apart by name, so that a new field cannot be forgotten here.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;

use crate::{
    Activity, Child, Close, Ending, Event, EventId, Execution, Failure, Kind, Message, Outgoing,
    Paused, Payloads, Phase, Run, RunId, RunKey, ScheduledTask, StartedTask, Status, Sticky,
    Target, Timer, Timestamp, Update, Worker, WorkflowTask,
};

impl Run {
    /// BLAKE3 over a canonical encoding of everything the run holds. For comparing a run with
    /// its replay by the same version; it is stored nowhere.
    pub fn hash(&self) -> [u8; 32] {
        let Self {
            key,
            status,
            started,
            started_at,
            next_event_id,
            history_bytes,
            activities,
            activity_ids,
            timers,
            children,
            external_signals,
            external_cancels,
            task,
            task_attempt,
            task_completed,
            sticky,
            task_heartbeat,
            buffered,
            updates,
            inbox,
            outbox,
            next_seq,
            deadlines,
            request_ids,
            signals,
            cancel_requested,
            paused,
            closed,
            memo,
            search_attributes,
            retired,
        } = self;
        let mut feed = Feed(blake3::Hasher::new());
        feed.key(key);
        feed.status(*status);
        feed.each(started, |feed, started| feed.kind(Kind::Started(started.clone())));
        feed.time(*started_at);
        feed.id(*next_event_id);
        feed.number(*history_bytes);
        feed.all(activities.values(), Feed::activity);
        feed.all(activity_ids.iter(), |feed, (text, id)| {
            feed.text(text);
            feed.id(*id);
        });
        feed.all(timers.values(), |feed, Timer { timer_id, started, due }| {
            feed.text(timer_id);
            feed.id(*started);
            feed.time(*due);
        });
        feed.all(children.values(), Feed::child);
        feed.all(external_signals.iter(), |feed, (id, signal)| {
            feed.id(*id);
            feed.kind(Kind::ExternalSignalInitiated(signal.what.clone()));
        });
        feed.all(external_cancels.iter(), |feed, (id, cancel)| {
            feed.id(*id);
            feed.kind(Kind::ExternalCancelInitiated(cancel.what.clone()));
        });
        feed.task(task);
        feed.number((*task_attempt).into());
        feed.id(*task_completed);
        feed.each(sticky, |feed, Sticky { task_queue, schedule_to_start }| {
            feed.text(task_queue);
            feed.length(*schedule_to_start);
        });
        feed.each(task_heartbeat, |feed, (id, since)| {
            feed.id(*id);
            feed.time(*since);
        });
        feed.all(buffered.iter(), Feed::event);
        feed.all(updates.iter(), |feed, (id, update)| {
            feed.text(id);
            match update {
                Update::Accepted { event } => feed.tagged(0, *event),
                Update::Completed { event } => feed.tagged(1, *event),
            }
        });
        feed.all(inbox.iter(), |feed, (source, seq)| {
            feed.key(source);
            feed.number(*seq);
        });
        feed.all(outbox.iter(), |feed, (seq, outgoing)| {
            feed.number(*seq);
            feed.outgoing(outgoing);
        });
        feed.number(*next_seq);
        feed.all(deadlines.iter(), |feed, (due, deadline)| {
            feed.time(*due);
            feed.text(&format!("{deadline:?}"));
        });
        feed.all(request_ids.iter(), |feed, id| feed.text(id));
        feed.number(*signals);
        feed.each(cancel_requested, |feed, time| feed.time(*time));
        feed.each(
            paused,
            |feed, Paused { since, identity, reason, outcome_unknown, by_parent }| {
                feed.time(*since);
                feed.text(identity);
                feed.text(reason);
                feed.number(u64::from(*outcome_unknown) + 2 * u64::from(*by_parent));
            },
        );
        feed.each(closed, |feed, Close { time, event, ending, next_run }| {
            feed.time(*time);
            feed.id(*event);
            feed.ending(ending);
            feed.each(next_run, |feed, run_id| feed.run_id(*run_id));
        });
        feed.bytes(&memo.encode_to_vec());
        feed.bytes(&search_attributes.encode_to_vec());
        feed.number((*retired).into());
        *feed.0.finalize().as_bytes()
    }
}

/// Every part has a fixed length or says its length first, so that no two runs feed the same bytes.
struct Feed(blake3::Hasher);

impl Feed {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn id(&mut self, id: EventId) {
        self.0.update(&id.0.to_le_bytes());
    }

    fn tagged(&mut self, tag: u64, id: EventId) {
        self.number(tag);
        self.id(id);
    }

    fn time(&mut self, time: Timestamp) {
        self.0.update(&time.0.to_le_bytes());
    }

    fn length(&mut self, length: Duration) {
        self.0.update(&length.as_nanos().to_le_bytes());
    }

    fn run_id(&mut self, run_id: RunId) {
        self.0.update(run_id.0.as_bytes());
    }

    fn key(&mut self, key: &RunKey) {
        let RunKey { namespace, workflow_id, run_id } = key;
        self.text(namespace);
        self.text(workflow_id);
        self.run_id(*run_id);
    }

    fn each<T>(&mut self, part: &Option<T>, feed: impl FnOnce(&mut Self, &T)) {
        self.number(part.is_some().into());
        if let Some(part) = part {
            feed(self, part);
        }
    }

    fn all<T>(&mut self, parts: impl Iterator<Item = T>, mut feed: impl FnMut(&mut Self, T)) {
        let mut count = 0;
        for part in parts {
            self.number(1);
            feed(self, part);
            count += 1;
        }
        self.number(0);
        self.count(count);
    }

    fn event(&mut self, event: &Event) {
        self.bytes(&event.encode());
    }

    fn kind(&mut self, kind: Kind) {
        self.event(&Event { id: EventId(0), time: Timestamp(0), kind });
    }

    fn payloads(&mut self, payloads: &Payloads) {
        self.bytes(&payloads.encode_to_vec());
    }

    fn failure(&mut self, failure: &Failure) {
        self.bytes(&failure.encode_to_vec());
    }

    fn status(&mut self, status: Status) {
        self.text(&status.to_string());
    }

    fn worker(&mut self, worker: &Worker) {
        let Worker { identity, boot } = worker;
        self.text(identity);
        self.0.update(boot.0.as_bytes());
    }

    fn activity(&mut self, activity: &Activity) {
        let Activity {
            scheduled,
            scheduled_at,
            what,
            phase,
            attempt,
            uncounted,
            last_failure,
            heartbeat_details,
            cancel_requested,
        } = activity;
        self.id(*scheduled);
        self.time(*scheduled_at);
        self.kind(Kind::ActivityScheduled(what.clone()));
        match phase {
            Phase::Waiting { since } => {
                self.number(0);
                self.time(*since);
            }
            Phase::Backoff { due } => {
                self.number(1);
                self.time(*due);
            }
            Phase::Started { worker, at, alive } => {
                self.number(2);
                self.worker(worker);
                self.time(*at);
                self.time(*alive);
            }
            Phase::OutcomeUnknown { worker, since } => {
                self.number(3);
                self.worker(worker);
                self.time(*since);
            }
            Phase::Ended { outcome, identity, started } => {
                self.number(4);
                self.text(outcome.as_str_name());
                self.text(identity);
                self.id(*started);
            }
        }
        self.number((*attempt).into());
        self.number((*uncounted).into());
        self.each(last_failure, |feed, failure| feed.failure(failure));
        self.payloads(heartbeat_details);
        self.each(cancel_requested, |feed, id| feed.id(*id));
    }

    fn child(&mut self, child: &Child) {
        let Child { initiated, what, run_id, started } = child;
        self.id(*initiated);
        self.kind(Kind::ChildInitiated(what.clone()));
        self.run_id(*run_id);
        self.each(started, |feed, id| feed.id(*id));
    }

    fn task(&mut self, task: &WorkflowTask) {
        match task {
            WorkflowTask::Idle => self.number(0),
            WorkflowTask::Backoff { until } => {
                self.number(1);
                self.time(*until);
            }
            WorkflowTask::AwaitsParent => self.number(2),
            WorkflowTask::Scheduled(task) => {
                self.number(3);
                self.scheduled_task(task);
            }
            WorkflowTask::Started(StartedTask { task, started, at, identity, request_id }) => {
                self.number(4);
                self.scheduled_task(task);
                self.id(*started);
                self.time(*at);
                self.text(identity);
                self.text(request_id);
            }
        }
    }

    fn scheduled_task(&mut self, task: &ScheduledTask) {
        let ScheduledTask { scheduled, at, attempt, timeout, task_queue, sticky, transient, since } =
            task;
        self.id(*scheduled);
        self.time(*at);
        self.number((*attempt).into());
        self.length(*timeout);
        self.text(task_queue);
        self.each(sticky, |feed, limit| feed.length(*limit));
        self.number((*transient).into());
        self.time(*since);
    }

    fn outgoing(&mut self, outgoing: &Outgoing) {
        let Outgoing { target, message } = outgoing;
        let Target { namespace, workflow_id, run_id, first_run } = target;
        self.text(namespace);
        self.text(workflow_id);
        self.each(run_id, |feed, run_id| feed.run_id(*run_id));
        self.each(first_run, |feed, run_id| feed.run_id(*run_id));
        match message {
            Message::StartChild { initiated, start, .. } => {
                self.tagged(0, *initiated);
                self.start(start);
            }
            Message::StartNext { start } => {
                self.number(1);
                self.start(start);
            }
            Message::FirstTask => self.number(2),
            Message::ChildClosed { initiated, first_run, run, ending } => {
                self.tagged(3, *initiated);
                self.run_id(*first_run);
                self.key(run);
                self.ending(ending);
            }
            Message::Signal { initiated, signal } => {
                self.tagged(4, *initiated);
                self.kind(Kind::ExternalSignalInitiated(signal.clone()));
            }
            Message::RequestCancel { initiated, cancel } => {
                self.tagged(5, *initiated);
                self.each(cancel, |feed, cancel| {
                    feed.kind(Kind::ExternalCancelInitiated(cancel.clone()));
                });
            }
            Message::Terminate { reason } => {
                self.number(6);
                self.text(reason);
            }
            Message::Pause { reason } => {
                self.number(7);
                self.text(reason);
            }
            Message::Resume => self.number(8),
        }
    }

    /// What a run begins with follows from the run that sends it; the parts that vary suffice.
    fn start(&mut self, start: &Arc<crate::Start>) {
        self.text(&start.workflow_type);
        self.text(&start.request_id);
        self.payloads(&start.input);
        self.bytes(&start.header.encode_to_vec());
        self.number(start.attempt.into());
        self.each(&start.first_task_backoff, |feed, wait| feed.length(*wait));
        self.each(&start.root, |feed, Execution { workflow_id, run_id }| {
            feed.text(workflow_id);
            feed.run_id(*run_id);
        });
    }

    fn ending(&mut self, ending: &Ending) {
        match ending {
            Ending::Completed(result) => {
                self.number(0);
                self.payloads(result);
            }
            Ending::Failed { failure, retry_state } => {
                self.number(1);
                self.failure(failure);
                self.text(retry_state.as_str_name());
            }
            Ending::TimedOut { retry_state } => {
                self.number(2);
                self.text(retry_state.as_str_name());
            }
            Ending::Canceled(details) => {
                self.number(3);
                self.payloads(details);
            }
            Ending::Terminated { reason } => {
                self.number(4);
                self.text(reason);
            }
            Ending::ContinuedAsNew => self.number(5),
        }
    }
}
