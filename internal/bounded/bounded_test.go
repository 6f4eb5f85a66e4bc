// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bounded_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfclose/halfclose/internal/bounded"
)

func TestACallIsAwaitedForItsPatience(t *testing.T) {
	failed := errors.New("failed")
	for name, takes := range map[string]time.Duration{"in time": time.Second, "too late": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				r, late := bounded.Call(2*time.Second, func() (int, error) {
					time.Sleep(takes)
					return 7, failed
				})
				if took := time.Since(begin); took != min(takes, 2*time.Second) {
					t.Errorf("it waits for %v", took)
				}
				if (late != nil) != (takes > 2*time.Second) {
					t.Errorf("late is %v", late)
				}
				if late != nil {
					r = <-late
				}
				if r.Value != 7 || r.Err != failed || time.Since(begin) != takes { //nolint:errorlint // it is not wrapped
					t.Errorf("%+v after %v", r, time.Since(begin))
				}
			})
		})
	}
}
