//! Activities over plain gRPC: asked to end, completed by their ids, tried again, begun at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{decode, execution, kinds, payloads, schedule, served};
use reflux_proto::temporal::api::command::v1::{
    Command, RequestCancelActivityTaskCommandAttributes, command::Attributes,
};
use reflux_proto::temporal::api::enums::v1::{CommandType, EventType};
use reflux_proto::temporal::api::workflowservice::v1::*;
use tonic::Code;

#[test]
fn a_running_activity_learns_that_it_is_to_end() {
    served(async |mut client, _| {
        client.start("cancel").await;
        let task = client.poll().await;
        client.complete(&task, vec![schedule("a")]).await.unwrap();
        let activity = client.poll_activity().await;
        assert!(!client.heartbeat(&activity).await.unwrap());
        let refused = client.cancel_activity(&activity).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "nobody asked it to end");

        let request = RequestCancelWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(execution("cancel", "")),
            ..Default::default()
        };
        client.api.request_cancel_workflow_execution(request.clone()).await.unwrap();
        client.api.request_cancel_workflow_execution(request).await.unwrap();
        let task = client.poll().await;
        let scheduled = decode(&task.history)
            .iter()
            .find(|event| event.event_type() == EventType::ActivityTaskScheduled)
            .map(|event| event.event_id)
            .unwrap();
        let cancel = Command {
            command_type: CommandType::RequestCancelActivityTask.into(),
            attributes: Some(Attributes::RequestCancelActivityTaskCommandAttributes(
                RequestCancelActivityTaskCommandAttributes { scheduled_event_id: scheduled },
            )),
            ..Default::default()
        };
        client.complete(&task, vec![cancel]).await.unwrap();
        assert!(client.heartbeat(&activity).await.unwrap());
        let pending = client.describe("cancel").await.pending_activities;
        assert_eq!((pending.len(), &*pending[0].activity_id), (1, "a"));
        client.cancel_activity(&activity).await.unwrap();
        assert!(client.describe("cancel").await.pending_activities.is_empty());
    });
}

#[test]
fn an_activity_is_completed_by_its_id() {
    served(async |mut client, _| {
        client.start("by-id").await;
        let task = client.poll().await;
        client.complete(&task, vec![schedule("a")]).await.unwrap();
        client.poll_activity().await;
        let request = |activity_id: &str| RespondActivityTaskCompletedByIdRequest {
            namespace: "default".into(),
            workflow_id: "by-id".into(),
            activity_id: activity_id.into(),
            result: Some(payloads("1")),
            ..Default::default()
        };
        let unknown = client.api.respond_activity_task_completed_by_id(request("b")).await;
        assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
        client.api.respond_activity_task_completed_by_id(request("a")).await.unwrap();
        let task = client.poll().await;
        assert!(kinds(&task.history).contains(&EventType::ActivityTaskCompleted));
    });
}

#[test]
fn the_details_of_a_failed_attempt_reach_the_next_one() {
    served(async |mut client, _| {
        client.start("details").await;
        let task = client.poll().await;
        client.complete(&task, vec![schedule("a")]).await.unwrap();
        let activity = client.poll_activity().await;
        let request = RespondActivityTaskFailedRequest {
            task_token: activity.task_token,
            namespace: "default".into(),
            last_heartbeat_details: Some(payloads("7")),
            ..Default::default()
        };
        client.api.respond_activity_task_failed(request).await.unwrap();
        let second = client.poll_activity().await;
        assert_eq!((second.attempt, second.heartbeat_details), (2, Some(payloads("7"))));
    });
}

#[test]
fn a_worker_that_asks_for_it_gets_the_activities_it_schedules_with_the_answer() {
    served(async |mut client, _| {
        client.start("eager").await;
        let task = client.poll().await;
        let mut eager = schedule("a");
        let Some(Attributes::ScheduleActivityTaskCommandAttributes(wanted)) = &mut eager.attributes
        else {
            panic!("{eager:?}")
        };
        wanted.request_eager_execution = true;
        let request = client.completion(&task, vec![eager, schedule("b")]);
        let answer = client.api.respond_workflow_task_completed(request).await.unwrap();
        let answer = answer.into_inner();
        let [begun] = &answer.activity_tasks[..] else { panic!("{answer:?}") };
        assert_eq!((&*begun.activity_id, begun.attempt), ("a", 1));
        assert_eq!(begun.input, Some(payloads("\"in\"")));
        // The other one waits for whoever polls; this one does not.
        assert_eq!(&*client.poll_activity().await.activity_id, "b");
        client.complete_activity(begun).await.unwrap();
        let task = client.poll().await;
        assert!(kinds(&task.history).contains(&EventType::ActivityTaskCompleted));
    });
}
