// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// moment is a moment so long after the beginning of a pure test, which is far from boot.
func moment(d time.Duration) monotime.Time { return monotime.Time(24 * time.Hour).Add(d) }

// patience bounds a wait for something that must happen, on the busiest of machines.
const patience = 30 * time.Second
