//! Temporal's API over plain gRPC: what SDKs do not show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, Instant};

use common::{
    Client, QUEUE, complete_run, decode, details, execution, kinds, payloads, schedule, served,
    start_request, task_queue, with_timeout,
};
use prost::Message as _;
use reflux_proto::temporal::api::common::v1::{Header, Payload, WorkflowExecution};
use reflux_proto::temporal::api::enums::v1::{
    EventType, HistoryEventFilterType, QueryResultType, TaskQueueKind, WorkflowExecutionStatus,
    WorkflowTaskFailedCause,
};
use reflux_proto::temporal::api::errordetails::v1::{
    NamespaceNotFoundFailure, NotFoundFailure, QueryFailedFailure,
    WorkflowExecutionAlreadyStartedFailure,
};
use reflux_proto::temporal::api::query::v1::WorkflowQuery;
use reflux_proto::temporal::api::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use reflux_proto::temporal::api::workflowservice::v1::*;
use tonic::Code;

#[test]
fn refusals_carry_typed_details() {
    served(async |mut client, _| {
        let first = client.start("taken").await;
        let refused =
            client.api.start_workflow_execution(start_request("taken")).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        let detail: WorkflowExecutionAlreadyStartedFailure =
            details(&refused, "WorkflowExecutionAlreadyStartedFailure");
        assert_eq!((detail.run_id, detail.first_execution_run_id), (first.clone(), first));

        let foreign = StartWorkflowExecutionRequest {
            namespace: "elsewhere".into(),
            ..start_request("taken")
        };
        let refused = client.api.start_workflow_execution(foreign).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        let detail: NamespaceNotFoundFailure = details(&refused, "NamespaceNotFoundFailure");
        assert_eq!(detail.namespace, "elsewhere");

        let refused = client.signal("nobody").await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        assert!(refused.message().contains("workflow not found for ID: nobody"));
        let _: NotFoundFailure = details(&refused, "NotFoundFailure");
    });
}

#[test]
fn a_repeated_request_gives_the_run_it_made() {
    served(async |mut client, _| {
        let request =
            StartWorkflowExecutionRequest { request_id: "one".into(), ..start_request("again") };
        let first =
            client.api.start_workflow_execution(request.clone()).await.unwrap().into_inner();
        let again = client.api.start_workflow_execution(request).await.unwrap().into_inner();
        assert_eq!((first.started, again.started), (true, false));
        assert_eq!(first.run_id, again.run_id);
    });
}

#[test]
fn a_run_goes_through_workflow_tasks_and_activities() {
    served(async |mut client, _| {
        let run_id = client.start("order").await;
        let task = client.poll().await;
        assert_eq!(task.workflow_execution.clone().unwrap(), execution("order", &run_id));
        assert_eq!(
            (task.attempt, task.previous_started_event_id, task.started_event_id),
            (1, 0, 3)
        );
        assert_eq!(
            kinds(&task.history),
            [
                EventType::WorkflowExecutionStarted,
                EventType::WorkflowTaskScheduled,
                EventType::WorkflowTaskStarted
            ]
        );
        client.complete(&task, vec![schedule("a")]).await.unwrap();

        let activity = client.poll_activity().await;
        assert_eq!((&*activity.activity_id, activity.attempt), ("a", 1));
        assert_eq!(activity.input, Some(payloads("\"in\"")));
        client.complete_activity(&activity).await.unwrap();

        let task = client.poll().await;
        assert_eq!(task.previous_started_event_id, 3);
        assert_eq!(kinds(&task.history).len(), 9, "a worker without the run gets all of it");
        client.complete(&task, vec![complete_run()]).await.unwrap();

        let described = client.describe("order").await.workflow_execution_info.unwrap();
        assert_eq!(described.status(), WorkflowExecutionStatus::Completed);
        assert_eq!(described.history_length, 11);
        let close = client
            .history("order", |request| {
                request.history_event_filter_type = HistoryEventFilterType::CloseEvent.into();
            })
            .await;
        assert_eq!(kinds(&close.history), [EventType::WorkflowExecutionCompleted]);
    });
}

