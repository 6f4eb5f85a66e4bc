// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestARequestIsCanceledBySilenceAndNotByItsLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 5 * time.Second
		ctx, silence, cancel := limitSilence(t.Context(), limit)
		defer cancel()
		r, w := io.Pipe()
		began := time.Now()
		go func() {
			for range 20 {
				time.Sleep(limit - time.Millisecond)
				_, _ = w.Write([]byte("x"))
			}
		}()
		go func() { _, _ = io.Copy(io.Discard, noisyReader{r, silence}) }()
		<-ctx.Done()
		if got, want := time.Since(began), 21*limit-20*time.Millisecond; got != want {
			t.Errorf("it was canceled after %v, want %v", got, want)
		}
		if _, ok := errors.AsType[silenceError](context.Cause(ctx)); !ok {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
		w.Close()
	})
}
