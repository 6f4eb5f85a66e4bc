// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// moment returns a time after the start of a test, which is long after boot.
func moment(d time.Duration) monotime.Time { return monotime.Time(24 * time.Hour).Add(d) }

// patience is the timeout of waits.
const patience = 30 * time.Second