#[test]
fn tokens_that_are_forged_foreign_or_used_up_are_refused() {
    served(async |mut client, _| {
        client.start("tokens").await;
        let task = client.poll().await;
        let mut wrong: Vec<Vec<u8>> = (0..task.task_token.len())
            .step_by(7)
            .map(|at| {
                let mut token = task.task_token.to_vec();
                token[at] ^= 1;
                token
            })
            .collect();
        wrong.extend([vec![1], vec![0; 40], b"task".to_vec(), task.task_token[..20].to_vec()]);
        for token in wrong {
            let forged =
                PollWorkflowTaskQueueResponse { task_token: token.into(), ..Default::default() };
            let refused = client.complete(&forged, vec![]).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
        }
        let refused =
            client.complete(&PollWorkflowTaskQueueResponse::default(), vec![]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);

        client.complete(&task, vec![schedule("a")]).await.unwrap();
        let refused = client.complete(&task, vec![complete_run()]).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "used up");

        let activity = client.poll_activity().await;
        let crossed = PollWorkflowTaskQueueResponse {
            task_token: activity.task_token.clone(),
            ..Default::default()
        };
        assert_eq!(client.complete(&crossed, vec![]).await.unwrap_err().code(), Code::NotFound);
        client.fail_activity(&activity).await.unwrap();
        assert_eq!(client.complete_activity(&activity).await.unwrap_err().code(), Code::NotFound);
        let second = client.poll_activity().await;
        assert_eq!(second.attempt, 2);
        let stale = client.heartbeat(&activity).await.unwrap_err();
        assert_eq!(stale.code(), Code::NotFound, "of the attempt before");
        client.complete_activity(&second).await.unwrap();
    });
}

#[test]
fn polls_answer_empty_in_time_and_at_once_when_the_server_stops() {
    served(async |mut client, stop| {
        let begun = Instant::now();
        let request = with_timeout(client.poll_request(QUEUE), Duration::from_secs(5));
        let nothing = client.api.poll_workflow_task_queue(request).await.unwrap().into_inner();
        assert_eq!(nothing, PollWorkflowTaskQueueResponse::default());
        assert!(begun.elapsed() < Duration::from_secs(30));

        client.start("waits").await;
        let (mut one, mut two, mut three) = (client.clone(), client.clone(), client.clone());
        let polls = async { one.api.poll_workflow_task_queue(one.poll_request("none")).await };
        let activities = async { two.api.poll_activity_task_queue(two.activity_poll()).await };
        let history = three.history("waits", |request| {
            request.wait_new_event = true;
            request.history_event_filter_type = HistoryEventFilterType::CloseEvent.into();
        });
        let stops = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.send(()).unwrap();
        };
        let (polled, offered, waited, ()) = tokio::join!(polls, activities, history, stops);
        assert_eq!(polled.unwrap().into_inner(), PollWorkflowTaskQueueResponse::default());
        assert_eq!(offered.unwrap().into_inner(), PollActivityTaskQueueResponse::default());
        assert!(waited.history.is_empty() && !waited.next_page_token.is_empty());
    });
}

#[test]
fn a_poll_that_goes_away_takes_nothing_with_it() {
    served(async |mut client, _| {
        for n in 0..20 {
            let mut gone = client.clone();
            let poll = tokio::spawn(async move {
                gone.api.poll_workflow_task_queue(gone.poll_request(QUEUE)).await
            });
            tokio::time::sleep(Duration::from_millis(n)).await;
            client.start(&format!("gone-{n}")).await;
            poll.abort();
            let Err(_) = poll.await else { continue };
            let task = client.poll().await;
            client.complete(&task, vec![complete_run()]).await.unwrap();
        }
    });
}

