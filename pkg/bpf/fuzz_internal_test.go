// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FuzzAnEntryOfTheSetIsReadOrRefused reads any bytes as the program's output.
func FuzzAnEntryOfTheSetIsReadOrRefused(f *testing.F) {
	entry := func(change func(k *kernelSnapshot)) {
		k := kernelSnapshot{At: 7, Netns: 1, State: 8, Family: unix.AF_INET, Ulp: [8]int8{'t', 'l', 's'}}
		change(&k)
		f.Add((*[unsafe.Sizeof(k)]byte)(unsafe.Pointer(&k))[:], int64(4_000_000))
	}
	entry(func(*kernelSnapshot) {})
	entry(func(k *kernelSnapshot) {
		k.Family, k.SinceAck, k.Rqueue, k.Opened = unix.AF_INET6, 1<<32-1, 1<<32-1, 255
	})
	entry(func(k *kernelSnapshot) { k.Family, k.Ulp = 99, [8]int8{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'} })
	f.Fuzz(func(t *testing.T, data []byte, tick int64) {
		var k kernelSnapshot
		copy((*[unsafe.Sizeof(k)]byte)(unsafe.Pointer(&k))[:], data)
		var s Socket
		if err := s.set(&k, ticks(tick)); err != nil {
			return
		}
		if k.Family != unix.AF_INET && k.Family != unix.AF_INET6 {
			t.Errorf("a socket of family %d is read", k.Family)
		}
		back, err := s.ID.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		raw := (*[unsafe.Sizeof(k)]byte)(unsafe.Pointer(&k))[unsafe.Offsetof(k.Family):]
		if !bytes.Equal(back, raw) {
			t.Errorf("id %v is written as %x, want %x", s.ID, back, raw)
		}
		if len(s.ULP) > len(k.Ulp) || bytes.IndexByte([]byte(s.ULP), 0) >= 0 {
			t.Errorf("ULP %q", s.ULP)
		}
	})
}
