// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Enough names for several system calls, of all lengths.
func TestNamesWithAPrefixAreFoundInALargeDirectory(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 600 {
		name := fmt.Sprintf("c%d@eth0:1-2.json", i)
		if i%100 == 0 {
			name = fmt.Sprintf("wanted@%d%s", i, strings.Repeat("x", i/3))
			want = append(want, name)
		} else {
			name += strings.Repeat("y", i%200)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	got, err := namesWithPrefix(fd, "wanted@")
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	all, err := namesWithPrefix(fd, "")
	if want := 600 + len([]string{".", ".."}); err != nil || len(all) != want {
		t.Errorf("%d names, %v, want %d", len(all), err, want)
	}
	if none, err := namesWithPrefix(fd, "wanted@0x"); err != nil || len(none) > 0 {
		t.Errorf("got %q, %v, want none", none, err)
	}
}
