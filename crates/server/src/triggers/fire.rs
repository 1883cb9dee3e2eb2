//! A person pauses a schedule, lets it go on, or starts a run now.

use std::sync::Arc;

use reflux_core::{Command, Rejection, Signal, Suspend};
use reflux_flow::payload;
use reflux_flow::schedule::SIGNAL_FIRE;
use reflux_flow::trigger::TriggerKind;
use serde_json::Value;

use super::schedules::lane;
use super::start::start;
use super::table::Active;
use super::{Started, Triggers};
use crate::Error;

impl Triggers {
    /// Starts a run of a trigger now and answers with its workflow id. A schedule's is started by
    /// the schedule, whatever is open and also while it is paused; `data` is then the run's input,
    /// or null for the trigger's own. For a webhook or an event `data` is the occurrence.
    ///
    /// # Errors
    /// There is no such trigger, or `data` does not fit the flow.
    pub async fn fire(
        &self,
        namespace: &str,
        flow: &str,
        trigger: &str,
        data: Value,
        request_id: Option<String>,
    ) -> Result<String, Error> {
        let active = self.find(namespace, flow, trigger)?;
        let id = request_id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let occurrence = format!("fired/{id}");
        if !matches!(active.trigger.kind, TriggerKind::Schedule(_)) {
            let input = match active.trigger.kind {
                TriggerKind::Manual => {
                    reflux_flow::input::check_input(&active.flow, data).map_err(|problems| {
                        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                    })
                }
                _ => active.trigger.input(&active.flow, &Arc::new(data)),
            };
            let input = input.map_err(Error::invalid)?;
            let start = start(&self.engine, &active, &occurrence, &input, &self.identity).await?;
            return Ok(Started::of(&active, &start).workflow_id);
        }
        if !data.is_null() {
            reflux_flow::input::check_input(&active.flow, data.clone()).map_err(|problems| {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Error::invalid(problems.join("; "))
            })?;
        }
        let signal = Signal {
            name: SIGNAL_FIRE.into(),
            input: payload::of_value(&data),
            identity: self.identity.clone(),
            request_id: id.into(),
            ..Signal::default()
        };
        self.tell(&active, Command::Signal(signal)).await?;
        Ok(active.subject().run_workflow_id(&occurrence))
    }

    /// Stops a schedule's clock until [`Triggers::resume`]. What comes due meanwhile is not made
    /// up for.
    ///
    /// # Errors
    /// There is no such schedule.
    pub async fn pause(
        &self,
        namespace: &str,
        flow: &str,
        trigger: &str,
        reason: &str,
    ) -> Result<(), Error> {
        let active = self.schedule(namespace, flow, trigger)?;
        self.tell(&active, Command::Pause(self.suspend(reason))).await
    }

    /// Lets a paused schedule go on.
    ///
    /// # Errors
    /// There is no such schedule.
    pub async fn resume(&self, namespace: &str, flow: &str, trigger: &str) -> Result<(), Error> {
        let active = self.schedule(namespace, flow, trigger)?;
        self.tell(&active, Command::Unpause(self.suspend(""))).await
    }

    pub(super) fn find(
        &self,
        namespace: &str,
        flow: &str,
        trigger: &str,
    ) -> Result<Arc<Active>, Error> {
        self.table()?.find(namespace, flow, trigger).cloned().ok_or_else(|| {
            Error::not_found(format!("no trigger `{trigger}` of a flow `{flow}`"))
                .suggest("see `reflux triggers`")
        })
    }

    fn schedule(&self, namespace: &str, flow: &str, trigger: &str) -> Result<Arc<Active>, Error> {
        let active = self.find(namespace, flow, trigger)?;
        match active.trigger.kind {
            TriggerKind::Schedule(_) => Ok(active),
            TriggerKind::Webhook(_) | TriggerKind::Event(_) | TriggerKind::Manual => Err(
                Error::invalid(format!("`{trigger}` is no schedule: only schedules are paused"))
                    .suggest("take the trigger out of the flow and deploy that"),
            ),
        }
    }

    fn suspend(&self, reason: &str) -> Suspend {
        Suspend { reason: reason.into(), identity: self.identity.clone(), ..Suspend::default() }
    }

    /// Tells the open run of a schedule. That it is so already is no error.
    async fn tell(&self, active: &Active, command: Command) -> Result<(), Error> {
        let lane = lane(&active.subject());
        let ask = reflux_engine::Ask::Command { run_id: None, first_run: None, command };
        match self.engine.ask(lane, ask, |_, _| ()).await {
            Ok(()) | Err(reflux_engine::Error::Rejected(Rejection::AlreadyDone(_))) => Ok(()),
            Err(reflux_engine::Error::NotFound { .. }) => Err(Error::not_found(
                "the schedule has not been started",
            )
            .suggest("schedules work while `reflux server` serves the project; start it once")),
            Err(error) => Err(error.into()),
        }
    }
}
