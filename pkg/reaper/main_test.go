// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// parallelTests is the number of parallel tests. Each waits for the kernel and for its reaper, but not for graces to
// end, so more tests would compete for the CPU.
const parallelTests = "12"

func TestMain(m *testing.M) {
	if os.Getenv(envLetGo) != "" {
		os.Exit(letGo())
	}
	if os.Getenv(envPoll) != "" {
		if err := pollConnections(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(envLimited) != "" {
		if err := runConfined(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(envConfined) != "" {
		fmt.Fprintln(os.Stderr, confine())
		os.Exit(1)
	}
	if os.Getenv(envReaper) != "" {
		if err := runReaper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", parallelTests); err != nil {
			panic(err)
		}
	}
	os.Exit(nstest.Main(m, func() error { return closeShared() }))
}
