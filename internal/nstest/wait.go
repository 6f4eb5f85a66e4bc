// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Eventually waits until cond returns true, and fails the test at the timeout: a bound for a broken run, not a measure of
// speed. See [Retry] for the interval.
func Eventually(tb testing.TB, timeout time.Duration, what string, cond func() bool) {
	tb.Helper()
	if Retry(timeout, func() error {
		if cond() {
			return nil
		}
		return errors.New("condition does not hold")
	}) != nil {
		tb.Fatalf("not within %v: %s", timeout, what)
	}
}

// Retry calls cond until it returns nil, and returns its last error at the timeout. It waits 5 ms between the first calls,
// and later a tenth of the time since the first call, up to 50 ms: cond may start a process or query a reaper, and the
// tests beside it need the CPU time.
func Retry(timeout time.Duration, cond func() error) error {
	began := time.Now()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		waited := time.Since(began)
		if waited > timeout {
			return fmt.Errorf("not within %v: %w", timeout, err)
		}
		time.Sleep(min(max(waited/10, 5*time.Millisecond), 50*time.Millisecond))
	}
}