#[test]
fn a_history_is_read_in_pages_forwards_and_backwards() {
    served(async |mut client, _| {
        client.start("pages").await;
        for _ in 0..10 {
            client.signal("pages").await.unwrap();
        }
        let mut read = Vec::new();
        let mut token = Vec::new();
        loop {
            let page = client
                .history("pages", |request| {
                    request.maximum_page_size = 5;
                    request.next_page_token = token.clone().into();
                })
                .await;
            let events = decode(&page.history);
            assert!(events.len() <= 5);
            read.extend(events.iter().map(|event| event.event_id));
            token = page.next_page_token.to_vec();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(read, (1..=12).collect::<Vec<_>>());

        let mut back = Vec::new();
        let mut token = Vec::new();
        loop {
            let request = GetWorkflowExecutionHistoryReverseRequest {
                namespace: "default".into(),
                execution: Some(execution("pages", "")),
                maximum_page_size: 5,
                next_page_token: token.clone().into(),
            };
            let page = client
                .api
                .get_workflow_execution_history_reverse(request)
                .await
                .unwrap()
                .into_inner();
            back.extend(page.history.unwrap().events.iter().map(|event| event.event_id));
            token = page.next_page_token.to_vec();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(back, (1..=12).rev().collect::<Vec<_>>());

        let request = GetWorkflowExecutionHistoryRequest {
            namespace: "default".into(),
            execution: Some(execution("pages", "")),
            next_page_token: b"nonsense".to_vec().into(),
            ..Default::default()
        };
        let refused = client.api.get_workflow_execution_history(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    });
}

#[test]
fn who_waits_for_events_gets_them_when_they_come() {
    served(async |mut client, _| {
        client.start("follow").await;
        let first = client.history("follow", |request| request.wait_new_event = true).await;
        assert_eq!(decode(&first.history).len(), 2);
        let mut other = client.clone();
        let token = first.next_page_token;
        let next = client.history("follow", |request| {
            request.wait_new_event = true;
            request.next_page_token = token.clone();
        });
        let signals = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            other.signal("follow").await.unwrap();
        };
        let (next, ()) = tokio::join!(next, signals);
        assert_eq!(kinds(&next.history), [EventType::WorkflowExecutionSignaled]);

        let mut other = client.clone();
        let closes = client.history("follow", |request| {
            request.wait_new_event = true;
            request.history_event_filter_type = HistoryEventFilterType::CloseEvent.into();
        });
        let ends = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            other.terminate("follow").await;
        };
        let (closes, ()) = tokio::join!(closes, ends);
        assert_eq!(kinds(&closes.history), [EventType::WorkflowExecutionTerminated]);
        assert!(closes.next_page_token.is_empty());
    });
}

#[test]
fn attempts_of_a_task_after_the_first_travel_behind_the_history() {
    served(async |mut client, _| {
        client.start("transient").await;
        let first = client.poll().await;
        client.fail(&first).await.unwrap();
        let second = client.poll().await;
        assert_eq!((second.attempt, second.started_event_id), (2, 6));
        let events = decode(&second.history);
        assert_eq!(
            events.iter().map(|event| event.event_id).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(events[5].event_type(), EventType::WorkflowTaskStarted);
        client.fail(&second).await.unwrap();

        let third = client.poll().await;
        assert_eq!((third.attempt, third.started_event_id), (3, 6));
        let stored = client.history("transient", |_| {}).await;
        assert_eq!(decode(&stored.history).len(), 4, "only the first attempt is kept");
        assert_eq!(client.complete(&second, vec![]).await.unwrap_err().code(), Code::NotFound);
        client.complete(&third, vec![complete_run()]).await.unwrap();
        let stored = client.history("transient", |_| {}).await;
        assert_eq!(decode(&stored.history).len(), 8);
    });
}

#[test]
fn a_worker_that_has_the_run_gets_only_what_is_new() {
    served(async |mut client, _| {
        client.start("sticky").await;
        let task = client.poll().await;
        let request = RespondWorkflowTaskCompletedRequest {
            sticky_attributes: Some(StickyExecutionAttributes {
                worker_task_queue: Some(TaskQueue {
                    name: "own".into(),
                    kind: TaskQueueKind::Sticky.into(),
                    normal_name: QUEUE.into(),
                }),
                schedule_to_start_timeout: None,
            }),
            ..client.completion(&task, vec![])
        };
        client.api.respond_workflow_task_completed(request).await.unwrap();
        // A worker's own queue is used while that worker polls it.
        let mut worker = client.clone();
        let poll = worker.poll_queue("own");
        let mut sender = client.clone();
        let signals = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            sender.signal("sticky").await.unwrap();
        };
        let (task, ()) = tokio::join!(poll, signals);
        let events = decode(&task.history);
        assert_eq!(events.iter().map(|event| event.event_id).collect::<Vec<_>>(), [4, 5, 6, 7]);
        assert_eq!((task.previous_started_event_id, task.started_event_id), (3, 7));
        client.complete(&task, vec![complete_run()]).await.unwrap();
    });
}

#[test]
fn an_end_that_has_not_seen_everything_is_unhandled() {
    served(async |mut client, _| {
        client.start("unhandled").await;
        let task = client.poll().await;
        client.signal("unhandled").await.unwrap();
        let refused = client.complete(&task, vec![complete_run()]).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::InvalidArgument, "UnhandledCommand")
        );
        let task = client.poll().await;
        assert!(kinds(&task.history).contains(&EventType::WorkflowExecutionSignaled));
        client.complete(&task, vec![complete_run()]).await.unwrap();
    });
}

