// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monotime_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// envPrintNow makes this test binary print the system clock's time instead of running tests.
const envPrintNow = "MONOTIME_TEST_PRINT_NOW"

func TestMain(m *testing.M) {
	if os.Getenv(envPrintNow) != "" {
		clock, err := monotime.System()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(int64(clock.Now()))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestSystemClockIsTheSameInEveryTimeNamespace(t *testing.T) {
	clock, err := monotime.System()
	if err != nil {
		t.Fatal(err)
	}
	for _, offset := range []string{"0", "3600", "-100"} {
		t.Run(offset, func(t *testing.T) {
			cmd := exec.Command("unshare", "--time", "--fork", "--kill-child", "--monotonic", offset, os.Args[0])
			cmd.Env = append(os.Environ(), envPrintNow+"=1")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			before := clock.Now()
			out, err := cmd.Output()
			after := clock.Now()
			if err != nil && strings.Contains(stderr.String(), "unshare failed") {
				nstest.NeedPrivilege(t, "create a time namespace", err)
			}
			if err != nil {
				t.Fatalf("%v: %s", err, stderr.String())
			}
			then, err := strconv.ParseInt(string(out), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if at := monotime.Time(then); at.Before(before) || after.Before(at) {
				t.Errorf("in the time namespace it was %v, before that %v and after it %v", at, before, after)
			}
		})
	}
}
