// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"flag"
	"strconv"
)

// SetParallel lets n tests run side by side, unless -parallel is given. The go command starts as many as there are CPUs:
// too few where tests wait, for graces to expire or for processes. TestMain calls it before it runs the tests.
func SetParallel(n int) error {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if chosen {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(n))
}