#[test]
fn a_command_that_cannot_be_carried_out_fails_its_task_with_a_cause() {
    served(async |mut client, _| {
        for (id, command, cause, says) in [
            (
                "no-timeout",
                common::activity_without_timeout(),
                WorkflowTaskFailedCause::BadScheduleActivityAttributes,
                "start to close",
            ),
            (
                "reserved",
                common::activity_with_header("reflux.spec"),
                WorkflowTaskFailedCause::BadScheduleActivityAttributes,
                "reflux.spec is reserved",
            ),
            (
                "nexus",
                common::nexus(),
                WorkflowTaskFailedCause::FeatureDisabled,
                "is not built yet",
            ),
        ] {
            client.start(id).await;
            let task = client.poll().await;
            let refused = client.complete(&task, vec![command]).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().contains(says), "{refused:?}");
            let stored = client.history(id, |_| {}).await;
            let failed = decode(&stored.history)
                .into_iter()
                .find_map(|event| match event.attributes? {
                    reflux_proto::temporal::api::history::v1::history_event::Attributes::WorkflowTaskFailedEventAttributes(failed) => Some(failed),
                    _ => None,
                })
                .unwrap();
            assert_eq!(failed.cause(), cause);
            client.terminate(id).await;
        }
    });
}

#[test]
fn a_worker_that_starts_a_run_gets_its_first_task_with_the_answer() {
    served(async |mut client, _| {
        let request = StartWorkflowExecutionRequest {
            request_eager_execution: true,
            ..start_request("eager")
        };
        let started = client.api.start_workflow_execution(request).await.unwrap().into_inner();
        let task = started.eager_workflow_task.unwrap();
        assert_eq!(decode(&task.history).len(), 3);
        client.complete(&task, vec![complete_run()]).await.unwrap();
    });
}

#[test]
fn a_worker_that_asks_for_it_gets_the_next_task_with_the_answer() {
    served(async |mut client, _| {
        client.start("next").await;
        let task = client.poll().await;
        let request = RespondWorkflowTaskCompletedRequest {
            return_new_workflow_task: true,
            force_create_new_workflow_task: true,
            ..client.completion(&task, vec![])
        };
        let answer = client.api.respond_workflow_task_completed(request).await.unwrap();
        let next = answer.into_inner().workflow_task.unwrap();
        assert_eq!(next.started_event_id, 6);
        client.complete(&next, vec![complete_run()]).await.unwrap();
    });
}

