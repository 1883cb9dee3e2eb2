// The scenario of ../README.md with the Go SDK.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
)

const (
	queue   = "scenario"
	id      = "scenario-go"
	childID = "scenario-go-child"
	// The longest wait for anything that must happen.
	patience = 60 * time.Second
)

func main() {
	act := scenario
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		act = work
	}
	quiet := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})
	c, err := client.Dial(client.Options{
		HostPort: os.Getenv("TEMPORAL_ADDRESS"),
		Logger:   log.NewStructuredLogger(slog.New(quiet)),
	})
	if err == nil {
		defer c.Close()
		err = act(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scenario:", err)
		os.Exit(1)
	}
}

func work(c client.Client) error {
	w := worker.New(c, queue, worker.Options{StickyScheduleToStartTimeout: time.Second})
	w.RegisterWorkflow(Scenario)
	w.RegisterWorkflow(Rounds)
	w.RegisterActivity(Flaky)
	w.RegisterActivity(Beat)
	w.RegisterActivity(Greet)
	return w.Run(worker.InterruptCh())
}

func scenario(c client.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	first, err := startWorker()
	if err != nil {
		return err
	}
	defer first.Process.Kill()
	options := client.StartWorkflowOptions{ID: id, TaskQueue: queue}
	run, err := c.ExecuteWorkflow(ctx, options, Scenario)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := waitForState(ctx, c, "waiting"); err != nil {
		return err
	}
	if err := first.Process.Kill(); err != nil {
		return err
	}
	_ = first.Wait() // it was killed, and says so
	second, err := startWorker()
	if err != nil {
		return err
	}
	defer second.Process.Kill()
	if err := waitForState(ctx, c, "waiting"); err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	if err := c.SignalWorkflow(ctx, id, "", "go", "go"); err != nil {
		return fmt.Errorf("signal: %w", err)
	}
	var result Result
	if err := run.Get(ctx, &result); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	if expected := (Result{Flaky: 3, Resumed: 3, Beats: 5, Signal: "go", Rounds: 2, Greeting: "hello go"}); result != expected {
		return fmt.Errorf("result: expected %+v, found %+v", expected, result)
	}
	if err := waitForState(ctx, c, "done"); err != nil {
		return fmt.Errorf("closed: %w", err)
	}
	return replay(ctx, c, run.GetRunID())
}

func startWorker() (*exec.Cmd, error) {
	itself, err := os.Executable()
	if err != nil {
		return nil, err
	}
	worker := exec.Command(itself, "worker")
	worker.Stderr = os.Stderr
	return worker, worker.Start()
}

// waitForState asks until the run says so. A query may time out while no worker is there.
func waitForState(ctx context.Context, c client.Client, wanted string) error {
	state, problem := "", error(nil)
	for ctx.Err() == nil {
		asked, cancel := context.WithTimeout(ctx, 5*time.Second)
		answer, err := c.QueryWorkflow(asked, id, "", "state")
		cancel()
		if err == nil {
			err = answer.Get(&state)
		}
		if problem = err; err == nil && state == wanted {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the run never was %q: it is %q, %v", wanted, state, problem)
}

// replay checks the parent's history and those of both runs of the child.
func replay(ctx context.Context, c client.Client, runID string) error {
	replayer := worker.NewWorkflowReplayer()
	replayer.RegisterWorkflow(Scenario)
	replayer.RegisterWorkflow(Rounds)
	parent, err := history(ctx, c, id, runID)
	if err != nil {
		return err
	}
	child := ""
	for _, event := range parent.Events {
		if started := event.GetChildWorkflowExecutionStartedEventAttributes(); started != nil {
			child = started.WorkflowExecution.RunId
		}
	}
	first, err := history(ctx, c, childID, child)
	if err != nil {
		return err
	}
	continued := first.Events[len(first.Events)-1].GetWorkflowExecutionContinuedAsNewEventAttributes()
	if continued == nil {
		return fmt.Errorf("the child's first run did not continue as new")
	}
	second, err := history(ctx, c, childID, continued.NewExecutionRunId)
	if err != nil {
		return err
	}
	for name, history := range map[string]*historypb.History{"parent": parent, "first child": first, "second child": second} {
		if err := replayer.ReplayWorkflowHistory(nil, history); err != nil {
			return fmt.Errorf("replay of the %s: %w", name, err)
		}
	}
	return nil
}

func history(ctx context.Context, c client.Client, id, runID string) (*historypb.History, error) {
	events := c.GetWorkflowHistory(ctx, id, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var history historypb.History
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, fmt.Errorf("history of %s: %w", id, err)
		}
		history.Events = append(history.Events, event)
	}
	if len(history.Events) == 0 {
		return nil, fmt.Errorf("the history of %s is empty", id)
	}
	return &history, nil
}
