package main

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Result is what the scenario gives.
type Result struct {
	Flaky    int    `json:"flaky"`
	Resumed  int    `json:"resumed"`
	Beats    int    `json:"beats"`
	Signal   string `json:"signal"`
	Rounds   int    `json:"rounds"`
	Greeting string `json:"greeting"`
}

// Beaten is where the second attempt of Beat began and how far it got.
type Beaten struct {
	Resumed int `json:"resumed"`
	Beats   int `json:"beats"`
}

// Scenario is the parent.
func Scenario(ctx workflow.Context) (*Result, error) {
	state := "begun"
	if err := workflow.SetQueryHandler(ctx, "state", func() (string, error) { return state, nil }); err != nil {
		return nil, err
	}
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 20 * time.Second,
		HeartbeatTimeout:    10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, BackoffCoefficient: 1, MaximumAttempts: 5},
	})
	var result Result
	var beaten Beaten
	flaky, beat := workflow.ExecuteActivity(ctx, Flaky), workflow.ExecuteActivity(ctx, Beat)
	if err := flaky.Get(ctx, &result.Flaky); err != nil {
		return nil, err
	}
	if err := beat.Get(ctx, &beaten); err != nil {
		return nil, err
	}
	result.Resumed, result.Beats = beaten.Resumed, beaten.Beats
	if err := workflow.Sleep(ctx, 100*time.Millisecond); err != nil {
		return nil, err
	}
	state = "waiting"
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, &result.Signal)
	state = "signalled"
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: childID})
	if err := workflow.ExecuteChildWorkflow(child, Rounds, 1).Get(ctx, &result.Rounds); err != nil {
		return nil, err
	}
	if err := workflow.ExecuteActivity(ctx, Greet, result.Signal).Get(ctx, &result.Greeting); err != nil {
		return nil, err
	}
	state = "done"
	return &result, nil
}

// Rounds continues as new once and gives the number of its runs.
func Rounds(ctx workflow.Context, round int) (int, error) {
	if round < 2 {
		return 0, workflow.NewContinueAsNewError(ctx, Rounds, round+1)
	}
	return round, nil
}

// Flaky fails twice.
func Flaky(ctx context.Context) (int, error) {
	attempt := int(activity.GetInfo(ctx).Attempt)
	if attempt < 3 {
		return 0, fmt.Errorf("attempt %d fails", attempt)
	}
	return attempt, nil
}

// Beat fails after three heartbeats, and its next attempt goes on from there.
func Beat(ctx context.Context) (Beaten, error) {
	resumed := 0
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &resumed); err != nil {
			return Beaten{}, err
		}
	}
	for beat := resumed + 1; beat <= 5; beat++ {
		activity.RecordHeartbeat(ctx, beat)
		if beat == 3 {
			return Beaten{}, fmt.Errorf("fails after %d heartbeats", beat)
		}
	}
	return Beaten{Resumed: resumed, Beats: 5}, nil
}

// Greet is what comes after the signal.
func Greet(_ context.Context, name string) (string, error) {
	return "hello " + name, nil
}