#[test]
fn queries_are_answered_by_themselves_with_a_task_and_when_the_run_has_closed() {
    served(async |mut client, _| {
        client.start("asked").await;
        // Before the first task is done a query rides on it.
        let mut asks = client.clone();
        let riding = tokio::spawn(async move { asks.query("asked").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let task = client.poll().await;
        let (id, query) = task.queries.first_key_value().expect("it rides on the task");
        assert_eq!(query.query_type, "state");
        let mut request = client.completion(&task, vec![]);
        request.query_results.insert(id.clone(), common::answered("1"));
        client.api.respond_workflow_task_completed(request).await.unwrap();
        assert_eq!(riding.await.unwrap().unwrap(), payloads("1"));

        for (closed, answer) in [(false, "2"), (true, "3")] {
            if closed {
                client.terminate("asked").await;
            }
            let mut asks = client.clone();
            let direct = tokio::spawn(async move { asks.query("asked").await });
            let task = client.poll().await;
            assert_eq!(task.query.as_ref().unwrap().query_type, "state");
            assert_eq!(task.started_event_id, 0);
            let request = RespondQueryTaskCompletedRequest {
                task_token: task.task_token,
                namespace: "default".into(),
                completed_type: QueryResultType::Answered.into(),
                query_result: Some(payloads(answer)),
                ..Default::default()
            };
            client.api.respond_query_task_completed(request.clone()).await.unwrap();
            assert_eq!(direct.await.unwrap().unwrap(), payloads(answer));
            let late = client.api.respond_query_task_completed(request).await.unwrap_err();
            assert_eq!(late.code(), Code::NotFound, "answered once");
        }

        let mut asks = client.clone();
        let fails = tokio::spawn(async move { asks.query("asked").await });
        let task = client.poll().await;
        let request = RespondQueryTaskCompletedRequest {
            task_token: task.task_token,
            namespace: "default".into(),
            completed_type: QueryResultType::Failed.into(),
            error_message: "no such query".into(),
            ..Default::default()
        };
        client.api.respond_query_task_completed(request).await.unwrap();
        let failed = fails.await.unwrap().unwrap_err();
        assert_eq!((failed.code(), failed.message()), (Code::InvalidArgument, "no such query"));
        let _: QueryFailedFailure = details(&failed, "QueryFailedFailure");
    });
}

#[test]
fn lists_are_filtered_paged_and_refuse_what_they_do_not_understand() {
    served(async |mut client, _| {
        for n in 0..5 {
            client.start(&format!("listed-{n}")).await;
        }
        client.terminate("listed-3").await;
        let mut ids = Vec::new();
        let mut token = Vec::new();
        loop {
            let page = client.list("WorkflowId STARTS_WITH 'listed'", 2, &token).await.unwrap();
            assert!(page.executions.len() <= 2);
            ids.extend(page.executions.into_iter().map(|run| run.execution.unwrap().workflow_id));
            token = page.next_page_token.to_vec();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(ids, ["listed-4", "listed-3", "listed-2", "listed-1", "listed-0"]);
        let open = client.list("ExecutionStatus = 'Running'", 0, b"").await.unwrap();
        assert_eq!(open.executions.len(), 4);
        let refused = client.list("Color = 'red'", 0, b"").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("`Color` is not a field"), "{refused:?}");
        let refused = client.list("", 0, b"nonsense").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);

        let request = CountWorkflowExecutionsRequest {
            namespace: "default".into(),
            query: "GROUP BY ExecutionStatus".into(),
        };
        let counted = client.api.count_workflow_executions(request).await.unwrap().into_inner();
        assert_eq!((counted.count, counted.groups.len()), (5, 2));
    });
}

#[test]
fn what_is_too_large_or_not_text_is_refused() {
    served(async |mut client, _| {
        let mut check = async |what: &str, change: &dyn Fn(&mut StartWorkflowExecutionRequest)| {
            let mut request = start_request("limits");
            change(&mut request);
            let refused = client.api.start_workflow_execution(request).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused:?}");
        };
        check("no workflow id", &|request| request.workflow_id.clear()).await;
        check("no task queue", &|request| request.task_queue = None).await;
        check("no type", &|request| request.workflow_type = None).await;
        check("a long id", &|request| request.workflow_id = "x".repeat(1_001)).await;
        check("a long id of wide characters", &|r| r.workflow_id = "ä".repeat(1_001)).await;
        check("NUL in an id", &|request| request.workflow_id = "a\0b".into()).await;
        check("NUL in a queue", &|request| request.task_queue = Some(task_queue("a\0b"))).await;
        check("a large input", &|request| {
            request.input = Some(payloads(&"1".repeat(2 * 1024 * 1024 + 1)));
        })
        .await;
        check("a header of ours", &|request| {
            let fields = [("reflux.spec".to_owned(), Payload::default())].into();
            request.header = Some(Header { fields });
        })
        .await;
        check("a negative time-out", &|request| {
            request.workflow_run_timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        })
        .await;
        let mut request = start_request("limits");
        request.workflow_id = "ä".repeat(1_000);
        request.input = Some(payloads(&"1".repeat(2 * 1024 * 1024 - 100)));
        client.api.start_workflow_execution(request).await.unwrap();
        let task = client.poll().await;
        let input = decode(&task.history)[0].encoded_len();
        assert!(input > 2 * 1024 * 1024 - 100, "a large payload comes back whole");
    });
}

