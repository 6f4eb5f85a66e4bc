// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"os"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }
