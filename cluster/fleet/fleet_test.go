// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/cluster/fleet"
)

// program is what the command does on one node.
type program func(ctx context.Context, stdout, stderr io.Writer) error

// programs runs a program for each node.
type programs map[string]program

func (p programs) Exec(ctx context.Context, a fleet.Agent, _ []string, stdout, stderr io.Writer) error {
	return p[a.Node](ctx, stdout, stderr)
}

func prints(text string) program {
	return func(_ context.Context, stdout, _ io.Writer) error {
		_, err := io.WriteString(stdout, text)
		return err
	}
}

func fails(code int, stdoutText, stderrText string) program {
	return func(_ context.Context, stdout, stderr io.Writer) error {
		_, _ = io.WriteString(stdout, stdoutText)
		_, _ = io.WriteString(stderr, stderrText)
		return &fleet.ExitError{Code: code}
	}
}

// hangs prints something, and waits until ctx ends.
func hangs(ctx context.Context, stdout, _ io.Writer) error {
	_, _ = io.WriteString(stdout, `{"rows": [`)
	<-ctx.Done()
	return ctx.Err()
}

// isDeaf never returns before its output is refused, and ignores ctx until then.
func isDeaf(_ context.Context, stdout, _ io.Writer) error {
	for {
		if _, err := io.WriteString(stdout, " "); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// rows reads the elements of the list "rows".
func rows(_ fleet.Agent, r io.Reader) (list []string, err error) {
	_, err = fleet.ReadObject(r, "rows", func(raw json.RawMessage) error {
		list = append(list, string(raw))
		return nil
	})
	return list, err
}

func agents(nodes ...string) (list []fleet.Agent) {
	for _, n := range nodes {
		list = append(list, fleet.Agent{Node: n, Namespace: "kube-system", Pod: "halfclose-" + n})
	}
	return list
}

func TestEachNodeAnswersOrFailsOnItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := programs{
			"answers":       prints(`{"rows": [1, {"a": 2}], "more": true}`),
			"finds-nothing": fails(1, `{"rows": []}`, "halfclose: no attachment matches\n"),
			"fails":         fails(1, "", "halfclose: no reaper is running\nsecond line\n"),
			"fails-mute":    fails(2, "", ""),
			"hangs":         hangs,
			"is-deaf":       isDeaf,
			"is-no-json":    prints("bash: halfclose: not found"),
			"is-cut":        prints(`{"rows": [1`),
			"is-forbidden": func(context.Context, io.Writer, io.Writer) error {
				return &fleet.Failure{Reason: fleet.Forbidden, Message: "pods/exec is forbidden"}
			},
			"is-gone": func(context.Context, io.Writer, io.Writer) error { return errors.New("connection refused") },
		}
		list := agents("hangs", "answers", "finds-nothing", "fails", "fails-mute", "is-deaf", "is-no-json", "is-cut", "is-forbidden", "is-gone")
		list[0].Remark = "the node is not ready"
		list = append(list, fleet.Agent{Node: "is-down", Failure: &fleet.Failure{Reason: fleet.NotReady, Message: "pod waits"}})
		f := &fleet.Fleet{Executor: p, Agents: list, Parallel: 3, Timeout: 10 * time.Second}
		answers, err := fleet.Ask(t.Context(), f, []string{"leaks"}, rows)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		var order []string
		for _, a := range answers {
			order = append(order, a.Node)
			got[a.Node] = fmt.Sprint(a.Value)
			if a.Failure != nil {
				got[a.Node] = a.Failure.Error()
			}
		}
		if !slices.IsSorted(order) {
			t.Errorf("the answers are not sorted by node: %v", order)
		}
		want := map[string]string{
			"answers":       `[1 {"a":2}]`,
			"finds-nothing": `[]`,
			"fails":         "failed: no reaper is running; second line",
			"fails-mute":    "failed: exit code 2",
			"hangs":         "timeout: no whole answer within 10s (the node is not ready)",
			"is-deaf":       "timeout: no whole answer within 10s",
			"is-no-json":    "bad-answer: read JSON: invalid character 'b' looking for beginning of value",
			"is-cut":        "bad-answer: read JSON: unexpected EOF",
			"is-forbidden":  "forbidden: pods/exec is forbidden",
			"is-gone":       "failed: connection refused",
			"is-down":       "not-ready: pod waits",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestAnInterruptEndsAllCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running atomic.Int32
		p := programs{}
		for _, n := range []string{"a", "b", "c"} {
			p[n] = func(ctx context.Context, stdout, stderr io.Writer) error {
				running.Add(1)
				defer running.Add(-1)
				return hangs(ctx, stdout, stderr)
			}
		}
		f := &fleet.Fleet{Executor: p, Agents: agents("a", "b", "c"), Parallel: 2, Timeout: time.Hour}
		go func() {
			synctest.Wait() // until two of them hang
			cancel()
		}()
		if _, err := fleet.Ask(ctx, f, nil, rows); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if n := running.Load(); n != 0 {
			t.Errorf("%d commands still run", n)
		}
	})
}