#[test]
fn what_is_not_built_says_so() {
    served(async |mut client, _| {
        client.start("code").await;
        let execution = Some(execution("code", ""));
        let update = UpdateWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: execution.clone(),
            ..Default::default()
        };
        let reset = ResetWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: execution.clone(),
            ..Default::default()
        };
        let cron = StartWorkflowExecutionRequest {
            cron_schedule: "* * * * *".into(),
            ..start_request("cron")
        };
        for refused in [
            client.api.update_workflow_execution(update).await.unwrap_err(),
            client.api.reset_workflow_execution(reset).await.unwrap_err(),
            client.api.start_workflow_execution(cron).await.unwrap_err(),
            client.api.create_schedule(CreateScheduleRequest::default()).await.unwrap_err(),
        ] {
            assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
        }
        let system =
            client.api.get_system_info(GetSystemInfoRequest {}).await.unwrap().into_inner();
        let can = system.capabilities.unwrap();
        assert!(can.sdk_metadata && can.eager_workflow_start);
        assert!(!can.supports_schedules && !can.nexus && !can.build_id_based_versioning);
    });
}

#[test]
fn namespaces_are_registered_once_and_keep_their_runs_apart() {
    served(async |mut client, _| {
        let request = RegisterNamespaceRequest {
            namespace: "team".into(),
            description: "ours".into(),
            ..Default::default()
        };
        client.api.register_namespace(request.clone()).await.unwrap();
        let again = client.api.register_namespace(request).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists);
        let reserved =
            RegisterNamespaceRequest { namespace: "reflux-system".into(), ..Default::default() };
        client.api.register_namespace(reserved).await.unwrap_err();
        let request = ListNamespacesRequest::default();
        let all = client.api.list_namespaces(request).await.unwrap().into_inner().namespaces;
        let names: Vec<_> = all.iter().map(|it| it.namespace_info.clone().unwrap().name).collect();
        assert_eq!(names, ["default", "team"]);

        let there =
            StartWorkflowExecutionRequest { namespace: "team".into(), ..start_request("same") };
        client.api.start_workflow_execution(there).await.unwrap();
        assert!(client.signal("same").await.is_err(), "it is in another namespace");
        let list = ListWorkflowExecutionsRequest {
            namespace: "reflux-system".into(),
            ..Default::default()
        };
        let hidden = client.api.list_workflow_executions(list).await.unwrap_err();
        assert_eq!(hidden.code(), Code::NotFound);
    });
}

