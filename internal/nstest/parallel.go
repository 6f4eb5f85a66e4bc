// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"flag"
	"strconv"
)

// SetParallel lets n tests run in parallel unless -parallel is set. The default is the number of CPUs, which is too low for
// tests that mostly wait for graces to expire or for processes. TestMain calls it before the tests run.
func SetParallel(n int) error {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if chosen {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(n))
}
