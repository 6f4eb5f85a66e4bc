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

func TestWhatHangsIsAFindingAndHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mount := make(chan struct{}) // which hangs
		defer close(mount)
		var told []string
		l := looker{limit: 2 * time.Second, slow: func(what string) { told = append(told, what) }}
		var hung, careful, quick seen[string]
		began := time.Now()
		start(t.Context(), &l, &hung, "a mount", func(context.Context) string { <-mount; return "" })
		start(t.Context(), &l, &careful, "a reaper", func(ctx context.Context) string { <-ctx.Done(); return "gave up in time" })
		start(t.Context(), &l, &quick, "a file", func(context.Context) string { return "seen" })
		l.wait()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		if quick.value != "seen" || quick.err != nil || careful.value != "gave up in time" || hung.err == nil {
			t.Errorf("seen: %+v, %+v, %+v", quick, careful, hung)
		}
		if len(told) != 1 || told[0] != "a mount, a reaper" {
			t.Errorf("whoever waits is told %q", told)
		}
		expect(t, judge("state-dir", hung, func(string) []Finding { t.Error("nothing was seen, and it is judged"); return nil }),
			want{"state-dir", Warn, "could not be looked at: no answer within 2s", "run this again"})
	})
}

func TestNobodyIsToldOfWhatIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := looker{limit: time.Second, slow: func(what string) { t.Errorf("told of %s", what) }}
		var quick seen[int]
		start(t.Context(), &l, &quick, "a file", func(context.Context) int { return 7 })
		l.wait()
		time.Sleep(time.Minute)
		if quick.value != 7 {
			t.Errorf("seen %+v", quick)
		}
	})
}

func TestAnInterruptEndsEveryLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mount := make(chan struct{})
		defer close(mount)
		ctx, interrupt := context.WithCancel(t.Context())
		l := looker{limit: time.Hour}
		var hung seen[int]
		start(ctx, &l, &hung, "a mount", func(context.Context) int { <-mount; return 0 })
		interrupt()
		l.wait()
		if !errors.Is(hung.err, context.Canceled) {
			t.Errorf("got %v", hung.err)
		}
	})
}