#[test]
fn a_queue_shows_who_polls_it() {
    served(async |mut client, _| {
        let mut worker = client.clone();
        let poll = tokio::spawn(async move { worker.poll().await });
        let request = DescribeTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(task_queue(QUEUE)),
            ..Default::default()
        };
        let mut pollers = Vec::new();
        while pollers.is_empty() {
            let described = client.api.describe_task_queue(request.clone()).await.unwrap();
            pollers = described.into_inner().pollers;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(pollers[0].identity, "tester");
        client.start("polled").await;
        poll.await.unwrap();
    });
}

#[test]
fn a_flow_looks_like_any_other_run() {
    served(async |mut client, _| {
        let run_id = client.flow("say", "steps: [{ id: wait, wait: 1h }]").await;
        let described = client.describe("say").await;
        let info = described.workflow_execution_info.unwrap();
        assert_eq!(info.execution.unwrap(), execution("say", &run_id));
        assert_eq!(info.r#type.unwrap().name, "say");
        let events = client.history("say", |_| {}).await;
        assert!(kinds(&events.history).contains(&EventType::TimerStarted));
        let refused = client.query("say").await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let reset = ResetWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(execution("say", "")),
            ..Default::default()
        };
        let refused = client.api.reset_workflow_execution(reset).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("re-drive"), "{refused:?}");
        client.terminate("say").await;
        let listed = client.list("WorkflowType = 'say'", 0, b"").await.unwrap();
        assert_eq!(listed.executions[0].status(), WorkflowExecutionStatus::Terminated);
    });
}

#[test]
fn code_and_flows_are_paused_and_unpaused_over_temporals_api() {
    served(async |mut client, _| {
        client.start("code").await;
        client.flow("flow", "steps: [{ id: wait, wait: 1h }]").await;
        for id in ["code", "flow"] {
            let reason = "a break".to_owned();
            let pause = PauseWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_id: id.into(),
                reason: reason.clone(),
                request_id: "p".into(),
                ..Default::default()
            };
            client.api.pause_workflow_execution(pause.clone()).await.unwrap();
            client.api.pause_workflow_execution(pause).await.unwrap(); // a repetition
            let described = client.describe(id).await;
            let info = described.workflow_extended_info.unwrap().pause_info.unwrap();
            assert_eq!(info.reason, reason, "{id}");
            let unpause = UnpauseWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_id: id.into(),
                request_id: "u".into(),
                ..Default::default()
            };
            client.api.unpause_workflow_execution(unpause).await.unwrap();
            let described = client.describe(id).await;
            assert!(described.workflow_extended_info.is_none_or(|info| info.pause_info.is_none()));
            let history = kinds(&client.history(id, |_| {}).await.history);
            let of = |kind| history.iter().filter(|one| **one == kind).count();
            assert_eq!(
                (of(EventType::WorkflowExecutionPaused), of(EventType::WorkflowExecutionUnpaused)),
                (1, 1),
                "{id}"
            );
        }
        // A paused run of code has no task for its worker; behind the pause it has.
        let task = client.poll().await;
        assert_eq!(task.workflow_execution.unwrap().workflow_id, "code");
    });
}

impl Client {
    async fn query(
        &mut self,
        id: &str,
    ) -> Result<reflux_proto::temporal::api::common::v1::Payloads, tonic::Status> {
        let request = QueryWorkflowRequest {
            namespace: "default".into(),
            execution: Some(WorkflowExecution { workflow_id: id.into(), ..Default::default() }),
            query: Some(WorkflowQuery { query_type: "state".into(), ..Default::default() }),
            ..Default::default()
        };
        self.api
            .query_workflow(request)
            .await
            .map(|answer| answer.into_inner().query_result.unwrap())
    }
}
