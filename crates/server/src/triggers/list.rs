//! The triggers for people: what they are, when they act next, what they have done.

use reflux_flow::schedule::{Counts, rfc3339};
use reflux_flow::trigger::TriggerKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::Active;
use super::{Triggers, schedules};
use crate::{Error, clock};

/// Times that are told of a schedule.
const UPCOMING: usize = 5;

/// One trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The flow.
    pub flow: String,
    /// The trigger's id.
    pub trigger: String,
    /// `webhook`, `schedule`, `event` or `manual`.
    pub kind: String,
    /// `POST /webhooks/orders`, the event's name, or when: in a line.
    pub what: String,
    /// As its author wrote it.
    pub source: Value,
    /// Of a schedule that was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleState>,
}

/// Where a schedule stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleState {
    /// The run that is the schedule, in the namespace `reflux-system`.
    pub workflow_id: String,
    /// Its present run.
    pub run_id: String,
    /// Why it is paused, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The next times at which it acts, RFC 3339; none while it is paused.
    pub next: Vec<String>,
    /// Workflow ids of the runs it has started that are open.
    pub open: Vec<String>,
    /// What it has done so far.
    pub counts: Counts,
}

impl Triggers {
    /// Every trigger, in order of flow and declaration. Blocks: it reads the schedules' histories.
    ///
    /// # Errors
    /// A schedule cannot be read.
    pub fn list(&self) -> Result<Vec<Overview>, Error> {
        self.table()?.all.iter().map(|active| self.overview(active)).collect()
    }

    /// One trigger. Blocks as [`Triggers::list`] does.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, namespace: &str, flow: &str, trigger: &str) -> Result<Overview, Error> {
        self.overview(&*self.find(namespace, flow, trigger)?)
    }

    fn overview(&self, active: &Active) -> Result<Overview, Error> {
        let trigger = &active.trigger;
        let text = |key: &str| {
            let found = trigger.source.get(key);
            found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let (kind, what) = match &trigger.kind {
            TriggerKind::Webhook(webhook) => {
                ("webhook", format!("{} /webhooks{}", webhook.method, webhook.path))
            }
            TriggerKind::Event(event) => ("event", event.name.clone()),
            TriggerKind::Schedule(_) => {
                let cron = ["cron", "schedule", "expression"].iter().find_map(|key| text(key));
                let every = text("every").map(|every| format!("every {every}"));
                ("schedule", cron.or(every).unwrap_or_default())
            }
            TriggerKind::Manual => ("manual", text("command").unwrap_or_default()),
        };
        let schedule = match &trigger.kind {
            TriggerKind::Schedule(_) => self.state(active)?,
            TriggerKind::Webhook(_) | TriggerKind::Event(_) | TriggerKind::Manual => None,
        };
        Ok(Overview {
            flow: active.deployed.flow.to_string(),
            trigger: trigger.id.clone(),
            kind: kind.to_owned(),
            what,
            source: trigger.source.clone(),
            schedule,
        })
    }

    fn state(&self, active: &Active) -> Result<Option<ScheduleState>, Error> {
        let Some((summary, schedule)) = schedules::read(&self.engine, &active.subject())? else {
            return Ok(None);
        };
        if !summary.is_open() {
            return Ok(None);
        }
        let paused = schedule.paused().map(str::to_owned);
        let next = match &paused {
            Some(_) => Vec::new(),
            None => schedule.upcoming(clock::now(), UPCOMING).into_iter().map(rfc3339).collect(),
        };
        Ok(Some(ScheduleState {
            workflow_id: summary.key.workflow_id.to_string(),
            run_id: summary.key.run_id.to_string(),
            paused,
            next,
            open: schedule.open_runs().map(str::to_owned).collect(),
            counts: schedule.counts().clone(),
        }))
    }
}