func TestNoMoreNodesThanAllowedAreAskedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, progress atomic.Int32
		p, names := programs{}, []string(nil)
		for i := range 20 {
			name := fmt.Sprintf("node-%02d", i)
			names = append(names, name)
			p[name] = func(_ context.Context, stdout, _ io.Writer) error {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				_, err := io.WriteString(stdout, "{}")
				return err
			}
		}
		f := &fleet.Fleet{
			Executor: p, Agents: agents(names...), Parallel: 4, Timeout: 10 * time.Second,
			Progress: func(done int) {
				if got := progress.Add(1); int(got) != done {
					t.Errorf("progress %d is reported as %d", got, done)
				}
			},
		}
		if _, err := fleet.Ask(t.Context(), f, nil, rows); err != nil {
			t.Fatal(err)
		}
		if most.Load() != 4 || progress.Load() != 20 {
			t.Errorf("%d ran at the same time, want 4; %d were reported, want 20", most.Load(), progress.Load())
		}
	})
}

// endless yields a text, and then another one for ever.
type endless struct{ start, rest string }

func (e *endless) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if e.start == "" {
			e.start = e.rest
		}
		copied := copy(b[n:], e.start)
		e.start = e.start[copied:]
		n += copied
	}
	return n, nil
}

func TestAHostileAnswerIsRefusedInBoundedMemory(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"an endless element":            &endless{`{"rows": ["`, "aaaaaaaaaaaaaaaa"},
		"an endless value":              &endless{`{"more": "`, "aaaaaaaaaaaaaaaa"},
		"endless values":                &endless{`{"a": 1`, `,"b": "` + strings.Repeat("x", 1000) + `"`},
		"an endless key":                &endless{`{"`, "aaaaaaaaaaaaaaaa"},
		"endless blanks":                &endless{"{", "                "},
		"endless blanks after the end":  &endless{"{}", "                "},
		"endless nesting":               &endless{`{"rows": [`, "[[[[[[[[[[[[[[[["},
		"a list that is none":           strings.NewReader(`{"rows": 7}`),
		"an array":                      strings.NewReader(`[1]`),
		"more than one object":          strings.NewReader(`{} {}`),
		"nothing":                       strings.NewReader(``),
		"an escape sequence":            strings.NewReader("\x1b[2J{}"),
		"an element that is cut":        strings.NewReader(`{"rows": [{"a": 1`),
		"an object that is not closed":  strings.NewReader(`{"rows": []`),
		"a value without its key":       strings.NewReader(`{7: 8}`),
		"a comma without another value": strings.NewReader(`{"rows": [1,]}`),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := fleet.ReadObject(r, "rows", func(json.RawMessage) error { return nil }); err == nil {
				t.Error("it was read")
			}
		})
	}
}

func TestAnObjectIsReadElementByElement(t *testing.T) {
	var got []string
	rest, err := fleet.ReadObject(strings.NewReader(`{"a": 1, "rows": [ {"x": 1,  "y": [2]}, null ], "b": {"c": 2}}`+"\n"), "rows", func(raw json.RawMessage) error {
		got = append(got, string(raw))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`{"x":1,"y":[2]}`, "null"}, got); diff != "" {
		t.Errorf("elements (-want +got)\n%s", diff)
	}
	if string(rest["a"]) != "1" || string(rest["b"]) != `{"c": 2}` || len(rest) != 2 {
		t.Errorf("the other values are %s", rest)
	}
	if rest, err := fleet.ReadObject(strings.NewReader(`{"rows": null}`), "rows", nil); err != nil || len(rest) != 0 {
		t.Errorf("null as a list: %v, %v", rest, err)
	}
}
