// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"os"
	"testing"
	"time"
)

func TestWhatAProcessCostsIsWhatItTook(t *testing.T) {
	read := func() Process {
		p, err := ReadProcess(time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := read()
	const size = 64 << 20
	memory := make([]byte, size)
	for i := 0; i < size; i += os.Getpagesize() {
		memory[i] = 1
	}
	var files []*os.File
	for range 10 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
	}
	after := read()
	if after.Started != time.Unix(1, 0) {
		t.Errorf("started %v", after.Started)
	}
	if after.CPU <= before.CPU || after.CPU > before.CPU+time.Minute {
		t.Errorf("CPU time went from %v to %v", before.CPU, after.CPU)
	}
	if more := int64(after.Resident) - int64(before.Resident); more < size*9/10 || more > 4*size {
		t.Errorf("%d bytes more were touched, and resident are %d more", size, more)
	}
	if more := after.OpenFDs - before.OpenFDs; more != len(files) {
		t.Errorf("%d files more were opened, and %d more are", len(files), more)
	}
	if memory[0] == 0 {
		t.Error("the memory was not kept")
	}
}

func TestResidentMemoryIsTheSecondNumber(t *testing.T) {
	if got, err := resident("100 7 3 1 0 2 0\n"); err != nil || got != 7*uint64(os.Getpagesize()) {
		t.Errorf("%d bytes, %v", got, err)
	}
	for _, text := range []string{"", "100", "100 x", "100 -7"} {
		if got, err := resident(text); err == nil {
			t.Errorf("%q is taken for %d bytes", text, got)
		}
	}
}
