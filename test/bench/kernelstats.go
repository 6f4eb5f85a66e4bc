// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// The benchmark finds the programs and maps of package bpf by their names, newest first: no other program needs these
// figures of them.

// stateChangeStats returns the kernel's statistics of the program that was loaded last.
func stateChangeStats() (*ebpf.ProgramStats, error) {
	var newest *ebpf.Program
	for id, err := ebpf.ProgramGetNextID(0); ; id, err = ebpf.ProgramGetNextID(id) {
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list BPF programs: %w", err)
		}
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it was unloaded in between
		}
		if info, err := p.Info(); err != nil || info.Name != "state_change" {
			p.Close()
			continue
		}
		newest.Close()
		newest = p
	}
	if newest == nil {
		return nil, errors.New("no BPF program state_change is loaded")
	}
	defer newest.Close()
	return newest.Stats()
}

// mapMemory returns the kernel memory of the maps that were created last with these names.
func mapMemory(names ...string) (bytes uint64, err error) {
	newest := make(map[string]uint64)
	for id, err := ebpf.MapGetNextID(0); ; id, err = ebpf.MapGetNextID(id) {
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("list BPF maps: %w", err)
		}
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue // it was deleted in between
		}
		if info, err := m.Info(); err == nil {
			if memory, ok := info.Memlock(); ok {
				newest[info.Name] = memory
			}
		}
		m.Close()
	}
	for _, name := range names {
		memory, ok := newest[name]
		if !ok {
			return 0, fmt.Errorf("no BPF map %s", name)
		}
		bytes += memory
	}
	return bytes, nil
}
