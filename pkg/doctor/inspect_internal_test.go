// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnInspectionThatHangsIsAFinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mount := make(chan struct{}) // hangs
		defer close(mount)
		var reported []string
		i := inspector{limit: 2 * time.Second, slow: func(what string) { reported = append(reported, what) }}
		var hung, timed, quick inspected[string]
		began := time.Now()
		start(t.Context(), &i, &hung, "a mount", func(context.Context) string { <-mount; return "" })
		start(t.Context(), &i, &timed, "a reaper", func(ctx context.Context) string { <-ctx.Done(); return "returned in time" })
		start(t.Context(), &i, &quick, "a file", func(context.Context) string { return "read" })
		i.wait()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		if quick.value != "read" || quick.err != nil || timed.value != "returned in time" || hung.err == nil {
			t.Errorf("got %+v, %+v, %+v", quick, timed, hung)
		}
		if len(reported) != 1 || reported[0] != "a mount, a reaper" {
			t.Errorf("pending inspections %q", reported)
		}
		expect(t, report(hung, func(string) []Finding { t.Error("it reports an inspection that did not return"); return nil }, "bpf", "btf"),
			want{"bpf", Warn, "could not be checked: no answer within 2s", "run this again"},
			want{"btf", Warn, "could not be checked: no answer within 2s", "run this again"})
	})
}

func TestQuickInspectionsAreNotReportedAsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := inspector{limit: time.Second, slow: func(what string) { t.Errorf("pending: %s", what) }}
		var quick inspected[int]
		start(t.Context(), &i, &quick, "a file", func(context.Context) int { return 7 })
		i.wait()
		time.Sleep(time.Minute)
		if quick.value != 7 {
			t.Errorf("got %+v", quick)
		}
	})
}

func TestAnInterruptCancelsEveryInspection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mount := make(chan struct{})
		defer close(mount)
		ctx, interrupt := context.WithCancel(t.Context())
		i := inspector{limit: time.Hour}
		var hung inspected[int]
		start(ctx, &i, &hung, "a mount", func(context.Context) int { <-mount; return 0 })
		interrupt()
		i.wait()
		if !errors.Is(hung.err, context.Canceled) {
			t.Errorf("got %v", hung.err)
		}
	})
}
