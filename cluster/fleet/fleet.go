// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet runs one command on the reapers of all nodes at once, and reads their answers in bounded memory.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Agent is the pod of the DaemonSet on a node.
type Agent struct {
	Node      string
	Namespace string
	Pod       string
	Image     string // of its container; "" if it is unknown
	// Failure is why the pod cannot run a command, nil if it can.
	Failure *Failure
	// Remark is a condition of the node that explains a later failure, "" if none.
	Remark string
}

// Reason is the kind of a failure.
type Reason string

// The reasons.
const (
	NotReady    Reason = "not-ready"    // the pod's container does not run
	NoContainer Reason = "no-container" // the pod has no container of the reaper's name
	Forbidden   Reason = "forbidden"    // the user may not run commands in the pod
	Unreachable Reason = "unreachable"  // the API server does not reach the node
	Timeout     Reason = "timeout"      // no whole answer within the time
	BadAnswer   Reason = "bad-answer"   // the answer cannot be read
	Failed      Reason = "failed"       // the command failed
	NoPod       Reason = "no-pod"       // the node has no pod of the DaemonSet
)

// Failure is why a node did not answer.
type Failure struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

func (f *Failure) Error() string {
	if f.Message == "" {
		return string(f.Reason)
	}
	return string(f.Reason) + ": " + f.Message
}

// ExitError is the error of a command that ran and exited with a code other than 0.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Executor runs a command in the container of an agent. It returns an *ExitError, a *Failure, or another error if the command
// could not be run.
type Executor interface {
	Exec(ctx context.Context, a Agent, command []string, stdout, stderr io.Writer) error
}

// Fleet asks agents.
type Fleet struct {
	Executor Executor
	Agents   []Agent
	Parallel int           // the number of agents that are asked at the same time
	Timeout  time.Duration // of one agent's answer
	// Progress, unless nil, is called when an agent has answered or failed, with their number so far.
	Progress func(done int)
}

// Answer is what one agent returned.
type Answer[T any] struct {
	Agent
	Value T
	// Code is the exit code of the command, and Stderr its first lines on stderr.
	Code   int
	Stderr string
	// Failure is why Value is missing or incomplete, nil if it is whole.
	Failure *Failure
}

// ErrEnough may be returned by a reader that needs no more of the output.
var ErrEnough = errors.New("enough output")

// maxStderr bounds the part of stderr that is kept, in bytes.
const maxStderr = 4 << 10

// Ask runs a command on each agent, and reads each output with read. The answers are sorted by node. It returns early, with the
// error of ctx, only if ctx ends.
func Ask[T any](ctx context.Context, f *Fleet, command []string, read func(a Agent, stdout io.Reader) (T, error)) ([]Answer[T], error) {
	answers := make([]Answer[T], len(f.Agents))
	var done int
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(max(f.Parallel, 1))
	for i, agent := range f.Agents {
		group.Go(func() error {
			answers[i] = ask(ctx, f, agent, command, read)
			if f.Progress != nil {
				mu.Lock()
				defer mu.Unlock()
				done++
				f.Progress(done)
			}
			return nil
		})
	}
	_ = group.Wait() // no function returns an error
	slices.SortFunc(answers, func(a, b Answer[T]) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Pod, b.Pod)) })
	return answers, ctx.Err()
}

// ask runs a command on one agent. It returns once the executor and the reader have both returned.
func ask[T any](ctx context.Context, f *Fleet, agent Agent, command []string, read func(Agent, io.Reader) (T, error)) Answer[T] {
	answer := Answer[T]{Agent: agent, Failure: agent.Failure}
	if answer.Failure != nil {
		return answer
	}
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	stdout, to := io.Pipe()
	stderr := &head{limit: maxStderr}
	exited := make(chan error, 1)
	go func() {
		err := f.Executor.Exec(ctx, agent, command, to, stderr)
		to.Close() // the reader sees the end of the output
		exited <- err
	}()
	stop := context.AfterFunc(ctx, func() { to.CloseWithError(ctx.Err()) }) // an executor may not notice that ctx ended
	value, readErr := read(agent, stdout)
	stop()
	ended := ctx.Err()               // by the timeout or the caller
	stdout.CloseWithError(ErrEnough) // a writer to it returns
	if readErr != nil {
		cancel() // no reader is left for the rest
	}
	execErr := <-exited
	answer.Value, answer.Stderr = value, stderr.text()
	if exit, ok := errors.AsType[*ExitError](execErr); ok {
		answer.Code = exit.Code
	}
	answer.Failure = f.failure(&answer.Agent, answer.Stderr, ended, execErr, readErr)
	return answer
}

// failure returns why an answer is missing or cannot be read, nil if it was read. A command that exits with an error after a whole
// answer has answered.
func (f *Fleet) failure(a *Agent, stderr string, ended, execErr, readErr error) *Failure {
	if readErr == nil || errors.Is(readErr, ErrEnough) {
		return nil
	}
	remark := ""
	if a.Remark != "" {
		remark = " (" + a.Remark + ")"
	}
	var exit *ExitError
	var failed *Failure
	switch {
	case errors.As(execErr, &failed):
		return &Failure{failed.Reason, failed.Message + remark}
	case errors.Is(ended, context.DeadlineExceeded):
		return &Failure{Timeout, fmt.Sprintf("no whole answer within %v", f.Timeout) + remark}
	case ended != nil:
		return &Failure{Failed, "interrupted"}
	case errors.As(execErr, &exit) && stderr != "":
		return &Failure{Failed, strings.TrimPrefix(stderr, "halfclose: ")}
	case errors.As(execErr, &exit):
		return &Failure{Failed, exit.Error()}
	case execErr != nil && !errors.Is(execErr, context.Canceled) && !errors.Is(execErr, io.ErrClosedPipe) && !errors.Is(execErr, ErrEnough):
		return &Failure{Failed, execErr.Error() + remark}
	}
	return &Failure{BadAnswer, readErr.Error()}
}

// head keeps the start of what is written to it. It is safe for concurrent use.
type head struct {
	limit int
	mu    sync.Mutex
	kept  []byte
}

// Write implements io.Writer.
func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, b[:min(len(b), h.limit-len(h.kept))]...)
	return len(b), nil
}

// text returns the lines as one.
func (h *head) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.ReplaceAll(strings.TrimSpace(strings.ToValidUTF8(string(h.kept), "")), "\n", "; ")
}
